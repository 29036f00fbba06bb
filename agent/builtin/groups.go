package builtin

import (
	"sync"
	"time"

	"scrier/agent/builtin/worker"
)

// groups knows the process groups of sessions. /proc is read once for all that ask at the same time: when many shells
// end together, each would read all of it otherwise, again and again. Its methods may be called concurrently.
type groups struct {
	read func() map[int][]int // nil: [worker.Groups]

	mu    sync.Mutex // held while /proc is read
	begun time.Time
	by    map[int][]int
}

// of lists the groups of a session's living processes, as they were at some moment that is not before since.
func (g *groups) of(session int, since time.Time) []int {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.begun.After(since) {
		g.begun = time.Now()
		if g.read == nil {
			g.by = worker.Groups()
		} else {
			g.by = g.read()
		}
	}
	return g.by[session]
}
