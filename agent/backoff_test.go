package agent

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"scrier/wire"
)

func TestBackoffIsFullJitter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b backoff
		ceiling := backoffFirst
		for i, alive := range rapid.SliceOfN(rapid.Int64Range(0, int64(2*stableAfter)), 1, 40).Draw(t, "alive") {
			if i > 0 {
				ceiling = min(2*ceiling, backoffMax)
			}
			if time.Duration(alive) >= stableAfter {
				ceiling = backoffFirst
			}
			if wait := b.next(ending{alive: time.Duration(alive)}); wait < 0 || wait >= ceiling {
				t.Fatalf("attempt %d: waits %s, the ceiling is %s", i, wait, ceiling)
			}
		}
	})
}

// When ten thousand agents lose their relay at the same moment, they come back spread over the whole
// time up to the ceiling, and not all at once.
func TestBackoffSpreads(t *testing.T) {
	const agents, slices = 10_000, 10
	var counts [slices]int
	for range agents {
		b := backoff{ceiling: backoffMax}
		counts[int(b.next(ending{})*slices/backoffMax)]++
	}
	for i, n := range counts {
		if n < agents/slices/2 || n > agents/slices*2 {
			t.Errorf("slice %d of the minute has %d of %d agents", i, n, agents)
		}
	}
}

// When the relay was restarted, a fleet comes back over the time that the relay has asked for, and not longer,
// also if the first attempt finds nobody; a small one comes back at once.
func TestAFleetComesBackSpread(t *testing.T) {
	for asked, want := range map[time.Duration]time.Duration{
		0: backoffFirst, 3 * time.Millisecond: backoffFirst, 20 * time.Second: 20 * time.Second, time.Hour: wire.MaxSpread, // a relay that means no good
	} {
		const agents, slices = 10_000, 10
		var first, second [slices]int
		for range agents {
			b := backoff{}
			wait := b.next(ending{alive: time.Hour, gone: true, spread: asked})
			if wait >= want {
				t.Fatalf("asked for %s, an agent waits %s", asked, wait)
			}
			first[int(wait*slices/want)]++
			limit := max(min(asked, wire.MaxSpread)/2, 2*backoffFirst)
			if wait = b.next(ending{spread: asked}); wait >= limit { // the relay is not there yet
				t.Fatalf("asked for %s, an agent waits another %s", asked, wait)
			}
			second[int(wait*slices/limit)]++
			if wait := b.next(ending{alive: time.Hour, spread: asked}); wait >= backoffFirst {
				t.Fatalf("an agent that has lost its link alone waits %s", wait)
			}
		}
		for i := range slices {
			for _, n := range []int{first[i], second[i]} {
				if n < agents/slices/2 || n > agents/slices*2 {
					t.Errorf("asked for %s, slice %d has %d of %d agents", asked, i, n, agents)
				}
			}
		}
	}
}

// Who was turned away comes again soon, however often it happens: not behind the rest of its fleet.
func TestWhoWasTurnedAwayDoesNotFallBehind(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		spread := time.Duration(rapid.Int64Range(0, int64(2*wire.MaxSpread)).Draw(t, "spread"))
		b := backoff{}
		b.next(ending{alive: time.Hour, gone: true, spread: spread})
		for range rapid.IntRange(1, 20).Draw(t, "times") {
			wait := b.next(ending{busy: true, spread: spread})
			if limit := max(backoffBusy, min(spread, wire.MaxSpread)); wait >= limit {
				t.Fatalf("waits %s, at most %s", wait, limit)
			}
		}
	})
}
