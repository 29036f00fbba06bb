// Package peer is how the relays of a cluster speak to each other: over links with [wire.ALPNPeer], on which each side shows the
// certificate of a member. They go over TCP alone: relays reach each other by it, it costs half of what QUIC does, and its links have
// a window that is large enough from the beginning. A session's stream to an agent that another relay has is opened at that one, and spliced there
// ([Peers.Open], [Peers.Serve]); and what a relay wants to know of an agent that was connected to another one is asked there.
//
//	A, which has the session                    B, which has the agent's link
//	fleet.Open -> Peers.Open -- PeerOpen -->    Peers.Serve -> fleet.OpenHere -- Open -->    agent
//	     <------------------ Opened ----------------------------------------- Opened ---
//	SSH  <================= bytes ========= wire.Splice ==================== bytes ====>    sshd
//
// Members trust each other: each of them can issue any identity. So who may do what was decided by the relay that asks.
package peer

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"scrier/relay/fleet"
	"scrier/relay/panics"
	"scrier/relay/store"
	"scrier/wire"
)

const (
	// linkStreams is how many streams are on one link. Their own windows (1 MiB), all together, are less than the link's (16 MiB): so no
	// session ever waits for the reader of another one.
	linkStreams = 12

	// maxLinks is how many links there are to one relay at most: those of some 6,000 sessions.
	maxLinks = 512

	// dialTime is how long a link to another relay may take. Who asks for a session waits.
	dialTime = 5 * time.Second

	// idleTime is how long a link is kept on which nothing is.
	idleTime = time.Minute

	// sayTime is how long a peer may take for what it can say at once.
	sayTime = 10 * time.Second
)

// Here is this relay, as the others ask it: a [fleet.Fleet].
type Here interface {
	OpenHere(ctx context.Context, id wire.EnvoyID, open *wire.Open, early []byte) (*fleet.Tunnel, error)
	AuthenticatedHere(id wire.EnvoyID, session wire.SessionID) error
	Asked(ctx context.Context, n fleet.Newcomer) (fleet.Answer, error)
}

// Config is what Peers work with.
type Config struct {
	// Dial makes a link over TCP to a relay by its name. What answers there has been checked to be that one.
	Dial   func(ctx context.Context, name string) (wire.Link, error)
	Here   Here
	Panics *panics.Boundary
	Log    *slog.Logger
}

// Peers are the other relays of a cluster. It implements [fleet.Elsewhere], and its methods may be called concurrently.
type Peers struct {
	Config

	mu     sync.Mutex
	out    map[string]*peer
	in     map[*inbound]struct{}
	closed bool
}

// New makes Peers.
func New(c Config) *Peers {
	return &Peers{Config: c, out: map[string]*peer{}, in: map[*inbound]struct{}{}}
}

// peer is one other relay. turn is had by who makes one more link; whoever needs one too waits for it.
type peer struct {
	turn  chan struct{}
	links []*carrier // guarded by the mutex of Peers, as is what is in them
}

// carrier is a link that this relay has made.
type carrier struct {
	wire.Link
	streams int
	idle    *time.Timer
}

// stream begins a stream to a relay, on a link that has room or on one more.
func (p *Peers) stream(ctx context.Context, name string) (wire.Stream, wire.Link, error) {
	for {
		c, to, err := p.place(name)
		if err != nil {
			return nil, nil, err
		}
		if c == nil {
			if c, err = p.another(ctx, name, to); err != nil {
				return nil, nil, err
			}
		}
		s, err := c.Open(ctx)
		if err == nil {
			return &counted{Stream: s, over: sync.OnceFunc(func() { p.leave(to, c) })}, c.Link, nil
		}
		p.leave(to, c)
		if ctx.Err() != nil || c.Err() == nil {
			return nil, nil, err
		}
	}
}

var errClosed = &wire.Error{Code: wire.RelayShutdown}

// place takes a place on a link of those that there are; nil: there is none.
func (p *Peers) place(name string) (*carrier, *peer, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, nil, errClosed
	}
	to := p.out[name]
	if to == nil {
		to = &peer{turn: make(chan struct{}, 1)}
		p.out[name] = to
	}
	to.links = slices.DeleteFunc(to.links, func(c *carrier) bool { return c.Err() != nil })
	for _, c := range to.links {
		if c.streams < linkStreams {
			c.takeLocked()
			return c, to, nil
		}
	}
	if len(to.links) >= maxLinks {
		return nil, nil, wire.Errorf(wire.Busy, "too many sessions go over relay %s", name)
	}
	return nil, to, nil
}

func (c *carrier) takeLocked() {
	c.streams++
	if c.idle != nil {
		c.idle.Stop()
		c.idle = nil
	}
}

// another has a place on one more link.
func (p *Peers) another(ctx context.Context, name string, to *peer) (*carrier, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, dialTime, wire.Errorf(wire.RelayUnreachable, "no answer within %s", dialTime))
	defer cancel()
	select {
	case to.turn <- struct{}{}:
		defer func() { <-to.turn }()
	case <-ctx.Done():
		return nil, unreachable(name, context.Cause(ctx))
	}
	if c, _, err := p.place(name); c != nil || err != nil { // who was before made one
		return c, err
	}
	link, err := p.Dial(ctx, name)
	if err != nil {
		return nil, unreachable(name, err)
	}
	c := &carrier{Link: link, streams: 1}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		go func() { _ = link.Close(wire.None, "") }()
		return nil, errClosed
	}
	to.links = append(to.links, c)
	return c, nil
}

// unreachable says which relay it is that cannot be reached. Why not is for the log: it is of no use to an operator.
func unreachable(name string, err error) error {
	if wire.CodeOf(err) == wire.RelayShutdown {
		return err
	}
	return (&wire.Error{Code: wire.RelayUnreachable, Detail: "relay " + name + ", to which the machine is connected, does not answer this one", Err: err}).
		Advise("try again in a moment: if that relay is gone, its machines connect to another one within seconds. `scrier relay members` shows how all of them are")
}

// leave gives a place back. A link that nobody needs ends after a while.
func (p *Peers) leave(to *peer, c *carrier) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.streams--; c.streams > 0 || c.Err() != nil {
		return
	}
	c.idle = time.AfterFunc(idleTime, func() {
		p.mu.Lock()
		idle := c.streams == 0
		if idle {
			to.links = slices.DeleteFunc(to.links, func(other *carrier) bool { return other == c })
		}
		p.mu.Unlock()
		if idle {
			_ = c.Close(wire.None, "")
		}
	})
}

// Keep ends the links to and from all relays but those for which still says true: one that was removed has none any more. The certificate
// that the other side has shown is the link's peer's.
func (p *Peers) Keep(still func(name string, link wire.Link) bool) {
	p.mu.Lock()
	var ended []wire.Link
	for name, to := range p.out {
		for _, c := range to.links {
			if !still(name, c.Link) {
				ended = append(ended, c.Link)
			}
		}
	}
	for l := range p.in {
		if !still(l.name, l.Link) {
			ended = append(ended, l.Link)
		}
	}
	p.mu.Unlock()
	for _, l := range ended {
		_ = l.Close(wire.Revoked, "the relay is no member any more")
	}
}

// Close ends all links; no more are made.
func (p *Peers) Close() error {
	p.mu.Lock()
	p.closed = true
	var ended []wire.Link
	for _, to := range p.out {
		for _, c := range to.links {
			ended = append(ended, c.Link)
		}
	}
	for l := range p.in {
		ended = append(ended, l.Link)
	}
	p.mu.Unlock()
	var errs []error
	for _, l := range ended {
		errs = append(errs, l.Close(wire.RelayShutdown, ""))
	}
	return errors.Join(errs...)
}

// Open implements [fleet.Elsewhere].
func (p *Peers) Open(ctx context.Context, at store.Holder, open *wire.Open, early []byte) (*fleet.Tunnel, error) {
	if len(early) > wire.MaxEarly {
		return nil, wire.Errorf(wire.Internal, "%d bytes behind Open, at most %d", len(early), wire.MaxEarly)
	}
	s, link, err := p.stream(ctx, at.Relay)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { s.Reset(wire.CodeOf(wire.Cause(ctx, wire.Cancelled))) })
	var opened *wire.Opened
	if err = wire.Send(s, &wire.PeerOpen{Envoy: at.Envoy, Open: *open, Early: early}); err == nil {
		opened, err = wire.Expect[wire.Opened](s)
	}
	switch {
	case !stop():
		err = wire.Cause(ctx, wire.Cancelled)
	case link.Err() != nil:
		err = unreachable(at.Relay, link.Err())
	}
	if err != nil {
		s.Reset(wire.CodeOf(err))
		return nil, err
	}
	return fleet.NewTunnel(s, opened, link), nil
}

// Authenticated implements [fleet.Elsewhere]. It waits for no answer: the session waits for its shell.
func (p *Peers) Authenticated(ctx context.Context, at store.Holder, session wire.SessionID) error {
	s, _, err := p.stream(ctx, at.Relay)
	if err != nil {
		return err
	}
	if err := errors.Join(s.SetDeadline(time.Now().Add(sayTime)), wire.Send(s, &wire.PeerAuthenticated{Envoy: at.Envoy, Session: session})); err != nil {
		s.Reset(wire.Cancelled)
		return err
	}
	go wire.Finish(s, sayTime)
	return nil
}

// Ask implements [fleet.Elsewhere].
func (p *Peers) Ask(ctx context.Context, at store.Holder, n fleet.Newcomer) (fleet.Answer, error) {
	s, _, err := p.stream(ctx, at.Relay)
	if err != nil {
		return fleet.Answer{}, err
	}
	stop := context.AfterFunc(ctx, func() { s.Reset(wire.CodeOf(wire.Cause(ctx, wire.Cancelled))) })
	defer stop()
	var a *wire.PeerAnswer
	if err = wire.Send(s, &wire.PeerAsk{Envoy: n.Envoy, Move: n.Move}); err == nil {
		a, err = wire.Expect[wire.PeerAnswer](s)
	}
	if err != nil {
		s.Reset(wire.CodeOf(err))
		return fleet.Answer{}, err
	}
	wire.Finish(s, sayTime)
	return fleet.Answer{
		Expected: a.Expected, Answers: a.Answers, Boot: a.Boot,
		Cert: store.Certificate{Generation: a.Generation, Key: a.Key, Source: a.Source, Time: time.UnixMilli(a.Time)},
	}, nil
}
