package fleet

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"sync"
	"time"

	"scrier/wire"
)

// An agent that has nothing to do may say nothing for up to a minute, its rest ([wire.Heartbeat]). It is asked then, so that it learns
// whether what comes unasked after such a silence still finds it: a NAT on the way may have forgotten where it is. So the relay has the
// clock for all of them. An agent has no timer and no goroutine here while it rests.
const (
	// restEvery is how often the fleet looks for agents whose rest is over.
	restEvery = time.Second

	// goneAfter is how much longer than its rest an agent's link may bring nothing at all. An agent that does not rest has said
	// something 15 s before, so it is gone after 45 s.
	goneAfter = 30 * time.Second

	// staleSlack is how much later than its rest an agent may say something.
	staleSlack = 25 * time.Second

	// lookLate is how much later than it should the fleet must look to have stood still itself: nobody is gone for that.
	lookLate = 2 * silentEvery
)

// restOf is a rest as an agent says it; 0: there is none.
func restOf(seconds uint32) time.Duration {
	if seconds == 0 {
		return 0
	}
	return min(max(time.Duration(seconds)*time.Second, wire.MinRest), wire.MaxRest) // cannot overflow
}

// quietLimit is how long an agent may say nothing before it is stale. The caller has agent.mu.
func (l *agentLink) quietLimit() time.Duration { return max(staleAfter, l.rest+staleSlack) }

// rests takes the rest that an agent says on its link. The caller has agent.mu.
func (l *agentLink) rests(seconds uint32) { l.rest, l.said = restOf(seconds), time.Now() }

// askResting asks each agent whose rest is over, and does not wait for that.
func (f *Fleet) askResting(asking *sync.WaitGroup) {
	var due []*agentLink
	now := time.Now()
	f.mu.Lock()
	for _, a := range f.live {
		a.mu.Lock()
		for _, l := range a.links {
			if l.rest > 0 && !l.asking && now.Sub(l.said) >= l.rest {
				l.asking, l.said = true, now
				due = append(due, l)
			}
		}
		a.mu.Unlock()
	}
	f.mu.Unlock()
	for _, l := range due {
		asking.Go(func() { // ends with the link, or as one that takes nothing
			_ = l.guard(l.askRest)
			l.mu.Lock()
			defer l.mu.Unlock()
			l.asking = false
		})
	}
}

// askRest asks an agent whose rest is over. Its answer is a sign of life (answered); that there is none is not looked at here.
func (l *agentLink) askRest() error {
	var b [8]byte
	rand.Read(b[:])
	n := binary.BigEndian.Uint64(b[:])>>1 | 1
	l.mu.Lock()
	l.restPing = n
	l.asked++
	l.mu.Unlock()
	return l.control.Send(&wire.Ping{N: n})
}

// findGone ends the links on which nothing has come for too long. QUIC's own time is that of the longest rest, and for all.
func (f *Fleet) findGone() {
	now := time.Now() // not the wall's: that may be set
	f.mu.Lock()
	defer f.mu.Unlock()
	stood := now.Sub(f.looked) > silentEvery+lookLate
	f.looked = now
	for _, a := range f.live {
		a.mu.Lock()
		for _, l := range a.links {
			r, ok := l.link.(wire.Roamer)
			if !ok {
				continue // it has a life of its own
			}
			switch heard := r.Heard(); {
			case stood, l.heardAt.IsZero(), heard != l.heard:
				l.heard, l.heardAt = heard, now
			case now.Sub(l.heardAt) > max(l.rest, heartbeats)+goneAfter:
				l.end(wire.Errorf(wire.AgentLost, "nothing came from the agent for %s", now.Sub(l.heardAt).Round(time.Second)))
			}
		}
		a.mu.Unlock()
	}
}

// serveRests is the part of Run that asks, until ctx ends.
func (f *Fleet) serveRests(ctx context.Context) {
	var asking sync.WaitGroup
	defer asking.Wait()
	tick := time.NewTicker(restEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			f.askResting(&asking)
		}
	}
}
