package bolt

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"

	"scrier/relay/store"
	"scrier/wire"
)

var (
	kvBucket   = []byte("kv")
	metaBucket = []byte("meta")  // this package's own
	cleanKey   = []byte("clean") // in meta while no process has the file open
)

// mapped is address space, not memory. Until the file outgrows it bbolt need not map anew, for
// which a commit would wait for every running View.
const mapped = 256 << 20

// allocSize is by how much bbolt lets the file grow, as a hole, where reserve has not been before
// it.
const allocSize = 1 << 20

// file is what bbolt does not tell of its file.
type file struct {
	path      string
	os        *os.File // bbolt's own, closed by it
	headroom  int64    // bytes, negative: none
	allocated int64    // bytes from the beginning that are known to be; the file's size does not tell
}

// openFile returns a file that is locked, whole and marked as in use.
func openFile(cfg Config) (*file, *bbolt.DB, error) {
	f := &file{path: cfg.Path, headroom: cfg.Headroom}
	old, err := exists(cfg.Path)
	if err != nil {
		return nil, nil, err
	}
	b, err := f.open(cfg)
	if err != nil {
		return nil, nil, err
	}
	err = f.prepare(cfg, b, old)
	if err != nil {
		return nil, nil, errors.Join(err, b.Close())
	}
	return f, b, nil
}

// open calls bbolt, which may panic or fault on a damaged file.
func (f *file) open(cfg Config) (b *bbolt.DB, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			b, err = nil, damaged(f.path, fmt.Errorf("%v", r))
			if f.os != nil {
				// bbolt's mapping stays behind, and would keep the lock of a file that is only closed.
				_ = unix.Flock(int(f.os.Fd()), unix.LOCK_UN)
				_ = f.os.Close()
			}
		}
	}()
	b, err = bbolt.Open(cfg.Path, 0o600, &bbolt.Options{
		Timeout:         cfg.LockTimeout,
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
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return nil, wire.Errorf(wire.StateInUse, "another process holds %s", f.path)
	case err != nil && !ofSystem(err):
		return nil, damaged(f.path, err)
	case err == nil:
		b.AllocSize = allocSize
	}
	return b, err
}

// ofSystem says whether err came from a system call, and not from what the file holds.
func ofSystem(err error) bool {
	_, ok := errors.AsType[unix.Errno](err)
	return ok
}

// prepare checks the file if it was not closed cleanly, and marks it as open.
func (f *file) prepare(cfg Config, b *bbolt.DB, old bool) error {
	clean := false
	size, err := f.size()
	if err != nil {
		return err
	}
	err = guarded(func() error {
		return b.View(func(tx *bbolt.Tx) error {
			if tx.Size() > size {
				return fmt.Errorf("it has %d bytes of %d", size, tx.Size())
			}
			meta := tx.Bucket(metaBucket)
			clean = meta != nil && meta.Get(cleanKey) != nil
			return nil
		})
	})
	if err != nil {
		return damaged(f.path, err)
	}
	if old && !clean {
		cfg.Log.Warn("the state was not closed cleanly: checking it", "path", f.path)
		if err := check(b); err != nil {
			return damaged(f.path, err)
		}
	}
	var used int64
	err = b.Update(func(tx *bbolt.Tx) error {
		meta, err := tx.CreateBucketIfNotExists(metaBucket)
		if err != nil {
			return err
		}
		if _, err := tx.CreateBucketIfNotExists(kvBucket); err != nil {
			return err
		}
		used = tx.Size()
		return meta.Delete(cleanKey)
	})
	if err != nil {
		return fmt.Errorf("mark %s as open: %w", f.path, err)
	}
	if !old {
		if err := syncDir(filepath.Dir(f.path)); err != nil {
			return err
		}
	}
	if err := f.reserve(used); err != nil {
		cfg.Log.Warn("the disk is nearly full: no space ahead for the state", "path", f.path, "error", err)
	}
	return nil
}

func markClean(b *bbolt.DB) error {
	return b.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket(metaBucket).Put(cleanKey, []byte{1})
	})
}

func (f *file) size() (int64, error) {
	info, err := f.os.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// reserve keeps at least half the headroom allocated beyond the used bytes. It must not run
// while bbolt grows the file. A file system that cannot allocate ahead is left alone.
func (f *file) reserve(used int64) error {
	if f.headroom < 0 || f.allocated >= used+f.headroom/2 {
		return nil
	}
	err := unix.Fallocate(int(f.os.Fd()), 0, 0, used+f.headroom)
	if err != nil && !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.ENOSYS) {
		return fmt.Errorf("allocate %d bytes for %s: %w", f.headroom, f.path, err)
	}
	f.allocated = used + f.headroom
	return nil
}

// check walks all of the file and every value. bbolt's own check runs in a goroutine of its own,
// where a fault from a wild page number would end the process: the walk before it finds those.
func check(b *bbolt.DB) error {
	return guarded(func() error {
		return b.View(func(tx *bbolt.Tx) error {
			for _, name := range [][]byte{metaBucket, kvBucket} {
				if err := walk(tx.Bucket(name), bytes.Equal(name, kvBucket)); err != nil {
					return err
				}
			}
			var first error
			for err := range tx.Check() {
				if first == nil {
					first = err // the channel must be read to its end
				}
			}
			return first
		})
	})
}

func walk(b *bbolt.Bucket, sealed bool) error {
	if b == nil {
		return nil // the process died before it had made its buckets
	}
	return b.ForEach(func(k, v []byte) error {
		if len(k) > store.MaxKey { // a length that is wrong may reach beyond the file
			return store.ErrBadKey
		}
		if !sealed {
			return nil
		}
		_, err := unseal(string(k), v)
		return err
	})
}

// guarded turns a panic or a fault in mapped memory into an error.
func guarded(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	return f()
}

func damaged(path string, err error) error {
	return wire.Errorf(wire.Internal, "the state file %s is damaged (%w) and was left as it is: keep a copy of it; "+
		"then put the newest backup in its place, or save what can be read with `bbolt compact -o NEW %s` "+
		"(go.etcd.io/bbolt/cmd/bbolt), or move it away to begin with an empty state, in which case every envoy has to be enrolled again",
		path, err, path)
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
