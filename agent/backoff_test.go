package agent

import (
	"testing"
	"time"

	"pgregory.net/rapid"
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
			if wait := b.next(time.Duration(alive)); wait < 0 || wait >= ceiling {
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
		counts[int(b.next(0)*slices/backoffMax)]++
	}
	for i, n := range counts {
		if n < agents/slices/2 || n > agents/slices*2 {
			t.Errorf("slice %d of the minute has %d of %d agents", i, n, agents)
		}
	}
}
