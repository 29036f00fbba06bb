package keys

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"scrier/agent/account"
	"scrier/agent/keys/line"
	"scrier/wire"
)

// Drop-in files belong to root, one for each login. Only the agent writes them, so it can make each
// change by a new file that is renamed over the old one.

func (k *Keys) dropinFile(login string) string { return filepath.Join(k.cfg.DropinDir, login) }

func (k *Keys) dropinAdd(rec *record) error {
	if err := makeFolder(k.cfg.DropinDir, 0o755); err != nil {
		return err
	}
	return dropinEdit(rec.File, func(content []byte) []byte { return line.Insert(content, rec.Line) })
}

// dropinTake removes the line of a record and the record. The caller holds the file's lock.
func (k *Keys) dropinTake(rec *record) error {
	err := dropinEdit(rec.File, func(content []byte) []byte {
		content, _ = line.Cleaning{Lines: []string{rec.Line}}.Apply(content)
		return content
	})
	if err != nil {
		return err
	}
	return k.journal.drop(rec)
}

// dropinEdit replaces one file, or removes it if it becomes empty. If there is no space for a new
// file, the old one is overwritten, which needs none when lines are taken out.
func dropinEdit(name string, edit func([]byte) []byte) error {
	old, err := readDropin(name)
	if err != nil {
		return err
	}
	content := edit(append([]byte{}, old...))
	if len(content) == 0 {
		if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove drop-in: %w", err)
		}
		return nil
	}
	if string(content) == string(old) {
		return nil
	}
	err = writeDropin(name, content)
	if errors.Is(err, unix.ENOSPC) && len(content) < len(old) {
		return overwriteDropin(name, content)
	}
	return err
}

func readDropin(name string) ([]byte, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read drop-in: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		return nil, wire.Errorf(wire.KeyfileNotRegular, "%s is not a regular file", name)
	}
	var content []byte
	if err == nil {
		content, err = io.ReadAll(io.LimitReader(f, line.MaxFile+1))
	}
	if err != nil {
		return nil, fmt.Errorf("read drop-in: %w", err)
	}
	if len(content) > line.MaxFile {
		return nil, wire.Errorf(wire.KeyfileTooBig, "%s has more than %d bytes", name, line.MaxFile)
	}
	return content, nil
}

// writeDropin replaces the content of a file in one step. The temporary file's name begins with ".-",
// which no login's name does.
func writeDropin(name string, content []byte) error {
	temp := filepath.Join(filepath.Dir(name), ".-"+filepath.Base(name))
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o644)
	if err != nil {
		return fmt.Errorf("write drop-in: %w", err)
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Chmod(0o644) // sshd reads it as the login, and the umask may have taken bits away
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(temp, name)
	}
	if err != nil {
		os.Remove(temp)
		return fmt.Errorf("write drop-in: %w", err)
	}
	return nil
}

// overwriteDropin writes a shorter content over a longer one. For an instant sshd may read a mixture
// of both; then a key is refused that should be accepted, but never the other way round.
func overwriteDropin(name string, content []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return fmt.Errorf("write drop-in: %w", err)
	}
	_, err = f.WriteAt(content, 0)
	if err == nil {
		err = f.Truncate(int64(len(content)))
	}
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}

// sweepDropin removes this agent's expired lines from all files of the folder.
func (k *Keys) sweepDropin(ctx context.Context, s *sweep) error {
	entries, err := os.ReadDir(k.cfg.DropinDir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read drop-ins: %w", err)
	}
	c := line.Cleaning{Sweep: &line.Sweep{Agent: k.cfg.Agent, Now: k.cfg.Now(), Zone: line.Zone{Local: time.Local, UTC: true}}}
	for _, entry := range entries {
		login := entry.Name()
		if name, ok := strings.CutPrefix(login, ".-"); ok && account.ValidLogin(name) {
			if lock, err := k.locks.acquire(ctx, 0, k.dropinFile(name)); err == nil {
				os.Remove(k.dropinFile(login)) // it is left from a crash
				lock.release()
			}
			continue
		}
		if !account.ValidLogin(login) {
			continue
		}
		removed := 0
		lock, err := k.locks.acquire(ctx, 0, k.dropinFile(login))
		if err == nil {
			err = dropinEdit(k.dropinFile(login), func(content []byte) []byte {
				content, removed = c.Apply(content)
				return content
			})
			lock.release()
		}
		if err != nil {
			s.fail(login, err)
		} else {
			s.add(removed, 0)
		}
	}
	return nil
}
