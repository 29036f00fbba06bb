package raw

import (
	"context"
	"crypto/subtle"
	"io"
	"sync"
	"sync/atomic"
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

	arriving sync.Mutex // one viewer after the other

	mu     sync.Mutex
	taken  int  // of the memory
	turn   int  // of the last viewer
	here   bool // one is attached
	parted bool // its link broke when all was over
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

// Lasts marks a stage to which its viewer may come back without a ticket, as [session.Session.Back] lets it.
func (l *Lasting) Lasts() {}

// Run implements [session.Stage].
func (l *Lasting) Run(ctx context.Context) *wire.Exit {
	carrying, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	l.mu.Lock()
	l.stop = stop
	if l.turn == 0 {
		l.waitLocked()
	}
	l.mu.Unlock()
	exit := &wire.Exit{Code: wire.Internal} // of a panic
	defer func() {
		l.tunnel.Reset(exit.Code)
		l.end.Reset(exit.Code)
		l.leave()
		l.seats.Wait()
		l.mu.Lock()
		defer l.mu.Unlock()
		l.memory.Give(l.session.OperatorID(), l.taken)
		l.taken = 0
	}()
	near, far := halves(l.end, l.tunnel)
	_, _, err := wire.Splice(carrying, near, far)
	if err == nil {
		err = l.farewell(carrying)
	}
	exit = wire.ExitOf(err)
	if ctx.Err() != nil {
		exit = audience.Ended(ctx)
	}
	return exit
}

// halves are the two sides for [wire.Splice], such that a viewer who reads no more ends that direction alone: what they have sent before
// is still on its way to the machine.
func halves(end *wire.Lasting, tunnel wire.Stream) (near, far wire.Stream) {
	t := &turnedAway{Stream: tunnel}
	return &viewerHalf{end, t}, t
}

// viewerHalf is the viewer's side.
type viewerHalf struct {
	*wire.Lasting
	machine *turnedAway
}

func (h *viewerHalf) Write(p []byte) (int, error) {
	n, err := h.Lasting.Write(p)
	if err != nil && h.Unread() && h.Err() == nil {
		h.machine.turn()
		return len(p), nil
	}
	return n, err
}

// turnedAway is the machine's side.
type turnedAway struct {
	wire.Stream
	away atomic.Bool // nobody wants more of it
}

func (t *turnedAway) turn() {
	t.away.Store(true)
	t.CloseRead(wire.None)
}

func (t *turnedAway) Read(p []byte) (int, error) {
	if t.away.Load() {
		return 0, io.EOF
	}
	return t.Stream.Read(p)
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
	turn, came, window, err := l.enter()
	if err != nil {
		return err
	}
	defer l.seats.Done()
	defer l.session.Changed()
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
	l.exit(turn, err)
	return nil
}

// enter lets a viewer come, in place of the one before.
func (l *Lasting) enter() (turn int, came uint64, window int, err error) {
	l.arriving.Lock() // the mutex is not held in Begin, which waits for who asks for memory
	defer l.arriving.Unlock()
	l.mu.Lock()
	if l.gone {
		l.mu.Unlock()
		return 0, 0, 0, wire.Errorf(wire.NotFound, "the connection has ended")
	}
	l.seats.Add(1)
	l.mu.Unlock()
	turn, came, window = l.end.Begin()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stayLocked()
	l.turn, l.here = turn, true
	return turn, came, window, nil
}

// exit notes that a viewer is no longer attached.
func (l *Lasting) exit(turn int, err error) {
	lost, over := wire.Lost(err) && l.end.Err() == nil, l.end.Over()
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case turn != l.turn || l.gone:
	case lost && !l.parted: // who is over and comes again and again does not hold it
		l.here, l.parted = false, over
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
