package terminal

import (
	"context"
	"testing"
	"time"

	"scrier/relay/session"
	"scrier/relay/session/sessiontest"
	"scrier/relay/store"
	"scrier/wire"
)

// faulty is a program's channel that panics where the test says.
type faulty struct {
	*program
	at string
}

func (f *faulty) fail(at string) {
	if f.at == at {
		panic(at)
	}
}

func (f *faulty) Read(b []byte) (int, error) {
	n, err := f.program.Read(b)
	f.fail("Read")
	return n, err
}

func (f *faulty) Write(b []byte) (int, error) {
	f.fail("Write")
	return f.program.Write(b)
}

func (f *faulty) Resize(s wire.Size) error {
	f.fail("Resize")
	return f.program.Resize(s)
}

func (f *faulty) Wait(ctx context.Context) *wire.Exit {
	f.fail("Wait")
	return f.program.Wait(ctx)
}

// A panic in any of a terminal's goroutines, and in a viewer's, ends the session and leaves nobody waiting.
func TestPanicEndsTheTerminal(t *testing.T) {
	for _, at := range []string{"Read", "Write", "Resize", "Wait", "take", "screen"} {
		t.Run(at, func(t *testing.T) {
			table, j := sessiontest.Table(t)
			s := sessiontest.Reserve(t, table)
			p := &faulty{newProgram(), at}
			term := New(s, p, size)
			if err := s.Show(t.Context(), session.Shown{Login: "deploy", Stage: term}); err != nil {
				t.Fatal(err)
			}
			v := attach(t, term, wire.Attach{Client: make([]byte, 16), Size: size})
			term.mu.Lock()
			switch at {
			case "take":
				term.input.clients = nil // input of nobody
			case "screen":
				term.screen = nil
			}
			term.mu.Unlock()
			switch at {
			case "Read", "screen":
				p.says(t, "hello")
			case "Write", "take":
				v.types("hello")
			case "Resize":
				if err := v.Send(&wire.Resize{Size: wire.Size{Cols: 100, Rows: 30}}); err != nil {
					t.Fatal(err)
				}
			case "Wait":
				if err := p.print.Close(); err != nil {
					t.Fatal(err)
				}
			}
			for {
				m, err := v.Receive()
				if err != nil {
					break // a viewer whose own goroutine failed is broken off
				}
				if x, ok := m.(*wire.Exit); ok {
					if x.Code != wire.Internal {
						t.Errorf("the viewer was told %+v", x)
					}
					break
				}
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
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
		})
	}
}

// I11: a viewer's right is looked at again when whoever ends viewers can find them: so it does not matter
// when it is taken away.
func TestRightTakenWhileAttaching(t *testing.T) {
	for _, watching := range []bool{false, true} {
		term, p := opened(t)
		who := session.Viewer{OperatorID: "1", Operator: "ann", Watch: watching, Check: func(bool) error { return &wire.Error{Code: wire.SignedOut} }}
		v := serve(t, term, wire.Attach{Client: make([]byte, 16), Size: size}, who)
		m, err := v.Receive()
		if x, ok := m.(*wire.Exit); !ok || x.Code != wire.SignedOut {
			t.Errorf("it got %+v, %v", m, err)
		}
		p.says(t, "secret") // the terminal goes on
		deadline := time.Now().Add(patience)
		for here, watchers := term.Audience().Present(); here || len(watchers) > 0; here, watchers = term.Audience().Present() {
			if time.Now().After(deadline) {
				t.Fatal("the viewer is still there")
			}
			time.Sleep(time.Millisecond)
		}
	}
}
