package audience

import (
	"fmt"
	"testing"
	"time"
)

// way is a line with a screen at its end, in time that the test counts: it carries rate bytes a second,
// and what is sent is acknowledged base later at the earliest, 10 ms after the screen has shown it.
type way struct {
	p    pace
	now  time.Time
	rate float64
	base time.Duration

	next, seen uint64
	free       time.Time // when the line is done with what it has
	acks       []ack     // on their way
}

type ack struct {
	offset uint64
	at     time.Time
}

const limit = 256 << 10

// run sends as much as is allowed for a while, in frames as big as the seat makes them, and gives how
// much was shown, and the longest that a frame had to wait for those before it.
func (w *way) run(d time.Duration) (shown uint64, wait time.Duration) {
	began := w.seen
	for end := w.now.Add(d); w.now.Before(end); w.now = w.now.Add(time.Millisecond) {
		for len(w.acks) > 0 && !w.acks[0].at.After(w.now) {
			w.p.shown(w.acks[0].offset, w.now)
			w.seen = max(w.seen, w.acks[0].offset)
			w.acks = w.acks[1:]
		}
		for window := w.p.window(limit, w.now); w.next < w.seen+window; {
			n := min(window/4, 32<<10, w.seen+window-w.next)
			w.next += n
			w.p.sent(w.next, false, w.now)
			if w.free.Before(w.now) {
				w.free = w.now
			}
			wait = max(wait, w.free.Sub(w.now))
			w.free = w.free.Add(time.Duration(float64(n) / w.rate * float64(time.Second)))
			w.acks = append(w.acks, ack{w.next, w.free.Add(w.base + 10*time.Millisecond)})
		}
	}
	return w.seen - began, wait
}

// Whatever the way carries, it is kept busy, and little waits on it.
func TestPace(t *testing.T) {
	for _, rate := range []float64{250e3, 1 << 20, 2.5e6, 20e6} {
		for _, base := range []time.Duration{0, 20 * time.Millisecond, 100 * time.Millisecond} {
			t.Run(fmt.Sprintf("%.0f kB/s, %s", rate/1e3, base), func(t *testing.T) {
				w := &way{now: time.Unix(1e9, 0), rate: rate, base: base}
				w.run(3 * time.Second) // it has to find out
				shown, wait := w.run(30 * time.Second)
				// A window of 256 KiB carries no more than that in a round trip.
				most := min(rate, limit/(base+10*time.Millisecond).Seconds())
				if got := float64(shown) / 30; got < 0.85*most {
					t.Errorf("%.0f kB/s of %.0f were shown", got/1e3, most/1e3)
				}
				if wait > 160*time.Millisecond {
					t.Errorf("a frame waited %s for those before it", wait)
				}
				// The way gets four times as narrow: soon little waits on it again.
				w.rate /= 4
				w.run(5 * time.Second)
				if _, wait := w.run(10 * time.Second); wait > 300*time.Millisecond {
					t.Errorf("on a narrower way a frame waited %s", wait)
				}
			})
		}
	}
}

// Keys now and then tell nothing about the rate: the window stays.
func TestPaceKeys(t *testing.T) {
	w := &way{now: time.Unix(1e9, 0), rate: 20e6, base: 20 * time.Millisecond}
	w.run(3 * time.Second)
	before := w.p.window(limit, w.now)
	for range 100 {
		w.now = w.now.Add(200 * time.Millisecond)
		w.p.shown(w.next, w.now)
		w.next++
		w.p.sent(w.next, true, w.now)
		w.now = w.now.Add(30 * time.Millisecond)
		w.p.shown(w.next, w.now)
	}
	if after := w.p.window(limit, w.now); after < before/2 {
		t.Errorf("the window went from %d to %d bytes", before, after)
	}
}

// Who comes to a session that has printed much begins as if it had not.
func TestPaceFromAnOffset(t *testing.T) {
	w := &way{now: time.Unix(1e9, 0), rate: 250e3, next: 50e6, seen: 50e6}
	w.p.acked = w.seen
	if _, wait := w.run(3 * time.Second); wait > 300*time.Millisecond {
		t.Errorf("a frame waited %s for those before it", wait)
	}
}

// What it remembers is bounded, however much is sent without an acknowledgement.
func TestPaceIsBounded(t *testing.T) {
	var p pace
	now := time.Unix(1e9, 0)
	for i := range uint64(100_000) {
		p.sent(i+1, false, now)
		if i%1000 == 0 {
			p.shown(i/2, now) // acknowledgements far behind
		}
	}
	if len(p.sends) > maxSends {
		t.Errorf("%d moments are remembered", len(p.sends))
	}
	p.shown(100_000, now.Add(time.Second))
	if w := p.window(limit, now); w < minWindow || w > limit {
		t.Errorf("the window is %d bytes", w)
	}
}
