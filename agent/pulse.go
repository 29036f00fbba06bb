package agent

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"scrier/wire"
)

const (
	// largeData is how many bytes must have passed between two looks for something to be under way that needs large packets.
	largeData = 1000

	// ownData is what a ping and its answer have of that.
	ownData = 2 * (wire.MaxPad + 300)

	// lossyEvery is how often it is asked where packets are lost although little is under way: what has much may be on a lane by then,
	// and new sessions need large packets.
	lossyEvery = 9 * time.Second

	// largeWait is how long the relay may take to answer a ping that is larger than a packet.
	largeWait = 6 * time.Second

	// narrowFor is how long such a ping may have had no answer for sessions to stay on its link when there is another one. QUIC sends what
	// is lost again and again before anything new, so that most of what is on it hangs, and would for ever.
	narrowFor = 20 * time.Second
)

// pulse asks the relay with pings that are larger than a packet whether the path carries those, while data is under way. One that has come to
// drop them (a tunnel, a route with a smaller MTU, where ICMP is dropped) still lets small packets through, so that the link seems to live. The
// pings have a stream of their own: what is lost holds up what is behind it.
type pulse struct {
	link    wire.Link
	opening sync.Once
	pings   chan uint64
	last    atomic.Uint64 // that was answered
	over    atomic.Bool   // nobody can be asked any more

	// Of who looks:
	asked uint64
	since time.Time // when it was asked
	heard uint64    // packets that had come by then
	own   bool      // it was asked since the last look
}

func newPulse(link wire.Link) *pulse { return &pulse{link: link, pings: make(chan uint64, 1)} }

// look is called every few seconds with the bytes that have passed since the last time while there are sessions, the packets that have
// come so far, and whether many of ours are lost. It says whether large packets are lost while small ones are not.
func (p *pulse) look(bytes, heard uint64, lossy bool) (narrow bool) {
	if p.own {
		bytes -= min(bytes, ownData)
		p.own = false
	}
	switch waits := p.asked != p.last.Load(); {
	case p.over.Load():
	case waits && time.Since(p.since) >= largeWait:
		return heard != p.heard
	case !waits && (bytes >= largeData || lossy && time.Since(p.since) >= lossyEvery):
		p.opening.Do(func() { go p.run() }) // ends with the link
		select {
		case p.pings <- p.asked + 1:
			p.asked++
			p.since, p.heard, p.own = time.Now(), heard, true
		default: // the relay has answered one that was never sent: nothing it says counts
			p.over.Store(true)
		}
	}
	return false
}

// run has the stream, until the link ends or the relay wants no more.
func (p *pulse) run() {
	defer p.over.Store(true)
	ctx := p.link.Context()
	opening, cancel := context.WithTimeout(ctx, welcomeTimeout)
	s, err := p.link.Open(opening)
	cancel()
	if err != nil {
		return
	}
	f := wire.NewFramed(s)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer f.Reset(wire.None)
		for {
			pong, err := wire.Expect[wire.Pong](f)
			if err != nil {
				return
			}
			p.last.Store(pong.N)
		}
	}()
	for {
		select {
		case n := <-p.pings:
			if f.Send(&wire.Ping{N: n, Pad: make([]byte, wire.MaxPad)}) != nil {
				f.Reset(wire.None)
			}
		case <-ended:
			return
		}
	}
}
