package sftp

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"os/user"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// batch is how many entries one answer has. A name is at most 255 bytes and stands there twice, so
// they fit into a packet.
const batch = 100

func (s *server) opendir(r *request, id uint32) (reply, error) {
	name := r.name()
	if s.handles.full() {
		return nil, unix.EMFILE
	}
	fd, err := again(func() (int, error) {
		return unix.Open(name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, err
	}
	return s.opened(&handle{fd: fd, folder: os.NewFile(uintptr(fd), name)}, id), nil
}

func (s *server) readdir(r *request, id uint32) (reply, error) {
	h, err := s.handle(r, true)
	if err != nil {
		return nil, err
	}
	for {
		names, err := h.next()
		if err != nil {
			return nil, err
		}
		p, n := newReply(fxpName, id).uint32(0), uint32(0)
		for _, name := range names {
			var st unix.Stat_t
			if unix.Fstatat(h.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
				continue // gone meanwhile
			}
			p, n = p.string(name).string(s.owners.line(name, &st, time.Now())).attrs(&st), n+1
		}
		if n > 0 {
			const at = 4 + 1 + 4
			copy(p[at:], reply(nil).uint32(n))
			return p, nil
		}
	}
}

// next is the next names of the folder; at its end, io.EOF.
func (h *handle) next() ([]string, error) {
	if !h.told {
		h.told = true
		return []string{".", ".."}, nil
	}
	names, err := h.folder.Readdirnames(batch)
	if len(names) > 0 {
		return names, nil
	}
	if err == nil {
		err = io.EOF
	}
	return nil, err
}

// owners are the names of users and groups that were asked for already.
type owners struct{ users, groups map[uint32]string }

const maxOwners = 4096 // that are remembered

func (o *owners) user(id uint32) string {
	return remember(&o.users, id, func(n string) (string, error) {
		u, err := user.LookupId(n)
		if err != nil {
			return "", err
		}
		return u.Username, nil
	})
}

func (o *owners) group(id uint32) string {
	return remember(&o.groups, id, func(n string) (string, error) {
		g, err := user.LookupGroupId(n)
		if err != nil {
			return "", err
		}
		return g.Name, nil
	})
}

// remember is the name that find has for a number, or "".
func remember(known *map[uint32]string, id uint32, find func(string) (string, error)) string {
	if name, ok := (*known)[id]; ok {
		return name
	}
	if *known == nil || len(*known) >= maxOwners {
		*known = make(map[uint32]string)
	}
	name, err := find(strconv.FormatUint(uint64(id), 10))
	if err != nil {
		name = ""
	}
	(*known)[id] = name
	return name
}

// line is what `ls -l` would print of a file, as sftp-server writes it.
func (o *owners) line(name string, st *unix.Stat_t, now time.Time) string {
	owner := func(known string, id uint32) string { return cmp.Or(known, strconv.FormatUint(uint64(id), 10)) }
	changed := time.Unix(int64(st.Mtim.Sec), 0)
	form := "Jan _2  2006"
	if age := now.Sub(changed); age >= 0 && age < 365*24*time.Hour/2 {
		form = "Jan _2 15:04"
	}
	return fmt.Sprintf("%s  %3d %-8s %-8s %8d %s %s", modeText(st.Mode), st.Nlink, owner(o.user(st.Uid), st.Uid), owner(o.group(st.Gid), st.Gid),
		uint64(st.Size), changed.Format(form), name)
}

// modeText is a mode as `ls -l` shows it.
func modeText(mode uint32) string {
	b := []byte("?rwxrwxrwx")
	for kind, letter := range map[uint32]byte{
		unix.S_IFREG: '-', unix.S_IFDIR: 'd', unix.S_IFLNK: 'l', unix.S_IFIFO: 'p', unix.S_IFSOCK: 's', unix.S_IFCHR: 'c', unix.S_IFBLK: 'b',
	} {
		if mode&unix.S_IFMT == kind {
			b[0] = letter
		}
	}
	for i := range 9 {
		if mode&(1<<(8-i)) == 0 {
			b[1+i] = '-'
		}
	}
	for at, special := range map[int]struct {
		bit          uint32
		with, letter byte
	}{3: {unix.S_ISUID, 's', 'S'}, 6: {unix.S_ISGID, 's', 'S'}, 9: {unix.S_ISVTX, 't', 'T'}} {
		if mode&special.bit == 0 {
			continue
		}
		if b[at] == 'x' {
			b[at] = special.with
		} else {
			b[at] = special.letter
		}
	}
	return string(b)
}
