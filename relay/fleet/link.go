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

	maxBoot = 64  // bytes of a boot id that are kept; a kernel's has 36
	maxWhy  = 128 // bytes of why a link is over its road

	// controlRate bounds what an agent may say: a heartbeat and an answer now and then.
	controlRate  = 20 // messages a second
	controlBurst = 100

	maxRenewals = 16 // that wait to be served; an agent has one under way
)

// agentLink is one link of an agent.
type agentLink struct {
	*agent  // another one's when the link is found to be beside that one's (join)
	link    wire.Link
	control *wire.Framed
	end     context.CancelCauseFunc // ends the link, and does not wait for that
	told    time.Duration           // how it is to come back; of greet, and of listen when greet is over
	move    []byte                  // the ID of its Hello; empty: it was the agent's only link when it came
	why     string                  // the agent's word why it is over its road

	// Guarded by agent.mu:
	announced []byte // what the agent has said on it of a link that is to come
	pings     map[uint64]chan struct{}
	asked     int            // pings that were sent and have no answer yet, also those that nobody waits for any more
	renewals  []wire.Message // Renew and Kept that wait, in order; and Spread, to be sent
	renewing  bool           // somebody serves them
	rest      time.Duration  // how long the agent may say nothing on it; 0: it does not rest
	said      time.Time      // when it has said something on it last, or was asked
	asking    bool           // it is being asked now, for its rest is over
	restPing  uint64         // the ping of a rest that has no answer yet; 0: there is none
	heard     uint64         // packets, when it was looked last
	heardAt   time.Time      // when one had come last, as far as was looked; zero: nobody has looked
}

// source is the agent's address on this link, without the port.
func (l *agentLink) source() string { return wire.Host(l.link.Peer().Addr.String()) }

// Serve runs an agent's link until it ends. The identity was verified by the TLS handshake; whether it
// still counts is asked here, before anything is served. expired says that its certificate may only be
// renewed.
func (f *Fleet) Serve(ctx context.Context, link wire.Link, id certs.Identity, expired bool) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	l, err := f.newLink(link, id, end)
	if err != nil {
		return err
	}
	leave, err := l.begin(ctx, expired)
	if leave == nil {
		return err
	}
	defer leave()
	return l.run(ctx)
}

func (f *Fleet) newLink(link wire.Link, id certs.Identity, end context.CancelCauseFunc) (*agentLink, error) {
	envoy, err := wire.ParseEnvoyID(id.ID)
	if err != nil {
		return nil, err
	}
	leaf := link.Peer().Certificates[0]
	key := certs.PinOf(leaf)
	l := &agentLink{link: link, end: end, pings: map[uint64]chan struct{}{}}
	l.agent = &agent{
		fleet: f, id: envoy, expires: leaf.NotAfter,
		cert: store.Certificate{Generation: id.Generation, Key: key[:], Source: l.source()},
	}
	return l, nil
}

// begin is what comes before an agent is the envoy's. leave is nil if it does not become so: it was refused, or came
// for a renewal alone.
func (l *agentLink) begin(ctx context.Context, expired bool) (leave func(), err error) {
	if err := l.fleet.admit(ctx, l); err != nil {
		return nil, err
	}
	helloCtx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	s, err := l.link.Accept(helloCtx)
	if err != nil {
		return nil, err
	}
	l.control = wire.NewFramed(s)
	if err := s.SetDeadline(time.Now().Add(helloTimeout)); err != nil {
		return nil, err
	}
	first, err := l.control.Receive()
	if err != nil {
		return nil, err
	}
	switch m := first.(type) {
	case *wire.Renew:
		return nil, l.renewOnly(ctx, m, expired)
	case *wire.Hello:
		return l.greet(ctx, m, expired)
	default:
		return nil, wire.Errorf(wire.Protocol, "%T is not a greeting", m)
	}
}

// greet makes who says Hello the envoy's agent.
func (l *agentLink) greet(ctx context.Context, m *wire.Hello, expired bool) (leave func(), err error) {
	f := l.fleet
	if expired {
		err := wire.Errorf(wire.Expired, "the certificate has expired; it may be renewed")
		return nil, errors.Join(err, l.refuse(err))
	}
	if len(m.Move) > 0 {
		if err := checkMove(m.Move); err != nil {
			return nil, errors.Join(err, l.refuse(err))
		}
	}
	if err := l.control.SetDeadline(time.Time{}); err != nil {
		return nil, err
	}
	l.boot = strings.ToValidUTF8(m.Boot[:min(len(m.Boot), maxBoot)], "")
	l.move, l.why = m.Move, wire.Printable(m.Why[:min(len(m.Why), maxWhy)])
	l.facts, l.seen = f.timed(m.Facts, m.Time), f.Now()
	l.rests(m.Rest)
	name := l.facts.Hostname // another link of the agent's may report another one as soon as this is one too
	joining, end := l.whileLinked(ctx)
	leave, err = f.join(joining, l)
	end()
	if err != nil {
		return nil, errors.Join(err, l.refuse(err))
	}
	if err := l.control.Send(l.welcome()); err != nil {
		leave()
		return nil, err
	}
	f.Log.Info("agent connected", "envoy", l.id, "name", name, "addr", l.link.Peer().Addr)
	return leave, nil
}

// run serves the envoy's agent until its link ends. While it has nothing to say, that costs the two goroutines which
// wait for it. There may be ten thousand of them, and Go takes stack back only from who uses less than a fourth of it:
// so what is below them is short, and work that needs more has returned before, or has a goroutine for its time.
func (l *agentLink) run(ctx context.Context) error {
	shut := func() { // ends the reads
		err := wire.Cause(ctx, wire.RelayShutdown)
		_ = l.link.Close(wire.CodeOf(err), wire.DetailOf(err)) // it may have ended
	}
	defer context.AfterFunc(ctx, shut)()
	var others sync.WaitGroup
	others.Go(func() { l.end(l.accept(ctx, &others)) })
	l.end(l.guard(func() error { return l.listen(ctx, &others) }))
	others.Wait()
	shut() // before who leaves says that the agent was lost
	return context.Cause(ctx)
}

// whileLinked is ctx up to the link's end. When a whole fleet comes back to a slow disk, an agent may give
// up while it waits for its turn to write: it must not take the turn all the same, as it is back in the
// queue by then.
func (l *agentLink) whileLinked(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(l.link.Context(), func() { cancel(&wire.Error{Code: wire.AgentLost}) })
	return ctx, func() { stop(); cancel(nil) }
}

// guard makes an error of a panic, so that it ends this link alone.
func (l *agentLink) guard(f func() error) error {
	return l.fleet.Panics.Contain("link", f, "envoy", l.id)
}

// accept takes the one stream that an agent may open beside its control stream, for its pings, and ends the link when there are more.
func (l *agentLink) accept(ctx context.Context, beside *sync.WaitGroup) error {
	s, err := l.link.Accept(ctx)
	if err != nil {
		return err
	}
	beside.Go(func() { // only an agent that has sessions asks
		if err := l.guard(func() error { return l.pulse(s) }); err != nil {
			l.end(err)
		}
	})
	if _, err := l.link.Accept(ctx); err != nil {
		return err
	}
	return wire.Errorf(wire.Protocol, "an agent opens no streams but its control stream and one for pings")
}

// refuse tells the agent why and gives the answer time to arrive.
func (l *agentLink) refuse(err error) error {
	if err := l.control.Send(wire.Refuse(err)); err != nil {
		return err
	}
	wire.Finish(l.control.Stream, 2*time.Second)
	return nil
}

// listen reads what the agent says on its control stream, until the link's end. What has to wait is done beside it.
func (l *agentLink) listen(ctx context.Context, beside *sync.WaitGroup) error {
	limit := rate.NewLimiter(controlRate, controlBurst)
	for {
		m, err := l.control.ReceiveWithin(wholeTimeout)
		if err != nil {
			if ended := l.link.Err(); ended != nil {
				return ended
			}
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return wire.Errorf(wire.Protocol, "a message did not end within %s", wholeTimeout)
			}
			return err
		}
		p, answer := m.(*wire.Pong)
		if answer && l.answered(p.N) {
			l.tellSpread(ctx, beside)
			continue // how often it is asked is not the agent's choice, and copies of it can make it often
		}
		if !limit.Allow() {
			return wire.Errorf(wire.Protocol, "more than %d messages a second", controlRate)
		}
		switch m := m.(type) {
		case *wire.Heartbeat:
			l.reported(m)
			l.tellSpread(ctx, beside)
		case *wire.Pong: // to nothing
		case *wire.Move:
			if err := l.moves(m, beside); err != nil {
				return err
			}
		case *wire.Renew, *wire.Kept:
			first, err := l.wants(m)
			if err != nil {
				return err
			}
			if first {
				beside.Go(func() { l.serveRenewals(ctx) })
			}
		default:
			return wire.Errorf(wire.Protocol, "unexpected %T on the control stream", m)
		}
	}
}

// tellSpread has the agent told if its fleet has become larger or smaller.
func (l *agentLink) tellSpread(ctx context.Context, beside *sync.WaitGroup) {
	m := l.newSpread()
	if m == nil {
		return
	}
	if first, err := l.wants(m); err == nil && first { // else the agent does not even take what it has asked for
		beside.Go(func() { l.serveRenewals(ctx) })
	}
}

// reported takes a heartbeat.
func (l *agentLink) reported(m *wire.Heartbeat) {
	facts := l.fleet.timed(m.Facts, m.Time)
	l.mu.Lock()
	l.facts, l.seen = facts, l.fleet.Now()
	l.rests(m.Rest)
	back := l.silent
	l.silent = false
	l.mu.Unlock()
	l.fleet.changed(l.id, !back)
}

// answered notes the answer to a ping, which may come when nobody waits for it any more. It is false for
// more answers than there were pings.
func (l *agentLink) answered(n uint64) bool {
	l.mu.Lock()
	if l.asked == 0 {
		l.mu.Unlock()
		return false
	}
	l.asked--
	if n == l.restPing && n != 0 {
		back := l.silent
		l.restPing, l.silent, l.seen, l.said = 0, false, l.fleet.Now(), time.Now()
		l.mu.Unlock()
		l.fleet.changed(l.id, !back)
		return true
	}
	defer l.mu.Unlock()
	if pong, ok := l.pings[n]; ok {
		close(pong)
		delete(l.pings, n)
		l.seen = l.fleet.Now()
	}
	return true
}

// ping asks the agent itself, not only its QUIC stack.
func (l *agentLink) ping(ctx context.Context) error {
	var b [8]byte
	rand.Read(b[:])
	n := binary.BigEndian.Uint64(b[:]) >> 1
	pong := make(chan struct{})
	l.mu.Lock()
	l.pings[n] = pong
	l.asked++
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		delete(l.pings, n)
		l.mu.Unlock()
	}()
	sent := make(chan error, 1)
	go func() { // ends with the link at the latest
		sent <- l.guard(func() error { return l.control.Send(&wire.Ping{N: n}) })
	}()
	for {
		select {
		case err := <-sent:
			if err != nil {
				return err
			}
		case <-pong:
			return nil
		case <-l.link.Context().Done():
			return l.link.Err()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
