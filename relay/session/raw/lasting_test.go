package raw

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"scrier/relay/session"
	"scrier/relay/session/sessiontest"
	"scrier/relay/store"
	"scrier/wire"
	"scrier/wire/wiretest"
)

var mine = []byte("0123456789abcdef")

// place is a session that shows a connection, and the other end of that.
type place struct {
	*testing.T
	*session.Channel
	table  *session.Table
	stage  *Lasting
	target wire.Stream
	memory *session.Memory
}

func newPlace(t *testing.T, grace time.Duration) *place {
	t.Helper()
	table, _ := sessiontest.Table(t)
	table.Grace = grace
	s := sessiontest.Reserve(t, table)
	p := &place{T: t, Channel: s, table: table, memory: session.NewMemory(session.UsualMemory)}
	var tunnel wire.Stream
	p.target, tunnel = wiretest.Streams()
	p.stage = NewLasting(s, tunnel, mine, p.memory)
	if err := s.Show(t.Context(), session.Shown{Stage: p.stage}); err != nil {
		t.Fatal(err)
	}
	return p
}

// come has the viewer come. lose loses its link.
func (p *place) come(near *wire.Lasting) (carried <-chan error, lose func()) {
	p.Helper()
	turn, came, _ := near.Begin()
	a, b := wiretest.Streams()
	served := make(chan error, 1)
	go func() {
		served <- p.Serve(p.Context(), wire.NewFramed(b), session.Viewer{OperatorID: "1"}, &wire.Attach{Client: mine, From: &came})
	}()
	f := wire.NewFramed(a)
	m, err := f.Receive()
	if err != nil {
		p.Fatalf("%v, served with %v", err, <-served)
	}
	attached := m.(*wire.Attached)
	if !attached.Numbered {
		p.Fatal("it does not last")
	}
	done := make(chan error, 1)
	go func() { done <- near.Carry(turn, f, attached.Typed) }()
	return done, func() { a.Reset(wire.Internal) }
}

func (p *place) Context() context.Context { return p.T.Context() }

func (p *place) Helper() { p.T.Helper() }

// over waits for the end, and gives the row.
func (p *place) over() session.View {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.Context(), time.Minute)
	defer cancel()
	if err := p.table.Wait(ctx); err != nil {
		p.Fatal("the session does not end")
	}
	row, err := p.table.Get(ctx, p.ID())
	if err != nil || row.State != store.Closed {
		p.Fatalf("%+v, %v", row, err)
	}
	if taken, _ := p.memory.Taken(); taken != 0 {
		p.Error("not all of the memory is given back")
	}
	return row
}

// Over as many links as it takes, all bytes pass in both directions, and both ends; what was used is given back.
func TestLastingOverManyLinks(t *testing.T) {
	p := newPlace(t, time.Minute)
	there, back := make([]byte, 4<<20), make([]byte, 3<<20)
	for _, b := range [][]byte{there, back} {
		for i := range b {
			b[i] = byte(rand.Uint32())
		}
	}
	near := wire.NewLasting(nil)
	var wg sync.WaitGroup
	for _, way := range []struct {
		data     []byte
		from, to wire.Stream
	}{{there, near, p.target}, {back, p.target, near}} {
		wg.Go(func() {
			if _, err := way.from.Write(way.data); err != nil {
				t.Error(err)
			}
			if err := way.from.CloseWrite(); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			if got, err := io.ReadAll(way.to); err != nil || !bytes.Equal(got, way.data) {
				t.Errorf("%d bytes of %d, %v", len(got), len(way.data), err)
			}
		})
	}
	links := 0
	for {
		carried, lose := p.come(near)
		links++
		if links < 20 {
			time.AfterFunc(time.Duration(rand.IntN(20_000))*time.Microsecond, lose)
		}
		if err := <-carried; err == nil {
			break
		} else if !wire.Lost(err) {
			t.Fatal(err)
		}
	}
	wg.Wait()
	if row := p.over(); row.Reason != "exit" || row.Detail != "" {
		t.Errorf("%+v", row)
	}
	if links < 3 {
		t.Errorf("over %d links", links)
	}
}

// Nobody but the viewer that it is for gets the connection, while that is away or not.
func TestLastingIsForOne(t *testing.T) {
	p := newPlace(t, time.Minute)
	near := wire.NewLasting(nil)
	carried, lose := p.come(near)
	lose()
	<-carried
	for name, who := range map[string]struct {
		session.Viewer
		client []byte
	}{
		"another client":   {session.Viewer{OperatorID: "1"}, []byte("another client..")},
		"no client":        {session.Viewer{OperatorID: "1"}, nil},
		"another operator": {session.Viewer{OperatorID: "2"}, mine},
		"a watcher":        {session.Viewer{OperatorID: "1", Watch: true}, mine},
	} {
		_, b := wiretest.Streams()
		if err := p.Serve(t.Context(), wire.NewFramed(b), who.Viewer, &wire.Attach{Client: who.client}); wire.CodeOf(err) != wire.Conflict && wire.CodeOf(err) != wire.Forbidden {
			t.Errorf("%s: %v", name, err)
		}
	}
	p.target.Reset(wire.None)
	p.over()
}

// Whoever does not come back in time, or ends the connection, ends it for the machine.
func TestLastingEnds(t *testing.T) {
	for name, tt := range map[string]struct {
		grace  time.Duration
		ends   func(p *place, near *wire.Lasting, lose func())
		reason string
	}{
		"nobody comes back": {20 * time.Millisecond, func(_ *place, _ *wire.Lasting, lose func()) { lose() }, "viewer_lost"},
		"the viewer resets": {time.Minute, func(_ *place, near *wire.Lasting, _ func()) { near.Reset(wire.None) }, "exit"},
		"the machine does":  {time.Minute, func(p *place, _ *wire.Lasting, _ func()) { p.target.Reset(wire.TargetRefused) }, "target_refused"},
		"it does, and nobody is there": {time.Minute, func(p *place, _ *wire.Lasting, lose func()) {
			lose()
			time.Sleep(10 * time.Millisecond)
			p.target.Reset(wire.TargetRefused)
		}, "target_refused"},
		"killed":                  {time.Minute, func(p *place, _ *wire.Lasting, _ func()) { p.End(&wire.Error{Code: wire.Killed}) }, "killed"},
		"killed, nobody is there": {time.Minute, func(p *place, _ *wire.Lasting, lose func()) { lose(); p.End(&wire.Error{Code: wire.Killed}) }, "killed"},
		"it breaks the protocol": {time.Minute, func(p *place, _ *wire.Lasting, _ func()) {
			turn, _, _ := p.stage.end.Begin()
			a, _ := wiretest.Streams()
			_ = p.stage.end.Carry(turn, wire.NewFramed(a), 77)
		}, "protocol_error"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t, tt.grace)
			near := wire.NewLasting(nil)
			carried, lose := p.come(near)
			if _, err := near.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(p.target, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			tt.ends(p, near, lose)
			<-carried
			if row := p.over(); row.Reason != tt.reason {
				t.Errorf("%s: %+v", row.Reason, row)
			}
			if _, err := p.target.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
				t.Errorf("the machine reads %v", err)
			}
			a, b := wiretest.Streams()
			if err := p.stage.Serve(t.Context(), wire.NewFramed(b), session.Viewer{OperatorID: "1"}, &wire.Attach{Client: mine}); wire.CodeOf(err) != wire.NotFound {
				t.Errorf("who comes late: %v", err)
			}
			a.Reset(wire.None)
		})
	}
}

// One to which nobody ever comes ends too, and without memory there is none.
func TestLastingWithoutViewer(t *testing.T) {
	p := newPlace(t, 10*time.Millisecond)
	if row := p.over(); row.Reason != "viewer_lost" {
		t.Errorf("%+v", row)
	}
	if l := NewLasting(p.Channel, nil, mine, session.NewMemory(4*wire.LastingLeast-1)); l != nil {
		t.Error("there is one without memory")
	}
}

// To what does not last nobody comes back without a ticket.
func TestBackToOthers(t *testing.T) {
	table, _ := sessiontest.Table(t)
	s := sessiontest.Reserve(t, table)
	envoy, tunnel := wiretest.Streams()
	if err := s.Show(t.Context(), session.Shown{Stage: New(s, tunnel)}); err != nil {
		t.Fatal(err)
	}
	for _, number := range []uint32{0, 1, 2} {
		if err := s.Back(t.Context(), nil, session.Viewer{OperatorID: "1"}, number, &wire.Attach{Client: mine}); wire.CodeOf(err) != wire.NotFound {
			t.Errorf("%d: %v", number, err)
		}
	}
	envoy.Reset(wire.None)
	s.End(&wire.Error{Code: wire.Killed})
	if err := table.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
}
