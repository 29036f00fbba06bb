package worker

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"scrier/wire"
)

const (
	tempPrefix = ".scrier-"
	tempGrace  = 10 * time.Minute // another agent may be at work in the same home
)

// temp is a new file beside the old one, with its mode, group and extended attributes.
type temp struct {
	name    string
	st      unix.Stat_t
	content []byte
}

func (w Worker) temp(q Request, p *place, f *file, content []byte) (*temp, error) {
	var random [8]byte
	rand.Read(random[:])
	t := &temp{name: tempPrefix + q.Agent + "-" + hex.EncodeToString(random[:]), content: content}
	fd, err := unix.Openat(p.dir, t.name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create a file beside %s: %w", p.real, err)
	}
	w.reach("created")
	err = func() error {
		for b := content; len(b) > 0; {
			n, err := writeOnce(fd, b)
			if err != nil {
				return err
			}
			b = b[n:]
		}
		if err := unix.Fstat(fd, &t.st); err != nil {
			return err
		}
		mode := f.st.Mode & 0o7777 &^ 0o002
		if t.st.Gid != f.st.Gid {
			// Often root has made the file, and its group is root's, which the account can't give. That matters only
			// where the group may do what not everybody may.
			if err := unix.Fchown(fd, -1, int(f.st.Gid)); err != nil {
				if f.st.Mode>>3&^f.st.Mode&0o5 != 0 {
					return fmt.Errorf("keep the group %d, which the account is not in: %w", f.st.Gid, err)
				}
				mode &^= 0o020
			}
		}
		if err := copyAttributes(fd, f.fd); err != nil {
			return fmt.Errorf("keep the extended attributes: %w", err)
		}
		if err := unix.Fchmod(fd, mode); err != nil {
			return fmt.Errorf("keep the mode: %w", err)
		}
		// The content must be on disk before the exchange is. Otherwise the file could be empty
		// after a power cut, and nobody could log in.
		return unix.Fsync(fd)
	}()
	if e := unix.Close(fd); err == nil {
		err = e
	}
	if err != nil {
		p.unlink(t.name)
		return nil, fmt.Errorf("write a file beside %s: %w", p.real, err)
	}
	return t, nil
}

// sweepTemps removes temporary files that a crash has left: all of this agent, as the lock is held
// and nobody uses them, and old ones of other agents. Their age is by ctime, because an exchange does
// not change mtime.
func (w Worker) sweepTemps(q Request, p *place) {
	fd, err := unix.Openat(p.dir, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	dir := os.NewFile(uintptr(fd), ".")
	defer dir.Close()
	for range 64 { // at most 4096 names
		names, err := dir.Readdirnames(64)
		for _, name := range names {
			agent, ok := tempAgent(name)
			var st unix.Stat_t
			if !ok || unix.Fstatat(p.dir, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil ||
				st.Mode&unix.S_IFMT != unix.S_IFREG || st.Uid != p.uid {
				continue
			}
			if agent == q.Agent || time.Since(time.Unix(st.Ctim.Unix())) > tempGrace {
				p.unlink(name)
			}
		}
		if err != nil || len(names) == 0 {
			return
		}
	}
}

// tempAgent reads the agent's id out of the name of a temporary file.
func tempAgent(name string) (string, bool) {
	rest, ok := strings.CutPrefix(name, tempPrefix)
	if !ok || len(rest) != 36+1+16 || rest[36] != '-' {
		return "", false
	}
	if _, err := wire.ParseEnvoyID(rest[:36]); err != nil {
		return "", false
	}
	if _, err := hex.DecodeString(rest[37:]); err != nil {
		return "", false
	}
	return rest[:36], true
}
