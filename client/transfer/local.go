package transfer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// Local is this machine.
type Local struct{ _ byte } // so that two are two

// NewLocal is this machine.
func NewLocal() *Local { return &Local{} }

// Lost implements [Place].
func (*Local) Lost() error { return nil }

// End implements [Place].
func (*Local) End(error) {}

// Show implements [Place].
func (*Local) Show(p string) string { return p }

// Stat implements [Place].
func (*Local) Stat(p string) (Entry, error) { return localEntry(os.Stat(p)) }

// Lstat implements [Place].
func (*Local) Lstat(p string) (Entry, error) { return localEntry(os.Lstat(p)) }

func localEntry(info fs.FileInfo, err error) (Entry, error) {
	if err != nil {
		return Entry{}, err
	}
	e := Entry{Name: info.Name(), Size: info.Size(), Mode: info.Mode(), Changed: info.ModTime(), Read: info.ModTime(), UID: -1, GID: -1}
	ownership(info, &e)
	return e, nil
}

// List implements [Place]. What this machine has is not bounded.
func (*Local) List(p string, _ int64) ([]Entry, int64, error) {
	all, err := os.ReadDir(p)
	return localEntries(all), 0, err
}

func localEntries(all []fs.DirEntry) []Entry {
	entries := make([]Entry, 0, len(all))
	for _, d := range all {
		if e, err := localEntry(d.Info()); err == nil { // else it is gone already
			entries = append(entries, e)
		}
	}
	return entries
}

// Real implements [Place].
func (*Local) Real(p string) (string, error) {
	real, err := filepath.EvalSymlinks(p)
	if err != nil {
		return "", err
	}
	return filepath.Abs(real)
}

// Join implements [Place].
func (*Local) Join(folder, name string) string { return filepath.Join(folder, name) }

// Split implements [Place].
func (*Local) Split(p string) (folder, name string) {
	folder, name = splitSlash(filepath.ToSlash(p))
	if filepath.VolumeName(p) == filepath.FromSlash(folder+name) { // C: alone
		return p, "."
	}
	return filepath.FromSlash(folder), name
}

// Open implements [Place]. It does not wait at a FIFO.
func (*Local) Open(p string) (Reading, error) {
	return openedLocal(os.OpenFile(p, os.O_RDONLY|nonBlock, 0))
}

func openedLocal(f *os.File, err error) (Reading, error) {
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errNotRegular
	}
	if err != nil {
		_ = f.Close() // err tells more
		return nil, err
	}
	return &localFile{File: f}, nil
}

// Sum implements [Place].
func (l *Local) Sum(ctx context.Context, p string, n int64) ([]byte, error) {
	return sumOf(ctx, l.Open, p, n)
}

func sumOf(ctx context.Context, open func(string) (Reading, error), p string, n int64) ([]byte, error) {
	f, err := open(p)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := sha256.New()
	got, err := io.Copy(h, &stoppable{ctx: ctx, Reader: f.Reader(0, n)})
	if err == nil && got < n {
		err = errShorter
	}
	return h.Sum(nil), err
}

// stoppable ends with a context.
type stoppable struct {
	ctx context.Context
	io.Reader
}

func (s *stoppable) Read(p []byte) (int, error) {
	if s.ctx.Err() != nil {
		return 0, context.Cause(s.ctx)
	}
	return s.Reader.Read(p)
}

// Direct implements [Place]. Standard output stays where it is, also if it is a file.
func (*Local) Direct(p string) (Writing, error) {
	if f := standard(p); f != nil {
		return &localFile{File: f, keep: true}, nil
	}
	f, err := os.OpenFile(p, os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	return &localFile{File: f}, nil
}

// standard is the open file that a path stands for; nil: it is another one.
func standard(p string) *os.File {
	switch p {
	case "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1":
		return os.Stdout
	case "/dev/stderr", "/dev/fd/2", "/proc/self/fd/2":
		return os.Stderr
	}
	return nil
}

// Below implements [Place].
func (l *Local) Below(folder string) (Folder, error) {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, err
	}
	return &localFolder{Local: l, root: root}, nil
}

// localFolder is a folder of this machine. The system sees to it that no path leads out of it, whatever symbolic links
// there are ([os.Root]).
type localFolder struct {
	*Local
	root *os.Root
}

func (f *localFolder) Stat(p string) (Entry, error)  { return localEntry(f.root.Stat(p)) }
func (f *localFolder) Lstat(p string) (Entry, error) { return localEntry(f.root.Lstat(p)) }
func (f *localFolder) Show(p string) string          { return filepath.Join(f.root.Name(), p) }
func (f *localFolder) Remove(p string) error         { return f.root.Remove(p) }
func (f *localFolder) Rename(from, to string) error  { return f.root.Rename(from, to) }
func (f *localFolder) Close() error                  { return f.root.Close() }
func (f *localFolder) Where(in Place) (string, bool) { return f.root.Name(), in == Place(f.Local) }
func (f *localFolder) Open(p string) (Reading, error) {
	return openedLocal(f.root.OpenFile(p, os.O_RDONLY|nonBlock, 0))
}

func (f *localFolder) List(p string, _ int64) ([]Entry, int64, error) {
	d, err := f.root.Open(p)
	if err != nil {
		return nil, 0, err
	}
	defer d.Close()
	all, err := d.ReadDir(-1)
	return localEntries(all), 0, err
}

// Real is the path below this folder.
func (f *localFolder) Real(p string) (string, error) {
	if _, err := f.root.Stat(p); err != nil { // such as one that leads out of it
		return "", err
	}
	base, err := filepath.EvalSymlinks(f.root.Name())
	if err != nil {
		return "", err
	}
	real, err := filepath.EvalSymlinks(filepath.Join(base, p))
	if err != nil {
		return "", err
	}
	return filepath.Rel(base, real)
}

func (f *localFolder) Sum(ctx context.Context, p string, n int64) ([]byte, error) {
	return sumOf(ctx, f.Open, p, n)
}

func (f *localFolder) Below(p string) (Folder, error) {
	root, err := f.root.OpenRoot(p)
	if err != nil {
		return nil, err
	}
	return &localFolder{Local: f.Local, root: root}, nil
}

func (f *localFolder) Check(name string) error {
	if name == "." || strings.ContainsRune(name, filepath.Separator) || strings.ContainsAny(name, "/\x00") || !filepath.IsLocal(name) {
		return errName
	}
	if runtime.GOOS == "windows" && (strings.ContainsAny(name, `<>:"|?*`) || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' }) || strings.TrimRight(name, ". ") != name) {
		return errName
	}
	return nil
}

// Same takes capitals and small letters for the same where file systems usually do.
func (f *localFolder) Same(name string) string {
	if runtime.GOOS == "windows" || runtime.GOOS == "darwin" {
		return strings.ToLower(name)
	}
	return name
}

func (f *localFolder) open(p string, how int, mode fs.FileMode) (Writing, error) {
	file, err := f.root.OpenFile(p, how, mode)
	if err != nil {
		return nil, err
	}
	return &localFile{File: file}, nil
}

func (f *localFolder) Create(p string, mode fs.FileMode) (Writing, error) {
	return f.open(p, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode.Perm()|0o200)
}

// Reopen refuses a file of somebody else's, who could change it later.
func (f *localFolder) Reopen(p string) (Writing, error) {
	file, err := f.root.OpenFile(p, os.O_WRONLY|nonBlock, 0)
	if err != nil {
		return nil, err
	}
	e, err := localEntry(file.Stat())
	if err == nil && (!e.Mode.IsRegular() || e.UID != os.Geteuid()) { // both are -1 where nobody says
		err = errNotRegular
	}
	if err != nil {
		_ = file.Close() // err tells more
		return nil, err
	}
	return &localFile{File: file}, nil
}

func (f *localFolder) Direct(p string) (Writing, error) { return f.open(p, os.O_WRONLY, 0) }

func (f *localFolder) Writable(p string, _ Entry) error {
	w, err := f.root.OpenFile(p, os.O_WRONLY|nonBlock, 0)
	if err != nil {
		if errors.Is(err, fs.ErrPermission) {
			return err
		}
		return nil // such as a program that runs; it can be replaced all the same
	}
	return w.Close()
}

func (f *localFolder) Mkdir(p string, mode fs.FileMode) error {
	return f.root.Mkdir(p, mode.Perm()|0o700)
}

func (f *localFolder) Chmod(p string, mode fs.FileMode) error { return f.root.Chmod(p, mode.Perm()) }

func (f *localFolder) Chtimes(p string, read, changed time.Time) error {
	return f.root.Chtimes(p, read, changed)
}

// Ahead implements [Folder].
func (f *localFolder) Ahead() int64 { return 0 }

func (f *localFolder) Room(p string) (int64, bool) { return room(filepath.Join(f.root.Name(), p)) }

// localFile is an open file of this machine.
type localFile struct {
	*os.File
	keep bool // Close leaves it open
}

func (f *localFile) Close() error {
	if f.keep {
		return nil
	}
	return f.File.Close()
}

func (f *localFile) Reader(from, n int64) io.Reader {
	if n < 0 {
		n = 1<<63 - 1 - from
	}
	return io.NewSectionReader(f.File, from, n)
}

func (f *localFile) Writer(from int64) io.Writer {
	if from == 0 {
		return f.File // at its beginning; what has none, such as a FIFO, is not asked for it
	}
	if _, err := f.File.Seek(from, io.SeekStart); err != nil {
		return failing{err}
	}
	return f.File
}

// failing is a writer that cannot.
type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func (f *localFile) SendTo(w io.Writer, from, n int64) (int64, error) {
	return io.CopyBuffer(onlyWriter{w}, f.Reader(from, n), make([]byte, chunk))
}

// onlyWriter hides what else a writer can, so that the buffer's size counts.
type onlyWriter struct{ io.Writer }

func (f *localFile) TakeFrom(r io.Reader, from, n int64) (int64, error) {
	if n >= 0 {
		r = io.LimitReader(r, n)
	}
	return io.Copy(onlyWriter{f.Writer(from)}, r)
}

func (f *localFile) Finish(end Finish) error {
	if end.UID >= 0 {
		_ = f.File.Chown(end.UID, end.GID) // who may not leaves them
	}
	info, err := f.File.Stat()
	if err != nil {
		return err
	}
	if mode := end.of(info.Mode()); mode != info.Mode().Perm() && runtime.GOOS != "windows" {
		if err := f.File.Chmod(mode); err != nil {
			return fmt.Errorf("set its mode: %w", err)
		}
	}
	if !end.Changed.IsZero() {
		if err := setTimes(f.File, end.Read, end.Changed); err != nil {
			return fmt.Errorf("set its times: %w", err)
		}
	}
	return f.File.Sync()
}
