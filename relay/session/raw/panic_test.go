package raw

import (
	"context"
	"io"
	"testing"
	"time"

	"go.uber.org/goleak"

	"scrier/relay/session"
	"scrier/relay/session/sessiontest"
	"scrier/relay/store"
	"scrier/wire"
	"scrier/wire/wiretest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// faulty is a tunnel whose Read panics.
type faulty struct{ wire.Stream }

func (faulty) Read([]byte) (int, error) { panic("a fault") }

// H90: a panic in the tunnel's copying ends the session.
func TestPanicEndsTheTunnel(t *testing.T) {
	table, j := sessiontest.Table(t)
	s := sessiontest.Reserve(t, table)
	envoy, tunnel := wiretest.Streams()
	if err := s.Show(t.Context(), session.Shown{Stage: New(s, faulty{tunnel})}); err != nil {
		t.Fatal(err)
	}
	near, far := wiretest.Streams()
	if err := s.Serve(t.Context(), wire.NewFramed(far), session.Viewer{OperatorID: "1"}, &wire.Attach{}); wire.CodeOf(err) != wire.Internal {
		t.Errorf("served with %v", err)
	}
	near.Reset(wire.None)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := table.Wait(ctx); err != nil {
		t.Fatal("the session does not end")
	}
	if row, err := table.Get(t.Context(), s.ID()); err != nil || row.State != store.Closed || row.Reason != "internal" {
		t.Errorf("closed as %+v, %v", row, err)
	}
	if n := len(j.Events()); n != 1 {
		t.Errorf("%d records", n)
	}
	if _, err := envoy.Read(make([]byte, 1)); err == nil {
		t.Error("the envoy's side is open")
	}
}

// A viewer that came while the session was being opened, and waited, has its stream for itself.
func TestViewerThatHasWaited(t *testing.T) {
	table, _ := sessiontest.Table(t)
	s := sessiontest.Reserve(t, table)
	near, far := wiretest.Streams()
	served := make(chan error, 1)
	go func() {
		served <- s.Serve(t.Context(), wire.NewFramed(far), session.Viewer{OperatorID: "1"}, &wire.Attach{Answers: true})
	}()
	viewer := wire.NewFramed(near)
	if m, err := viewer.Receive(); err != nil || m.(*wire.Said).Text != "" { // the session is being opened
		t.Fatalf("%+v, %v", m, err)
	}
	time.Sleep(10 * time.Millisecond) // its stream is read by now
	envoy, tunnel := wiretest.Streams()
	if err := s.Show(t.Context(), session.Shown{Stage: New(s, tunnel)}); err != nil {
		t.Fatal(err)
	}
	s.Dialogue().Over(nil)
	if _, err := wire.Expect[wire.Attached](viewer); err != nil {
		t.Fatal(err)
	}
	const text = "RFB 003.008\n"
	if _, err := near.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := envoy.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, len(text))
	if n, err := io.ReadFull(envoy, p); err != nil {
		t.Errorf("the envoy gets %q, %v", p[:n], err)
	}
	near.Reset(wire.None)
	envoy.Reset(wire.None)
	<-served
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := table.Wait(ctx); err != nil {
		t.Fatal("the session does not end")
	}
}

// Who comes second is refused while the first is there.
func TestSecondViewer(t *testing.T) {
	table, _ := sessiontest.Table(t)
	s := sessiontest.Reserve(t, table)
	envoy, tunnel := wiretest.Streams()
	if err := s.Show(t.Context(), session.Shown{Stage: New(s, tunnel)}); err != nil {
		t.Fatal(err)
	}
	near, far := wiretest.Streams()
	served := make(chan error, 1)
	go func() {
		served <- s.Serve(t.Context(), wire.NewFramed(far), session.Viewer{OperatorID: "1"}, &wire.Attach{})
	}()
	if _, err := wire.Expect[wire.Attached](near); err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(t.Context(), nil, session.Viewer{OperatorID: "1"}, &wire.Attach{}); wire.CodeOf(err) != wire.Conflict {
		t.Errorf("%v", err)
	}
	near.Reset(wire.None)
	envoy.Reset(wire.None)
	<-served
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := table.Wait(ctx); err != nil {
		t.Fatal("the session does not end")
	}
}

// Who only watches does not get a tunnel, not even as the first.
func TestWatcher(t *testing.T) {
	table, _ := sessiontest.Table(t)
	s := sessiontest.Reserve(t, table)
	_, tunnel := wiretest.Streams()
	if err := s.Show(t.Context(), session.Shown{Stage: New(s, tunnel)}); err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(t.Context(), nil, session.Viewer{OperatorID: "2", Watch: true}, &wire.Attach{}); wire.CodeOf(err) != wire.Conflict {
		t.Errorf("%v", err)
	}
	s.End(&wire.Error{Code: wire.Killed})
	if err := table.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// A tunnel whose viewer was lost before it came waits for the grace, and not for as long as a session may last.
func TestNobodyComes(t *testing.T) {
	table, _ := sessiontest.Table(t)
	table.Grace = time.Millisecond
	s := sessiontest.Reserve(t, table)
	envoy, tunnel := wiretest.Streams()
	if err := s.Show(t.Context(), session.Shown{Stage: New(s, tunnel)}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := table.Wait(ctx); err != nil {
		s.End(&wire.Error{Code: wire.Killed})
		t.Fatal("the session does not end")
	}
	if row, err := table.Get(t.Context(), s.ID()); err != nil || row.Reason != "viewer_lost" {
		t.Errorf("closed as %+v, %v", row, err)
	}
	if _, err := envoy.Read(make([]byte, 1)); err == nil {
		t.Error("the envoy's side is open")
	}
}
