package audience

import (
	"errors"
	"io"
	"time"

	"scrier/relay/session"
	"scrier/wire"
)

// checkEvery is how often a viewer's sign-in is looked at.
const checkEvery = time.Minute

// Source is what one seat is shown, and where its input goes. The stage makes one for each seat. All
// methods are called with the stage's mutex held.
type Source interface {
	// News are messages that are due before more output. It may move the seat's Next.
	News() []wire.Message
	// Read copies into p what is to be shown from the seat's Next on, and returns how much.
	Read(p []byte) int
	// Window is how far output may be ahead of what the viewer has acknowledged, in bytes.
	Window() uint64
	// Shown is told that the viewer has acknowledged more output.
	Shown()
	// Done says that everything was read and nothing will follow. It is asked once the stage has ended
	// by itself.
	Done() bool
	// Take takes a message of the viewer's: input, a new size. An error ends the viewer.
	Take(wire.Message) error
	// Given is how many bytes of the viewer's input have arrived where they were meant to.
	Given() uint64
	// Active says whether a person has typed since the last call: some of a viewer's messages it sends
	// by itself, and they keep no sign-in alive.
	Active() bool
	// Left is told that the viewer has gone.
	Left()
}

// Seat is one attached viewer. Its fields are guarded by the stage's mutex.
type Seat struct {
	session.Viewer
	// Next is the number of the next byte of output to send, and Seen of the first one that is not on the
	// viewer's screen yet. InputAcked is how much of its input the viewer was told has arrived. The stage
	// sets all three before EnterLocked.
	Next, Seen, InputAcked uint64
	// Confirmed is the highest number that the viewer has acknowledged itself. Behind a skip it is lower
	// than Seen until the viewer has heard of the skip.
	Confirmed uint64
	// Missed is how much output the viewer was not sent and counts as if there had been none: its
	// acknowledgements are lower by that.
	Missed uint64
	// Prompt says that the viewer acknowledges at once what it shows; set before EnterLocked.
	Prompt bool
	// Asides says that the viewer understands [wire.Aside]; set before EnterLocked.
	Asides bool

	audience *Audience
	source   Source
	stream   wire.Stream
	wake     chan struct{} // holds at most one wake-up
	pace     pace
	load     load

	aside   *aside
	asided  uint32         // the number of the last one
	notes   []wire.Message // of lanes, that are to be sent
	again   [][]byte       // frames that a lane has lost: they are sent before all other output
	mayMove time.Time      // when the next lane may be offered
	balk    int            // how many in a row were of no use

	pong    *wire.Pong
	names   bool       // the watchers are others than the owner was told
	end     *wire.Exit // why this viewer is to end, while the session goes on
	lost    error      // why its transport has ended
	entered bool
	left    bool
	leaving bool      // it said that the session is to end
	checked time.Time // by listen alone
}

// Seat makes a seat for a viewer. Nothing is sent before [Audience.Attend].
func (a *Audience) Seat(who session.Viewer, f *wire.Framed, source Source) *Seat {
	return &Seat{Viewer: who, audience: a, source: source, stream: f, wake: make(chan struct{}, 1)}
}

// WakeLocked has the seat look for what is due.
func (v *Seat) WakeLocked() {
	select {
	case v.wake <- struct{}{}:
	default:
	}
	if v.aside != nil {
		v.aside.wakeLocked()
	}
}

// SkipLocked has output go on at a number, as if everything before it were on the screen.
func (v *Seat) SkipLocked(to uint64) {
	v.Next, v.Seen = to, to
	v.pace.skipped(to, time.Now())
	v.load = load{}
}

// EndingLocked says that the seat was told to end, and no more of its input counts.
func (v *Seat) EndingLocked() bool { return v.end != nil }

// EndLocked ends this viewer alone.
func (v *Seat) EndLocked(exit *wire.Exit) {
	if v.end != nil {
		return
	}
	v.end = exit
	v.WakeLocked()
	time.AfterFunc(ExitWait, func() { // its transport may be stuck with what it has to take before
		v.audience.mu.Lock()
		left := v.left
		v.audience.mu.Unlock()
		if !left {
			v.stream.Reset(exit.Code)
		}
	})
}

// Attend serves a viewer that has entered, until it leaves or the session ends, and leaves its stream
// in order: the last frame was sent, or the stream is reset.
func (a *Audience) Attend(f *wire.Framed, v *Seat, attached *wire.Attached) {
	defer a.gone.Done()
	defer a.session.Changed()
	a.session.Changed()
	if err := v.stillMay(); err != nil {
		a.mu.Lock()
		v.EndLocked(wire.ExitOf(err))
		a.mu.Unlock()
	}
	if err := f.Send(attached); err != nil {
		a.leave(v, &wire.Error{Code: wire.ViewerLost, Err: err})
		f.Reset(wire.ViewerLost)
		return
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		a.session.Guard(func() { v.listen(f) })
	}()
	var err error = &wire.Error{Code: wire.Internal} // of a panic, which ends the session
	a.session.Guard(func() { err = v.send(f) })
	a.leave(v, err)
	// What the viewer still sends is discarded later (wire.Finish): a stream that is read to its
	// end is one whose last frame has arrived.
	if err != nil || f.SetReadDeadline(time.Now()) != nil {
		f.Reset(wire.CodeOf(err))
	}
	<-read
	if err == nil && f.SetReadDeadline(time.Time{}) != nil {
		f.Reset(wire.None)
	}
}

// stillMay looks at the viewer's right again now that it is found by whoever ends viewers: who takes the
// right away writes that first and looks for viewers then.
func (v *Seat) stillMay() error {
	if v.Check == nil {
		return nil
	}
	return v.Check(false)
}

// listen takes what the viewer sends, until its end.
func (v *Seat) listen(f *wire.Framed) {
	for {
		m, err := f.Receive()
		if err == nil {
			err = v.take(m, v.check(m))
		}
		if err != nil {
			v.lose(err)
			return
		}
	}
}

func (v *Seat) lose(err error) {
	v.audience.mu.Lock()
	defer v.audience.mu.Unlock()
	if v.lost == nil {
		v.lost = err
		if wire.CodeOf(err) == wire.Internal { // the transport's own error, which has no code of ours
			v.leaving = errors.Is(err, io.EOF) && !v.Watch && v.end == nil
			v.lost = &wire.Error{Code: wire.ViewerLost, Err: err}
		}
	}
	v.WakeLocked()
}

// check says whether the viewer may still do what m is for. It reads the store, so it is called
// without the mutex.
func (v *Seat) check(m wire.Message) error {
	_, data := m.(*wire.Data)
	if v.Check == nil || !data && !v.Watch || time.Since(v.checked) < checkEvery {
		return nil
	}
	v.checked = time.Now()
	if !data || v.Watch {
		return v.Check(false)
	}
	v.audience.mu.Lock()
	active := v.source.Active()
	v.audience.mu.Unlock()
	return v.Check(active)
}

func (v *Seat) take(m wire.Message, refused error) error {
	v.audience.mu.Lock()
	defer v.audience.mu.Unlock()
	if refused != nil {
		v.checked = time.Time{} // what comes next is checked too, and not taken either
		v.EndLocked(wire.ExitOf(refused))
		return nil
	}
	switch m := m.(type) {
	case *wire.Ping:
		v.pong = &wire.Pong{N: m.N}
		v.WakeLocked()
		return nil
	case *wire.Aside:
		return v.asideOverLocked(m)
	case *wire.Ack:
		if err := v.asideTakenLocked(m.Frames); err != nil {
			return err
		}
		if m.Offset > v.Next-v.Missed {
			return wire.Errorf(wire.Protocol, "%d bytes are acknowledged, and %d were sent", m.Offset, v.Next-v.Missed)
		}
		if err := v.tiedLocked(m.Offset); err != nil {
			return err
		}
		offset := m.Offset + v.Missed
		v.pace.shown(offset, time.Now())
		v.Confirmed = max(v.Confirmed, offset)
		v.Seen = max(v.Seen, offset) // an old one may come behind a skip
		v.WakeLocked()
		v.source.Shown()
		return nil
	}
	return v.source.Take(m)
}
