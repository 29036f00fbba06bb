package agent

import (
	"cmp"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"scrier/certs"
	"scrier/wire"
)

const (
	dialTimeout    = 15 * time.Second
	welcomeTimeout = 15 * time.Second
	maxTold        = 32              // streams too many that are told why at the same time
	sshAskedEvery  = 5 * time.Minute // not more often: sshd logs each connection
	maxInterval    = time.Minute     // between heartbeats, whatever the relay wants

	desktopsAskedEvery = 15 * time.Second // not more often: a program (loginctl) may have to be run
	desktopsTimeout    = 2 * time.Second  // the heartbeat is not sent before that is known
)

// errRenewed ends a link that only served to renew the certificate.
var errRenewed = errors.New("renewed")

// meeting is how a link is to be made.
type meeting struct {
	wire.Dialer
	move []byte       // the ID that is said of it on the link beside which it is to be; nil: there is none
	say  func() error // is called between dialling and greeting; nil: nothing is to be done
	why  string       // it is over its road; empty: as the dialler says
}

// meet makes a link that the relay has welcomed.
func (a *Agent) meet(ctx context.Context, m meeting) (l *agentLink, err error) {
	pin, err := certs.ParsePin(a.enrolment.Pin)
	if err != nil {
		return nil, err
	}
	if !a.exchange.TryLock() {
		return nil, wire.Errorf(wire.Busy, "the certificate is being renewed")
	}
	free := a.exchange.Unlock
	defer func() { free() }()
	cert, err := a.State.certificate()
	if err != nil {
		return nil, err
	}
	who := certs.Client{ALPN: wire.ALPNAgent, Pin: &pin, Cert: cert, Now: a.Now}
	m.TLS = who.TLS()
	who.ALPN = wire.ALPNLane
	dialCtx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	link, err := a.dial(dialCtx, m.Dialer)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			link.Close(wire.CodeOf(err), "the agent ends this link")
		}
	}()
	defer context.AfterFunc(ctx, func() { link.Close(wire.None, "the agent is going away") })()
	if m.say != nil {
		if err := m.say(); err != nil {
			return nil, err
		}
	}
	s, err := link.Open(dialCtx)
	if err != nil {
		return nil, err
	}
	a.saved(cert.Leaf)
	l = &agentLink{Agent: a, link: link, control: wire.NewFramed(s), now: make(chan struct{}, 1), asked: make(chan uint64, 1), stranded: make(chan stranded, 1), move: m.move, lanes: who.TLS(), why: cmp.Or(m.why, m.Why(link, a.enrolment.Relay))}
	if m.move == nil && a.renewNext {
		a.renewNext = false
		free = func() {}
		return nil, l.renewFirst()
	}
	if err := l.greet(); err != nil {
		// This machine's clock may be wrong. The relay's is the one that counts: if the certificate
		// has expired by that, the next link asks for a new one. If not, the relay refuses a link that
		// does not begin with Hello.
		if wire.CodeOf(err) == wire.Expired && m.move == nil {
			a.renewNext = true
		}
		return nil, err
	}
	a.remember(link.Peer().Road, l.why)
	said := []any{"relay", a.enrolment.Relay, "envoy", a.enrolment.Envoy, "transport", link.Peer().Road}
	if l.why != "" {
		said = append(said, "why", l.why)
	}
	a.Log.Info("connected", said...)
	return l, nil
}

// agentLink is one admitted connection.
type agentLink struct {
	*Agent
	link     wire.Link
	lanes    *tls.Config // for its streams' lanes
	control  *wire.Framed
	move     []byte        // the ID of its Hello
	why      string        // it is over its road
	interval time.Duration // between heartbeats
	moves    bool          // the relay takes a second link beside it
	pongs    bool          // the relay answers pings
	stranded chan stranded // holds one when the link is no good any more
	rests    bool          // the relay understands rests
	rhythm   rhythm        // of beat, when greet is over
	first    wire.Facts    // that were said in Hello
	asked    chan uint64   // holds one when the relay has asked: how many packets were sent by then
	now      chan struct{} // holds one when a heartbeat is wanted at once
	nobody   bool          // of roam: the relay is gone
	left     atomic.Bool   // it was closed for another one that is being made

	known facts // without a lock: greet uses it first, and when greet is over, beat alone
	usage usage
}

// greet sends Hello and waits for Welcome.
func (l *agentLink) greet() error {
	l.first = l.tell(l.link.Context())
	hello := &wire.Hello{Boot: l.boot, Time: wire.Millis(l.Now()), Facts: l.first, Move: l.move, Why: l.why}
	if _, ok := l.link.(wire.Roamer); ok { // over TCP what is on the way remembers for longer
		l.rhythm = l.knownRhythm()
		hello.Rest = l.rhythm.seconds()
	}
	if err := l.control.SetDeadline(time.Now().Add(welcomeTimeout)); err != nil {
		return err
	}
	if err := l.control.Send(hello); err != nil {
		return l.cause(err)
	}
	if err := l.control.SetDeadline(time.Now().Add(welcomeTimeout)); err != nil {
		return err
	}
	w, err := wire.Expect[wire.Welcome](l.control)
	if err != nil {
		return l.cause(err)
	}
	if err := l.control.SetDeadline(time.Time{}); err != nil {
		return err
	}
	l.told(w.Spread)
	if skew := time.UnixMilli(w.Time).Sub(l.Now()); skew.Abs() > 5*time.Minute {
		l.Log.Warn("this machine's clock is wrong", "relay_minus_here", skew.Round(time.Second))
	}
	l.interval, l.moves = min(max(time.Duration(w.Interval)*time.Second, time.Second), maxInterval), w.Moves
	l.rests, l.pongs = w.Rests, w.Pongs
	return nil
}

// told remembers over how long the relay wants its fleet to come back, for when there is no link.
func (l *agentLink) told(millis uint32) { l.spread.Store(int64(millis) * int64(time.Millisecond)) }

// cause returns the reason why the link ended, if it did, and else err, the error of a stream. When a
// link ends, its streams fail, and their errors do not say why.
func (l *agentLink) cause(err error) error {
	if ended := l.link.Err(); ended != nil {
		return ended
	}
	return err
}

// tell is what the next heartbeat says. All that it waits for has a deadline of a few seconds.
func (l *agentLink) tell(ctx context.Context) wire.Facts {
	if due(&l.known.sshAsked, sshAskedEvery) {
		l.known.ssh, l.known.sshServer = l.builtin != nil, "built in"
		if l.builtin == nil {
			l.known.sshServer, l.known.ssh = askSSH(ctx, l.Config.SSH.Addr)
		}
	}
	if due(&l.known.desktopsAsked, desktopsAskedEvery) {
		l.known.desktops = l.desktops(ctx)
	}
	return l.known.read()
}

// due says whether it is time to ask again. If it is, last becomes now.
func due(last *time.Time, every time.Duration) bool {
	if !last.IsZero() && time.Since(*last) < every {
		return false
	}
	*last = time.Now()
	return true
}

// run serves the link until it ends or ctx does.
func (l *agentLink) run(ctx context.Context) error {
	defer l.giveUp(l)
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return l.beat(gctx) })
	g.Go(func() error { return l.listen() })
	g.Go(func() error { return l.accept(gctx) })
	g.Go(func() error { return l.renewInTime(gctx) })
	g.Go(func() error { return l.roam(gctx) })
	g.Go(func() error { // closes the link, which ends the others that read from it
		select {
		case <-gctx.Done():
			code := wire.None
			if ctx.Err() == nil {
				code = wire.Protocol
			}
			return l.link.Close(code, "the agent is going away")
		case <-l.link.Context().Done():
			return l.link.Err()
		}
	})
	err := g.Wait()
	if l.nobody {
		return errNobody
	}
	if ended := l.link.Err(); ended != nil && ctx.Err() == nil {
		return ended
	}
	return err
}

// listen reads what the relay says on the control stream.
func (l *agentLink) listen() error {
	for {
		m, err := l.control.Receive()
		if err != nil {
			return l.cause(err)
		}
		switch m := m.(type) {
		case *wire.Ping:
			err = l.pong(m)
		case *wire.Authenticated:
			l.sessions.authenticated(m.Session)
		case *wire.Spread:
			l.told(m.Millis)
		case *wire.Renewed:
			err = l.renewed(m)
			if err != nil && wire.CodeOf(err) != wire.Protocol { // the disk is full, for example: the old one goes on
				l.Log.Error("the renewed certificate was not saved; it is asked for again", "err", err)
				err = nil
			}
		case *wire.Refused: // the renewal was refused; it is asked for again while the old one lives
			l.Log.Warn("the relay refused to renew the certificate", "err", m.Err())
			l.giveUp(l)
		default:
			err = wire.Errorf(wire.Protocol, "unexpected %T on the control stream", m)
		}
		if err != nil {
			return err
		}
	}
}

// pong answers the relay, and tells beat.
func (l *agentLink) pong(m *wire.Ping) error {
	var sent uint64
	if way, ok := l.link.(wire.Roamer); ok {
		sent = way.Sent()
	}
	if err := l.control.Send(&wire.Pong{N: m.N}); err != nil {
		return err
	}
	select {
	case l.asked <- sent:
	default:
	}
	return nil
}

// accept serves the relay's streams, each in a goroutine of its own, and waits for them.
func (l *agentLink) accept(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	told := make(chan struct{}, maxTold)
	for {
		s, err := l.link.Accept(ctx)
		if err != nil {
			return l.cause(err)
		}
		if !l.usage.begin() { // the link is ending, and the relay asks on another one
			s.Reset(wire.None)
			continue
		}
		leave, ok := l.sessions.enter(l.Config.MaxSessions)
		if !ok {
			select {
			case told <- struct{}{}:
				wg.Go(func() {
					defer func() { <-told }()
					defer l.usage.end()
					l.full(s)
				})
			default:
				s.Reset(wire.Busy)
				l.usage.end()
			}
			continue
		}
		wg.Go(func() {
			defer leave()
			defer l.usage.end()
			l.serve(l.link.Context(), s)
		})
	}
}

// full refuses one session more than there may be.
func (l *agentLink) full(s wire.Stream) {
	err := wire.Errorf(wire.Busy, "%d sessions are open on this machine, as many as max_sessions in its agent.yaml allows; end one, or raise that and restart the agent", l.Config.MaxSessions)
	l.Log.Warn("session refused", "code", wire.CodeOf(err), "err", err)
	refuse(s, err)
}

// renewals is what this process knows of its certificates. time.Time keeps the monotonic clock, so it does not matter when
// somebody sets the machine's clock.
type renewals struct {
	mu       sync.Mutex
	last     time.Time         // when it got one
	leaf     *x509.Certificate // the newest that is saved
	renewing crypto.Signer     // the key of the request under way, or nil
	asker    *agentLink        // on which it was asked for

	// exchange is had by who makes a link with the saved certificate, until the relay has welcomed it, and by who renews it, from
	// the request until the new one is saved. Else a link could come with a certificate that the relay knows to be
	// replaced, as a copy would.
	exchange sync.Mutex
}

func (r *renewals) saved(leaf *x509.Certificate) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leaf = leaf
}

// giveUp ends a request that was made on a link, if there is one under way.
func (r *renewals) giveUp(l *agentLink) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.renewing != nil && r.asker == l {
		r.over()
	}
}

// over ends the request under way. The caller has the lock.
func (r *renewals) over() {
	r.renewing, r.asker = nil, nil
	r.exchange.Unlock()
}

// recent says whether there was a renewal within a third of a certificate's life. If a certificate
// seems to be over all the same, this machine's clock is wrong, and a further renewal would not
// help.
func (r *renewals) recent() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.last.IsZero() && time.Since(r.last) < certs.AgentLife/3
}

// due says whether a certificate has lived two thirds of its life, plus jitter, see [renewAt].
func (a *Agent) due(leaf *x509.Certificate, jitter float64) bool {
	return !a.recent() && !a.Now().Before(renewAt(leaf, jitter))
}

// renewAt is when the last third of a certificate's life begins, plus up to an eighth of its life:
// jitter (0 to 1) says how much of that. So machines that were enrolled at the same time do not all
// renew at the same time.
func renewAt(leaf *x509.Certificate, jitter float64) time.Time {
	life := leaf.NotAfter.Sub(leaf.NotBefore)
	return leaf.NotAfter.Add(-life/3 + time.Duration(jitter*float64(life)/8))
}

// renewInTime asks for a new certificate whenever two thirds of the current one's life are over.
// It looks once a minute instead of sleeping for hours, because timers stand still while a laptop
// is suspended.
func (l *agentLink) renewInTime(ctx context.Context) error {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	jitter := rand.Float64()
	for {
		l.mu.Lock()
		leaf := l.leaf
		l.mu.Unlock()
		if l.due(leaf, jitter) && !l.usage.isOld() {
			if err := l.askRenewal(); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// askRenewal asks for a certificate unless the relay has still to answer: its disk may be slow, and its answer
// is for the key of that request. Nor does it while a link is being made.
func (l *agentLink) askRenewal() error {
	if !l.exchange.TryLock() {
		return nil
	}
	return l.requestRenewal()
}

// requestRenewal is askRenewal for who has the exchange, which is given back when the request is over.
func (l *agentLink) requestRenewal() error {
	key, err := certs.NewKey()
	var csr []byte
	if err == nil {
		csr, err = certs.NewRequest(key)
	}
	if err != nil {
		l.exchange.Unlock()
		return err
	}
	l.mu.Lock()
	l.renewing, l.asker = key, l
	l.mu.Unlock()
	if err := l.control.Send(&wire.Renew{CSR: csr}); err != nil {
		l.giveUp(l)
		return err
	}
	return nil
}

// renewed saves the new identity, if it can follow the old one. This link goes on with the old one; the next link shows the new.
func (l *agentLink) renewed(m *wire.Renewed) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.renewing == nil || l.asker != l {
		return wire.Errorf(wire.Protocol, "a certificate that was not asked for")
	}
	defer l.over()
	pin, err := certs.ParsePin(l.enrolment.Pin)
	if err != nil {
		return err
	}
	if err := certs.Follows(l.leaf, pin, m.Chain); err != nil {
		return err
	}
	leaf, err := l.State.replace(l.renewing, m.Chain)
	if err != nil {
		return err
	}
	l.leaf, l.last = leaf, time.Now()
	l.Log.Info("certificate renewed", "until", leaf.NotAfter)
	return l.control.Send(&wire.Kept{})
}

// renewFirst serves a link whose only purpose is a new certificate. It takes the exchange over.
func (l *agentLink) renewFirst() error {
	if err := l.control.SetDeadline(time.Now().Add(welcomeTimeout)); err != nil {
		l.exchange.Unlock()
		return err
	}
	defer l.giveUp(l)
	if err := l.requestRenewal(); err != nil {
		return l.cause(err)
	}
	m, err := wire.Expect[wire.Renewed](l.control)
	if err != nil {
		return fmt.Errorf("renew the certificate: %w", l.cause(err))
	}
	if err := l.renewed(m); err != nil {
		return err
	}
	return errRenewed
}
