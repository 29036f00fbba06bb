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

// Dropin files belong to the agent: root:root, one a login, written by the agent itself and
// nobody else, so that every change is a new file renamed over the old one.

func (k *Keys) dropinFile(login string) string { return filepath.Join(k.cfg.DropinDir, login) }

func (k *Keys) dropinAdd(rec *record) error {
	if err := makeFolder(k.cfg.DropinDir, 0o755); err != nil {
		return err
	}
	return dropinEdit(rec.File, func(content []byte) []byte { return line.Insert(content, rec.Line) })
}

// dropinTake removes the line of a record and the record. The caller holds the lock, or the
// record's process is gone.
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

// dropinEdit replaces one file; an empty one goes. On a full file system the file is emptied of
// its last lines in place instead, which needs no space.
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

// writeDropin makes name's content new at once. The temporary name is no login's: it begins with
// a dot and a dash follows.
func writeDropin(name string, content []byte) error {
	temp := filepath.Join(filepath.Dir(name), ".-"+filepath.Base(name))
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o644)
	if err != nil {
		return fmt.Errorf("write drop-in: %w", err)
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Chmod(0o644) // whatever the umask is: sshd reads it as the login
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

// overwriteDropin writes the shorter content over the longer. sshd may read both mixed for an
// instant, which can only make a key fail.
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

// sweepDropin empties the folder of this agent's lines that are expired.
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
				os.Remove(k.dropinFile(login)) // a crash left it
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
