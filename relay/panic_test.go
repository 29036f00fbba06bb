package relay

import (
	"context"
	"sync/atomic"
	"testing"

	"scrier/relay/access"
	"scrier/relay/kind"
	"scrier/relay/session"
	"scrier/relay/store"
	"scrier/wire"
)

// faultyKind opens a stage of the kind that it stands for, and panics at a place that the test names.
type faultyKind struct {
	kind.Kind
	at string // for requests with the login "faulty"
}

func (k *faultyKind) Intent(req *session.Request) map[string]string {
	if k.at == "Intent" && req.Login == "faulty" {
		panic(k.at)
	}
	return k.Kind.Intent(req)
}

func (k *faultyKind) Open(ctx context.Context, s *session.Channel, req *session.Request) (session.Shown, error) {
	faulty := req.Login == "faulty"
	req.Login = ""
	if faulty && k.at == "Open" {
		panic(k.at)
	}
	o, err := k.Kind.Open(ctx, s, req)
	if faulty && err == nil {
		o.Stage = &faultyStage{o.Stage, s, k.at}
	}
	return o, err
}

type faultyStage struct {
	session.Stage
	session *session.Channel
	at      string
}

func (f *faultyStage) Run(ctx context.Context) *wire.Exit {
	switch f.at {
	case "Run":
		panic(f.at)
	case "a goroutine":
		done := make(chan struct{})
		defer func() { <-done }()
		go func() {
			defer close(done)
			f.session.Guard(func() { panic(f.at) })
		}()
	}
	return f.Stage.Run(ctx)
}

func (f *faultyStage) Serve(ctx context.Context, s *wire.Framed, who session.Viewer, a *wire.Attach) error {
	if f.at == "Serve" {
		panic(f.at)
	}
	return f.Stage.Serve(ctx, s, who, a)
}

// H90: wherever a session panics, its operator is told, it is recorded, and the relay goes on, as do the
// other sessions.
func TestPanicEndsOneSession(t *testing.T) {
	for _, at := range []string{"Intent", "Open", "Run", "Serve", "a goroutine"} {
		t.Run(at, func(t *testing.T) {
			r := loaded(t, func(s *Settings) { s.Config.Scrier.MaxSessions = 2 })
			r.kind[wire.KindSSH] = &faultyKind{r.kind[wire.KindSSH], at}
			run(t, r)
			servedBy(t, r, echo)
			other, err := newPerson(t, r, "bob", access.Admin).connect("web1")
			if err != nil {
				t.Fatal(err)
			}
			p := newPerson(t, r, "ann", access.Admin)
			who, req := asked(p)
			req.Login = "faulty"
			s, err := r.open(t.Context(), who, req)
			switch at {
			case "Intent", "Open":
				if wire.CodeOf(err) != wire.Internal {
					t.Errorf("opened with %v", err)
				}
			default:
				if err != nil && wire.CodeOf(err) != wire.Internal { // it may have ended before it was seen
					t.Fatal(err)
				}
			}
			if at == "Serve" {
				if err := s.Serve(t.Context(), nil, viewerOf(who), &wire.Attach{}); wire.CodeOf(err) != wire.Internal {
					t.Errorf("served with %v", err)
				}
			}
			var faulty store.Session
			waitFor(t, "the session to end", func() bool {
				faulty = rows(t, r)[0] // the newest
				return faulty.State == store.Closed
			})
			if faulty.Operator != "ann" || faulty.Code != wire.Internal {
				t.Errorf("it ended as %+v", faulty)
			}
			other.roundTrip(t)
			next, err := p.connect("web1") // the slot is free
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range []*viewer{other, next} {
				v.types(t, "exit")
				if x := v.exit(t); x.Status != 7 {
					t.Errorf("another session ended with %+v", x)
				}
			}
			waitFor(t, "all sessions to end", func() bool {
				for _, row := range rows(t, r) {
					if row.State != store.Closed {
						return false
					}
				}
				return true
			})
			if n := audited(t, r, "scrier.disconnect"); n != 3 {
				t.Errorf("%d records of three ends", n)
			}
		})
	}
}

// A fault of what ends a session that did not open, beside the request or the viewer that asked for it, is contained too.
func TestPanicBesideWhoAsked(t *testing.T) {
	r := loaded(t)
	var calls atomic.Int32 // left until it fails: the last one of a session
	changed := r.sessions.Changed
	r.sessions.Changed = func(id wire.SessionID) {
		if changed(id); calls.Add(-1) == 0 {
			panic("a fault")
		}
	}
	run(t, r)
	serve(t, r, "web1", func(_ *envoy, _ *wire.Open, s wire.Stream) {
		calls.Store(2)
		s.Reset(wire.Internal)
	})
	if _, err := begin(t.Context(), t, r, admin(t, r, "ann")); wire.CodeOf(err) != wire.Internal {
		t.Errorf("the page is told %v", err)
	}
	f, _ := connecting(t, r, newPerson(t, r, "bob", access.Admin))
	for {
		m, err := f.Receive()
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := m.(*wire.Said); !ok {
			break // it is told, and the relay is there
		}
	}
	waitFor(t, "both panics", func() bool { return r.panics.Count() == 2 })
	settled(t, r)
}
