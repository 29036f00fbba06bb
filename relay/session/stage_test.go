package session_test

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"

	"scrier/relay/audit"
	"scrier/relay/session"
	"scrier/relay/session/sessiontest"
	"scrier/relay/store"
	"scrier/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// played is a stage that ends when the test says so.
type played struct {
	end       chan *wire.Exit
	dismissed chan *wire.Exit // buffered
}

func newPlayed() *played {
	return &played{end: make(chan *wire.Exit, 1), dismissed: make(chan *wire.Exit, 1)}
}

func (p *played) Run(ctx context.Context) *wire.Exit {
	select {
	case e := <-p.end:
		return e
	case <-ctx.Done():
		return wire.ExitOf(context.Cause(ctx))
	}
}
func (p *played) Admit(session.Viewer) error                                              { return nil }
func (p *played) Serve(context.Context, *wire.Framed, session.Viewer, *wire.Attach) error { return nil }
func (p *played) Audience() session.Audience                                              { return p }
func (p *played) End(func(session.Viewer) bool, error)                                    {}
func (p *played) Ends() time.Time                                                         { return time.Time{} }
func (p *played) Present() (bool, []string)                                               { return true, []string{} }
func (p *played) Dismiss(e *wire.Exit)                                                    { p.dismissed <- e }

func state(t *testing.T, table *session.Table, s *session.Session) session.View {
	t.Helper()
	v, err := table.Get(t.Context(), s.ID())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// A session has several stages: each ends by itself, the session with the last one, once, and with
// what the first one said.
func TestStages(t *testing.T) {
	table, j := sessiontest.Table(t)
	s := sessiontest.Reserve(t, table)
	first, second := newPlayed(), newPlayed()
	for _, p := range []*played{first, second} {
		if err := s.Show(t.Context(), "deploy", p); err != nil {
			t.Fatal(err)
		}
	}
	if v := state(t, table, s); v.State != store.Active || v.Login != "deploy" || !v.Attached {
		t.Errorf("shown as %+v", v)
	}
	first.end <- &wire.Exit{Code: wire.Left}
	if e := <-first.dismissed; e.Code != wire.Left {
		t.Errorf("the first stage's viewers heard %+v", e)
	}
	if v := state(t, table, s); v.State != store.Active || s.Context().Err() != nil {
		t.Errorf("the session ended with its first stage of two: %+v", v)
	}
	second.end <- &wire.Exit{Code: wire.AgentLost}
	<-second.dismissed
	if err := table.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if v := state(t, table, s); v.State != store.Closed || v.Reason != wire.Left.String() {
		t.Errorf("closed as %+v", v)
	}
	if e := j.Events(); len(e) != 1 || e[0].Type != "scrier.disconnect" {
		t.Errorf("written down: %+v", e)
	}
	if err := s.Show(t.Context(), "deploy", newPlayed()); err == nil {
		t.Error("a closed session shows another stage")
	}
}

// Whatever ends a session from outside ends all its stages, and is the reason.
func TestKillEndsAllStages(t *testing.T) {
	table, _ := sessiontest.Table(t)
	s := sessiontest.Reserve(t, table)
	first, second := newPlayed(), newPlayed()
	for _, p := range []*played{first, second} {
		if err := s.Show(t.Context(), "", p); err != nil {
			t.Fatal(err)
		}
	}
	first.end <- &wire.Exit{}
	<-first.dismissed
	if err := table.Kill(t.Context(), audit.Event{Operator: "bob"}, s.ID()); err != nil {
		t.Fatal(err)
	}
	if e := <-second.dismissed; e.Code != wire.Killed {
		t.Errorf("the second stage's viewers heard %+v", e)
	}
	if err := table.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if v := state(t, table, s); v.Reason != wire.Killed.String() {
		t.Errorf("closed as %+v", v)
	}
}

// A stage that comes when the session has ended already ends at once, and does not stay behind.
func TestShowTooLate(t *testing.T) {
	table, _ := sessiontest.Table(t)
	s := sessiontest.Reserve(t, table)
	s.End(&wire.Error{Code: wire.Killed})
	p := newPlayed()
	if err := s.Show(t.Context(), "deploy", p); wire.CodeOf(err) != wire.Killed {
		t.Errorf("shown with %v", err)
	}
	if e := <-p.dismissed; e.Code != wire.Killed {
		t.Errorf("the stage ended with %+v", e)
	}
	if err := s.Close(wire.Killed, ""); err != nil {
		t.Fatal(err)
	}
	if v := state(t, table, s); v.State != store.Closed || v.Login != "" {
		t.Errorf("closed as %+v", v)
	}
}
