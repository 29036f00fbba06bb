package agent

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
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

// connect runs one link to its end. up says whether the relay admitted us.
func (a *Agent) connect(ctx context.Context) (up bool, err error) {
	pin, err := certs.ParsePin(a.enrolment.Pin)
	if err != nil {
		return false, err
	}
	cert, err := a.State.certificate()
	if err != nil {
		return false, err
	}
	dialCtx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	link, err := wire.Dialer{TLS: certs.Client{ALPN: wire.ALPNAgent, Pin: &pin, Cert: cert, Now: a.Now}.TLS(), Proxy: a.proxy}.Dial(dialCtx, a.enrolment.Relay)
	if err != nil {
		return false, err
	}
	defer func() { link.Close(wire.CodeOf(err), "the agent ends this link") }()
	s, err := link.Open(dialCtx)
	if err != nil {
		return false, err
	}
	l := &agentLink{Agent: a, link: link, control: wire.NewFramed(s), leaf: cert.Leaf}
	if a.renewNext {
		a.renewNext = false
		return false, l.renewFirst()
	}
	interval, err := l.greet()
	if err != nil {
		// This machine's clock may be wrong. The relay's is the one that counts: if the certificate
		// has expired by that, the next link asks for a new one. If not, the relay refuses a link that
		// does not begin with Hello.
		if wire.CodeOf(err) == wire.Expired {
			a.renewNext = true
		}
		return false, err
	}
	a.Log.Info("connected", "relay", a.enrolment.Relay, "envoy", a.enrolment.Envoy)
	return true, l.run(ctx, interval)
}

// agentLink is one admitted connection.
type agentLink struct {
	*Agent
	link    wire.Link
	control *wire.Framed

	known facts // without a lock: greet uses it first, and when greet is over, beat alone

	mu       sync.Mutex
	leaf     *x509.Certificate // the newest certificate that is saved
	renewing crypto.Signer     // the key of the request under way, or nil
}

// greet sends Hello, waits for Welcome, and returns the interval between heartbeats.
func (l *agentLink) greet() (time.Duration, error) {
	now := l.tell(l.link.Context())
	if err := l.control.SetDeadline(time.Now().Add(welcomeTimeout)); err != nil {
		return 0, err
	}
	if err := l.control.Send(&wire.Hello{Boot: l.boot, Time: wire.Millis(l.Now()), Facts: now}); err != nil {
		return 0, l.why(err)
	}
	if err := l.control.SetDeadline(time.Now().Add(welcomeTimeout)); err != nil {
		return 0, err
	}
	w, err := wire.Expect[wire.Welcome](l.control)
	if err != nil {
		return 0, l.why(err)
	}
	if err := l.control.SetDeadline(time.Time{}); err != nil {
		return 0, err
	}
	l.told(w.Spread)
	if skew := time.UnixMilli(w.Time).Sub(l.Now()); skew.Abs() > 5*time.Minute {
		l.Log.Warn("this machine's clock is wrong", "relay_minus_here", skew.Round(time.Second))
	}
	return min(max(time.Duration(w.Interval)*time.Second, time.Second), maxInterval), nil
}

// told remembers over how long the relay wants its fleet to come back, for when there is no link.
func (l *agentLink) told(millis uint32) { l.spread.Store(int64(millis) * int64(time.Millisecond)) }

// why returns the reason why the link ended, if it did, and else err, the error of a stream. When a
// link ends, its streams fail, and their errors do not say why.
func (l *agentLink) why(err error) error {
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
func (l *agentLink) run(ctx context.Context, interval time.Duration) error {
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return l.beat(gctx, interval) })
	g.Go(func() error { return l.listen() })
	g.Go(func() error { return l.accept(gctx) })
	g.Go(func() error { return l.renewInTime(gctx) })
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
	if ended := l.link.Err(); ended != nil && ctx.Err() == nil {
		return ended
	}
	return err
}

func (l *agentLink) beat(ctx context.Context, interval time.Duration) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
		if err := l.control.Send(&wire.Heartbeat{Time: wire.Millis(l.Now()), Facts: l.tell(ctx)}); err != nil {
			return fmt.Errorf("send heartbeat: %w", err)
		}
	}
}

// listen reads what the relay says on the control stream.
func (l *agentLink) listen() error {
	for {
		m, err := l.control.Receive()
		if err != nil {
			return l.why(err)
		}
		switch m := m.(type) {
		case *wire.Ping:
			err = l.control.Send(&wire.Pong{N: m.N})
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
			l.mu.Lock()
			l.renewing = nil
			l.mu.Unlock()
		default:
			err = wire.Errorf(wire.Protocol, "unexpected %T on the control stream", m)
		}
		if err != nil {
			return err
		}
	}
}

// accept serves the relay's streams, each in a goroutine of its own, and waits for them.
func (l *agentLink) accept(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	slots, told := make(chan struct{}, l.Config.MaxSessions), make(chan struct{}, maxTold)
	for {
		s, err := l.link.Accept(ctx)
		if err != nil {
			return l.why(err)
		}
		select {
		case slots <- struct{}{}:
		default:
			select {
			case told <- struct{}{}:
				wg.Go(func() {
					defer func() { <-told }()
					l.full(s)
				})
			default:
				s.Reset(wire.Busy)
			}
			continue
		}
		wg.Go(func() {
			defer func() { <-slots }()
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

// renewals remembers when this process last got a certificate. time.Time keeps the monotonic clock,
// so it does not matter when somebody sets the machine's clock.
type renewals struct {
	mu   sync.Mutex
	last time.Time
}

func (r *renewals) got() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = time.Now()
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
		due := l.due(l.leaf, jitter)
		l.mu.Unlock()
		if due {
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
// is for the key of that request.
func (l *agentLink) askRenewal() error {
	l.mu.Lock()
	asked := l.renewing != nil
	l.mu.Unlock()
	if asked {
		return nil
	}
	key, err := certs.NewKey()
	if err != nil {
		return err
	}
	csr, err := certs.NewRequest(key)
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.renewing = key
	l.mu.Unlock()
	return l.control.Send(&wire.Renew{CSR: csr})
}

// renewed saves the new identity, if it can follow the old one. This link goes on with the old one; the next link shows the new.
func (l *agentLink) renewed(m *wire.Renewed) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.renewing == nil {
		return wire.Errorf(wire.Protocol, "a certificate that was not asked for")
	}
	pin, err := certs.ParsePin(l.enrolment.Pin)
	if err != nil {
		return err
	}
	if err := certs.Follows(l.leaf, pin, m.Chain); err != nil {
		return err
	}
	leaf, err := l.State.replace(l.renewing, m.Chain)
	l.renewing = nil
	if err != nil {
		return err
	}
	l.leaf = leaf
	l.got()
	l.Log.Info("certificate renewed", "until", leaf.NotAfter)
	return l.control.Send(&wire.Kept{})
}

// renewFirst serves a link whose only purpose is a new certificate.
func (l *agentLink) renewFirst() error {
	if err := l.control.SetDeadline(time.Now().Add(welcomeTimeout)); err != nil {
		return err
	}
	if err := l.askRenewal(); err != nil {
		return l.why(err)
	}
	m, err := wire.Expect[wire.Renewed](l.control)
	if err != nil {
		return fmt.Errorf("renew the certificate: %w", l.why(err))
	}
	if err := l.renewed(m); err != nil {
		return err
	}
	return errRenewed
}
