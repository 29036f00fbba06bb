package fleet

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"scrier/certs"
	"scrier/relay/store"
	"scrier/wire"
)

const (
	helloTimeout = 15 * time.Second
	wholeTimeout = 10 * time.Second // for the rest of a message that has begun
	pingTimeout  = 2 * time.Second  // for an answer from the first of two connections of one identity

	maxBoot = 64 // bytes of a boot id that are kept; a kernel's has 36

	// controlRate bounds what an agent may say: a heartbeat and an answer now and then.
	controlRate  = 20 // messages a second
	controlBurst = 100

	maxRenewals = 16 // that wait to be served; an agent has one under way
)

// agent is one envoy's live link.
type agent struct {
	fleet   *Fleet
	id      wire.EnvoyID
	boot    string
	link    wire.Link
	control *wire.Framed
	end     context.CancelCauseFunc // ends the link, and does not wait for that
	told    time.Duration           // how it is to come back; of greet, and of listen when greet is over

	mu      sync.Mutex
	cert    store.Certificate // that the agent is known to have
	issued  store.Certificate // that it was given on this link and has not kept yet; generation 0: none
	expires time.Time         // of the newest of the two
	facts   wire.Facts
	seen    time.Time
	saved   time.Time // when facts and seen, or those of a link before, were written last
	silent  bool      // it was reported as silent ([Fleet.findSilent]) and has not been heard since
	rival   string    // the address of another machine that was refused while this link lived
	settled string    // the reported hostname for which the envoy's name needs no look ([Fleet.followAll])
	pings   map[uint64]chan struct{}
	asked   int // pings that were sent and have no answer yet, also those that nobody waits for any more

	renewals []wire.Message // Renew and Kept that wait, in order; and Spread, to be sent
	renewing bool           // somebody serves them
}

// source is the agent's address, without the port.
func (a *agent) source() string { return wire.Host(a.link.Peer().Addr.String()) }

// certificate is the one that the agent is known to have, used now.
func (a *agent) certificate() store.Certificate {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.cert
	c.Time = a.fleet.Now()
	return c
}

// Serve runs an agent's link until it ends. The identity was verified by the TLS handshake; whether it
// still counts is asked here, before anything is served. expired says that its certificate may only be
// renewed.
func (f *Fleet) Serve(ctx context.Context, link wire.Link, id certs.Identity, expired bool) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	a, err := f.newAgent(link, id, end)
	if err != nil {
		return err
	}
	leave, err := a.begin(ctx, expired)
	if leave == nil {
		return err
	}
	defer leave()
	return a.run(ctx)
}

func (f *Fleet) newAgent(link wire.Link, id certs.Identity, end context.CancelCauseFunc) (*agent, error) {
	envoy, err := wire.ParseEnvoyID(id.ID)
	if err != nil {
		return nil, err
	}
	leaf := link.Peer().Certificates[0]
	key := certs.PinOf(leaf)
	a := &agent{fleet: f, id: envoy, link: link, end: end, expires: leaf.NotAfter, pings: map[uint64]chan struct{}{}}
	a.cert = store.Certificate{Generation: id.Generation, Key: key[:], Source: a.source()}
	return a, nil
}

// begin is what comes before an agent is the envoy's. leave is nil if it does not become so: it was refused, or came
// for a renewal alone.
func (a *agent) begin(ctx context.Context, expired bool) (leave func(), err error) {
	if err := a.fleet.admit(ctx, a); err != nil {
		return nil, err
	}
	helloCtx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	s, err := a.link.Accept(helloCtx)
	if err != nil {
		return nil, err
	}
	a.control = wire.NewFramed(s)
	if err := s.SetDeadline(time.Now().Add(helloTimeout)); err != nil {
		return nil, err
	}
	first, err := a.control.Receive()
	if err != nil {
		return nil, err
	}
	switch m := first.(type) {
	case *wire.Renew:
		return nil, a.renewOnly(ctx, m, expired)
	case *wire.Hello:
		return a.greet(ctx, m, expired)
	default:
		return nil, wire.Errorf(wire.Protocol, "%T is not a greeting", m)
	}
}

// greet makes who says Hello the envoy's agent.
func (a *agent) greet(ctx context.Context, m *wire.Hello, expired bool) (leave func(), err error) {
	f := a.fleet
	if expired {
		err := wire.Errorf(wire.Expired, "the certificate has expired; it may be renewed")
		return nil, errors.Join(err, a.refuse(err))
	}
	if err := a.control.SetDeadline(time.Time{}); err != nil {
		return nil, err
	}
	a.boot = strings.ToValidUTF8(m.Boot[:min(len(m.Boot), maxBoot)], "")
	a.facts, a.seen = f.timed(m.Facts, m.Time), f.Now()
	joining, end := a.whileLinked(ctx)
	leave, err = f.join(joining, a)
	end()
	if err != nil {
		return nil, errors.Join(err, a.refuse(err))
	}
	if err := a.control.Send(a.welcome()); err != nil {
		leave()
		return nil, err
	}
	f.Log.Info("agent connected", "envoy", a.id, "name", a.facts.Hostname, "addr", a.link.Peer().Addr)
	return leave, nil
}

// run serves the envoy's agent until its link ends. While it has nothing to say, that costs the two goroutines which
// wait for it. There may be ten thousand of them, and Go takes stack back only from who uses less than a fourth of it:
// so what is below them is short, and work that needs more has returned before, or has a goroutine for its time.
func (a *agent) run(ctx context.Context) error {
	shut := func() { // ends the reads
		err := wire.Cause(ctx, wire.RelayShutdown)
		_ = a.link.Close(wire.CodeOf(err), wire.DetailOf(err)) // it may have ended
	}
	defer context.AfterFunc(ctx, shut)()
	var others sync.WaitGroup
	others.Go(func() { a.end(a.accept(ctx)) })
	a.end(a.guard(func() error { return a.listen(ctx, &others) }))
	others.Wait()
	shut() // before who leaves says that the agent was lost
	return context.Cause(ctx)
}

// whileLinked is ctx up to the link's end. When a whole fleet comes back to a slow disk, an agent may give
// up while it waits for its turn to write: it must not take the turn all the same, as it is back in the
// queue by then.
func (a *agent) whileLinked(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(a.link.Context(), func() { cancel(&wire.Error{Code: wire.AgentLost}) })
	return ctx, func() { stop(); cancel(nil) }
}

// guard makes an error of a panic, so that it ends this link alone.
func (a *agent) guard(f func() error) error {
	return a.fleet.Panics.Contain("link", f, "envoy", a.id)
}

// accept ends the link when the agent opens a stream.
func (a *agent) accept(ctx context.Context) error {
	if _, err := a.link.Accept(ctx); err != nil {
		return err
	}
	return wire.Errorf(wire.Protocol, "an agent opens no stream but its control stream")
}

// refuse tells the agent why and gives the answer time to arrive.
func (a *agent) refuse(err error) error {
	if err := a.control.Send(wire.Refuse(err)); err != nil {
		return err
	}
	wire.Finish(a.control.Stream, 2*time.Second)
	return nil
}

// listen reads what the agent says on its control stream, until the link's end. What has to wait is done beside it.
func (a *agent) listen(ctx context.Context, beside *sync.WaitGroup) error {
	limit := rate.NewLimiter(controlRate, controlBurst)
	for {
		m, err := a.control.ReceiveWithin(wholeTimeout)
		if err != nil {
			if ended := a.link.Err(); ended != nil {
				return ended
			}
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return wire.Errorf(wire.Protocol, "a message did not end within %s", wholeTimeout)
			}
			return err
		}
		p, answer := m.(*wire.Pong)
		if answer && a.answered(p.N) {
			continue // how often it is asked is not the agent's choice, and copies of it can make it often
		}
		if !limit.Allow() {
			return wire.Errorf(wire.Protocol, "more than %d messages a second", controlRate)
		}
		switch m := m.(type) {
		case *wire.Heartbeat:
			a.reported(m)
			if m := a.newSpread(); m != nil {
				first, err := a.wants(m)
				if err == nil && first { // else the agent does not even take what it has asked for
					beside.Go(func() { a.serveRenewals(ctx) })
				}
			}
		case *wire.Pong: // to nothing
		case *wire.Renew, *wire.Kept:
			first, err := a.wants(m)
			if err != nil {
				return err
			}
			if first {
				beside.Go(func() { a.serveRenewals(ctx) })
			}
		default:
			return wire.Errorf(wire.Protocol, "unexpected %T on the control stream", m)
		}
	}
}

// reported takes a heartbeat.
func (a *agent) reported(m *wire.Heartbeat) {
	facts := a.fleet.timed(m.Facts, m.Time)
	a.mu.Lock()
	a.facts, a.seen = facts, a.fleet.Now()
	back := a.silent
	a.silent = false
	a.mu.Unlock()
	a.fleet.changed(a.id, !back)
}

// answered notes the answer to a ping, which may come when nobody waits for it any more. It is false for
// more answers than there were pings.
func (a *agent) answered(n uint64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.asked == 0 {
		return false
	}
	a.asked--
	if pong, ok := a.pings[n]; ok {
		close(pong)
		delete(a.pings, n)
		a.seen = a.fleet.Now()
	}
	return true
}

// ping asks the agent itself, not only its QUIC stack.
func (a *agent) ping(ctx context.Context) error {
	var b [8]byte
	rand.Read(b[:])
	n := binary.BigEndian.Uint64(b[:]) >> 1
	pong := make(chan struct{})
	a.mu.Lock()
	a.pings[n] = pong
	a.asked++
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		delete(a.pings, n)
		a.mu.Unlock()
	}()
	sent := make(chan error, 1)
	go func() { // ends with the link at the latest
		sent <- a.guard(func() error { return a.control.Send(&wire.Ping{N: n}) })
	}()
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
	if err := a.describe(&e); err != nil {
		return err
	}
	return store.PutEnvoy(tx, e)
}

// describe puts what the agent told into e.
func (a *agent) describe(e *store.Envoy) (err error) {
	a.mu.Lock()
	facts, seen := a.facts, a.seen
	a.mu.Unlock()
	e.LastSeen, e.Boot, e.Version = seen, a.boot, facts.Version
	e.Facts, err = wire.Marshal(facts)
	return err
}

// timed bounds an agent's facts and adds how far its clock is off. The message's way to us makes
// the clock seem late by half a round trip, which does not matter against minutes.
func (f *Fleet) timed(facts wire.Facts, clock int64) wire.Facts {
	facts = facts.Bounded()
	facts.Offset = wire.Millis(f.Now()) - clock
	return facts
}
