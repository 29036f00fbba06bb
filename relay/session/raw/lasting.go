package raw

import (
	"context"
	"crypto/subtle"
	"sync"
	"time"

	"scrier/relay/session"
	"scrier/relay/session/audience"
	"scrier/wire"
)

// Lasting gives a tunnel to the viewer that asked for it, whose link may break: the bytes go on over the next one ([wire.Lasting]). It
// implements [session.Stage] and [session.Audience].
type Lasting struct {
	session *session.Channel
	tunnel  wire.Stream
	client  []byte // whose it is
	end     *wire.Lasting
	memory  *session.Memory
	seats   sync.WaitGroup // viewers that are served
	told    chan struct{}  // closed when the viewer knows that all is over, or nobody may come any more

	mu     sync.Mutex
	taken  int  // of the memory
	served int  // counts viewers
	here   bool // one is attached
	gone   bool // nobody may come any more
	grace  *time.Timer
	until  time.Time
	stop   context.CancelCauseFunc // ends the carrying; nil: it has not begun
}

// NewLasting makes a session's stage of a tunnel, which it owns from now on; nil: there is not as much memory, and it owns nothing.
// client is the viewer that it is for, as in [wire.Attach].
func NewLasting(s *session.Channel, tunnel wire.Stream, client []byte, m *session.Memory) *Lasting {
	const first = 2 * wire.LastingLeast
	if !m.Take(s.OperatorID(), first) {
		return nil
	}
	l := &Lasting{session: s, tunnel: tunnel, client: client, memory: m, told: make(chan struct{}), taken: first}
	l.end = wire.NewLasting(l.grow)
	return l
}

// grow takes more memory.
func (l *Lasting) grow(n int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone || !l.memory.Take(l.session.OperatorID(), n) {
		return false
	}
	l.taken += n
	return true
}

// Audience implements [session.Stage].
func (l *Lasting) Audience() session.Audience { return l }

// Admit implements [session.Stage].
func (l *Lasting) Admit(who session.Viewer) error {
	if who.Watch {
		return errAlone
	}
	return nil
}

// Lasts marks a stage to which its viewer may come back without a ticket, as [session.Channel.Back] lets it.
func (l *Lasting) Lasts() {}

// Run implements [session.Stage].
func (l *Lasting) Run(ctx context.Context) *wire.Exit {
	carrying, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	l.mu.Lock()
	l.stop = stop
	if l.served == 0 {
		l.waitLocked()
	}
	l.mu.Unlock()
	_, _, err := wire.Splice(carrying, l.end, l.tunnel)
	if err == nil {
		err = l.farewell(carrying)
	}
	exit := wire.ExitOf(err)
	if ctx.Err() != nil {
		exit = audience.Ended(ctx)
	}
	l.tunnel.Reset(exit.Code)
	l.end.Reset(exit.Code)
	l.leave()
	l.seats.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.memory.Give(l.session.OperatorID(), l.taken)
	l.taken = 0
	return exit
}

// farewell waits until the viewer has all that came, and knows that this side has. One whose link breaks now has the grace.
func (l *Lasting) farewell(ctx context.Context) error {
	select {
	case <-l.told:
	case <-ctx.Done():
		if !l.end.Over() {
			return wire.Cause(ctx, wire.Cancelled)
		}
	}
	return l.end.Err()
}

// leave lets nobody come any more.
func (l *Lasting) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stayLocked()
	if !l.gone {
		l.gone = true
		close(l.told)
	}
}

// Serve implements [session.Stage]: behind Attached the viewer's stream is one connection of a [wire.Lasting].
func (l *Lasting) Serve(_ context.Context, f *wire.Framed, who session.Viewer, a *wire.Attach) error {
	if who.OperatorID != l.session.OperatorID() || subtle.ConstantTimeCompare(a.Client, l.client) != 1 {
		return errAlone
	}
	if err := f.StopAhead(); err != nil { // from here on nobody else reads it
		return err
	}
	n, err := l.enter()
	if err != nil {
		return err
	}
	defer l.seats.Done()
	defer l.session.Changed()
	turn, came, window := l.end.Begin()
	attached := l.session.Attached()
	attached.Size, attached.Numbered = wire.Size{}.Clamp(), true
	attached.Typed, attached.Window = came, uint32(window)
	var from uint64
	if a.From != nil {
		from = *a.From
	}
	if err = f.Send(attached); err != nil {
		f.Reset(wire.Internal)
	} else {
		l.session.Changed()
		err = l.end.Carry(turn, f, from)
	}
	l.exit(n, err)
	return nil
}

// enter lets a viewer come, in place of the one before.
func (l *Lasting) enter() (n int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone {
		return 0, wire.Errorf(wire.NotFound, "the connection has ended")
	}
	l.stayLocked()
	l.served++
	l.here = true
	l.seats.Add(1)
	return l.served, nil
}

// exit notes that a viewer is no longer attached.
func (l *Lasting) exit(n int, err error) {
	lost := wire.Lost(err) && l.end.Err() == nil
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case n != l.served || l.gone:
	case lost:
		l.here = false
		l.waitLocked()
	default:
		l.here, l.gone = false, true
		close(l.told)
	}
}

// waitLocked ends the connection unless its viewer comes within the grace.
func (l *Lasting) waitLocked() {
	limit := l.session.Grace()
	l.until = time.Now().Add(limit)
	var grace *time.Timer
	grace = time.AfterFunc(limit, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.grace == grace && l.stop != nil {
			l.stop(wire.Errorf(wire.ViewerLost, "nobody was attached for %s", wire.Period(limit)))
		}
	})
	l.grace = grace
}

func (l *Lasting) stayLocked() {
	if l.grace != nil {
		l.grace.Stop()
		l.grace, l.until = nil, time.Time{}
	}
}

// End implements [session.Audience]: the session ends with its only viewer.
func (l *Lasting) End(match func(session.Viewer) bool, why error) {
	if match(session.Viewer{OperatorID: l.session.OperatorID(), Operator: l.session.Operator()}) {
		l.session.End(why)
	}
}

// Present implements [session.Audience].
func (l *Lasting) Present() (attached bool, watchers []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.here, []string{}
}

// Ends implements [session.Audience].
func (l *Lasting) Ends() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.until
}

// Dismiss implements [session.Audience]. The viewer has gone when Run returns.
func (l *Lasting) Dismiss(*wire.Exit) {}
