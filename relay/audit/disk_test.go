package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
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

// fillDisk takes all space that is left, and returns what gives it back.
func fillDisk(t *testing.T, dir string) (release func()) {
	t.Helper()
	path := filepath.Join(dir, "filler")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(f, endless{})
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("fill the disk: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// TestFullDisk: on a full disk nothing starts, what is under way is ended properly, and when
// there is space again the log goes on by itself.
func TestFullDisk(t *testing.T) {
	cfg := config(smallDisk(t, 12<<20))
	cfg.Reserve = 4 << 20
	l := open(t, cfg)
	defer l.Close() // a failed test must not keep the disk from being unmounted
	fill(t, l, 100)
	if err := l.Healthy(); err != nil {
		t.Fatal(err)
	}
	release := fillDisk(t, filepath.Dir(cfg.Path))

	// The margin beside the reserve may take some more.
	var err error
	begun := 0
	for ; err == nil && begun < 100_000; begun++ {
		_, err = l.Append(context.Background(), Event{Type: "start", Detail: string(make([]byte, maxDetail))})
	}
	wantUnavailable(t, "append on a full disk", err)
	if !errors.Is(err, unix.ENOSPC) {
		t.Errorf("append on a full disk: %v", err)
	}
	wantUnavailable(t, "health on a full disk", l.Healthy())
	size := l.Size()
	for i := range 300 {
		if _, err := l.AppendEnd(context.Background(), event(i)); err != nil {
			t.Fatalf("end %d of a session on a full disk: %v", i, err)
		}
	}
	if _, err = l.Append(context.Background(), event(1)); err == nil {
		t.Error("something started on a full disk")
	}
	if r := verify(t, export(t, l), VerifyOptions{Key: l.VerifierKey()}); r.Verdict != OK || r.Records != size+300 {
		t.Errorf("export on a full disk: %+v", r)
	}

	// What people end of their own works too, and however often one of them does it, neither others nor
	// the ends of sessions lose by it.
	own := func(operator string) error {
		_, err := l.AppendOwn(context.Background(), Event{Type: "operator.signout", Operator: operator})
		return err
	}
	for i := range 2 * ShareOfOne {
		if err := own("eve"); (err == nil) != (i < ShareOfOne) {
			t.Fatalf("record %d of one operator's own: %v", i, err)
		}
	}
	taken := ShareOfOne
	for i := 0; i < 2*ShareOfAll; i++ {
		if own(fmt.Sprint("mallory", i)) == nil {
			taken++
		}
	}
	if taken != ShareOfAll {
		t.Errorf("%d records of operators' own on a full disk, want %d", taken, ShareOfAll)
	}
	size = l.Size()
	for i := range 300 {
		if _, err := l.AppendEnd(context.Background(), event(i)); err != nil {
			t.Fatalf("end %d of a session after them: %v", i, err)
		}
	}
	if l.Size() != size+300 {
		t.Errorf("%d records, want %d", l.Size(), size+300)
	}

	// Even the reserve ends.
	for i := 0; err == nil || i == 0; i++ {
		if _, err = l.AppendEnd(context.Background(), Event{Type: "end", Detail: string(make([]byte, maxDetail))}); i > 100_000 {
			t.Fatal("the disk is never full")
		}
	}
	wantUnavailable(t, "append without reserve", err)
	size = l.Size()
	if r := verify(t, export(t, l), VerifyOptions{Key: l.VerifierKey()}); r.Verdict != OK || r.Records != size {
		t.Errorf("export without reserve: %+v", r)
	}

	release()
	if err := l.Healthy(); err != nil {
		t.Errorf("there is space again: %v", err)
	}
	if err := own("eve"); err != nil {
		t.Errorf("there is space again: %v", err)
	}
	size++
	fill(t, l, 50)
	shut(t, l)
	l = open(t, cfg)
	defer l.Close()
	if r := verify(t, export(t, l), VerifyOptions{Key: l.VerifierKey()}); r.Verdict != OK || r.Records != size+50 || l.Size() != size+50 {
		t.Errorf("afterwards: %+v, want %d records", r, size+50)
	}
}

// TestFullDiskWithoutReserve: commits fail in the middle of bbolt's work, again and again, and
// nothing that was acknowledged is lost.
func TestFullDiskWithoutReserve(t *testing.T) {
	dir := smallDisk(t, 4<<20)
	cfg := config(dir)
	l := open(t, cfg)
	defer l.Close() // a failed test must not keep the disk from being unmounted
	acked := uint64(0)
	for round := range 5 {
		release := fillDisk(t, dir)
		var err error
		for i := 0; err == nil; i++ {
			if _, err = l.Append(context.Background(), Event{Type: "x", Detail: string(make([]byte, maxDetail))}); err == nil {
				acked++
			}
			if i > 10_000 {
				t.Fatal("the disk is never full")
			}
		}
		wantUnavailable(t, "append", err)
		release()
		if err := l.Healthy(); err != nil {
			t.Fatalf("round %d: there is space again: %v", round, err)
		}
		if _, err := l.Append(context.Background(), event(round)); err != nil {
			t.Fatal(err)
		}
		acked++
		if r := verify(t, export(t, l), VerifyOptions{Key: l.VerifierKey()}); r.Verdict != OK || r.Records != acked {
			t.Fatalf("round %d: %+v, want %d records", round, r, acked)
		}
	}
	shut(t, l)
	l = open(t, cfg)
	defer l.Close()
	if l.Size() != acked {
		t.Errorf("%d records of %d", l.Size(), acked)
	}
}
