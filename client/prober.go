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
// are open end on theirs, and a shell moves (see [lifeline]).
type prober struct {
	dial      func(context.Context) (wire.Link, error) // over QUIC alone
	redial    func(context.Context) (wire.Link, error) // for the pulse of what is found
	elsewhere <-chan struct{}
	first     time.Duration
	news      chan struct{} // closed when there is a better link

	mu     sync.Mutex
	found  wire.Link
	pulse  *pulse // of found
	closed bool
}

func newProber(dial, redial func(context.Context) (wire.Link, error), elsewhere <-chan struct{}, first time.Duration) *prober {
	return &prober{dial: dial, redial: redial, elsewhere: elsewhere, first: first, news: make(chan struct{})}
}

// run tries until there is a link, or ctx ends.
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
			p.keep(link)
			return
		}
		timer.Reset(waits.Next())
	}
}

// keep has a link for who wants it.
func (p *prober) keep(link wire.Link) {
	p.mu.Lock()
	closed := p.closed
	if !closed {
		p.found, p.pulse = link, newPulse(link, p.redial, network.Watch(link.Context()))
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
	return p.news
}

// better is the link that was found, if it lives; nil: there is none.
func (p *prober) better() (wire.Link, *pulse) {
	if p == nil {
		return nil, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.found == nil || p.found.Err() != nil || p.pulse.isSilent() {
		return nil, nil
	}
	return p.found, p.pulse
}

// close ends the link that was found.
func (p *prober) close() {
	if p == nil {
		return
	}
	p.mu.Lock()
	found, pulse := p.found, p.pulse
	p.closed = true
	p.mu.Unlock()
	pulse.close()
	if found != nil {
		_ = found.Close(wire.None, "")
	}
}
