package client

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"scrier/wire"
)

// narrow is a link that lets so many streams be open at a time.
type narrow struct {
	wire.Link
	room   chan struct{}
	asked  atomic.Int32 // for streams
	closed bool
	dead   error
}

func newNarrow(n int) *narrow { return &narrow{room: make(chan struct{}, n)} }

type narrowStream struct {
	wire.Stream
	on *narrow
}

func (n *narrow) Open(ctx context.Context) (wire.Stream, error) {
	n.asked.Add(1)
	if n.dead != nil {
		return nil, n.dead
	}
	select {
	case n.room <- struct{}{}:
		return narrowStream{on: n}, nil
	default:
	}
	select {
	case n.room <- struct{}{}:
		return narrowStream{on: n}, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (n *narrow) Err() error { return n.dead }

func (n *narrow) Context() context.Context { return context.Background() }

func (n *narrow) Close(wire.Code, string) error {
	n.closed = true
	return nil
}

func (s narrowStream) end() { <-s.on.room }

// Where a link has no room another is made, and those that are there are filled first.
func TestLinks(t *testing.T) {
	var made []*narrow
	l := &links{first: newNarrow(2), dial: func(context.Context) (wire.Link, error) {
		made = append(made, newNarrow(3))
		return made[len(made)-1], nil
	}}
	var all []narrowStream
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 11 { // at the same time
		wg.Go(func() {
			s, _, err := l.open(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, s.(narrowStream))
		})
	}
	wg.Wait()
	if len(made) != 3 {
		t.Fatalf("%d more links for 11 streams", len(made))
	}
	for _, s := range all[:5] {
		s.end()
	}
	for range 5 {
		if _, _, err := l.open(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if len(made) != 3 {
		t.Errorf("%d more links, and there was room", len(made))
	}
	made[0].dead = errors.New("dead")
	if s, _, err := l.open(t.Context()); err != nil || s.(narrowStream).on != made[3] {
		t.Errorf("%v, %v; %d more links", s, err, len(made))
	}
	l.close(false)
	for i, n := range made[1:] {
		if !n.closed {
			t.Errorf("link %d is open", i+1)
		}
	}
}

// They are bounded, and where no other can be made the first is waited for.
func TestLinksEnd(t *testing.T) {
	n, first := 0, newNarrow(1)
	l := &links{first: first, dial: func(context.Context) (wire.Link, error) {
		n++
		return newNarrow(1), nil
	}}
	for range maxLinks {
		if _, _, err := l.open(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, wire.Errorf(wire.Cancelled, "no room"))
	defer cancel()
	if _, _, err := l.open(ctx); wire.CodeOf(err) != wire.Cancelled || n != maxLinks-1 {
		t.Errorf("%v; %d more links", err, n)
	}
	l = &links{first: newNarrow(1), dial: func(context.Context) (wire.Link, error) { return nil, errors.New("no") }}
	s, _, err := l.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		time.Sleep(10 * time.Millisecond)
		s.(narrowStream).end()
	}()
	if s, _, err = l.open(t.Context()); err != nil || s.(narrowStream).on != l.first {
		t.Errorf("%v, %v", s, err)
	}
}

// A link that was full is not asked again while another one has room: with a thousand streams that would take minutes.
func TestLinksAskWhereRoomIs(t *testing.T) {
	first := newNarrow(1)
	l := &links{first: first, dial: func(context.Context) (wire.Link, error) { return newNarrow(1000), nil }}
	for range 500 {
		if _, _, err := l.open(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := first.asked.Load(); n > 2 {
		t.Errorf("the full link was asked %d times", n)
	}
}

// While another link is made, who finds room does not wait for that.
func TestLinksBesideADial(t *testing.T) {
	dialling, dialled := make(chan struct{}), make(chan struct{})
	late := time.AfterFunc(20*time.Second, func() { close(dialled) })
	l := &links{first: newNarrow(1), dial: func(context.Context) (wire.Link, error) {
		close(dialling)
		<-dialled
		return newNarrow(1), nil
	}}
	s, _, err := l.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, _, err := l.open(t.Context()); err != nil {
			t.Error(err)
		}
	})
	<-dialling
	s.(narrowStream).end()
	if again, _, err := l.open(t.Context()); err != nil || again.(narrowStream).on != l.first {
		t.Errorf("%v, %v", again, err)
	}
	if late.Stop() {
		close(dialled)
	} else {
		t.Error("it waited for the other link")
	}
	wg.Wait()
}
