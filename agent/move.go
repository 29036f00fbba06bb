package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"time"

	"scrier/network"
	"scrier/roads"
	"scrier/wire"
)

// An agent whose link is over TCP, because UDP got no answer, tries QUIC in the background. When that works it makes a second
// link: the relay opens new sessions there, those that are open end on the first, and then that is closed. See [wire.Move].
const (
	// lingerFor is how long a link without sessions stays that is not used any more: the last bytes of the last one may be on
	// their way, and a session may be about to be opened.
	lingerFor = time.Minute
)

// dialer is how this machine may make a link.
func (a *Agent) dialer() wire.Dialer {
	return wire.Dialer{Transport: a.Config.Transport, Proxy: a.proxy}
}

// way is how to make one here, now.
func (a *Agent) way() wire.Dialer {
	d := a.dialer()
	if d.Transport == wire.Auto {
		d.First, _ = a.State.roads(a.Now).First(a.enrolment.Relay)
	}
	return d
}

// remember notes what won, for the next link.
func (a *Agent) remember(road wire.Road, why string) {
	if !a.dialer().May(wire.QUIC, a.enrolment.Relay) || a.Config.Transport != wire.Auto { // there was nothing to win
		return
	}
	if err := a.State.roads(a.Now).Won(a.enrolment.Relay, road, why); err != nil {
		a.Log.Warn("which road to the relay works cannot be noted", "err", err)
	}
}

func (a *Agent) dial(ctx context.Context, d wire.Dialer) (wire.Link, error) {
	if a.dials != nil {
		return a.dials(ctx, d)
	}
	return d.Dial(ctx, a.enrolment.Relay)
}

// connect makes a link and keeps the agent connected by it, or by a better one, until there is none. up says whether the relay
// admitted us.
func (a *Agent) connect(ctx context.Context) (up bool, err error) {
	l, err := a.meet(ctx, meeting{Dialer: a.way()})
	if err != nil {
		return false, err
	}
	return true, a.stay(ctx, l)
}

// stay serves an agent's links, current and those that are found to be better, until none is left. The error is the last
// one's.
func (a *Agent) stay(ctx context.Context, current *agentLink) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	type end struct {
		link *agentLink
		err  error
	}
	ended, found := make(chan end, 2), make(chan *agentLink)
	begin := func(l *agentLink) {
		wg.Go(func() {
			err := l.run(ctx)
			ended <- end{l, err}
		})
	}
	begin(current)
	var old *agentLink // current was better; its sessions are still there
	since := time.Now()
	p := roads.Probes{First: a.probe}
	timer := time.NewTimer(p.Next())
	defer timer.Stop()
	elsewhere, tried, trying := a.elsewhere(ctx), since, false
	var lost error // how current has ended while another one was being made in its place
	attempt := func(make func(context.Context, *agentLink) *agentLink) {
		tried, trying = time.Now(), true
		from := current
		wg.Go(func() {
			better := make(ctx, from)
			select {
			case found <- better:
			case <-ctx.Done():
				if better != nil {
					better.link.Close(wire.None, "the agent is going away")
				}
			}
		})
	}
	for {
		select {
		case e := <-ended:
			switch {
			case e.link == old:
				old = nil
				timer.Reset(p.Next()) // current may be over TCP
			case ctx.Err() == nil && e.link == current && current.left.Load() && trying:
				lost = e.err
			case ctx.Err() == nil && old != nil && old.usage.revive():
				left := old
				a.Log.Warn("the better link is lost, and the agent goes on by the one before", "err", e.err, "transport", left.link.Peer().Road)
				current, old = left, nil
				a.remember(left.link.Peer().Road, left.why)
				wg.Go(func() { _ = left.control.Send(&wire.Move{ID: e.link.move, Over: true}) }) // else the relay finds out
				if time.Since(since) >= stableAfter {
					p = roads.Probes{First: a.probe}
				}
				timer.Reset(p.Next())
			default:
				return e.err
			}
		case <-timer.C:
			if !a.mayMove(current) || old != nil || trying {
				continue // a link that ends sets the timer anew, and so does an attempt
			}
			attempt(a.better)
		case s := <-current.stranded:
			if old != nil || trying || a.Config.Transport != wire.Auto || !a.dialer().May(wire.TCP, a.enrolment.Relay) {
				continue
			}
			attempt(func(ctx context.Context, from *agentLink) *agentLink { return a.leave(ctx, from, s) })
		case <-elsewhere: // UDP may pass here
			timer.Reset(p.Elsewhere(tried))
		case better := <-found:
			trying = false
			switch {
			case better == nil && lost != nil:
				return lost
			case better == nil:
				timer.Reset(p.Next())
				continue
			}
			a.Log.Info("new sessions come by a better link", "transport", better.link.Peer().Road, "before", current.link.Peer().Road)
			left := current
			current, since = better, time.Now()
			if better.link.Peer().Road == wire.TCP {
				p = roads.Probes{First: a.probe}
				timer.Reset(p.Next())
			}
			if lost != nil {
				lost = nil
				begin(better)
				continue
			}
			old = left
			left.usage.retire()
			begin(better)
			wg.Go(func() { left.windDown(ctx, a.linger()) })
		}
	}
}

// elsewhere tells when this machine comes into another network, until ctx ends.
func (a *Agent) elsewhere(ctx context.Context) <-chan struct{} {
	if a.networks != nil {
		return a.networks
	}
	return roads.Elsewhere(ctx, network.Watch(ctx))
}

// mayMove says whether there may be a better road than a link's.
func (a *Agent) mayMove(l *agentLink) bool {
	return l.moves && l.link.Peer().Road == wire.TCP && a.dialer().May(wire.QUIC, a.enrolment.Relay)
}

// better makes a link over QUIC beside another one; nil: it cannot.
func (a *Agent) better(ctx context.Context, from *agentLink) *agentLink {
	id := make([]byte, wire.MoveSize)
	rand.Read(id)
	said := false
	d := a.dialer()
	d.Transport = wire.OnlyQUIC
	l, err := a.meet(ctx, meeting{Dialer: d, move: id, say: func() error {
		said = true
		return from.control.Send(&wire.Move{ID: id})
	}})
	if err != nil {
		if said { // the relay may have taken it
			_ = from.control.Send(&wire.Move{ID: id, Over: true}) // it ends with the link at the latest
		}
		a.Log.Debug("there is no better road to the relay", "err", err)
		return nil
	}
	return l
}

// errAlive is why a link is not left.
var errAlive = errors.New("the link is good again")

// leave makes a link over TCP in place of one over QUIC that is no good any more; nil: it cannot, or need not. If what is short still gets
// through, the sessions that are open stay on the one before, as when the agent moves; else it ends.
func (a *Agent) leave(ctx context.Context, from *agentLink, s stranded) *agentLink {
	m := meeting{Dialer: a.dialer(), why: s.why}
	m.Transport = wire.OnlyTCP
	if s.says && from.moves {
		m.move = make([]byte, wire.MoveSize)
		rand.Read(m.move)
		m.say = func() error { return from.control.Send(&wire.Move{ID: m.move}) }
		l, err := a.meet(ctx, m)
		if err == nil {
			return l
		}
		a.Log.Debug("there is no other road to the relay", "err", err)
		if wire.CodeOf(err) != wire.Busy { // what was said on the link has not arrived
			return nil
		}
		m.move = nil
	}
	m.say = func() error {
		if r, ok := from.link.(wire.Roamer); ok && !s.says {
			moving, cancel := context.WithTimeout(ctx, moveWait)
			defer cancel()
			if r.Move(moving) == nil { // the network is back
				return errAlive
			}
		}
		from.left.Store(true) // the relay must find that nobody answers there any more
		return from.link.Close(errSilent.Code, errSilent.Detail)
	}
	l, err := a.meet(ctx, m)
	if err != nil {
		a.Log.Debug("there is no other road to the relay", "err", err)
		return nil
	}
	return l
}

// linger is how long a link without sessions stays.
func (a *Agent) linger() time.Duration { return min(lingerFor, 2*a.probe) }

// windDown closes a link that is not used any more when it has had no session for a while. It ends with the link, and when the
// link is used again.
func (l *agentLink) windDown(ctx context.Context, linger time.Duration) {
	tick := time.NewTicker(max(linger/10, time.Millisecond))
	defer tick.Stop()
	for l.usage.isOld() {
		if l.usage.shutAfter(linger) {
			_ = l.link.Close(wire.None, "the agent has moved to a better road") // it may have ended
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-l.link.Context().Done():
			return
		case <-tick.C:
		}
	}
}

// usage counts what a link is used for.
type usage struct {
	mu    sync.Mutex
	open  int       // streams of the relay's
	since time.Time // when the last of them ended, or the link became an old one
	old   bool      // there is a better one
	shut  bool      // nothing begins on it any more
}

// begin counts a stream until end; false: the link is about to be closed.
func (u *usage) begin() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.shut {
		u.open++
	}
	return !u.shut
}

func (u *usage) end() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.open--
	u.since = time.Now()
}

// busy says whether something is open, or the link is an old one, whose agent rests on the other.
func (u *usage) busy() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.open > 0 || u.old
}

func (u *usage) retire() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.old, u.since = true, time.Now()
}

// revive takes retire back; false: it is too late.
func (u *usage) revive() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.old = u.old && u.shut
	return !u.shut
}

func (u *usage) isOld() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.old
}

// shutAfter shuts an old link that had no stream for that long.
func (u *usage) shutAfter(linger time.Duration) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.old && u.open == 0 && time.Since(u.since) >= linger {
		u.shut = true
	}
	return u.shut
}
