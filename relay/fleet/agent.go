package fleet

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"scrier/certs"
	"scrier/relay/store"
	"scrier/wire"
)

const (
	helloTimeout = 15 * time.Second
	pingTimeout  = 2 * time.Second // for an answer from the first of two connections of one identity

	// controlRate bounds what an agent may say: a heartbeat and an answer now and then.
	controlRate  = 20 // messages a second
	controlBurst = 100
)

// agent is one envoy's live link.
type agent struct {
	fleet   *Fleet
	id      wire.EnvoyID
	boot    string
	link    wire.Link
	control *wire.Framed
	since   time.Time
	expires time.Time // of the newest certificate that it was given

	mu         sync.Mutex
	generation uint64 // of the certificate that the agent is known to have
	issued     uint64 // of the newest one that it was sent
	renewed    time.Time
	facts      wire.Facts
	seen       time.Time
	silent     bool // it was reported as silent ([Fleet.findSilent]) and has not been heard since
	pings      map[uint64]chan struct{}
}

// Serve runs an agent's link until it ends. The identity was verified by the TLS handshake;
// expired says that its certificate may only be renewed.
func (f *Fleet) Serve(ctx context.Context, link wire.Link, id certs.Identity, expired bool) error {
	envoy, err := wire.ParseEnvoyID(id.ID)
	if err != nil {
		return err
	}
	helloCtx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	s, err := link.Accept(helloCtx)
	if err != nil {
		return err
	}
	a := &agent{
		fleet: f, id: envoy, generation: id.Generation, issued: id.Generation, link: link, control: wire.NewFramed(s),
		since: f.Now(), pings: map[uint64]chan struct{}{},
		expires: link.Peer().Certificates[0].NotAfter,
	}
	if err := s.SetDeadline(time.Now().Add(helloTimeout)); err != nil {
		return err
	}
	first, err := a.control.Receive()
	if err != nil {
		return err
	}
	switch m := first.(type) {
	case *wire.Renew:
		return a.renewOnly(ctx, m)
	case *wire.Hello:
		if expired {
			err := wire.Errorf(wire.Expired, "the certificate has expired; it may be renewed")
			return errors.Join(err, a.refuse(err))
		}
		if err := s.SetDeadline(time.Time{}); err != nil {
			return err
		}
		a.boot, a.facts, a.seen = m.Boot, f.timed(m.Facts, m.Time), f.Now()
	default:
		return wire.Errorf(wire.Protocol, "%T is not a greeting", m)
	}
	leave, err := f.join(ctx, a)
	if err != nil {
		return errors.Join(err, a.refuse(err))
	}
	defer leave()
	if err := a.control.Send(&wire.Welcome{Relay: f.Name, Time: wire.Millis(f.Now()), Interval: uint32(heartbeats / time.Second)}); err != nil {
		return err
	}
	f.Log.Info("agent connected", "envoy", a.id, "name", a.facts.Hostname, "addr", link.Peer().Addr)
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.listen(gctx) })
	g.Go(func() error { return a.watch(gctx) })
	return g.Wait()
}

// refuse tells the agent why and gives the answer time to arrive.
func (a *agent) refuse(err error) error {
	if err := a.control.Send(wire.Refuse(err)); err != nil {
		return err
	}
	wire.Finish(a.control.Stream, 2*time.Second)
	return nil
}

// renewOnly serves a link that an agent opened just for a new certificate.
func (a *agent) renewOnly(ctx context.Context, m *wire.Renew) error {
	if err := a.renew(m); err != nil {
		return errors.Join(err, a.refuse(err))
	}
	if err := a.control.SetReadDeadline(time.Now().Add(helloTimeout)); err != nil {
		return err
	}
	if _, err := wire.Expect[wire.Kept](a.control); err != nil {
		return err // the new certificate counts when it is used
	}
	err := a.kept(ctx)
	wire.Finish(a.control.Stream, helloTimeout)
	return err
}

// renewEvery is how often a link may renew: far more often than any agent has reason to.
const renewEvery = time.Minute

// renew issues the next generation. The one before stays valid until the agent says that it has saved
// the new one, or uses it, as the answer with the new one may be lost.
func (a *agent) renew(m *wire.Renew) error {
	a.mu.Lock()
	next, has, last := a.issued+1, a.generation, a.renewed
	a.mu.Unlock()
	if !last.IsZero() && time.Since(last) < renewEvery {
		return wire.Errorf(wire.Busy, "the certificate was renewed a moment ago")
	}
	if err := a.fleet.Admit(certs.Identity{Role: certs.RoleAgent, ID: a.id.String(), Generation: has}); err != nil {
		return err
	}
	pub, err := certs.ParseRequest(m.CSR)
	if err != nil {
		return err
	}
	chain, err := a.fleet.CA.Issue(certs.Identity{Role: certs.RoleAgent, ID: a.id.String(), Generation: next}, pub)
	if err != nil {
		return err
	}
	a.mu.Lock()
	a.issued, a.renewed, a.expires = next, time.Now(), a.fleet.Now().Add(certs.AgentLife)
	a.mu.Unlock()
	a.fleet.Log.Info("certificate renewed", "envoy", a.id)
	return a.control.Send(&wire.Renewed{Chain: chain})
}

// kept makes all certificates before the newest one invalid.
func (a *agent) kept(ctx context.Context) error {
	a.mu.Lock()
	a.generation = a.issued
	a.mu.Unlock()
	return a.fleet.KV.Update(ctx, func(tx store.Tx) error { return a.saveTo(tx) })
}

// listen reads what the agent says on its control stream.
func (a *agent) listen(ctx context.Context) error {
	limit := rate.NewLimiter(controlRate, controlBurst)
	for {
		m, err := a.control.Receive()
		if err != nil {
			if ended := a.link.Err(); ended != nil {
				return ended
			}
			return err
		}
		if !limit.Allow() {
			return wire.Errorf(wire.Protocol, "more than %d messages a second", controlRate)
		}
		switch m := m.(type) {
		case *wire.Heartbeat:
			facts := a.fleet.timed(m.Facts, m.Time)
			a.mu.Lock()
			a.facts, a.seen = facts, a.fleet.Now()
			back := a.silent
			a.silent = false
			a.mu.Unlock()
			a.fleet.changed(a.id, !back)
		case *wire.Pong:
			a.mu.Lock()
			if c := a.pings[m.N]; c != nil {
				close(c)
				delete(a.pings, m.N)
			}
			a.seen = a.fleet.Now()
			a.mu.Unlock()
		case *wire.Renew:
			if err := a.renew(m); err != nil {
				if err := a.control.Send(wire.Refuse(err)); err != nil {
					return err
				}
			}
		case *wire.Kept:
			if err := a.kept(ctx); err != nil {
				return err
			}
		default:
			return wire.Errorf(wire.Protocol, "unexpected %T on the control stream", m)
		}
	}
}

// watch ends the link when its time is over: the certificate's, or the context's.
func (a *agent) watch(ctx context.Context) error {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done(): // the relay shuts down, or listen found a reason
			err := wire.Cause(ctx, wire.RelayShutdown)
			return errors.Join(err, a.link.Close(wire.CodeOf(err), wire.DetailOf(err)))
		case <-a.link.Context().Done():
			return a.link.Err()
		case <-tick.C:
			a.mu.Lock()
			over := a.fleet.Now().After(a.expires)
			a.mu.Unlock()
			if over {
				err := wire.Errorf(wire.Expired, "the certificate was not renewed in time")
				return errors.Join(err, a.link.Close(wire.Expired, wire.DetailOf(err)))
			}
		}
	}
}

// ping asks the agent itself, not only its QUIC stack.
func (a *agent) ping(ctx context.Context) error {
	var b [8]byte
	rand.Read(b[:])
	n := binary.BigEndian.Uint64(b[:]) >> 1
	pong := make(chan struct{})
	a.mu.Lock()
	a.pings[n] = pong
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		delete(a.pings, n)
		a.mu.Unlock()
	}()
	sent := make(chan error, 1)
	go func() { sent <- a.control.Send(&wire.Ping{N: n}) }() // ends with the link at the latest
	for {
		select {
		case err := <-sent:
			if err != nil {
				return err
			}
		case <-pong:
			return nil
		case <-a.link.Context().Done():
			return a.link.Err()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// saveTo writes what the agent told to its row.
func (a *agent) saveTo(tx store.Tx) error {
	e, err := store.GetEnvoy(tx, a.id)
	if err != nil {
		return err
	}
	a.mu.Lock()
	facts, seen, generation := a.facts, a.seen, a.generation
	a.mu.Unlock()
	if e.Facts, err = wire.Marshal(facts); err != nil {
		return err
	}
	e.LastSeen, e.Boot, e.Version = seen, a.boot, facts.Version
	e.Generation = max(e.Generation, generation)
	return store.PutEnvoy(tx, e)
}

// timed bounds an agent's facts and adds how far its clock is off. The message's way to us makes
// the clock seem late by half a round trip, which does not matter against minutes.
func (f *Fleet) timed(facts wire.Facts, clock int64) wire.Facts {
	facts = facts.Bounded()
	facts.Offset = wire.Millis(f.Now()) - clock
	return facts
}
