package boltfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"scrier/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	bucket    = []byte("things")
	errDamage = errors.New("damaged")
)

func config(path string) Config {
	return Config{
		Path: path, LockTimeout: 100 * time.Millisecond, Buckets: [][]byte{bucket}, Mapped: 1 << 20, Reserve: -1,
		Walk: func(tx *bbolt.Tx) error {
			return tx.ForEach(func(_ []byte, b *bbolt.Bucket) error {
				return b.ForEach(func(k, v []byte) error {
					if len(k) > 100 || len(v) > 1<<20 {
						return errors.New("an impossible length")
					}
					return nil
				})
			})
		},
		Damaged: func(err error) error { return fmt.Errorf("%w: %w", errDamage, err) },
		Name:    "the test", Log: slog.New(slog.DiscardHandler),
	}
}

func open(t *testing.T, cfg Config) *File {
	t.Helper()
	f, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func shut(t *testing.T, f *File) {
	t.Helper()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func put(t *testing.T, f *File, key, value string) {
	t.Helper()
	if err := f.DB.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucket).Put([]byte(key), []byte(value)) }); err != nil {
		t.Fatal(err)
	}
}

func TestFileIsPrivateAndLocked(t *testing.T) {
	cfg := config(filepath.Join(t.TempDir(), "a.db"))
	old := syscall.Umask(0)
	f := open(t, cfg)
	syscall.Umask(old)
	if !f.Fresh {
		t.Error("a new file is said to be old")
	}
	if info, err := os.Stat(cfg.Path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	_, err := Open(cfg)
	if wire.CodeOf(err) != wire.StateInUse || !strings.Contains(err.Error(), cfg.Path) {
		t.Errorf("second process: %v", err)
	}
	shut(t, f)
	if err := os.Chmod(cfg.Path, 0o644); err != nil {
		t.Fatal(err)
	}
	f = open(t, cfg)
	if f.Fresh {
		t.Error("an old file is said to be new")
	}
	if info, err := os.Stat(cfg.Path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v was not corrected, %v", info.Mode(), err)
	}
	shut(t, f)
	link := filepath.Join(t.TempDir(), "link.db")
	if err := os.Symlink(cfg.Path, link); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(config(link)); !errors.Is(err, syscall.ELOOP) {
		t.Errorf("symbolic link: %v", err)
	}
	if _, err := Open(config(filepath.Join(t.TempDir(), "no", "a.db"))); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing directory: %v", err)
	}
	empty := filepath.Join(t.TempDir(), "empty.db") // a crash may leave that behind
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f = open(t, config(empty))
	if !f.Fresh {
		t.Error("an empty file is said to be old")
	}
	shut(t, f)
}

func TestUncleanEndIsChecked(t *testing.T) {
	var log strings.Builder
	cfg := config(filepath.Join(t.TempDir(), "a.db"))
	cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
	f := open(t, cfg)
	put(t, f, "a", "1")
	shut(t, f)
	f = open(t, cfg)
	if strings.Contains(log.String(), "not closed cleanly") {
		t.Errorf("a clean end was taken for a crash: %s", &log)
	}
	if err := f.Abandon(); err != nil {
		t.Fatal(err)
	}
	shut(t, open(t, cfg))
	if !strings.Contains(log.String(), "the test was not closed cleanly") {
		t.Errorf("a crash was taken for a clean end: %s", &log)
	}
}

// TestDamageIsRefused: whatever is in the file, Open returns, and leaves the file as it is if it
// refuses it. What a page's damage does to values is for the caller's Walk, and its tests, to find.
func TestDamageIsRefused(t *testing.T) {
	cfg := config(filepath.Join(t.TempDir(), "a.db"))
	f := open(t, cfg)
	for i := range 300 {
		put(t, f, fmt.Sprint("key ", i), strings.Repeat("v", 100))
	}
	used, err := f.Used()
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Abandon(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(cfg.Path)
	if err != nil {
		t.Fatal(err)
	}
	page := os.Getpagesize()
	refused := 0
	try := func(name string, spoilt []byte) {
		if err := os.WriteFile(cfg.Path, spoilt, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := Open(cfg)
		if err == nil {
			shut(t, f)
			return
		}
		refused++
		if !errors.Is(err, errDamage) {
			t.Errorf("%s: %v", name, err)
		}
		if now, _ := os.ReadFile(cfg.Path); !bytes.Equal(now, spoilt) {
			t.Errorf("%s: the damaged file was changed", name)
		}
	}
	for p := range int(used) / page {
		for _, fill := range []byte{0, 0xff} {
			b := bytes.Clone(whole)
			copy(b[p*page:], bytes.Repeat([]byte{fill}, page))
			try(fmt.Sprintf("page %d of %#x", p, fill), b)
		}
	}
	for name, b := range map[string][]byte{
		"garbage": []byte(strings.Repeat("not a database ", 9000)), "a byte": {'x'},
		"two pages": whole[:2*page], "three pages": whole[:3*page], "all but a page": whole[:int(used)-page],
	} {
		before := refused
		if try(name, b); refused == before {
			t.Errorf("%s: was opened", name)
		}
	}
	if refused < int(used)/page/2 {
		t.Errorf("only %d spoilt files were refused", refused)
	}
}

// smallDisk mounts a file system of its own with that many bytes.
func smallDisk(t *testing.T, size int) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("scrier-test", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", size)); err != nil {
		t.Fatalf("mount tmpfs (this test needs root): %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// TestAllocate: the reserve can be written to on a disk that others have filled; when there is no
// room for the extra the reserve alone is enough, and when there is none for the reserve it is told.
func TestAllocate(t *testing.T) {
	dir := smallDisk(t, 8<<20)
	cfg := config(filepath.Join(dir, "a.db"))
	cfg.Reserve, cfg.Extra = 2<<20, 1<<30 // more than there is
	f := open(t, cfg)
	defer f.DB.Close() // a failed test must not keep the disk from being unmounted
	used, err := f.Used()
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Allocate(used); err != nil {
		t.Fatalf("there is room for the reserve: %v", err)
	}
	filler, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(filler, endless{}); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("fill the disk: %v", err)
	}
	if err := filler.Close(); err != nil {
		t.Fatal(err)
	}
	put(t, f, "large", strings.Repeat("v", 1<<20))
	if used, err = f.Used(); err != nil {
		t.Fatal(err)
	}
	if err := f.Allocate(used); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("the reserve is used up: %v", err)
	}
	if err := os.Remove(filler.Name()); err != nil {
		t.Fatal(err)
	}
	if err := f.Allocate(used); err != nil {
		t.Errorf("there is room again: %v", err)
	}
	shut(t, f)
}

func TestReplace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	for _, text := range []string{"old", "new"} {
		if err := Replace(path, []byte(text)); err != nil {
			t.Fatal(err)
		}
		info, serr := os.Stat(path)
		if got, err := os.ReadFile(path); err != nil || serr != nil || string(got) != text || info.Mode().Perm() != 0o600 {
			t.Errorf("%q, %v, mode %v", got, errors.Join(err, serr), info.Mode())
		}
	}
	target := filepath.Join(t.TempDir(), "target")
	if err := os.Symlink(target, path+".tmp"); err != nil {
		t.Fatal(err)
	}
	if err := Replace(path, []byte("x")); !errors.Is(err, syscall.ELOOP) {
		t.Errorf("a symbolic link was followed: %v", err)
	}
	if _, err := os.Stat(target); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the link's target: %v", err)
	}
}
