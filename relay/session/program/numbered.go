package program

import (
	"context"
	"crypto/subtle"
	"errors"
	"io"
	"sync"
	"time"

	"scrier/relay/session"
	"scrier/relay/session/audience"
	"scrier/wire"
)

// A numbered program may keep so many bytes of each of its streams from its beginning. One that carries more gets all that the
// protocol allows, if the relay has as much.
const (
	firstWindow = 128 << 10
	firstErrors = 32 << 10
	firstMemory = 2*firstWindow + firstErrors
)

// Numbered joins a process to the viewer that started it, whose link may break: what was not acknowledged is kept, and the same
// viewer goes on where it was. It implements [session.Stage] and [session.Audience].
//
//	nobody --Serve--> served --Exit was sent, and the viewer ends the stream--> told
//	  ^                 |  |
//	  |  the link broke |  | the viewer has gone
//	  `-----------------'  v
//	  `---grace is over---> left
type Numbered struct {
	session *session.Channel
	process Process
	client  []byte // whose it is
	memory  *session.Memory

	stop  chan struct{} // closed when nothing more is to be carried
	news  chan struct{} // wakes Run
	fed   chan struct{} // wakes feed
	room  [2]chan struct{}
	over  chan struct{}  // closed when nobody may come any more
	seats sync.WaitGroup // that are served

	mu     sync.Mutex
	out    [2]wire.Ring // standard output, standard error
	in     wire.Ring
	taken  int  // of the memory
	eof    bool // no more input comes
	closed bool // nobody takes the output
	open   int  // outputs
	exit   *wire.Exit
	final  *wire.Exit // what the viewer is to hear
	came   bool       // somebody did
	seat   *seat      // nil: nobody is attached
	ended  bool       // over is closed
	why    error      // the program is to end, as its viewer has gone
	grace  *time.Timer
	until  time.Time
}

// The outputs.
const (
	output = iota
	errout
)

// NewNumbered makes a session's stage of a process, which it owns from now on; nil: there is not as much memory, and it owns
// nothing. client is the viewer that it is for, as in [wire.Attach].
func NewNumbered(s *session.Channel, p Process, client []byte, m *session.Memory) *Numbered {
	if !m.Take(s.OperatorID(), firstMemory) {
		return nil
	}
	n := &Numbered{
		session: s, process: p, client: client, memory: m, taken: firstMemory, stop: make(chan struct{}), news: make(chan struct{}, 1),
		fed: make(chan struct{}, 1), room: [2]chan struct{}{make(chan struct{}, 1), make(chan struct{}, 1)}, over: make(chan struct{}), open: 2,
	}
	n.in.Most, n.out[output].Most, n.out[errout].Most = firstWindow, firstWindow, firstErrors
	return n
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// widenLocked lets a ring hold all that the protocol allows, if there is memory.
func (n *Numbered) widenLocked(r *wire.Ring, most int) {
	if more := most - r.Most; more > 0 && n.memory.Take(n.session.OperatorID(), more) {
		r.Most = most
		n.taken += more
	}
}

// Audience implements [session.Stage].
func (n *Numbered) Audience() session.Audience { return n }

// Admit implements [session.Stage].
func (n *Numbered) Admit(who session.Viewer) error { return admit(who) }

// Run implements [session.Stage].
func (n *Numbered) Run(ctx context.Context) *wire.Exit {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer n.process.Close()
	defer close(n.stop)
	waiting, stop := context.WithCancel(ctx)
	defer stop()
	for _, f := range []func(){
		func() { n.pump(output, n.process, wire.ProgramWindow) },
		func() { n.pump(errout, n.process.Stderr(), wire.ErrorsWindow) },
		func() { n.feed(ctx) },
	} {
		wg.Go(func() { n.session.Guard(f) })
	}
	n.mu.Lock()
	if !n.came {
		n.waitLocked()
	}
	n.mu.Unlock()
	exit := n.end(ctx, func() { wg.Go(func() { n.session.Guard(func() { n.wait(waiting) }) }) })
	if exit.Code != wire.None {
		n.process.Hangup() // where the server cannot do that the program sees broken pipes
	}
	return exit
}

// end waits for the end, and says how it is. ask is called when the program has nothing more to say: it has the exit status found
// out.
func (n *Numbered) end(ctx context.Context, ask func()) *wire.Exit {
	asked := false
	for {
		n.mu.Lock()
		why, exit, outputs := n.why, n.exit, n.open == 0
		sent := n.seat != nil && n.seat.sentLocked()
		n.mu.Unlock()
		switch {
		case ctx.Err() != nil:
			return audience.Ended(ctx)
		case why != nil:
			return wire.ExitOf(why)
		case exit != nil && sent:
			return exit
		case outputs && !asked:
			asked = true
			ask()
		}
		select {
		case <-n.news:
		case <-ctx.Done():
		}
	}
}

// wait learns how the program has ended.
func (n *Numbered) wait(ctx context.Context) {
	exit := n.process.Wait(ctx)
	if exit == nil {
		exit = wire.ExitOf(errUntold)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.exit = exit
	wake(n.news)
}

// pump keeps what the program writes, until it writes no more.
func (n *Numbered) pump(which int, from io.Reader, most int) {
	defer func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.open--
		wake(n.news)
	}()
	for {
		space := n.space(which, most)
		if len(space) == 0 {
			return
		}
		c, err := from.Read(space[:min(len(space), wire.MaxData)])
		if c > 0 {
			n.session.Count(0, c)
			n.wrote(which, c)
		}
		if err != nil { // the end of the channel too: how it ended is told, or not
			return
		}
	}
}

// space waits for room; empty: nothing more is to be carried.
func (n *Numbered) space(which, most int) []byte {
	for {
		n.mu.Lock()
		r := &n.out[which]
		if r.Room() == 0 {
			n.widenLocked(r, most)
		}
		space := r.Space()
		n.mu.Unlock()
		if len(space) > 0 {
			return space
		}
		select {
		case <-n.room[which]:
		case <-n.stop:
			return nil
		}
	}
}

func (n *Numbered) wrote(which, c int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.out[which].Came(c)
	if n.seat != nil {
		wake(n.seat.wake)
	}
}

// feed gives the program its input. What it does not take any more is thrown away, and so is what comes behind the end of ctx or
// of the session: whoever is put out does nothing more there.
func (n *Numbered) feed(ctx context.Context) {
	open := true
	for {
		n.mu.Lock()
		piece, eof := n.in.Next(n.in.Base()), n.eof
		n.mu.Unlock()
		piece = piece[:min(len(piece), wire.MaxData)]
		switch {
		case len(piece) > 0:
			if open && ctx.Err() == nil && n.session.Context().Err() == nil {
				c, err := n.process.Write(piece)
				n.session.Count(c, 0)
				open = err == nil
			}
			n.mu.Lock()
			n.in.Release(n.in.Base() + uint64(len(piece)))
			if n.seat != nil {
				wake(n.seat.wake)
			}
			n.mu.Unlock()
			continue
		case eof && open:
			_ = n.process.CloseWrite() // a program that has ended needs none
			return
		}
		select {
		case <-n.fed:
		case <-n.stop:
			return
		}
	}
}

var errNotMine = wire.Errorf(wire.Conflict, "the session is a program without a terminal, which only the command that started it shows").Advise("open a session of your own")

// Serve implements [session.Stage].
func (n *Numbered) Serve(_ context.Context, f *wire.Framed, who session.Viewer, a *wire.Attach) error {
	if who.OperatorID != n.session.OperatorID() || subtle.ConstantTimeCompare(a.Client, n.client) != 1 {
		return errNotMine
	}
	if err := f.StopAhead(); err != nil { // from here on nobody else reads it
		return err
	}
	v, attached, err := n.join(f, a)
	if err != nil {
		return err
	}
	defer n.seats.Done()
	defer n.session.Changed()
	v.attend(attached)
	return nil
}

// join makes a seat for the viewer, in place of the one that it had before.
func (n *Numbered) join(f *wire.Framed, a *wire.Attach) (*seat, *wire.Attached, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ended || n.final != nil && n.final.Code != wire.None {
		return nil, nil, wire.Errorf(wire.NotFound, "the session has ended")
	}
	v := &seat{Framed: f, program: n, wake: make(chan struct{}, 1)}
	for i, from := range []*uint64{a.From, a.Errors} {
		switch r := &n.out[i]; {
		case from == nil && !n.came:
		case from == nil:
			return nil, nil, errNotMine
		case *from < r.Base() || *from > r.Head():
			return nil, nil, wire.Errorf(wire.BadRequest, "of output %d the bytes from %d to %d are kept, and byte %d is not", i+1, r.Base(), r.Head(), *from)
		default:
			v.next[i] = *from
		}
	}
	if n.seat != nil {
		n.seat.Reset(wire.TakenOver)
	}
	n.seat, n.came = v, true
	wake(n.news) // the program may have ended, and there is nothing to send that would say so
	n.stayLocked()
	n.seats.Add(1)
	attached := n.session.Attached()
	attached.Size, attached.Numbered = wire.Size{}.Clamp(), true
	attached.Offset, attached.Head, attached.Errors = v.next[output], v.next[output], v.next[errout]
	attached.Typed, attached.Window = n.in.Head(), uint32(n.in.Most)
	return v, attached, nil
}

// leave notes that a viewer is no longer attached.
func (n *Numbered) leave(v *seat) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.seat != v {
		return
	}
	n.seat = nil
	wake(n.news)
	switch {
	case n.final != nil && (v.done && v.lateLocked() || v.goneLocked() || n.final.Code != wire.None || wire.CodeOf(v.why) == wire.Protocol):
		n.endLocked()
	case wire.CodeOf(v.why) == wire.Protocol:
		n.why = v.why
	case v.goneLocked():
		n.why = &wire.Error{Code: wire.ViewerLost, Err: v.why}
	default:
		n.waitLocked()
	}
}

// waitLocked ends the program unless its viewer comes within the grace.
func (n *Numbered) waitLocked() {
	if n.final != nil { // Dismiss has a time for that
		return
	}
	limit := n.session.Grace()
	n.until = time.Now().Add(limit)
	var grace *time.Timer
	grace = time.AfterFunc(limit, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.seat != nil || n.grace != grace || n.final != nil {
			return
		}
		n.why = wire.Errorf(wire.ViewerLost, "nobody was attached for %s", wire.Period(limit))
		wake(n.news)
	})
	n.grace = grace
}

func (n *Numbered) stayLocked() {
	if n.grace != nil {
		n.grace.Stop()
		n.grace, n.until = nil, time.Time{}
	}
}

// endLocked lets nobody come any more.
func (n *Numbered) endLocked() {
	if !n.ended {
		n.ended = true
		n.stayLocked()
		close(n.over)
	}
}

// End implements [session.Audience]: the session ends with its only viewer, and who waits to hear how it has ended waits no more.
func (n *Numbered) End(match func(session.Viewer) bool, why error) {
	if match(session.Viewer{OperatorID: n.session.OperatorID(), Operator: n.session.Operator()}) {
		n.session.End(why)
	}
}

// Present implements [session.Audience].
func (n *Numbered) Present() (attached bool, watchers []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.seat != nil, []string{}
}

// Ends implements [session.Audience].
func (n *Numbered) Ends() time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.until
}

// Dismiss implements [session.Audience]. How a program ended by itself is kept for the grace for a viewer whose link breaks now, once:
// the session has ended, and whoever comes again and again is not to hold it.
func (n *Numbered) Dismiss(exit *wire.Exit) {
	n.mu.Lock()
	n.final = exit
	n.stayLocked()
	v := n.seat
	switch {
	case v != nil:
		wake(v.wake)
	case exit.Code != wire.None || n.why != nil: // nobody comes
		n.endLocked()
	}
	n.mu.Unlock()
	if v != nil && exit.Code != wire.None {
		stuck := time.AfterFunc(audience.ExitWait, func() { v.Reset(exit.Code) })
		defer stuck.Stop()
	}
	late := time.AfterFunc(max(n.session.Grace(), audience.ExitWait), func() { n.abandon(wire.ViewerLost) })
	defer late.Stop()
	var asked <-chan struct{}
	if exit.Code == wire.None {
		asked = n.session.Asked().Done()
	}
	select {
	case <-n.over:
	case <-asked: // although it is over
		n.abandon(wire.CodeOf(context.Cause(n.session.Asked())))
	case <-n.session.Leaving(): // the relay ends, and waits for nobody's return
		stuck := time.AfterFunc(audience.ExitWait, func() { n.abandon(wire.RelayShutdown) })
		defer stuck.Stop()
		<-n.over
	}
	n.seats.Wait()
	n.memory.Give(n.session.OperatorID(), n.taken)
}

// abandon waits for the viewer no more.
func (n *Numbered) abandon(code wire.Code) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.seat != nil {
		n.seat.Reset(code)
	}
	n.endLocked()
}

// lostAlone says that what ended a stream is the network's doing, and not the viewer's.
func lostAlone(err error) bool {
	return err != nil && !errors.Is(err, io.EOF) && wire.CodeOf(err) == wire.Internal
}
