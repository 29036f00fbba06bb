package boltfile

import (
	"errors"
	"fmt"
	"syscall"

	"go.etcd.io/bbolt"
)

// Used is how many bytes of the file are in use.
func (f *File) Used() (n int64, err error) {
	err = f.DB.View(func(tx *bbolt.Tx) error { n = tx.Size(); return nil })
	return n, err
}

// Allocate makes sure that the reserve is allocated beyond the used bytes of the file. It must not
// run beside a commit. On a file system that cannot allocate ahead it looks at the free space
// instead.
func (f *File) Allocate(used int64) error {
	reserve := f.cfg.Reserve
	if reserve < 0 || f.allocated >= used+reserve {
		return nil
	}
	want := used + reserve + f.cfg.Extra // more than must be, so that this is not done at every commit
	err := allocate(f.os, want)
	if errors.Is(err, syscall.ENOSPC) {
		want = used + reserve
		err = allocate(f.os, want)
	}
	if errors.Is(err, errors.ErrUnsupported) {
		want = 0 // look again next time
		err = enough(f.os, uint64(reserve))
	}
	if err != nil {
		return fmt.Errorf("allocate %d bytes ahead in %s: %w", reserve, f.cfg.Path, err)
	}
	f.allocated = want
	return nil
}
