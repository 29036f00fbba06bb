package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pkg/sftp"
)

const (
	// chunk is how much one request reads or writes, in bytes: what every server takes.
	chunk = 32 << 10

	// requests is how many are under way for one file.
	requests = 128

	// maxPath is how long a path of a server's may be, in bytes.
	maxPath = 4096
)

// RemoteConfig is what [NewRemote] needs.
type RemoteConfig struct {
	Name     string             // for people, such as web1
	Conn     io.ReadWriteCloser // SFTP version 3; Close ends both directions at once
	Patience time.Duration      // how long one answer may take; 0: [Patience]
	Requests int                // under way for one file; 0: as many as are good for far machines
	// Sum has the machine itself tell the SHA-256 of the first n bytes of a file; nil: it cannot.
	Sum func(ctx context.Context, path string, n int64) ([]byte, error)
}

// Remote is a machine behind an SFTP connection.
type Remote struct {
	name   string
	conn   *conn
	client *sftp.Client
	sum    func(ctx context.Context, path string, n int64) ([]byte, error)
	atomic bool  // a rename can replace what is there
	ahead  int64 // of a file may be under way, in bytes

	listing sync.Mutex // one folder at a time, for [conn.names]

	// What is known of the server's way with new files and folders.
	mu          sync.Mutex
	files, dirs newMode
	known       bool // own is what [Remote.login] gives
	own         int
}

// newMode is what a server makes of the mode that is asked for when something is made. A server that makes nothing of it
// is known by giving more than that, or by what only may be read.
type newMode struct {
	hears, deaf bool
	seen        bool
	asked, gave fs.FileMode // when somebody looked
}

// NewRemote greets the server. The connection is the Remote's from now on, also if this fails.
func NewRemote(ctx context.Context, cfg RemoteConfig) (*Remote, error) {
	if cfg.Patience == 0 {
		cfg.Patience = Patience
	}
	if cfg.Requests == 0 {
		cfg.Requests = requests
	}
	r := &Remote{name: cfg.Name, ahead: int64(cfg.Requests) * chunk, conn: newConn(cfg.Conn, cfg.Patience), sum: cfg.Sum}
	defer context.AfterFunc(ctx, func() { r.conn.fail(context.Cause(ctx)) })()
	// An INIT packet is answered like a request.
	client, err := sftp.NewClientPipe(r.conn, r.conn, sftp.MaxPacketUnchecked(chunk), sftp.MaxConcurrentRequestsPerFile(cfg.Requests),
		sftp.UseConcurrentWrites(true), sftp.UseFstat(true))
	if err != nil {
		if lost := r.conn.lost(); lost != nil && !errors.Is(lost, errClosed) {
			err = lost
		}
		_ = r.conn.Close()
		return nil, fmt.Errorf("greet the SFTP server of %s: %w", cfg.Name, err)
	}
	r.client = client
	_, r.atomic = client.HasExtension("posix-rename@openssh.com")
	return r, nil
}

// Close ends the connection, and with it whatever is under way.
func (r *Remote) Close() error { return r.conn.Close() }

// End ends the connection because of err.
func (r *Remote) End(err error) { r.conn.fail(err) }

// Lost implements [Place].
func (r *Remote) Lost() error { return r.conn.lost() }

// Show implements [Place].
func (r *Remote) Show(p string) string { return r.name + ":" + p }

// Stat implements [Place].
func (r *Remote) Stat(p string) (Entry, error) { return remoteEntry(r.client.Stat(p)) }

// Lstat implements [Place].
func (r *Remote) Lstat(p string) (Entry, error) { return remoteEntry(r.client.Lstat(p)) }

// remoteEntry takes what a server says of a file. One that says no mode is a file that everybody may read.
func remoteEntry(info fs.FileInfo, err error) (Entry, error) {
	if err != nil {
		return Entry{}, err
	}
	e := Entry{Name: info.Name(), Size: info.Size(), Mode: info.Mode(), Changed: info.ModTime(), Read: info.ModTime(), UID: -1, GID: -1}
	if e.Size < 0 {
		return Entry{}, errors.New("the machine says an impossible size")
	}
	if s, ok := info.Sys().(*sftp.FileStat); ok {
		e.Read, e.UID, e.GID = s.AccessTime(), int(s.UID), int(s.GID)
		if s.Mode == 0 {
			e.Mode = 0o644
		}
	}
	return e, nil
}

// List implements [Place].
func (r *Remote) List(p string, budget int64) ([]Entry, int64, error) {
	r.listing.Lock()
	defer r.listing.Unlock()
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	named := r.conn.names(budget, func() { cancel(errTooMany) })
	infos, err := r.client.ReadDirContext(ctx, p)
	size := named()
	if ctx.Err() != nil {
		return nil, 0, errTooMany
	}
	if err != nil {
		return nil, 0, err
	}
	all := make([]Entry, 0, len(infos))
	for _, info := range infos {
		e, err := remoteEntry(info, nil)
		if err != nil {
			return nil, 0, err
		}
		all = append(all, e)
	}
	return all, size, nil
}

var errTooMany = errors.New("the folder has more in it than can be copied at once")

// Real implements [Place].
func (r *Remote) Real(p string) (string, error) {
	real, err := r.client.RealPath(p)
	if err == nil && (len(real) > maxPath || !path.IsAbs(real)) {
		err = errors.New("the machine says an impossible path")
	}
	return real, err
}

// Join implements [Place].
func (r *Remote) Join(folder, name string) string {
	switch {
	case folder == "." || folder == "":
		return name
	case name == ".":
		return folder
	}
	return strings.TrimRight(folder, "/") + "/" + name
}

// Split implements [Place].
func (r *Remote) Split(p string) (folder, name string) { return splitSlash(p) }

func splitSlash(p string) (folder, name string) {
	bare := strings.TrimRight(p, "/")
	at := strings.LastIndexByte(bare, '/')
	folder, name = bare[:at+1], bare[at+1:]
	if name == "" || name == "." || name == ".." {
		return p, "."
	}
	switch {
	case folder == "":
		folder = "."
	case strings.Trim(folder, "/") == "":
		folder = "/"
	default:
		folder = strings.TrimRight(folder, "/")
	}
	return folder, name
}

// Sum implements [Place].
func (r *Remote) Sum(ctx context.Context, p string, n int64) ([]byte, error) {
	if r.sum == nil {
		return nil, errors.ErrUnsupported
	}
	return r.sum(ctx, p, n)
}

// Open implements [Place].
func (r *Remote) Open(p string) (Reading, error) {
	f, err := r.client.Open(p)
	if err != nil {
		return nil, err
	}
	return &remoteFile{File: f, at: r}, nil
}

// Direct implements [Place]. A FIFO would have the server wait with everything else.
func (r *Remote) Direct(p string) (Writing, error) {
	if e, err := r.Stat(p); err != nil || e.Mode&fs.ModeDevice == 0 {
		return nil, errors.Join(err, errNotRegular)
	}
	f, err := r.client.OpenFile(p, os.O_WRONLY)
	if err != nil {
		return nil, err
	}
	return &remoteFile{File: f, at: r}, nil
}

// Below implements [Place].
func (r *Remote) Below(folder string) (Folder, error) {
	return &remoteFolder{Remote: r, base: folder}, nil
}

// remoteFolder is a folder of a Remote. Its server decides alone what lies there.
type remoteFolder struct {
	*Remote
	base string
}

func (f *remoteFolder) at(p string) string { return f.Remote.Join(f.base, p) }

// full is where a path leads that [remoteFolder.Real] may have given.
func (f *remoteFolder) full(p string) string {
	if path.IsAbs(p) {
		return p
	}
	return f.at(p)
}

func (f *remoteFolder) Stat(p string) (Entry, error)     { return f.Remote.Stat(f.full(p)) }
func (f *remoteFolder) Lstat(p string) (Entry, error)    { return f.Remote.Lstat(f.full(p)) }
func (f *remoteFolder) Real(p string) (string, error)    { return f.Remote.Real(f.full(p)) }
func (f *remoteFolder) Open(p string) (Reading, error)   { return f.Remote.Open(f.full(p)) }
func (f *remoteFolder) Show(p string) string             { return f.Remote.Show(f.full(p)) }
func (f *remoteFolder) Below(p string) (Folder, error)   { return f.Remote.Below(f.full(p)) }
func (f *remoteFolder) Close() error                     { return nil }
func (f *remoteFolder) Remove(p string) error            { return f.client.Remove(f.full(p)) }
func (f *remoteFolder) Same(name string) string          { return name }
func (f *remoteFolder) Direct(p string) (Writing, error) { return f.Remote.Direct(f.full(p)) }
func (f *remoteFolder) Where(in Place) (string, bool)    { return f.base, in == Place(f.Remote) }

func (f *remoteFolder) Sum(ctx context.Context, p string, n int64) ([]byte, error) {
	return f.Remote.Sum(ctx, f.full(p), n)
}

func (f *remoteFolder) List(p string, budget int64) ([]Entry, int64, error) {
	return f.Remote.List(f.full(p), budget)
}

func (f *remoteFolder) Check(name string) error {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return errName
	}
	return nil
}

var errName = errors.New("no file can have this name here")

func (f *remoteFolder) open(p string, how int) (*remoteFile, error) {
	file, err := f.client.OpenFile(f.full(p), how)
	if err != nil {
		return nil, err
	}
	return &remoteFile{File: file, at: f.Remote}, nil
}

// Reopen refuses a file of somebody else's, who could change it later.
func (f *remoteFolder) Reopen(p string) (Writing, error) {
	w, err := f.open(p, os.O_WRONLY)
	if err != nil {
		return nil, err
	}
	e, err := remoteEntry(w.File.Stat())
	if err == nil && (!e.Mode.IsRegular() || e.UID != f.login()) {
		err = errNotRegular
	}
	if err != nil {
		_ = w.Close() // err tells more
		return nil, err
	}
	return w, nil
}

// login is whose the home is, which is where paths begin, and so most likely who the login is; -1: nobody knows.
func (r *Remote) login() int {
	r.mu.Lock()
	known, own := r.known, r.own
	r.mu.Unlock()
	if known {
		return own
	}
	own = -1
	if e, err := r.Stat("."); err == nil {
		own = e.UID
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known, r.own = true, own
	return own
}

// Create has the connection say the mode, as the protocol's client does not.
func (f *remoteFolder) Create(p string, mode fs.FileMode) (Writing, error) {
	mode = mode.Perm() | 0o200
	defer f.conn.making(f.full(p), mode)()
	w, err := f.open(p, os.O_WRONLY|os.O_CREATE|os.O_EXCL) // to read it too may not be allowed
	if err != nil {
		return nil, err
	}
	err = f.made(&f.files, mode, func() (Entry, error) { return remoteEntry(w.File.Stat()) }, w.File.Chmod)
	if err != nil {
		_ = w.Close() // err tells more
		return nil, err
	}
	return w, nil
}

func (f *remoteFolder) Mkdir(p string, mode fs.FileMode) error {
	mode = mode.Perm() | 0o700
	defer f.conn.making(f.full(p), mode)()
	if err := f.client.Mkdir(f.full(p)); err != nil {
		return err
	}
	return f.made(&f.dirs, mode, func() (Entry, error) { return f.Lstat(p) }, func(mode fs.FileMode) error { return f.Chmod(p, mode) })
}

// made sees to it that what was made has no more than the mode that was asked for.
func (r *Remote) made(of *newMode, mode fs.FileMode, stat func() (Entry, error), chmod func(fs.FileMode) error) error {
	r.mu.Lock()
	is := *of
	r.mu.Unlock()
	if is.hears || is.seen && !is.deaf && is.asked == mode {
		return nil
	}
	if !is.deaf {
		e, err := stat()
		if err != nil {
			return err
		}
		gave := e.Mode.Perm()
		runs := mode & 0o111 & (gave >> 2) // for those who may read it
		is.deaf = gave&^mode != 0 || runs&^gave != 0
		is.hears = is.seen && !is.deaf && gave != is.gave // now this, now that
		is.seen, is.asked, is.gave = true, mode, gave
		if is.deaf && !e.Mode.IsDir() { // no new file is one to run; whoever may read it may run it
			is.gave |= gave >> 2 & 0o111
		}
		r.mu.Lock()
		*of = is
		r.mu.Unlock()
	}
	if is.deaf {
		return chmod(mode & is.gave)
	}
	return nil
}

// Writable opens the file only if its mode does not tell: the audit log would have that as a file of no bytes.
func (f *remoteFolder) Writable(p string, is Entry) error {
	switch own := f.login(); {
	case is.Mode&0o200 != 0 && (own == 0 || own == is.UID): // 0 is root, or somebody without a home of their own
		return nil
	case own != 0 && own == is.UID:
		return fs.ErrPermission
	}
	w, err := f.open(p, os.O_WRONLY)
	if err != nil {
		if errors.Is(err, fs.ErrPermission) {
			return err
		}
		return nil // such as a program that runs; it can be replaced all the same
	}
	return w.Close()
}

func (f *remoteFolder) Chmod(p string, mode fs.FileMode) error {
	return f.client.Chmod(f.full(p), mode.Perm())
}

func (f *remoteFolder) Chtimes(p string, read, changed time.Time) error {
	return f.client.Chtimes(f.full(p), seconds(read), seconds(changed))
}

// seconds is the nearest time that the protocol can say: from 1970 to 2106.
func seconds(t time.Time) time.Time {
	return time.Unix(min(max(t.Unix(), 0), 1<<32-1), 0)
}

// Rename replaces what has the name, if anything has.
func (f *remoteFolder) Rename(from, to string) error {
	from, to = f.full(from), f.full(to)
	if f.atomic {
		return f.client.PosixRename(from, to)
	}
	err := f.client.Rename(from, to)
	if err == nil {
		return nil
	}
	if e, there := f.Remote.Lstat(to); there != nil || !e.Mode.IsRegular() {
		return err
	}
	if err := f.client.Remove(to); err != nil { // version 3 replaces nothing
		return err
	}
	return f.client.Rename(from, to)
}

// Ahead implements [Folder]. The server may take requests in another order than they came in.
func (f *remoteFolder) Ahead() int64 { return f.ahead }

func (f *remoteFolder) Room(p string) (int64, bool) {
	if _, ok := f.client.HasExtension("statvfs@openssh.com"); !ok {
		return 0, false
	}
	s, err := f.client.StatVFS(f.full(p))
	if err != nil || s.Frsize == 0 || s.Blocks == 0 || s.Bavail > 1<<62/s.Frsize {
		return 0, false
	}
	return int64(s.Bavail * s.Frsize), true
}

// remoteFile is an open file of a Remote.
type remoteFile struct {
	*sftp.File
	at *Remote
}

func (f *remoteFile) Reader(int64, int64) io.Reader { return nil }
func (f *remoteFile) Writer(int64) io.Writer        { return nil }

// SendTo implements [Reading].
func (f *remoteFile) SendTo(w io.Writer, from, n int64) (sent int64, err error) {
	if 0 <= n && n <= chunk {
		buf := make([]byte, n)
		got, err := f.File.ReadAt(buf, from)
		if errors.Is(err, io.EOF) {
			err = nil
		}
		if err != nil {
			return 0, err
		}
		wrote, err := w.Write(buf[:got])
		return int64(wrote), err
	}
	out := &inOrder{w: w, left: n}
	if n < 0 {
		out.left = 1<<63 - 1
	}
	for out.left > 0 {
		out.short = false
		before := out.sent
		if _, err = f.File.Seek(from+out.sent, io.SeekStart); err != nil {
			return out.sent, err
		}
		_, err = f.File.WriteTo(out)
		switch {
		case (err == nil || errors.Is(err, errGap)) && out.sent > before: // again from there, up to where there is no more
		case errors.Is(err, errEnough):
			return out.sent, nil
		default:
			return out.sent, err
		}
	}
	return out.sent, nil
}

// inOrder takes the chunks that the client has read. It writes each behind the one before, although one of them may be
// shorter than was asked for; so what comes behind a short one is refused.
type inOrder struct {
	w     io.Writer
	left  int64
	sent  int64
	short bool
}

var (
	errGap    = errors.New("there is something behind a short answer")
	errEnough = errors.New("that is all that is wanted")
)

func (o *inOrder) Write(p []byte) (int, error) {
	if o.short {
		return 0, errGap
	}
	o.short = len(p) < chunk
	whole := p[:min(int64(len(p)), o.left)]
	n, err := o.w.Write(whole)
	o.sent += int64(n)
	o.left -= int64(n)
	if err == nil && o.left == 0 {
		err = errEnough
	}
	return n, err
}

// TakeFrom implements [Writing].
func (f *remoteFile) TakeFrom(r io.Reader, from, n int64) (int64, error) {
	if 0 <= n && n <= chunk {
		buf := make([]byte, n)
		got, err := io.ReadFull(r, buf)
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return 0, err
		}
		if got == 0 {
			return 0, nil
		}
		wrote, err := f.File.WriteAt(buf[:got], from)
		return int64(wrote), err
	}
	if _, err := f.File.Seek(from, io.SeekStart); err != nil {
		return 0, err
	}
	most := 1 // of requests under way
	if n >= 0 {
		r = io.LimitReader(r, n)
		most = int(min(n/chunk+1, requests))
	}
	took, err := f.File.ReadFromWithConcurrency(r, most)
	if err != nil { // what stands behind a write that failed is worth nothing
		if at, seek := f.File.Seek(0, io.SeekCurrent); seek == nil && at >= from {
			_ = f.File.Truncate(at) // the error that there was tells more
			took = at - from
		}
	}
	return took, err
}

func (f *remoteFile) Finish(end Finish) error {
	var has Entry
	owned := true
	if end.UID >= 0 || !end.Exact && end.Mode&0o200 == 0 {
		var err error
		if has, err = remoteEntry(f.File.Stat()); err != nil {
			return err
		}
		owned = end.UID < 0 || has.UID == end.UID && has.GID == end.GID
	}
	if !owned {
		_ = f.File.Chown(end.UID, end.GID) // who may not leaves them
	}
	if end.Exact || end.Mode&0o200 == 0 {
		if err := f.File.Chmod(end.of(has.Mode)); err != nil {
			return fmt.Errorf("set its mode: %w", err)
		}
	}
	if !end.Changed.IsZero() {
		if err := f.at.client.Chtimes(f.File.Name(), seconds(end.Read), seconds(end.Changed)); err != nil {
			return fmt.Errorf("set its times: %w", err)
		}
	}
	if _, ok := f.at.client.HasExtension("fsync@openssh.com"); ok {
		if err := f.File.Sync(); err != nil && !unsupported(err) {
			return err
		}
	}
	return nil
}

func unsupported(err error) bool {
	s, ok := errors.AsType[*sftp.StatusError](err)
	return ok && s.Code == uint32(sftp.ErrSSHFxOpUnsupported)
}

// sortEntries puts a folder's entries into the order of their names, each name once.
func sortEntries(all []Entry) []Entry {
	slices.SortFunc(all, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	return all
}
