package sftp

import (
	"io"
	"strconv"

	"golang.org/x/sys/unix"
)

// The flags of SSH_FXP_OPEN.
const (
	fxfRead   = 0x1
	fxfWrite  = 0x2
	fxfAppend = 0x4
	fxfCreat  = 0x8
	fxfTrunc  = 0x10
	fxfExcl   = 0x20
)

// access are open(2)'s flags for those of a request. A terminal that is opened becomes nobody's controlling one.
func access(flags uint32) int {
	f := unix.O_RDONLY
	switch {
	case flags&fxfRead != 0 && flags&fxfWrite != 0:
		f = unix.O_RDWR
	case flags&fxfWrite != 0:
		f = unix.O_WRONLY
	}
	for flag, own := range map[uint32]int{fxfAppend: unix.O_APPEND, fxfCreat: unix.O_CREAT, fxfTrunc: unix.O_TRUNC, fxfExcl: unix.O_EXCL} {
		if flags&flag != 0 {
			f |= own
		}
	}
	return f | unix.O_CLOEXEC | unix.O_NOCTTY
}

func (s *server) open(r *request, id uint32) (reply, error) {
	name, flags, a := r.name(), access(r.uint32()), r.attrs()
	switch {
	case r.bad:
		return nil, unix.EINVAL
	case !s.Upload && (flags&unix.O_ACCMODE != unix.O_RDONLY || flags&(unix.O_CREAT|unix.O_TRUNC) != 0):
		return nil, unix.EACCES
	case !s.Download && flags&unix.O_ACCMODE != unix.O_WRONLY:
		return nil, unix.EACCES
	case s.handles.full():
		return nil, unix.EMFILE
	}
	fd, err := again(func() (int, error) { return unix.Open(name, flags, a.perm(0o666)) })
	if err != nil {
		return nil, err
	}
	return s.opened(&handle{fd: fd, append: flags&unix.O_APPEND != 0}, id), nil
}

func (s *server) opened(h *handle, id uint32) reply {
	return newReply(fxpHandle, id).string(string(reply(nil).uint32(s.handles.add(h))))
}

func (s *server) close(r *request) error {
	n := r.handle()
	h := s.handles.open[n]
	if h == nil {
		return unix.EBADF
	}
	delete(s.handles.open, n)
	return h.close()
}

// readFile reads straight into the reply.
func (s *server) readFile(r *request, id uint32) (reply, error) {
	h, err := s.handle(r, false)
	offset, n := int64(r.uint64()), min(r.uint32(), maxRead)
	if err != nil || r.bad {
		return nil, err
	}
	const head = 4 + 1 + 4 + 4 // length, type, id, and the data's length
	b := s.room(head + int(n))
	got, err := again(func() (int, error) { return unix.Pread(h.fd, b[head:], offset) })
	if err != nil {
		return nil, err
	}
	if got == 0 && n > 0 {
		return nil, io.EOF
	}
	p := reply(append(b[:0], newReply(fxpData, id)...))
	return p.uint32(uint32(got))[:head+got], nil
}

// room is n bytes, until the next call.
func (s *server) room(n int) []byte {
	if len(s.data) < n {
		s.data = make([]byte, n)
	}
	return s.data[:n]
}

func (s *server) writeFile(r *request) error {
	h, err := s.handle(r, false)
	offset, data := int64(r.uint64()), r.bytes()
	if err != nil || r.bad {
		return err
	}
	return h.write(data, offset)
}

func (h *handle) write(data []byte, offset int64) error {
	for len(data) > 0 {
		n, err := again(func() (int, error) {
			if h.append {
				return unix.Write(h.fd, data)
			}
			return unix.Pwrite(h.fd, data, offset)
		})
		if err != nil {
			return err
		}
		data, offset = data[n:], offset+int64(n)
	}
	return nil
}

func (s *server) stat(r *request, id uint32) (reply, error) {
	var st unix.Stat_t
	var err error
	if r.kind == fxpFstat {
		var h *handle
		if h, err = s.any(r); err == nil {
			err = unix.Fstat(h.fd, &st)
		}
	} else {
		flags := 0
		if r.kind == fxpLstat {
			flags = unix.AT_SYMLINK_NOFOLLOW
		}
		err = unix.Fstatat(unix.AT_FDCWD, r.name(), &st, flags)
	}
	if err != nil {
		return nil, err
	}
	return newReply(fxpAttrs, id).attrs(&st), nil
}

// setstat sets what it can, and reports what failed last, as sftp-server does.
func (s *server) setstat(r *request) error {
	var do setter
	if r.kind == fxpFsetstat {
		h, err := s.any(r)
		if err != nil {
			return err
		}
		do = ofHandle(h.fd)
	} else {
		do = ofName(r.name())
	}
	a := r.attrs()
	if r.bad {
		return nil
	}
	if !s.Upload {
		return unix.EACCES
	}
	return do.set(a)
}

// A setter has the ways to set the attributes of one file.
type setter struct {
	truncate func(size int64) error
	chmod    func(mode uint32) error
	times    func([]unix.Timespec) error
	chown    func(uid, gid int) error
}

func (do setter) set(a attrs) (failed error) {
	try := func(flag uint32, f func() error) {
		if a.flags&flag == 0 {
			return
		}
		if err := f(); err != nil {
			failed = err
		}
	}
	try(attrSize, func() error { return do.truncate(int64(a.size)) })
	try(attrPermissions, func() error { return do.chmod(a.mode & permissions) })
	try(attrTimes, func() error { return do.times(a.times()) })
	try(attrUIDGID, func() error { return do.chown(int(int32(a.uid)), int(int32(a.gid))) })
	return failed
}

func ofHandle(fd int) setter {
	return setter{
		func(size int64) error { return unix.Ftruncate(fd, size) },
		func(mode uint32) error { return unix.Fchmod(fd, mode) },
		func(t []unix.Timespec) error { return unix.UtimesNanoAt(unix.AT_FDCWD, descriptor(fd), t, 0) },
		func(uid, gid int) error { return unix.Fchown(fd, uid, gid) },
	}
}

func ofName(name string) setter {
	return setter{
		func(size int64) error { return unix.Truncate(name, size) },
		func(mode uint32) error { return unix.Chmod(name, mode) },
		func(t []unix.Timespec) error { return unix.UtimesNanoAt(unix.AT_FDCWD, name, t, 0) },
		func(uid, gid int) error { return unix.Chown(name, uid, gid) },
	}
}

// ofLink is for the link itself, if name is one.
func ofLink(name string) setter {
	return setter{
		func(int64) error { return unix.EINVAL },
		func(mode uint32) error { return lchmod(name, mode) },
		func(t []unix.Timespec) error {
			return unix.UtimesNanoAt(unix.AT_FDCWD, name, t, unix.AT_SYMLINK_NOFOLLOW)
		},
		func(uid, gid int) error {
			return unix.Fchownat(unix.AT_FDCWD, name, uid, gid, unix.AT_SYMLINK_NOFOLLOW)
		},
	}
}

// lchmod is there since Linux 6.6 alone; before that what is no link is opened without being read.
func lchmod(name string, mode uint32) error {
	err := unix.Fchmodat(unix.AT_FDCWD, name, mode, unix.AT_SYMLINK_NOFOLLOW)
	if err != unix.EOPNOTSUPP {
		return err
	}
	fd, err := unix.Open(name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		return unix.EOPNOTSUPP
	}
	return unix.Chmod(descriptor(fd), mode)
}

// descriptor is a name of an open file.
func descriptor(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// again does what a signal interrupted once more.
func again(f func() (int, error)) (int, error) {
	for {
		n, err := f()
		if err != unix.EINTR {
			return n, err
		}
	}
}
