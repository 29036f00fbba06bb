package worker

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"scrier/agent/keys/line"
	"scrier/wire"
)

// place is where an authorized_keys file is: its folder, which is held open, and its name in it. All
// work is done in that folder, even if it is renamed or a link takes its place meanwhile.
type place struct {
	w       Worker
	dir     int // O_PATH
	name    string
	real    string // the whole path, without links, for messages
	uid     uint32
	strict  bool
	private []uint32
	follow  bool
	out     string // where a link leads that leaves the home; empty if none does
	looks   bool   // nothing is trusted or written: what is wrong with owners and modes goes into loose
	loose   error
}

// place opens the folder of an absolute path. Symbolic links are resolved first, as sshd does, and what they
// lead to is then opened without following any: a link that is made meanwhile is refused. The folders are
// opened below the home, if the file is in it, or else from the root, and with StrictModes those are refused
// that sshd refuses.
func (w Worker) place(q Request, file string) (*place, error) {
	if !path.IsAbs(file) || path.Clean(file) != file || strings.ContainsRune(file, 0) || file == "/" {
		return nil, wire.Errorf(wire.KeyfileUnsupported, "%q is not a plain path", wire.Printable(file))
	}
	home := path.Clean(q.Home)
	real, err := resolve(file)
	if err != nil {
		return nil, fmt.Errorf("look for %s%s: %w", file, fileSystem(home, err), err)
	}
	p := &place{w: w, real: real, uid: q.UID, strict: q.Strict, private: q.Private, follow: q.Follow, looks: q.Task == Look}
	root, rest := "/", real[1:]
	if realHome, err := resolve(home); err == nil && path.IsAbs(home) {
		if below, ok := beneath(realHome, real); ok {
			root, rest = realHome, below
		} else if _, ok := beneath(home, file); ok {
			p.out = real
		}
	}
	base, err := openRetry(unix.AT_FDCWD, root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("open %s%s: %w", root, fileSystem(root, err), err)
	}
	p.dir = base
	folder, name := path.Split(rest)
	p.name = name
	if err := p.leaves(real); err != nil {
		p.close()
		return nil, err
	}
	if err := p.checkFolder(base, root); err != nil {
		p.close()
		return nil, err
	}
	for i, c := range folder { // for each folder on the way; the last is the one that holds the file
		if c != '/' {
			continue
		}
		dir, err := w.openBeneath(base, folder[:i], unix.O_PATH|unix.O_DIRECTORY)
		if err == nil {
			if p.dir != base {
				unix.Close(p.dir)
			}
			p.dir = dir
			err = p.checkFolder(dir, path.Join(root, folder[:i]))
		} else {
			err = fmt.Errorf("open %s: %w", path.Join(root, folder[:i]), err)
		}
		if err != nil {
			if p.dir != base {
				unix.Close(base)
			}
			p.close()
			return nil, err
		}
	}
	if p.dir != base {
		unix.Close(base)
	}
	return p, nil
}

// resolve is a path without links.
func resolve(name string) (string, error) {
	for tries := 0; ; tries++ {
		real, err := filepath.EvalSymlinks(name)
		var no syscall.Errno
		switch {
		case err == nil:
			return real, nil
		case errors.Is(err, unix.EINVAL): // what was a link a moment ago is none now
			if tries >= maxRedo {
				return "", wire.Errorf(wire.KeyfileChanged, "%s keeps changing", name)
			}
		case errors.As(err, &no):
			return "", err
		default: // it has no other error than that there are too many
			return "", unix.ELOOP
		}
	}
}

// beneath is the path from dir to name, if name is in it.
func beneath(dir, name string) (rest string, ok bool) {
	if dir == "/" {
		return name[1:], name != "/"
	}
	return strings.CutPrefix(name, dir+"/")
}

// leaves refuses a link that leads out of the home to a file that is not the user's own, unless all are
// followed. What others put there is read by nobody here.
func (p *place) leaves(real string) error {
	if p.out == "" || p.follow {
		return nil
	}
	var st unix.Stat_t
	if err := unix.Lstat(real, &st); err != nil {
		return fmt.Errorf("stat %s: %w", real, err)
	}
	if st.Uid != p.uid {
		return p.linkError()
	}
	return nil
}

func (p *place) linkError() error {
	return wire.Errorf(wire.KeyfileSymlink, "a link leads out of the home, to %s, which belongs to somebody else", wire.Printable(p.out))
}

func (p *place) close() { unix.Close(p.dir) }

// checkFolder is what StrictModes demands of each folder from the home to the file's own.
func (p *place) checkFolder(fd int, name string) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("stat %s: %w", name, err)
	}
	if p.strict && st.Uid != 0 && st.Uid != p.uid {
		return p.loosely(wire.Errorf(wire.KeyfilePermissions, "%s belongs to uid %d and has mode %#o: sshd reads no keys there, as it belongs neither to root nor to uid %d (StrictModes)", name, st.Uid, st.Mode&0o7777, p.uid))
	}
	return p.checkMode(&st, name)
}

// checkMode refuses what others may write. Debian's sshd lets a group write that has the user alone as its
// member: the agent knows which are.
func (p *place) checkMode(st *unix.Stat_t, name string) error {
	if !p.strict || st.Mode&0o022 == 0 {
		return nil
	}
	err := wire.Errorf(wire.KeyfilePermissions, "%s belongs to uid %d and has mode %#o: sshd reads no keys there, as others may write it (StrictModes); `chmod go-w %[1]s`", name, st.Uid, st.Mode&0o7777)
	if st.Mode&0o002 != 0 {
		return p.loosely(err)
	}
	if !slices.Contains(p.private, st.Gid) {
		return p.loosely(&groupError{st.Gid, err})
	}
	return nil
}

// loosely keeps the first thing that is wrong with owners and modes. A file that sshd does not read is looked at all
// the same: whoever has a key there must hear of the mode, and all others that they have none.
func (p *place) loosely(err error) error {
	if !p.looks {
		return err
	}
	if p.loose == nil {
		p.loose = err
	}
	return nil
}

// groupError says that a group may write.
type groupError struct {
	gid uint32
	err *wire.Error
}

func (e *groupError) Error() string { return e.err.Error() }
func (e *groupError) Unwrap() error { return e.err }

// openBeneath opens rel without leaving dir or following any link.
func (w Worker) openBeneath(dir int, rel string, flags int) (int, error) {
	if !w.NoOpenat2 {
		how := &unix.OpenHow{ // without O_NOFOLLOW: with it a link to a folder fails by ENOTDIR and not by ELOOP
			Flags:   uint64(flags | unix.O_CLOEXEC),
			Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
		}
		for range 16 { // EAGAIN means that something was renamed on the way
			fd, err := unix.Openat2(dir, rel, how)
			switch {
			case err == unix.EINTR || err == unix.EAGAIN:
				continue
			case err != unix.ENOSYS && err != unix.EPERM:
				return fd, err
			}
			break // this kernel has no openat2, or a filter forbids it
		}
	}
	at := dir
	parts := strings.Split(rel, "/")
	for i, part := range parts {
		if part == "" || part == "." || part == ".." {
			return -1, unix.EXDEV
		}
		mode := unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
		var st unix.Stat_t
		err := unix.Fstatat(at, part, &st, unix.AT_SYMLINK_NOFOLLOW)
		if err == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK {
			err = unix.ELOOP
		}
		if i == len(parts)-1 {
			mode = flags | unix.O_CLOEXEC | unix.O_NOFOLLOW
		}
		next := -1
		if err == nil {
			next, err = openRetry(at, part, mode)
		}
		if at != dir {
			unix.Close(at)
		}
		if err == nil && mode&unix.O_PATH != 0 {
			err = refuseLink(next)
		}
		if err != nil {
			return -1, err
		}
		at = next
	}
	return at, nil
}

// refuseLink refuses, and closes, a file descriptor of a symbolic link. O_PATH with O_NOFOLLOW opens
// the link itself.
func refuseLink(fd int) error {
	var st unix.Stat_t
	err := unix.Fstat(fd, &st)
	if err == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK {
		err = unix.ELOOP
	}
	if err != nil {
		unix.Close(fd)
	}
	return err
}

func openRetry(dir int, name string, flags int) (int, error) {
	for {
		fd, err := unix.Openat(dir, name, flags, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// file is an authorized_keys file, open for reading and checked.
type file struct {
	fd     int
	st     unix.Stat_t
	leased bool // this process has a lease on it: nobody else has it open for writing
}

// open opens the file. It refuses everything but a plain file of the user's or root's: a link, a device, and a FIFO,
// which would block for ever. A file with a second name is only read, if all links are followed.
func (p *place) open() (*file, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(p.dir, p.name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return nil, fmt.Errorf("stat %s: %w", p.real, err)
	}
	if err := p.check(&st); err != nil {
		return nil, err // before opening it: with some devices opening alone does something
	}
	fd, err := p.w.openBeneath(p.dir, p.name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", p.real, err)
	}
	f := &file{fd: fd}
	if err := unix.Fstat(fd, &f.st); err != nil {
		f.close()
		return nil, fmt.Errorf("stat %s: %w", p.real, err)
	}
	if err := p.check(&f.st); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

// openToWrite opens the file for writing. Another worker, such as that of another machine with the same home, may have a lease on it for a
// moment, as [file.settle] has: the kernel refuses then, and tells that one to let go.
func (p *place) openToWrite(flags int) (int, error) {
	for end := time.Now().Add(quietTime); ; time.Sleep(time.Millisecond) {
		fd, err := p.w.openBeneath(p.dir, p.name, unix.O_RDWR|unix.O_NONBLOCK|unix.O_NOCTTY|flags)
		if err == nil {
			return fd, nil
		}
		if !errors.Is(err, unix.EAGAIN) || time.Now().After(end) {
			return -1, fmt.Errorf("open %s for writing: %w", p.real, err)
		}
	}
}

func (p *place) check(st *unix.Stat_t) error {
	switch {
	case st.Mode&unix.S_IFMT == unix.S_IFLNK:
		return wire.Errorf(wire.KeyfileSymlink, "%s is a symbolic link", p.real)
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return wire.Errorf(wire.KeyfileNotRegular, "%s is not a regular file", p.real)
	case st.Nlink > 1 && !p.follow:
		return wire.Errorf(wire.KeyfileHardlink, "%s has %d names", p.real, st.Nlink)
	case st.Nlink == 0:
		return unix.ENOENT
	case st.Uid != p.uid && st.Uid != 0: // those of root are read, as sshd does, but never written
		return wire.Errorf(wire.KeyfilePermissions, "%s belongs to uid %d, and sshd reads what belongs to uid %d or root (StrictModes)", p.real, st.Uid, p.uid)
	case p.out != "" && !p.follow && st.Uid != p.uid:
		return p.linkError()
	case st.Size > p.most():
		return wire.Errorf(wire.KeyfileTooBig, "%s has %d bytes, at most %d are handled", p.real, st.Size, p.most())
	}
	return p.checkMode(st, p.real)
}

// most is how large a file may be. One that is only read may be larger.
func (p *place) most() int64 {
	if p.follow {
		return line.MaxRead
	}
	return line.MaxFile
}

func (f *file) close() { unix.Close(f.fd) }

// read is the whole content as it is now.
func (f *file) read() ([]byte, error) {
	var b bytes.Buffer
	chunk := make([]byte, 64<<10)
	for {
		n, err := unix.Pread(f.fd, chunk, int64(b.Len()))
		switch {
		case err == unix.EINTR:
		case err != nil:
			return nil, fmt.Errorf("read: %w", err)
		case n == 0:
			return b.Bytes(), nil
		case b.Len()+n > line.MaxFile:
			return nil, wire.Errorf(wire.KeyfileTooBig, "more than %d bytes", line.MaxFile)
		default:
			b.Write(chunk[:n])
		}
	}
}

// reader reads a file from its beginning. One that grows without end is cut off.
type reader struct {
	f        *file
	at, most int64
}

func (r *reader) Read(b []byte) (int, error) {
	for {
		n, err := unix.Pread(r.f.fd, b, r.at)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return 0, fmt.Errorf("read: %w", err)
		case n == 0:
			return 0, io.EOF
		}
		if r.at += int64(n); r.at > r.most {
			return 0, wire.Errorf(wire.KeyfileTooBig, "more than %d bytes, which is all that is handled", r.most)
		}
		return n, nil
	}
}

func same(a, b *unix.Stat_t) bool { return a.Dev == b.Dev && a.Ino == b.Ino }

// fileSystem names the file system of a home that cannot be entered. On NFS with Kerberos nobody can
// enter without a ticket, and then no chmod helps.
func fileSystem(dir string, err error) string {
	var st unix.Statfs_t
	if !errors.Is(err, os.ErrPermission) || unix.Statfs(path.Dir(dir), &st) != nil {
		return ""
	}
	_ = unix.Statfs(dir, &st)
	switch uint32(st.Type) {
	case unix.NFS_SUPER_MAGIC:
		return " (on NFS)"
	case unix.SMB2_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC:
		return " (on SMB)"
	case unix.FUSE_SUPER_MAGIC:
		return " (on FUSE)"
	case unix.AUTOFS_SUPER_MAGIC:
		return " (on autofs)"
	}
	return ""
}
