package session_test

import (
	"context"
	"slices"
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

func state(t *testing.T, table *session.Table, s *session.Channel) session.View {
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
	showBoth(t, s, first, second)
	if v := state(t, table, s); v.State != store.Active || v.Login != "deploy" || !v.Attached {
		t.Errorf("shown as %+v", v)
	}
	first.end <- &wire.Exit{Code: wire.Left}
	if e := <-first.dismissed; e.Code != wire.Left {
		t.Errorf("the first stage's viewers heard %+v", e)
	}
	if v := state(t, table, s); v.State != store.Active || s.Session.Context().Err() != nil {
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
	var types []string
	for _, e := range j.Events() {
		types = append(types, e.Type+" "+e.Fields["number"]+" "+e.Code)
	}
	if want := []string{"scrier.connect  ", "session.channel 2 ", "session.channel_end 1 left", "session.channel_end 2 agent_lost", "scrier.disconnect  left"}; !slices.Equal(types, want) {
		t.Errorf("written down: %q", types)
	}
	if _, err := s.More(t.Context(), &session.Request{}); wire.CodeOf(err) != wire.NotFound {
		t.Errorf("a closed session opens another channel: %v", err)
	}
}

// opener opens channels that show what it is given. It implements [session.Connection].
type opener struct {
	stages chan session.Stage
	err    error
	fits   bool
}

func (o opener) Fits(*session.Request) bool   { return o.fits }
func (o opener) Check(*session.Request) error { return o.err }
func (o opener) Intent(*session.Request) map[string]string {
	return map[string]string{"channel": "exec"}
}
func (o opener) Rights() []wire.Right { return []wire.Right{wire.MayExec} }
func (o opener) Open(ctx context.Context, _ *session.Channel, _ *session.Request) (session.Stage, error) {
	select {
	case s := <-o.stages:
		return s, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// showBoth shows one stage, and another on a channel that comes later.
func showBoth(t *testing.T, s *session.Channel, first, second session.Stage) opener {
	t.Helper()
	o := opener{stages: make(chan session.Stage, 1)}
	o.stages <- second
	if err := s.Intent(t.Context(), map[string]string{"channel": "shell"}); err != nil {
		t.Fatal(err)
	}
	if err := s.Show(t.Context(), session.Shown{Login: "deploy", Stage: first, More: o}); err != nil {
		t.Fatal(err)
	}
	if c, err := s.More(t.Context(), &session.Request{}); err != nil || c.Number() != 2 {
		t.Fatal(c, err)
	}
	return o
}

// Whatever ends a session from outside ends all its stages, and is the reason.
func TestKillEndsAllStages(t *testing.T) {
	table, _ := sessiontest.Table(t)
	s := sessiontest.Reserve(t, table)
	first, second := newPlayed(), newPlayed()
	showBoth(t, s, first, second)
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
	if err := s.Show(t.Context(), session.Shown{Login: "deploy", Stage: p}); wire.CodeOf(err) != wire.Killed {
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
