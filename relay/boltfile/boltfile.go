// Package boltfile opens a bbolt file with the care that a relay's store and its audit log both
// take:
//
//   - The file has mode 0600 whatever the umask, is no symbolic link, and belongs to one process at
//     a time.
//   - After an end that was not clean the whole file is read and checked before it is used. A damaged
//     file is refused and left as it is, never repaired, and a panic of bbolt's or a fault in its
//     mapping is an error, not the end of the process.
//   - Space is allocated ahead of its use, so that a full disk is noticed while the most important
//     changes can still be written.
//
// What is in the file is the caller's: buckets, their meaning, and how a value is checked.
package boltfile

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"scrier/wire"
)

// Meta is the bucket that every file has for what is said about the file itself; callers may keep
// keys of theirs in it.
var Meta = []byte("meta")

// cleanKey is in Meta while no process has the file open.
var cleanKey = []byte("clean")

// allocSize is by how much bbolt lets the file grow, as a hole, where Allocate has not been before
// it.
const allocSize = 1 << 20

// Config says which file, and what it must hold.
type Config struct {
	Path        string        // its directory exists, with a mode of its own
	LockTimeout time.Duration // how long to wait for another process to let go
	Buckets     [][]byte      // are made if they are missing, beside Meta

	// Mapped is address space, not memory. Until the file outgrows it bbolt need not map anew, for
	// which a commit would wait for every reader.
	Mapped int

	// Reserve is how many bytes must be allocated beyond those in use; negative: none. When they are
	// not, Reserve and Extra together are.
	Reserve, Extra int64

	// Walk reads every value of a file that was not closed cleanly and says what is wrong; it is
	// called before bbolt's own check, and before Buckets are made.
	Walk func(*bbolt.Tx) error
	// Damaged makes the error that says how to get out.
	Damaged func(error) error

	Name string // as the log calls it, such as "the state"
	Log  *slog.Logger
}

// File is an open file. Its methods may be called by several goroutines where bbolt's may.
type File struct {
	DB    *bbolt.DB
	Fresh bool // it was made just now, or was empty: a crash may leave that behind

	cfg       Config
	os        *os.File // bbolt's own, closed by it
	allocated int64    // bytes from the beginning that are known to be; the file's size does not tell
}

// Open returns a file that is locked, whole and marked as in use. A file that another process holds
// is [wire.StateInUse].
func Open(cfg Config) (*File, error) {
	f := &File{cfg: cfg}
	switch info, err := os.Lstat(cfg.Path); {
	case errors.Is(err, os.ErrNotExist):
		f.Fresh = true
	case err != nil:
		return nil, err
	default:
		f.Fresh = info.Size() == 0
	}
	if err := f.open(); err != nil {
		return nil, err
	}
	if err := f.prepare(); err != nil {
		return nil, errors.Join(err, f.DB.Close())
	}
	return f, nil
}

// Path is where the file is.
func (f *File) Path() string { return f.cfg.Path }

// open calls bbolt, which may panic or fault on a damaged file.
func (f *File) open() (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = f.cfg.Damaged(fmt.Errorf("%v", r))
			if f.os != nil {
				// bbolt's mapping stays behind, and would keep the lock of a file that is only closed.
				unlock(f.os)
				_ = f.os.Close()
			}
		}
	}()
	f.DB, err = bbolt.Open(f.cfg.Path, 0o600, &bbolt.Options{
		Timeout:         f.cfg.LockTimeout,
		FreelistType:    bbolt.FreelistMapType,
		NoStatistics:    true,
		InitialMmapSize: f.cfg.Mapped,
		OpenFile: func(path string, flag int, mode os.FileMode) (*os.File, error) {
			var err error
			if f.os, err = os.OpenFile(path, flag|noFollow, mode); err != nil {
				return nil, err
			}
			return f.os, f.os.Chmod(0o600)
		},
	})
	if errors.Is(err, berrors.ErrTimeout) {
		return wire.Errorf(wire.StateInUse, "another process holds %s", f.cfg.Path)
	}
	if _, system := errors.AsType[syscall.Errno](err); err != nil && !system {
		return f.cfg.Damaged(err) // it came from what the file holds
	}
	if err == nil {
		f.DB.AllocSize = allocSize
	}
	return err
}

// prepare checks the file if it was not closed cleanly, and marks it as open.
func (f *File) prepare() error {
	clean, err := f.wasClosedCleanly()
	if err != nil {
		return f.cfg.Damaged(err)
	}
	if !f.Fresh && !clean {
		f.cfg.Log.Warn(f.cfg.Name+" was not closed cleanly: checking it", "path", f.cfg.Path)
		if err := f.Check(); err != nil {
			return f.cfg.Damaged(err)
		}
	}
	err = f.DB.Update(func(tx *bbolt.Tx) error {
		for _, name := range append([][]byte{Meta}, f.cfg.Buckets...) {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return tx.Bucket(Meta).Delete(cleanKey)
	})
	if err != nil {
		return fmt.Errorf("mark %s as open: %w", f.cfg.Path, err)
	}
	if f.Fresh {
		return SyncDir(filepath.Dir(f.cfg.Path))
	}
	return nil
}

func (f *File) wasClosedCleanly() (clean bool, err error) {
	info, err := f.os.Stat()
	if err != nil {
		return false, err
	}
	err = f.GuardedView(func(tx *bbolt.Tx) error {
		if tx.Size() > info.Size() {
			return fmt.Errorf("it has %d bytes of %d", info.Size(), tx.Size())
		}
		meta := tx.Bucket(Meta)
		clean = meta != nil && meta.Get(cleanKey) != nil
		return nil
	})
	return clean, err
}

// Close marks the file as closed cleanly and lets go of it.
func (f *File) Close() error {
	err := f.DB.Update(func(tx *bbolt.Tx) error { return tx.Bucket(Meta).Put(cleanKey, []byte{1}) })
	return errors.Join(err, f.DB.Close())
}

// Abandon lets go of a file that is not to be trusted: the next Open checks it.
func (f *File) Abandon() error { return f.DB.Close() }
