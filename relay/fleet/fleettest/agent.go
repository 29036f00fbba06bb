// Package fleettest has hostile agents: enrolled identities that do not keep to the protocol, for tests
// of a relay. [Behaviours] lists what they do; each either is cut off by the relay or is bounded in what
// it holds, and docs/security.md says how.
//
// A test plays one with [Agent.Play] beside an honest agent, and looks at what the relay has left when
// it is over. The package knows the wire and nothing of the relay.
package fleettest

import (
	"context"
	"errors"
	"sync"
	"time"

	"scrier/wire"
)

// patience is how long a hostile agent waits for what an honest relay does.
const patience = 30 * time.Second

// Agent is an enrolled identity and its way to the relay.
type Agent struct {
	// Dial makes a new link with the agent's certificate.
	Dial func(ctx context.Context) (wire.Link, error)
	// Roam changes the agent's address as the relay sees it.
	Roam func()
}

// Behaviour is something that an agent must not do, or need not have done.
type Behaviour struct {
	Name string
	// Ends says that the relay ends the link by itself; else Bound says what the agent can hold.
	Ends  bool
	Bound string
	Roams bool // it uses [Agent.Roam]

	link func(ctx context.Context, a *player) error                     // on links of its own, or
	open func(ctx context.Context, s wire.Stream, control *wire.Framed) // with a session's stream, behind Open
}

// Sessions says that the behaviour shows when a session is opened. Up to then the agent is honest.
func (b *Behaviour) Sessions() bool { return b.open != nil }

// Play behaves until ctx ends or the relay has ended it. ready is called when the relay knows the agent,
// or has refused to; it may be called more than once. The error is how the relay ended the link; nil: it
// was ctx.
func (a *Agent) Play(ctx context.Context, b *Behaviour, ready func()) error {
	p := &player{a, ready}
	var err error
	if b.link != nil {
		err = b.link(ctx, p)
	} else {
		err = p.serve(ctx, b)
	}
	if ctx.Err() != nil {
		return nil
	}
	if err == nil {
		return errors.New("the relay has not ended it")
	}
	return err
}

// player is an agent that plays.
type player struct {
	*Agent
	ready func()
}

// connected is a link of the agent's and its control stream.
type connected struct {
	link    wire.Link
	control *wire.Framed
	stop    func() bool
}

func (c *connected) close() {
	c.stop()
	_ = c.link.Close(wire.None, "") // it may have ended
}

// ended waits until the relay has ended the link, or ctx has.
func (c *connected) ended() error {
	<-c.link.Context().Done()
	return c.link.Err()
}

// dial makes a link and its control stream, and says nothing. The link ends with ctx.
func (a *player) dial(ctx context.Context) (*connected, error) {
	link, err := a.Dial(ctx)
	if err != nil {
		return nil, err
	}
	s, err := link.Open(ctx)
	if err != nil {
		_ = link.Close(wire.None, "")
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = link.Close(wire.None, "") })
	return &connected{link, wire.NewFramed(s), stop}, nil
}

// greet makes a link that the relay has welcomed.
func (a *player) greet(ctx context.Context) (*connected, error) { return a.welcomed(ctx, hello()) }

func (a *player) welcomed(ctx context.Context, h *wire.Hello) (*connected, error) {
	c, err := a.dial(ctx)
	if err != nil {
		return nil, err
	}
	err = errors.Join(c.control.SetReadDeadline(time.Now().Add(patience)), c.control.Send(h))
	if err == nil {
		_, err = wire.Expect[wire.Welcome](c.control)
	}
	if err == nil {
		err = c.control.SetReadDeadline(time.Time{})
	}
	if err != nil {
		err = errors.Join(c.link.Err(), err)
		c.close()
		return nil, err
	}
	a.ready()
	return c, nil
}

func hello() *wire.Hello {
	return &wire.Hello{Boot: "fleettest", Time: wire.Millis(time.Now()), Facts: wire.Facts{Hostname: "evil"}}
}

// serve is an honest agent but for what it does with a session.
func (a *player) serve(ctx context.Context, b *Behaviour) error {
	c, err := a.greet(ctx)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer c.close()
	wg.Go(func() { c.pong() })
	for {
		s, err := c.link.Accept(c.link.Context())
		if err != nil {
			return c.link.Err()
		}
		wg.Go(func() {
			if _, err := wire.Expect[wire.Open](s); err != nil {
				s.Reset(wire.Protocol)
				return
			}
			b.open(c.link.Context(), s, c.control)
			s.Reset(wire.None)
		})
	}
}

// pong answers pings until the link ends.
func (c *connected) pong() {
	for {
		m, err := c.control.Receive()
		if err != nil {
			return
		}
		if p, ok := m.(*wire.Ping); ok && c.control.Send(&wire.Pong{N: p.N}) != nil {
			return
		}
	}
}
