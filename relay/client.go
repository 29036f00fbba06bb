package relay

import (
	"context"
	"sync"
	"time"

	"scrier/certs"
	"scrier/relay/access"
	"scrier/wire"
)

const (
	firstFrame = 10 * time.Second // for a stream to say what it is

	// A link without a certificate is for a login or an enrolment, which may take a person a while. It
	// ends then; and before, if it does not say what it is for.
	anonymousLife    = 3 * time.Minute
	anonymousFirst   = 30 * time.Second
	anonymousStreams = 4 // one after the other
	anonymousRefused = 64

	// linger is how long a link that is to end waits for its sessions to tell their viewers why, and for calls to be
	// answered; an operator who was changed is out within 5 s.
	linger = 3 * time.Second
)

// serve runs one accepted connection to its end.
func (r *Relay) serve(ctx context.Context, a arrived) {
	err := r.panics.Contain("link", func() error {
		switch a.alpn {
		case wire.ALPNAgent:
			return r.serveAgent(ctx, a)
		case wire.ALPNClient:
			return r.serveClient(ctx, a)
		}
		return wire.Errorf(wire.Protocol, "a link of an unknown kind")
	}, "addr", a.addr)
	r.served(a, err)
}

// served ends a connection, however it went.
func (r *Relay) served(a arrived, err error) {
	r.Log.Debug("link ended", "addr", a.addr, "alpn", a.alpn, "err", err)
	if cerr := a.link.Close(wire.CodeOf(err), wire.DetailOf(err)); cerr != nil {
		r.Log.Debug("close link", "err", cerr)
	}
}

// serveAgent runs an agent's link.
func (r *Relay) serveAgent(ctx context.Context, a arrived) error {
	id, expired, err := r.tls.Identify(a.link.Peer().Certificates)
	if err != nil {
		return err
	}
	leave, err := r.envoyLinks.enter(id.ID)
	if err != nil {
		return err
	}
	defer leave()
	a.acquaint(id.ID)
	return r.fleet.Serve(ctx, a.link, id, expired)
}

// client is an operator's link, or one that wants to become one.
type client struct {
	*Relay
	link    wire.Link
	id      certs.Identity // zero without a certificate
	expires time.Time
	asked   func() // a first message came whole
	refused refused
}

func (r *Relay) serveClient(ctx context.Context, a arrived) error {
	link := a.link
	c := &client{Relay: r, link: link, asked: func() {}, refused: a.refused}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if chain := link.Peer().Certificates; len(chain) > 0 {
		id, _, err := r.tls.Identify(chain)
		if err == nil {
			err = r.access.Admit(id)
		}
		if err != nil {
			return err
		}
		leave, err := r.operatorLinks.enter(id.ID)
		if err != nil {
			return err
		}
		defer leave()
		defer r.counts.operators.enter(string(link.Peer().Road))()
		a.acquaint(id.ID)
		c.id, c.expires = id, chain[0].NotAfter
		defer r.links.add(id.ID, cancel)()
	} else {
		leave, err := r.strangers.enter(c.source())
		if err != nil {
			return err
		}
		defer leave()
		stop := time.AfterFunc(anonymousLife, func() { cancel(wire.Errorf(wire.Unauthenticated, "no login within %s", anonymousLife)) })
		defer stop.Stop()
		first := time.AfterFunc(anonymousFirst, func() { cancel(wire.Errorf(wire.Unauthenticated, "no request within %s", anonymousFirst)) })
		defer first.Stop()
		c.asked = func() { first.Stop() }
	}
	// Streams end with the link, and not with this context, so that a session has time to tell its
	// viewer why it ends.
	defer context.AfterFunc(ctx, func() {
		err := wire.Cause(ctx, wire.RelayShutdown)
		time.AfterFunc(linger, func() { _ = link.Close(wire.CodeOf(err), wire.DetailOf(err)) })
	})()
	var wg sync.WaitGroup
	defer wg.Wait()
	anonymous, refused := make(chan struct{}, anonymousStreams), 0
	for {
		s, err := link.Accept(ctx)
		if ctx.Err() != nil {
			return wire.Cause(ctx, wire.RelayShutdown)
		}
		if err != nil {
			return err
		}
		if c.id.ID == "" {
			select {
			case anonymous <- struct{}{}:
			default:
				s.Reset(wire.Unauthenticated)
				if refused++; refused > anonymousRefused {
					return wire.Errorf(wire.Unauthenticated, "too many requests without a login")
				}
				continue
			}
		}
		wg.Go(func() { c.stream(link.Context(), s) })
	}
}

// who is the operator behind the link, looked up anew each time.
func (c *client) who(ctx context.Context) (access.Operator, error) {
	if c.id.ID == "" {
		return access.Operator{}, wire.Errorf(wire.Unauthenticated, "you are not logged in")
	}
	if !c.Now().Before(c.expires) {
		return access.Operator{}, wire.Errorf(wire.Expired, "the login was valid until %s", c.expires.Format(time.RFC3339))
	}
	who, err := c.access.Identify(ctx, c.id)
	who.Source = c.source()
	return who, err
}

func (c *client) source() string { return wire.Host(c.link.Peer().Addr.String()) }

// stream serves one stream of an operator's link.
func (c *client) stream(ctx context.Context, s wire.Stream) {
	laned := wire.NewLaned(s, 0, nil)
	s = laned
	f := wire.NewFramed(s)
	if s.SetDeadline(time.Now().Add(firstFrame)) != nil {
		s.Reset(wire.Internal)
		return
	}
	var m wire.Message
	err := c.guard(func() (err error) {
		m, err = f.Receive()
		return err
	})
	if err == nil {
		err = s.SetDeadline(time.Time{})
	}
	if err != nil {
		s.Reset(wire.CodeOf(err))
		return
	}
	c.asked()
	if _, ok := m.(*wire.Call); ok {
		// The HTTP server owns the stream now. The link waits for it, so that whoever changes themselves gets the answer.
		ctx, ended := context.WithCancel(ctx)
		c.calls.add(&callConn{NetConn: &wire.NetConn{Stream: f, Remote: c.link.Peer().Addr}, client: c, ended: ended})
		<-ctx.Done()
		return
	}
	if m, ok := m.(*wire.Connect); ok && c.link.Peer().Road != wire.TCP { // which needs no lane
		if line := wire.LineOf(c.link); m.Gates && len(m.Lane) == wire.LaneToken && laned.Gates(&c.lanes.Memory, line) {
			err = f.Send(&wire.Gates{Lossy: line.Lossy()})
		}
		c.lanes.Offer(c.link, m.Lane, laned)
	}
	if err == nil {
		err = c.guard(func() error { return c.first(ctx, f, m) })
	}
	if err != nil && wire.CodeOf(err) == wire.None { // whoever asked has given it up: nothing is refused
		err = &wire.Error{Code: wire.Cancelled, Err: err}
		c.Log.Debug("request given up", "source", c.source(), "err", err)
		s.Reset(wire.Cancelled)
		return
	}
	if err != nil {
		c.Log.Info("request refused", "source", c.source(), "code", wire.CodeOf(err), "err", err)
		if s.SetDeadline(time.Now().Add(firstFrame)) != nil || f.Send(wire.Refuse(err)) != nil { // who does not read is not waited for
			s.Reset(wire.CodeOf(err))
			return
		}
	}
	wire.Finish(s, firstFrame)
}

// guard is where a panic in one stream ends.
func (c *client) guard(f func() error) error {
	return c.panics.Contain("stream", f, "source", c.source(), "operator", c.id.ID)
}

// first serves a stream by its first message.
func (c *client) first(ctx context.Context, f *wire.Framed, m wire.Message) error {
	switch m := m.(type) {
	case *wire.Connect:
		return c.connect(ctx, f, m)
	case *wire.Attach:
		return c.attach(ctx, f, m)
	case *wire.Ping:
		return c.pulse(ctx, f, m)
	case *wire.Login:
		return c.access.Login(ctx, f, c.link.Peer(), m)
	case *wire.Enrol:
		return c.enrol(ctx, f, m)
	}
	return wire.Errorf(wire.Protocol, "%T does not begin a stream", m)
}

// enrol serves an Enrol message. Failures are limited by address, because each is written to the
// audit log.
func (c *client) enrol(ctx context.Context, f *wire.Framed, m *wire.Enrol) error {
	if err := c.access.Allow(c.source()); err != nil {
		return err
	}
	answer, err := c.fleet.Enrol(ctx, c.source(), m)
	if err != nil {
		c.access.Failed(c.source())
		return err
	}
	c.access.Succeeded(c.source())
	if err := f.SetDeadline(time.Now().Add(firstFrame)); err != nil {
		return err
	}
	return f.Send(answer)
}

// links remembers the operators' links.
type links struct {
	mu sync.Mutex
	by map[string]map[*context.CancelCauseFunc]struct{}
}

func (l *links) add(operator string, end context.CancelCauseFunc) (forget func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.by == nil {
		l.by = map[string]map[*context.CancelCauseFunc]struct{}{}
	}
	if l.by[operator] == nil {
		l.by[operator] = map[*context.CancelCauseFunc]struct{}{}
	}
	l.by[operator][&end] = struct{}{}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.by[operator], &end)
		if len(l.by[operator]) == 0 {
			delete(l.by, operator)
		}
	}
}

// end closes all links of an operator.
func (l *links) end(operator string, why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for end := range l.by[operator] {
		(*end)(why)
	}
}
