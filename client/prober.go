package client

import (
	"context"
	"sync"
	"time"

	"scrier/network"
	"scrier/roads"
	"scrier/wire"
)

// probeWait is how long QUIC may take to answer.
const probeWait = 5 * time.Second

// prober tries QUIC in the background for a link that is over TCP, as UDP got no answer, until it has one: new channels are opened there, those that
// are open end on theirs, and a shell moves (see [lifeline]). If that link ends before a shell has moved there, it is tried again.
type prober struct {
	dial      func(context.Context) (wire.Link, error) // over QUIC alone
	redial    func(context.Context) (wire.Link, error) // for the pulse of what is found
	elsewhere <-chan struct{}
	watch     func(context.Context) <-chan struct{} // as network.Watch
	first     time.Duration

	mu     sync.Mutex
	news   chan struct{} // closed when there is a better link
	found  wire.Link
	pulse  *pulse // of found
	closed bool
	taken  bool // found has taken the other link's place
}

func newProber(dial, redial func(context.Context) (wire.Link, error), elsewhere <-chan struct{}, first time.Duration) *prober {
	return &prober{dial: dial, redial: redial, elsewhere: elsewhere, watch: network.Watch, first: first, news: make(chan struct{})}
}

// run tries until a link has taken the other one's place, or ctx ends.
func (p *prober) run(ctx context.Context) {
	waits := roads.Probes{First: p.first}
	tried := time.Now()
	timer := time.NewTimer(waits.Next())
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.elsewhere:
			timer.Reset(waits.Elsewhere(tried))
			continue
		case <-timer.C:
		}
		tried = time.Now()
		dialling, cancel := context.WithTimeout(ctx, probeWait)
		link, err := p.dial(dialling)
		cancel()
		if err == nil {
			if p.keep(link); !p.lost(ctx, link) {
				return
			}
			waits, tried = roads.Probes{First: p.first}, time.Now()
		}
		timer.Reset(waits.Next())
	}
}

// lost waits for the end of a link that was found, and says whether another one is to be looked for.
func (p *prober) lost(ctx context.Context, link wire.Link) bool {
	select {
	case <-link.Context().Done():
	case <-ctx.Done():
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.taken {
		return false
	}
	p.found, p.pulse, p.news = nil, nil, make(chan struct{})
	return true
}

// keep has a link for who wants it.
func (p *prober) keep(link wire.Link) {
	p.mu.Lock()
	closed := p.closed
	if !closed {
		p.found, p.pulse = link, newPulse(link, p.redial, p.watch(link.Context()))
		go p.pulse.run() // ends with the link
		close(p.news)
	}
	p.mu.Unlock()
	if closed {
		_ = link.Close(wire.None, "")
	}
}

// isNews is closed when there is a better link; nil: nobody looks for one.
func (p *prober) isNews() <-chan struct{} {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.news
}

// better is the link that was found, if it lives; nil: there is none.
func (p *prober) better() (wire.Link, *pulse) {
	if p == nil {
		return nil, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.betterLocked()
}

func (p *prober) betterLocked() (wire.Link, *pulse) {
	if p.found == nil || p.found.Err() != nil || p.pulse.isSilent() {
		return nil, nil
	}
	return p.found, p.pulse
}

// take is better for who puts the link in the other one's place: nothing more is looked for then.
func (p *prober) take() (wire.Link, *pulse) {
	if p == nil {
		return nil, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	link, pulse := p.betterLocked()
	p.taken = p.taken || link != nil
	return link, pulse
}

// close ends the link that was found: as the network would, if what is on it is to go on elsewhere.
func (p *prober) close(goesOn bool) {
	if p == nil {
		return
	}
	p.mu.Lock()
	found, pulse := p.found, p.pulse
	p.closed = true
	p.mu.Unlock()
	pulse.close()
	if found != nil {
		_ = found.Close(leaving(goesOn), "")
	}
}

// leaving is with which code a link is left.
func leaving(goesOn bool) wire.Code {
	if goesOn {
		return wire.Internal
	}
	return wire.None
}
