package audit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"

	"scrier/wire"
)

var (
	recordsBucket     = []byte("records")     // seq, 8 bytes big endian -> encoding
	hashesBucket      = []byte("hashes")      // tlog's stored hash index, the same way -> hash
	checkpointsBucket = []byte("checkpoints") // size, the same way -> signed note
	metaBucket        = []byte("meta")
	cleanKey          = []byte("clean") // in meta while no process has the file open
	probeKey          = []byte("probe") // in meta; written to see whether it can be
)

const (
	lockTimeout = time.Second

	// mapped is address space, not memory. Until the file outgrows it bbolt need not map anew,
	// for which a commit would wait for every reader.
	mapped = 1 << 30

	// allocSize is by how much bbolt lets the file grow, as a hole, where allocate has not been
	// before it.
	allocSize = 1 << 20
)

// file is the bbolt file of a log, locked and whole. It is this package's own and not the
// store's: a full or damaged store must not keep the log from saying so.
type file struct {
	db        *bbolt.DB
	path      string
	os        *os.File // bbolt's own, closed by it
	fresh     bool     // it was made just now
	reserve   int64    // bytes that are allocated ahead of use; negative: none
	allocated int64    // bytes from the beginning that are known to be; the file's size does not tell
}

// openFile returns a file that is locked, checked if the last end was not clean, and marked as
// open.
func openFile(cfg Config) (*file, error) {
	f := &file{path: cfg.Path, reserve: cfg.Reserve}
	switch info, err := os.Lstat(cfg.Path); {
	case errors.Is(err, os.ErrNotExist):
		f.fresh = true
	case err != nil:
		return nil, err
	default:
		f.fresh = info.Size() == 0
	}
	if err := f.open(); err != nil {
		return nil, err
	}
	clean, err := f.wasClosedCleanly()
	if err == nil && !f.fresh && !clean {
		cfg.Log.Warn("the audit log was not closed cleanly: checking it", "path", f.path)
		err = f.check()
	}
	if err != nil {
		return nil, errors.Join(damaged(f.path, err), f.db.Close())
	}
	err = f.db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{recordsBucket, hashesBucket, checkpointsBucket, metaBucket} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return tx.Bucket(metaBucket).Delete(cleanKey)
	})
	if err == nil && f.fresh {
		err = syncDir(filepath.Dir(f.path))
	}
	if err != nil {
		return nil, errors.Join(err, f.db.Close())
	}
	return f, nil
}

// open calls bbolt, which may panic or fault on a damaged file.
func (f *file) open() (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = damaged(f.path, fmt.Errorf("%v", r))
			if f.os != nil {
				// bbolt's mapping stays behind, and would keep the lock of a file that is only closed.
				_ = unix.Flock(int(f.os.Fd()), unix.LOCK_UN)
				_ = f.os.Close()
			}
		}
	}()
	f.db, err = bbolt.Open(f.path, 0o600, &bbolt.Options{
		Timeout:         lockTimeout,
		FreelistType:    bbolt.FreelistMapType,
		NoStatistics:    true,
		InitialMmapSize: mapped,
		OpenFile: func(path string, flag int, mode os.FileMode) (*os.File, error) {
			var err error
			if f.os, err = os.OpenFile(path, flag|unix.O_NOFOLLOW, mode); err != nil {
				return nil, err
			}
			return f.os, f.os.Chmod(0o600)
		},
	})
	if errors.Is(err, berrors.ErrTimeout) {
		return wire.Errorf(wire.StateInUse, "another process holds %s", f.path)
	}
	if _, system := errors.AsType[unix.Errno](err); err != nil && !system {
		return damaged(f.path, err)
	}
	if err == nil {
		f.db.AllocSize = allocSize
	}
	return err
}

func (f *file) wasClosedCleanly() (clean bool, err error) {
	info, err := f.os.Stat()
	if err != nil {
		return false, err
	}
	err = f.guardedView(func(tx *bbolt.Tx) error {
		if tx.Size() > info.Size() {
			return fmt.Errorf("it has %d bytes of %d", info.Size(), tx.Size())
		}
		meta := tx.Bucket(metaBucket)
		clean = meta != nil && meta.Get(cleanKey) != nil
		return nil
	})
	return clean, err
}

// check walks the whole file. bbolt's own check runs in a goroutine of its own, where a fault
// from a wild page number would end the process: the walk before it finds those.
func (f *file) check() error {
	return f.guardedView(func(tx *bbolt.Tx) error {
		err := tx.ForEach(func(_ []byte, b *bbolt.Bucket) error {
			return b.ForEach(func(k, v []byte) error {
				if len(k) > 8 || len(v) > MaxRecord {
					return errors.New("a record has an impossible length")
				}
				return nil
			})
		})
		if err != nil {
			return err
		}
		var first error
		for err := range tx.Check() {
			if first == nil {
				first = err // the channel must be read to its end
			}
		}
		return first
	})
}

// guardedView turns a panic or a fault in mapped memory into an error.
func (f *file) guardedView(view func(*bbolt.Tx) error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	return f.db.View(view)
}

// allocate makes sure that there is room for the reserve beyond the used bytes of the file. It
// must not run beside a commit. On a file system that cannot allocate ahead it looks at the free
// space instead.
func (f *file) allocate(used int64) error {
	if f.reserve < 0 || f.allocated >= used+f.reserve {
		return nil
	}
	want := used + f.reserve + f.reserve/4 // more than asked, so that this is not done at every commit
	err := unix.Fallocate(int(f.os.Fd()), 0, 0, want)
	if errors.Is(err, unix.ENOSPC) {
		want = used + f.reserve
		err = unix.Fallocate(int(f.os.Fd()), 0, 0, want)
	}
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		var s unix.Statfs_t
		want = 0 // look again next time
		if err = unix.Fstatfs(int(f.os.Fd()), &s); err == nil && s.Bavail*uint64(s.Bsize) < uint64(f.reserve) {
			err = unix.ENOSPC
		}
	}
	if err != nil {
		return fmt.Errorf("allocate %d bytes ahead in %s: %w", f.reserve, f.path, err)
	}
	f.allocated = want
	return nil
}

func (f *file) used() (n int64, err error) {
	err = f.db.View(func(tx *bbolt.Tx) error { n = tx.Size(); return nil })
	return n, err
}

// close marks the file as closed cleanly and lets go of it.
func (f *file) close() error {
	err := f.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(metaBucket).Put(cleanKey, []byte{1}) })
	return errors.Join(err, f.db.Close())
}

func damaged(path string, err error) error {
	return wire.Errorf(wire.AuditUnavailable, "the audit log %s is damaged (%w) and was left as it is: keep a copy of it as evidence; "+
		"then put the newest backup in its place and start with --accept-rollback, or move it away to begin a new log", path, err)
}

func syncDir(path string) error {
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

// replaceFile puts data at path, mode 0600, so that after a crash there is the old content or
// the new.
func replaceFile(path string, data []byte) error {
	temp := path + ".tmp"
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
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
	return syncDir(filepath.Dir(path))
}
