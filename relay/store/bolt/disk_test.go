package bolt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"scrier/relay/store"
	"scrier/wire"
)

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

// TestFullDisk: on a full disk sessions can still be closed; when even the headroom is used up
// changes fail as a whole, and nothing that was acknowledged is lost; with space again all is as
// before.
func TestFullDisk(t *testing.T) {
	dir := smallDisk(t, 8<<20)
	cfg := config(filepath.Join(dir, "state.db"))
	cfg.Headroom = 2 << 20
	d, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close() // a failed test must not keep the disk from being unmounted
	ctx := context.Background()
	var open []wire.SessionID
	for range 200 {
		s := store.Session{ID: wire.NewSessionID(), Created: time.Unix(1_900_000_000, 0)}
		open = append(open, s.ID)
		if err := d.Update(ctx, func(tx store.Tx) error { return store.ReserveSession(tx, s, 200) }); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Healthy(); err != nil {
		t.Fatal(err)
	}
	filler := filepath.Join(dir, "filler")
	f, err := os.Create(filler)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(f, endless{}); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("fill the disk: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}

	for i, id := range open {
		err := d.Update(ctx, func(tx store.Tx) error {
			_, err := store.CloseSession(tx, id, store.End{Code: wire.RelayShutdown, Reason: strings.Repeat("r", 1000), Sent: 1, Received: 2, At: time.Unix(1_900_000_001, 0)})
			return err
		})
		if err != nil {
			t.Fatalf("close session %d on a full disk: %v", i, err)
		}
	}
	written := 0
	for err = nil; err == nil && written < 1000; written++ {
		err = d.Update(ctx, func(tx store.Tx) error { return tx.Put(fmt.Sprint("big/", written), make([]byte, 50_000)) })
	}
	written--
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("%d large changes on a full disk: %v", written, err)
	}
	if err := d.Healthy(); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("health on a full disk: %v", err)
	}
	look := func() {
		t.Helper()
		err := d.View(ctx, func(tx store.Tx) error {
			n := 0
			for range tx.Scan("big/") {
				n++
			}
			open, err := store.OpenSessions(tx)
			if n != written || len(open) != 0 {
				t.Errorf("%d large values of %d, %d open sessions", n, written, len(open))
			}
			return err
		})
		if err := errors.Join(err, d.Check()); err != nil {
			t.Error(err)
		}
	}
	look()
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	err = d.Update(ctx, func(tx store.Tx) error { return tx.Put(fmt.Sprint("big/", written), make([]byte, 50_000)) })
	if err := errors.Join(err, d.Healthy()); err != nil {
		t.Errorf("there is space again: %v", err)
	}
	written++
	look()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if d, err = Open(cfg); err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	look()
}
