package tally

import (
	"slices"
	"sync/atomic"
	"time"
)

// limits divide the times that are counted. They reach from a commit on a fast disk to a machine that is given up
// (scrier.agent_timeout), and are the same for all, so that nobody has to choose.
var limits = [...]time.Duration{
	500 * time.Microsecond, time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond,
	50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second, 30 * time.Second, 90 * time.Second,
}

// Times counts how long something took. The zero value has counted nothing; its methods may be called concurrently.
type Times struct {
	counts [len(limits) + 1]atomic.Uint64 // of those up to each limit that are above the one before; the last are above all
	sum    atomic.Int64                   // nanoseconds
}

// Took counts one more.
func (t *Times) Took(d time.Duration) {
	d = max(d, 0) // the clock may have been set
	at, _ := slices.BinarySearch(limits[:], d)
	t.counts[at].Add(1)
	t.sum.Add(int64(d))
}

// Since counts one more that began then.
func (t *Times) Since(began time.Time) { t.Took(time.Since(began)) }

// Spread is how long something took until now: how often in all, for how long together, and how often it took no more than so
// many seconds.
type Spread struct {
	Count   uint64
	Seconds float64
	UpTo    map[float64]uint64
}

// Read is what was counted. One that is being counted may be missing in a part of it.
func (t *Times) Read() Spread {
	s := Spread{Seconds: time.Duration(t.sum.Load()).Seconds(), UpTo: make(map[float64]uint64, len(limits))}
	for i, limit := range limits {
		s.Count += t.counts[i].Load()
		s.UpTo[limit.Seconds()] = s.Count
	}
	s.Count += t.counts[len(limits)].Load()
	return s
}
