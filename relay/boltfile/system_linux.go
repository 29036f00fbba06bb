package boltfile

import (
	"os"

	"golang.org/x/sys/unix"
)

const (
	noFollow = unix.O_NOFOLLOW
	nonBlock = unix.O_NONBLOCK
)

func unlock(f *os.File) { _ = unix.Flock(int(f.Fd()), unix.LOCK_UN) }

// allocate makes the system keep space for the first size bytes of f.
func allocate(f *os.File, size int64) error { return unix.Fallocate(int(f.Fd()), 0, 0, size) }

// enough says whether there is still room for reserve bytes beside f.
func enough(f *os.File, reserve uint64) error {
	var s unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &s); err != nil {
		return err
	}
	if s.Bavail*uint64(s.Bsize) < reserve {
		return unix.ENOSPC
	}
	return nil
}
