package sftp

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// change is a request that changes a folder.
func (s *server) change(r *request) error {
	name := r.name()
	var do func() error
	switch r.kind {
	case fxpRemove:
		do = func() error { return unix.Unlink(name) }
	case fxpRmdir:
		do = func() error { return unix.Rmdir(name) }
	case fxpMkdir:
		a := r.attrs()
		do = func() error { return unix.Mkdir(name, a.perm(0o777)) }
	case fxpRename:
		to := r.name()
		do = func() error { return move(name, to) }
	case fxpSymlink:
		link := r.name()
		do = func() error { return unix.Symlink(name, link) }
	}
	return s.write(r, do)
}

// write does what changes something, if that is allowed.
func (s *server) write(r *request, do func() error) error {
	switch {
	case r.bad:
		return unix.EINVAL
	case !s.Upload:
		return unix.EACCES
	}
	return do()
}

// move renames what is not there yet. Where the file system cannot do that in one step, it takes
// two, as sftp-server does: then there are two names for a moment, and none is lost.
func move(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if err != unix.EINVAL && err != unix.ENOSYS {
		return err
	}
	var st unix.Stat_t
	if err := unix.Lstat(from, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFREG {
		err := unix.Link(from, to)
		if err == nil {
			return unix.Unlink(from)
		}
		if err != unix.EOPNOTSUPP && err != unix.ENOSYS && err != unix.EPERM && err != unix.EXDEV {
			return err
		}
	}
	if err := unix.Lstat(to, &st); err == nil {
		return unix.EEXIST
	}
	return unix.Rename(from, to)
}

func (s *server) readlink(r *request, id uint32) (reply, error) {
	name := r.name()
	b := make([]byte, unix.PathMax)
	n, err := again(func() (int, error) { return unix.Readlink(name, b) })
	if err != nil {
		return nil, err
	}
	return oneName(string(b[:n]), id), nil
}

// oneName is the answer with a name alone; it has no attributes.
func oneName(name string, id uint32) reply {
	return newReply(fxpName, id).uint32(1).string(name).string(name).uint32(0)
}

func (s *server) realpath(name string, id uint32) (reply, error) {
	real, err := resolve(name)
	if err != nil {
		return nil, err
	}
	return oneName(real, id), nil
}

const maxLinks = 32 // that lead from one to the other, as for sftp-server

// resolve is the absolute name without links. Its last part need not exist.
func resolve(name string) (string, error) {
	at := ""
	if !strings.HasPrefix(name, "/") {
		wd, err := os.Getwd()
		if err != nil {
			return "", err
		}
		at = strings.TrimSuffix(wd, "/")
	}
	links := 0
	for rest := name; rest != ""; {
		var part string
		part, rest, _ = strings.Cut(rest, "/")
		switch part {
		case "", ".":
			continue
		case "..":
			at = at[:max(strings.LastIndexByte(at, '/'), 0)]
			continue
		}
		next := at + "/" + part
		if len(next) >= unix.PathMax {
			return "", unix.ENAMETOOLONG
		}
		info, err := os.Lstat(next)
		if os.IsNotExist(err) && rest == "" {
			return next, nil
		}
		if err != nil {
			return "", err
		}
		if info.Mode()&os.ModeSymlink == 0 {
			if rest != "" && !info.IsDir() {
				return "", unix.ENOTDIR
			}
			at = next
			continue
		}
		if links++; links > maxLinks {
			return "", unix.ELOOP
		}
		to, err := os.Readlink(next)
		if err != nil {
			return "", err
		}
		if strings.HasPrefix(to, "/") {
			at = ""
		}
		if rest != "" {
			to += "/" + rest
		}
		rest = to
	}
	if at == "" {
		return "/", nil
	}
	return at, nil
}
