package client

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"scrier/wire"
	"scrier/wire/wiretest"
)

// Whether there are lanes is a matter of the link that there is now, which may go over another road than the one before.
func TestLanesOfAnotherLink(t *testing.T) {
	link := func(road wire.Road) wire.Link {
		near, far := wiretest.Pair(wire.Peer{Road: road}, wire.Peer{Road: road})
		t.Cleanup(func() { _ = far.Close(wire.None, "") })
		return near
	}
	r := Over(link(wire.TCP))
	r.lanesOf = func(l wire.Link) laner {
		return laner{dial: map[bool]func(context.Context, []byte, *wire.Laned) error{
			true: func(context.Context, []byte, *wire.Laned) error { return nil },
		}[l.Peer().Road == wire.QUIC]}
	}
	for _, road := range []wire.Road{wire.QUIC, wire.TCP} {
		r.redial = func(context.Context) (wire.Link, error) { return link(road), nil }
		if err := r.relink(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := r.lanes.dial != nil; got != (road == wire.QUIC) {
			t.Errorf("lanes over %s: %t", road, got)
		}
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// Where the relay cannot be reached for a lane the next one waits; that one stream had ended before its lane was there says nothing
// of the others.
func TestLaneAgain(t *testing.T) {
	for _, c := range []struct {
		err   error
		dials int
	}{
		{errors.New("connection refused"), 1},
		{wire.Errorf(wire.NotFound, "no stream waits for this lane"), 3},
		{nil, 3},
	} {
		dials := 0
		l := laner{until: new(atomic.Int64), dial: func(context.Context, []byte, *wire.Laned) error {
			dials++
			return c.err
		}}
		for range 3 {
			l.move(t.Context(), nil, nil)
		}
		if dials != c.dials {
			t.Errorf("%v: %d attempts of 3", c.err, dials)
		}
	}
}
