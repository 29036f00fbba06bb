package sftp

import (
	"errors"
	"os/user"
	"strings"

	"golang.org/x/sys/unix"
)

// An extension of OpenSSH's (its PROTOCOL, section 4).
type extension struct {
	name, version string
	do            func(*server, *request, uint32) (reply, error)
}

var extensions = []extension{
	{"posix-rename@openssh.com", "1", (*server).posixRename},
	{"statvfs@openssh.com", "2", (*server).statvfs},
	{"fstatvfs@openssh.com", "2", (*server).fstatvfs},
	{"hardlink@openssh.com", "1", (*server).hardlink},
	{"fsync@openssh.com", "1", (*server).fsync},
	{"lsetstat@openssh.com", "1", (*server).lsetstat},
	{"limits@openssh.com", "1", (*server).limits},
	{"expand-path@openssh.com", "1", (*server).expandPath},
	{"copy-data", "1", (*server).copyData},
	{"home-directory", "1", (*server).homeDirectory},
	{"users-groups-by-id@openssh.com", "1", (*server).usersGroups},
}

func (s *server) posixRename(r *request, _ uint32) (reply, error) {
	from, to := r.name(), r.name()
	return nil, s.write(r, func() error { return unix.Rename(from, to) })
}

func (s *server) hardlink(r *request, _ uint32) (reply, error) {
	from, to := r.name(), r.name()
	return nil, s.write(r, func() error { return unix.Link(from, to) })
}

// fsync is for whoever may have written: what they wrote is then on the disk.
func (s *server) fsync(r *request, _ uint32) (reply, error) {
	h, err := s.any(r)
	if err != nil {
		return nil, err
	}
	return nil, s.write(r, func() error { return unix.Fsync(h.fd) })
}

func (s *server) lsetstat(r *request, _ uint32) (reply, error) {
	name, a := r.name(), r.attrs()
	return nil, s.write(r, func() error { return ofLink(name).set(a) })
}

func (s *server) limits(_ *request, id uint32) (reply, error) {
	return newReply(fxpExtendedReply, id).uint64(maxPacket).uint64(maxRead).uint64(maxRead).uint64(maxHandles), nil
}

func (s *server) statvfs(r *request, id uint32) (reply, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(r.name(), &st); err != nil {
		return nil, err
	}
	return space(&st, id), nil
}

func (s *server) fstatvfs(r *request, id uint32) (reply, error) {
	h, err := s.any(r)
	if err != nil {
		return nil, err
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(h.fd, &st); err != nil {
		return nil, err
	}
	return space(&st, id), nil
}

// space is what a file system has of it.
func space(st *unix.Statfs_t, id uint32) reply {
	block := uint64(st.Frsize)
	if block == 0 {
		block = uint64(st.Bsize)
	}
	flags := uint64(st.Flags) & (unix.ST_RDONLY | unix.ST_NOSUID) // these two have the numbers of the extension's own
	fsid := uint64(uint32(st.Fsid.Val[0])) | uint64(uint32(st.Fsid.Val[1]))<<32
	return newReply(fxpExtendedReply, id).uint64(uint64(st.Bsize)).uint64(block).
		uint64(st.Blocks).uint64(st.Bfree).uint64(st.Bavail).
		uint64(st.Files).uint64(st.Ffree).uint64(st.Ffree).
		uint64(fsid).uint64(flags).uint64(uint64(st.Namelen))
}

// expandPath is realpath with a ~ for the home. The guest's own is the working directory.
func (s *server) expandPath(r *request, id uint32) (reply, error) {
	name := r.name()
	if tilde, ok := strings.CutPrefix(name, "~"); ok {
		login, rest, _ := strings.Cut(tilde, "/")
		home := "."
		if login != "" {
			var err error
			if home, err = s.home(login); err != nil {
				return nil, err
			}
		}
		name = home + "/" + rest
	}
	return s.realpath(name, id)
}

func (s *server) homeDirectory(r *request, id uint32) (reply, error) {
	home, err := s.home(r.string())
	if err != nil {
		return nil, err
	}
	return oneName(home, id), nil
}

func (s *server) home(login string) (string, error) {
	if login == "" || login == s.Login {
		return s.Home, nil
	}
	u, err := user.Lookup(login)
	if err != nil {
		return "", unix.ENOENT
	}
	return u.HomeDir, nil
}

// copyData copies from one open file to another, from one end of the network.
func (s *server) copyData(r *request, _ uint32) (reply, error) {
	from, err := s.handle(r, false)
	at, n := int64(r.uint64()), r.uint64()
	to, err2 := s.handle(r, false)
	into := int64(r.uint64())
	switch {
	case r.bad:
		return nil, unix.EINVAL
	case err != nil:
		return nil, err
	case err2 != nil:
		return nil, err2
	case !s.Upload || !s.Download:
		return nil, unix.EACCES
	case at < 0 || into < 0 || n > 1<<62:
		return nil, unix.EINVAL
	case from == to && (n == 0 || at-int64(n) < into && into-int64(n) < at): // it would run after its own end
		return nil, errors.New("copies onto itself")
	}
	for rest, all := n, n == 0; all || rest > 0; {
		b := s.room(maxRead)
		if !all {
			b = b[:min(uint64(len(b)), rest)]
		}
		got, err := again(func() (int, error) { return unix.Pread(from.fd, b, at) })
		if err != nil {
			return nil, err
		}
		if got == 0 {
			return nil, nil
		}
		if err := to.write(b[:got], into); err != nil {
			return nil, err
		}
		at, into, rest = at+int64(got), into+int64(got), rest-uint64(got)
	}
	return nil, nil
}

// usersGroups has the names of numbers; an empty one for what has none.
func (s *server) usersGroups(r *request, id uint32) (reply, error) {
	list := func(of []byte, name func(uint32) string) string {
		var names reply
		for ids := (&request{rest: of}); len(ids.rest) >= 4; {
			names = names.string(name(ids.uint32()))
		}
		return string(names)
	}
	users, groups := r.bytes(), r.bytes()
	if len(users)+len(groups) > maxOwners*4 {
		return nil, unix.EINVAL
	}
	return newReply(fxpExtendedReply, id).string(list(users, s.owners.user)).string(list(groups, s.owners.group)), nil
}
