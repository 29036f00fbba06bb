package boltfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Replace puts data at path, mode 0600, so that after a crash there is the old content or the new.
// It is for the small files that stand beside a bbolt file.
func Replace(path string, data []byte) error {
	temp := path + ".tmp"
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|noFollow, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	if err := os.Rename(temp, path); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return SyncDir(filepath.Dir(path))
}

// OpenBeside opens such a file for reading. A symbolic link is refused, and a FIFO does not hold up the caller.
func OpenBeside(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|noFollow|nonBlock, 0)
}

// SyncDir makes what was made, renamed or removed in a directory durable.
func SyncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("sync directory %s: %w", path, err)
	}
	return nil
}
