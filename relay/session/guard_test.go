package session_test

import (
	"context"
	"sync"
	"testing"

	"scrier/relay/session"
	"scrier/relay/session/sessiontest"
	"scrier/relay/store"
	"scrier/wire"
)

// faulty is a stage that panics where the test says.
type faulty struct {
	*played
	session *session.Channel
	at      string
}

func (f *faulty) Run(ctx context.Context) *wire.Exit {
	var wg sync.WaitGroup
	defer wg.Wait()
	if f.at == "a goroutine" {
		wg.Go(func() { f.session.Guard(func() { panic(f.at) }) })
	}
	if f.at == "Run" {
		panic(f.at)
	}
	return f.played.Run(ctx)
}

func (f *faulty) Admit(session.Viewer) error {
	if f.at == "Admit" {
		panic(f.at)
	}
	return nil
}

func (f *faulty) Serve(context.Context, *wire.Framed, session.Viewer, *wire.Attach) error {
	if f.at == "Serve" {
		var none []int
		_ = none[len(f.at)]
	}
	return nil
}

func (f *faulty) Audience() session.Audience { return f }

func (f *faulty) Dismiss(e *wire.Exit) {
	f.played.Dismiss(e)
	if f.at == "Dismiss" {
		panic(f.at)
	}
}

// H90: a panic in what a session does ends that session: its record says why, its slot is free, and
// others do not notice.
func TestPanicEndsItsSession(t *testing.T) {
	for _, at := range []string{"Run", "Admit", "Serve", "a goroutine", "Dismiss"} {
		t.Run(at, func(t *testing.T) {
			table, j := sessiontest.Table(t)
			table.Max = 2
			other, p := shown(t, table)
			s := sessiontest.Reserve(t, table)
			stage := &faulty{played: newPlayed(), session: s, at: at}
			if err := s.Show(t.Context(), session.Shown{Login: "deploy", Stage: stage}); err != nil {
				t.Fatal(err)
			}
			want := wire.Internal
			switch err := s.Serve(t.Context(), nil, session.Viewer{}, nil); at {
			case "Admit", "Serve":
				if wire.CodeOf(err) != wire.Internal {
					t.Errorf("the viewer was told %v", err)
				}
			case "Dismiss":
				stage.end <- &wire.Exit{Code: wire.Left}
				want = wire.Left // it was over already
			}
			<-stage.dismissed
			waitFor(t, "the slot", func() bool { return state(t, table, s).State == store.Closed })
			if e := ends(j); len(e) != 1 || e[0].Code != want.String() || e[0].Session != s.ID().String() {
				t.Errorf("the records of ends: %+v", e)
			}
			next, third := shown(t, table)
			third.end <- &wire.Exit{}
			if other.Context().Err() != nil {
				t.Errorf("another session ended: %v", context.Cause(other.Context()))
			}
			p.end <- &wire.Exit{}
			if err := table.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			for _, ok := range []*session.Channel{other, next} {
				if v := state(t, table, ok); v.Reason != "exit" {
					t.Errorf("another session ended with %+v", v)
				}
			}
		})
	}
}

// A session that was being ended for a reason keeps that, if a panic comes of it.
func TestPanicHidesNoReason(t *testing.T) {
	table, j := sessiontest.Table(t)
	s := sessiontest.Reserve(t, table)
	s.Guard(func() {
		s.End(&wire.Error{Code: wire.Killed})
		panic("a consequence")
	})
	stage := &faulty{played: newPlayed(), session: s, at: "Run"}
	if err := s.Show(t.Context(), session.Shown{Login: "deploy", Stage: stage}); wire.CodeOf(err) != wire.Killed {
		t.Errorf("shown with %v", err)
	}
	if exit := <-stage.dismissed; exit.Code != wire.Killed {
		t.Errorf("its viewers were told %+v", exit)
	}
	if err := s.Close(wire.Killed, ""); err != nil || len(ends(j)) != 1 {
		t.Errorf("%v, %+v", err, ends(j))
	}
}
