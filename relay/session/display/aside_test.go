package display

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"scrier/relay/session"
	"scrier/relay/session/sessiontest"
	"scrier/wire"
	"scrier/wire/wiretest"
)

// film is a desktop that never stops to change.
type film struct{ *picture }

func (f film) Join(context.Context, bool) (Screen, error) {
	return &reel{view: view{f.picture, make(chan struct{})}}, nil
}

// reel is a screen of it: numbered instructions, cut anywhere.
type reel struct {
	view
	n    int
	rest []byte
}

func (r *reel) Read(p []byte) (int, error) {
	select {
	case <-r.closed:
		return 0, io.EOF
	default:
	}
	for len(r.rest) < len(p) {
		r.rest = append(r.rest, instruction(r.n)...)
		r.n++
	}
	n := copy(p, r.rest)
	r.rest = r.rest[:copy(r.rest, r.rest[n:])]
	return n, nil
}

func instruction(n int) string { return fmt.Sprintf("4.sync,8.%08d;", n) }

// losing is a stream whose connection loses packets, as it says itself.
type losing struct {
	wire.Stream
	packets atomic.Uint64
}

func (l *losing) Path() (sent, lost uint64, trip time.Duration) {
	n := l.packets.Add(100)
	return n, n / 10, time.Millisecond
}

// The picture of a desktop goes over a lane and comes back: each instruction comes once and in its order, although nothing of a
// picture is kept that was sent.
func TestPictureOverALane(t *testing.T) {
	table, _ := sessiontest.Table(t)
	s := sessiontest.Reserve(t, table)
	if err := s.Show(t.Context(), session.Shown{Stage: New(s, film{&picture{done: make(chan struct{})}})}); err != nil {
		t.Fatal(err)
	}
	serve := func(who session.Viewer, a *wire.Attach, lossy bool) (*wire.Framed, chan error) {
		near, far := wiretest.Streams()
		var own wire.Stream = near
		if lossy {
			own = &losing{Stream: near}
		}
		served := make(chan error, 1)
		go func() { served <- s.Serve(context.Background(), wire.NewFramed(own), who, a) }()
		f := wire.NewFramed(far)
		if err := f.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		return f, served
	}
	page, served := serve(session.Viewer{OperatorID: "1", Operator: "ann"}, &wire.Attach{Asides: true}, true)
	if _, err := wire.Expect[wire.Attached](page); err != nil {
		t.Fatal(err)
	}
	var shown strings.Builder
	next := func(f *wire.Framed, frames uint64) *wire.Aside {
		m, err := f.Receive()
		if err != nil {
			t.Fatal(err)
		}
		if d, ok := m.(*wire.Data); ok {
			shown.Write(d.Bytes)
			if err := page.Send(&wire.Ack{Offset: uint64(shown.Len()), Frames: frames}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(20 * time.Millisecond) // a page that takes its time
		}
		a, _ := m.(*wire.Aside)
		return a
	}
	until := func() *wire.Aside {
		for {
			if a := next(page, 0); a != nil {
				return a
			}
		}
	}
	_, who, err := table.Redeem(until().Ticket)
	if err != nil {
		t.Fatal(err)
	}
	lane, carried := serve(who, &wire.Attach{}, false)
	if used := until(); !used.Used {
		t.Fatalf("the lane is there: %+v", used)
	}
	frames := uint64(0)
	for range 30 {
		frames++
		next(lane, frames)
	}
	lane.Reset(wire.None) // with frames on their way
	if over := until(); !over.Over {
		t.Fatalf("the lane broke: %+v", over)
	}
	if err := page.Send(&wire.Aside{N: 1, Over: true, Frames: frames}); err != nil {
		t.Fatal(err)
	}
	if err := <-carried; err != nil {
		t.Errorf("the lane: %v", err)
	}
	for range 60 {
		next(page, 0)
	}
	var want strings.Builder
	for n := 0; want.Len() < shown.Len(); n++ {
		want.WriteString(instruction(n))
	}
	if shown.String() != want.String()[:shown.Len()] {
		t.Error("instructions were lost, or came twice")
	}
	s.End(&wire.Error{Code: wire.Killed})
	page.Reset(wire.None)
	if err := <-served; err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := table.Wait(ctx); err != nil {
		t.Error(err)
	}
}
