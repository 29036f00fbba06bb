package peer

import (
	"context"
	"sync"
	"time"

	"scrier/relay/fleet"
	"scrier/wire"
)

// maxOpen is how long a session may take to be opened here, whatever the other relay says: a person may be asked at the machine.
const maxOpen = 5 * time.Minute

// inbound is a link that another relay has made.
type inbound struct {
	wire.Link
	name string
}

// Serve answers what another relay asks on a link that it has made, until the link ends. name is that of its certificate.
func (p *Peers) Serve(ctx context.Context, link wire.Link, name string) error {
	l := &inbound{link, name}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return errClosed
	}
	p.in[l] = struct{}{}
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.in, l)
	}()
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		s, err := link.Accept(ctx)
		if err != nil {
			return err
		}
		wg.Go(func() { p.serve(link.Context(), name, s) })
	}
}

// serve answers on one stream.
func (p *Peers) serve(ctx context.Context, name string, s wire.Stream) {
	err := p.Panics.Contain("stream of a relay", func() error {
		if err := s.SetDeadline(time.Now().Add(sayTime)); err != nil {
			return err
		}
		m, err := wire.Receive(s)
		if err != nil {
			return err
		}
		if err := s.SetDeadline(time.Time{}); err != nil {
			return err
		}
		switch m := m.(type) {
		case *wire.PeerOpen:
			return p.open(ctx, s, m)
		case *wire.PeerAuthenticated:
			return p.Here.AuthenticatedHere(m.Envoy, m.Session)
		case *wire.PeerAsk:
			return p.asked(ctx, s, name, m)
		}
		return wire.Errorf(wire.Protocol, "%T does not begin a stream between relays", m)
	}, "relay", name)
	if err != nil {
		p.Log.Debug("a relay's request refused", "relay", name, "code", wire.CodeOf(err), "err", err)
		if s.SetDeadline(time.Now().Add(sayTime)) != nil || wire.Send(s, wire.Refuse(err)) != nil {
			s.Reset(wire.CodeOf(err))
			return
		}
	}
	wire.Finish(s, sayTime)
}

// open splices a session's stream to an agent. Once the agent has answered, the streams' own ends say all there is to say.
func (p *Peers) open(ctx context.Context, s wire.Stream, m *wire.PeerOpen) error {
	if len(m.Early) > wire.MaxEarly {
		return wire.Errorf(wire.Protocol, "%d bytes behind Open, at most %d", len(m.Early), wire.MaxEarly)
	}
	limit := min(time.Duration(m.Open.Timeout)*time.Millisecond+sayTime, maxOpen)
	opening, cancel := context.WithTimeoutCause(ctx, limit, &wire.Error{Code: wire.AgentTimeout})
	defer cancel()
	opening, given := context.WithCancelCause(opening)
	defer given(nil)
	ahead := wire.ReadAhead(s, 1, func(error) { given(&wire.Error{Code: wire.Cancelled}) }) // who asks says nothing before the answer
	t, err := p.Here.OpenHere(opening, m.Envoy, &m.Open, m.Early)
	if aerr := ahead.Stop(); err == nil && aerr != nil {
		t.Reset(wire.Cancelled)
		return aerr
	}
	if err != nil {
		return err
	}
	answer := *t.Opened
	answer.Gates = false // they are between the agent and this relay
	if err := wire.Send(s, &answer); err != nil {
		t.Reset(wire.Cancelled)
		return err
	}
	_, _, err = wire.Splice(ctx, ahead, agents{t})
	p.Log.Debug("a stream to an agent has ended", "envoy", m.Envoy, "session", m.Open.Session, "err", err)
	return nil
}

// agents is the stream to an agent, whose errors say so when it is the agent that is gone.
type agents struct{ *fleet.Tunnel }

func (a agents) Read(b []byte) (int, error) {
	n, err := a.Tunnel.Read(b)
	return n, a.why(err)
}

func (a agents) Write(b []byte) (int, error) {
	n, err := a.Tunnel.Write(b)
	return n, a.why(err)
}

func (a agents) why(err error) error {
	if err == nil {
		return nil
	}
	return a.Why(err)
}

func (p *Peers) asked(ctx context.Context, s wire.Stream, name string, m *wire.PeerAsk) error {
	a, err := p.Here.Asked(ctx, fleet.Newcomer{Envoy: m.Envoy, Move: m.Move, At: name})
	if err != nil {
		return err
	}
	if err := s.SetDeadline(time.Now().Add(sayTime)); err != nil {
		return err
	}
	answer := &wire.PeerAnswer{Expected: a.Expected, Answers: a.Answers, Boot: a.Boot}
	if a.Answers {
		answer.Generation, answer.Key, answer.Source, answer.Time = a.Cert.Generation, a.Cert.Key, a.Cert.Source, wire.Millis(a.Cert.Time)
	}
	return wire.Send(s, answer)
}
