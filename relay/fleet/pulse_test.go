package fleet

import (
	"testing"
	"time"

	"scrier/wire"
)

// asking is a stream that an agent opens beside its control stream.
func (r *resting) asking(t *testing.T) *wire.Framed {
	t.Helper()
	s, err := r.near.Open(t.Context())
	if err == nil {
		err = s.SetDeadline(time.Now().Add(patience))
	}
	if err != nil {
		t.Fatal(err)
	}
	return wire.NewFramed(s)
}

func (r *resting) ends(t *testing.T, what string, code wire.Code) {
	t.Helper()
	select {
	case <-r.near.Context().Done():
		if got := wire.CodeOf(r.near.Err()); got != code {
			t.Errorf("%s: the link ended with %s, want %s", what, got, code)
		}
	case <-time.After(patience):
		t.Fatalf("%s: the link goes on", what)
	}
}

// An agent's pings are answered, with packets that are as large, up to a bound, on one stream for as long as it likes.
func TestAnAgentsPings(t *testing.T) {
	b := newBase(t)
	r := newResting(t, b, 0)
	f := r.asking(t)
	for n, pad := range []int{0, 100, wire.MaxPad, 20_000} {
		if err := f.Send(&wire.Ping{N: uint64(n) + 1, Pad: make([]byte, pad)}); err != nil {
			t.Fatal(err)
		}
		pong, err := wire.Expect[wire.Pong](f)
		if err != nil || pong.N != uint64(n)+1 || len(pong.Pad) != min(pad, wire.MaxPad) {
			t.Fatalf("the answer to %d bytes is %d with %d, %v", pad, pong.N, len(pong.Pad), err)
		}
	}
	f.Reset(wire.None)
	if err := r.control.Send(&wire.Heartbeat{Time: wire.Millis(time.Now())}); err != nil || r.near.Err() != nil {
		t.Errorf("the link ended with its pings: %v, %v", err, r.near.Err())
	}
	r.asking(t).Send(&wire.Ping{N: 1})
	r.ends(t, "a second stream", wire.Protocol)
}

// Who says something else there, or too much, is no agent.
func TestWhatIsNoPing(t *testing.T) {
	b := newBase(t)
	r := newResting(t, b, 0)
	if err := r.asking(t).Send(&wire.Heartbeat{}); err != nil {
		t.Fatal(err)
	}
	r.ends(t, "a heartbeat", wire.Protocol)

	r = newResting(t, b, 0)
	f := r.asking(t)
	go func() {
		for f.Send(&wire.Ping{N: 1}) == nil {
		}
	}()
	go func() {
		for {
			if _, err := f.Receive(); err != nil {
				return
			}
		}
	}()
	r.ends(t, "pings without end", wire.Protocol)
}
