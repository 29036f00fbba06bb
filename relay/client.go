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
	// ends then.
	anonymousLife    = 3 * time.Minute
	anonymousStreams = 4 // one after the other

	// linger is how long a link that is to end waits for its sessions to tell their viewers why; an
	// operator who was changed is out within 5 s.
	linger = 3 * time.Second
)

// serve runs one accepted connection to its end.
func (r *Relay) serve(ctx context.Context, link wire.Link, alpn string) {
	var err error
	switch alpn {
	case wire.ALPNAgent:
		var id certs.Identity
		var expired bool
		if id, expired, err = r.tls.Identify(link.Peer().Certificates); err == nil {
			err = r.admit(id)
		}
		if err == nil {
			err = r.fleet.Serve(ctx, link, id, expired)
		}
	case wire.ALPNClient:
		err = r.serveClient(ctx, link)
	}
	r.Log.Debug("link ended", "addr", link.Peer().Addr, "alpn", alpn, "err", err)
	if cerr := link.Close(wire.CodeOf(err), wire.DetailOf(err)); cerr != nil {
		r.Log.Debug("close link", "err", cerr)
	}
}

// client is an operator's link, or one that wants to become one.
type client struct {
	*Relay
	link    wire.Link
	id      certs.Identity // zero without a certificate
	expires time.Time
}

func (r *Relay) serveClient(ctx context.Context, link wire.Link) error {
	c := &client{Relay: r, link: link}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if chain := link.Peer().Certificates; len(chain) > 0 {
		id, _, err := r.tls.Identify(chain)
		if err == nil {
			err = r.admit(id)
		}
		if err != nil {
			return err
		}
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
	}
	// Streams end with the link, and not with this context, so that a session has time to tell its
	// viewer why it ends.
	defer context.AfterFunc(ctx, func() {
		err := wire.Cause(ctx, wire.RelayShutdown)
		time.AfterFunc(linger, func() { _ = link.Close(wire.CodeOf(err), wire.DetailOf(err)) })
	})()
	var wg sync.WaitGroup
	defer wg.Wait()
	anonymous := make(chan struct{}, anonymousStreams)
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

func (c *client) source() string { return sourceOf(c.link.Peer().Addr) }

// stream serves one stream of an operator's link.
func (c *client) stream(ctx context.Context, s wire.Stream) {
	f := wire.NewFramed(s)
	if s.SetDeadline(time.Now().Add(firstFrame)) != nil {
		s.Reset(wire.Internal)
		return
	}
	m, err := f.Receive()
	if err == nil {
		err = s.SetDeadline(time.Time{})
	}
	if err != nil {
		s.Reset(wire.CodeOf(err))
		return
	}
	switch m := m.(type) {
	case *wire.Call:
		c.calls.add(&callConn{NetConn: &wire.NetConn{Stream: f, Remote: c.link.Peer().Addr}, client: c})
		return // the HTTP server owns the stream now
	case *wire.Connect:
		err = c.connect(ctx, f, m)
	case *wire.Attach:
		err = c.attach(ctx, f, m)
	case *wire.Login:
		err = c.access.Login(ctx, f, c.link.Peer(), m)
	case *wire.Enrol:
		err = c.enrol(ctx, f, m)
	default:
		err = wire.Errorf(wire.Protocol, "%T does not begin a stream", m)
	}
	if err != nil {
		c.Log.Info("request refused", "source", c.source(), "code", wire.CodeOf(err), "err", err)
		if f.Send(wire.Refuse(err)) != nil {
			s.Reset(wire.CodeOf(err))
			return
		}
	}
	wire.Finish(s, firstFrame)
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
