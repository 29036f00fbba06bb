package session

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"scrier/relay/audit"
	"scrier/relay/store"
	"scrier/relay/store/bolt"
	"scrier/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// journal keeps what is written down.
type journal struct {
	mu     sync.Mutex
	events []audit.Event
}

func (j *journal) Append(_ context.Context, e audit.Event) (audit.Record, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.events = append(j.events, e)
	return audit.Record{}, nil
}

func (j *journal) AppendEnd(ctx context.Context, e audit.Event) (audit.Record, error) {
	return j.Append(ctx, e)
}
func (j *journal) Records(context.Context, uint64, int) ([]audit.Record, error) { return nil, nil }
func (j *journal) Size() uint64                                                 { return 0 }

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
		return &wire.Exit{Code: wire.CodeOf(context.Cause(ctx))}
	}
}
func (p *played) Admit(Viewer) error                                              { return nil }
func (p *played) Serve(context.Context, *wire.Framed, Viewer, *wire.Attach) error { return nil }
func (p *played) Audience() Audience                                              { return p }
func (p *played) End(func(Viewer) bool, error)                                    {}
func (p *played) Present() (bool, []string)                                       { return true, []string{} }
func (p *played) Dismiss(e *wire.Exit)                                            { p.dismissed <- e }

func newTable(t *testing.T) (*Table, *journal) {
	t.Helper()
	kv, err := bolt.Open(bolt.Config{Path: filepath.Join(t.TempDir(), "state.db"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := kv.Close(); err != nil {
			t.Error(err)
		}
	})
	j := new(journal)
	return NewTable(Config{KV: kv, Journal: j, Now: time.Now, Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Max: 5, MaxAge: time.Hour, Grace: time.Minute}), j
}

func reserve(t *testing.T, table *Table) *Session {
	t.Helper()
	s, err := table.Reserve(t.Context(), store.Session{Operator: "ann", Envoy: wire.NewEnvoyID(), Kind: "ssh"}, "test")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func state(t *testing.T, table *Table, s *Session) View {
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
	table, j := newTable(t)
	s := reserve(t, table)
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
	if len(j.events) != 1 || j.events[0].Type != "scrier.disconnect" {
		t.Errorf("written down: %+v", j.events)
	}
	if err := s.Show(t.Context(), "deploy", newPlayed()); err == nil {
		t.Error("a closed session shows another stage")
	}
}

// Whatever ends a session from outside ends all its stages, and is the reason.
func TestKillEndsAllStages(t *testing.T) {
	table, _ := newTable(t)
	s := reserve(t, table)
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

// A stage that comes when the session has ended already ends at once, and is no secret leftover.
func TestShowTooLate(t *testing.T) {
	table, _ := newTable(t)
	s := reserve(t, table)
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
