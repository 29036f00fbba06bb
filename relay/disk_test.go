package relay

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"scrier/relay/access"
	"scrier/relay/audit"
	"scrier/relay/store"
	"scrier/wire"
)

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// H78 on a real disk: when it is full, and what the log has ahead is used up to its reserve, nothing opens and
// what is open ends, is recorded, and everything goes on when there is room again.
func TestFullDiskEndsSessions(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("scrier-test", dir, "tmpfs", 0, "size=67108864,mode=0700"); err != nil {
		t.Fatalf("mount tmpfs (this test needs root): %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	r := start(t, func(s *Settings) {
		s.StateDir = dir
		s.Config.Scrier.AuditGrace = Duration(time.Second)
	})
	servedBy(t, r, echo)
	p := newPerson(t, r, "ann", access.Admin)
	v, err := p.connect("web1")
	if err != nil {
		t.Fatal(err)
	}
	full, err := os.Create(filepath.Join(dir, "full"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(full, endless{}); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("fill the disk: %v", err)
	}
	if err := full.Close(); err != nil {
		t.Fatal(err)
	}
	v.roundTrip(t) // the session goes on, as its end can be written
	for n := 0; err == nil; n++ {
		if _, err = r.audit.Append(t.Context(), audit.Event{Type: "other", Detail: string(make([]byte, 4000))}); n > 100_000 {
			t.Fatal("the log is never full")
		}
	}
	if x := v.exit(t); x.Code != wire.AuditUnavailable {
		t.Errorf("the operator was told %+v", x)
	}
	waitFor(t, "the end, which is written into the reserve", func() bool { return rows(t, r)[0].State == store.Closed })
	size := r.audit.Size()
	for range 20 {
		who, req := asked(p)
		if _, err := r.open(t.Context(), who, req); wire.CodeOf(err) != wire.AuditUnavailable {
			t.Errorf("opened with %v", err)
		}
	}
	if now := r.audit.Size(); now != size {
		t.Errorf("%d records of sessions that were refused are in the reserve", now-size)
	}
	if err := os.Remove(full.Name()); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the log to be up again", func() bool {
		_, err := r.sessions.Reserve(t.Context(), store.Session{}, func(store.Tx) error { return errors.New("only asked") })
		return wire.CodeOf(err) != wire.AuditUnavailable
	})
	if v, err = p.connect("web1"); err != nil {
		t.Fatal(err)
	}
	v.types(t, "exit")
	v.exit(t)
	waitFor(t, "all sessions to close", func() bool { return rows(t, r)[0].State == store.Closed })
}
