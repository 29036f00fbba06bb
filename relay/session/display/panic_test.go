package display

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

// patience is no measure of speed: the machine may be busy.
const patience = 60 * time.Second

// picture is a desktop that shows nothing, and panics where the test says.
type picture struct {
	at   string
	done chan struct{}
}

func (p *picture) fail(at string) {
	if p.at == at {
		panic(at)
	}
}

func (p *picture) Join(context.Context, bool) (Screen, error) {
	p.fail("Join")
	return &view{p, make(chan struct{})}, nil
}
func (p *picture) Allows() wire.Desktop  { return wire.Desktop{} }
func (p *picture) Done() <-chan struct{} { p.fail("Done"); return p.done }
func (p *picture) Err() error            { return nil }
func (p *picture) Close()                {}

// view is a screen of it.
type view struct {
	*picture
	closed chan struct{}
}

func (v *view) Read([]byte) (int, error) {
	v.fail("Read")
	<-v.closed
	return 0, io.EOF
}

func (v *view) Type(r io.Reader) error {
	v.fail("Type")
	_, err := io.Copy(io.Discard, r)
	return err
}
func (v *view) Active() bool { return false }
func (v *view) Close()       { close(v.closed) }

// H90: a panic in what shows a desktop, or takes what is typed, ends the session and leaves nobody waiting.
func TestPanicEndsTheDisplay(t *testing.T) {
	for _, at := range []string{"Join", "Read", "Type", "Done"} {
		t.Run(at, func(t *testing.T) {
			table, j := sessiontest.Table(t)
			s := sessiontest.Reserve(t, table)
			if err := s.Show(t.Context(), session.Shown{Stage: New(s, &picture{at, make(chan struct{})})}); err != nil {
				t.Fatal(err)
			}
			near, far := wiretest.Streams()
			served := make(chan error, 1)
			go func() {
				served <- s.Serve(context.Background(), wire.NewFramed(far), session.Viewer{OperatorID: "1", Operator: "ann"}, &wire.Attach{})
			}()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if err := table.Wait(ctx); err != nil {
				t.Fatal("the session does not end")
			}
			near.Reset(wire.None)
			select {
			case <-served:
			case <-ctx.Done():
				t.Fatal("its viewer is still served")
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

// Who comes back by itself leaves the desktop to who has taken it over, also while that one has no connection.
func TestNotTakenBack(t *testing.T) {
	table, _ := sessiontest.Table(t)
	s := sessiontest.Reserve(t, table)
	d := New(s, &picture{"", make(chan struct{})})
	if err := s.Show(t.Context(), session.Shown{Stage: d}); err != nil {
		t.Fatal(err)
	}
	attach := func(client string, back bool) (*wire.Framed, error) {
		near, far := wiretest.Streams()
		t.Cleanup(func() { near.Reset(wire.None) })
		v := wire.NewFramed(near)
		go func() {
			f := wire.NewFramed(far)
			if err := s.Serve(context.Background(), f, session.Viewer{OperatorID: "1", Operator: "ann"}, &wire.Attach{Client: []byte(client), Back: back}); err != nil {
				_ = f.Send(wire.Refuse(err))
			}
		}()
		_, err := wire.Expect[wire.Attached](v)
		return v, err
	}
	gone := func(v *wire.Framed) {
		v.Reset(wire.ViewerLost)
		for there := true; there; time.Sleep(time.Millisecond) {
			there, _ = d.Audience().Present()
		}
	}
	for _, back := range []bool{false, true} {
		v, err := attach("one", back)
		if err != nil {
			t.Fatal(err)
		}
		gone(v)
	}
	two, err := attach("two", false)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := attach("one", true); wire.CodeOf(err) != wire.TakenOver {
			t.Fatalf("it takes the desktop back: %v", err)
		}
		gone(two)
	}
	if _, err := attach("one", false); err != nil {
		t.Errorf("a person who asks for it is told %v", err)
	}
	s.End(&wire.Error{Code: wire.Killed})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := table.Wait(ctx); err != nil {
		t.Fatal("the session does not end")
	}
}
