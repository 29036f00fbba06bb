// Package terminal is a stage: a channel with a terminal at its far end, shown to an owner, who
// types, and to watchers.
//
//	channel -- pump --> backlog -- each viewer's own pace --> viewers
//	channel <-- feed -- input   <---------------------------- owner
//
// Viewers come and go; output goes on into the backlog, and stops when the owner's screen is too
// far behind.
package terminal

import (
	"context"
	"io"
	"sync"
	"time"

	"scrier/relay/screen"
	"scrier/relay/session"
	"scrier/relay/session/audience"
	"scrier/wire"
)

// Channel is what a terminal shows: a shell. Read and Write may run at the same time; Close ends
// both.
type Channel interface {
	io.ReadWriter
	CloseWrite() error
	Resize(wire.Size) error
	// Wait gives how it ended, after Read has failed; nil: nobody knows.
	Wait(ctx context.Context) *wire.Exit
	Close()
}

// A channel is let run ahead of the screen by as much as one window; while nobody is attached, by
// what the backlog holds. Then it is stopped by flow control, and nothing is lost.
const (
	aheadAttached = wire.ViewerWindow
	aheadDetached = backlogSize - wire.MaxData
)

// outPiece is how much output is read and taken in at once, in bytes. Some output is much work for the screen: who
// else needs the mutex waits for no more than this. It is also what each shell that is quiet has for its next output.
const outPiece = 4 << 10

// Terminal joins a channel to its audience. It implements [session.Stage].
type Terminal struct {
	session  *session.Channel
	channel  Channel
	audience *audience.Audience
	room     chan struct{} // wakes pump
	ended    chan struct{} // closed when the channel's output has ended
	idle     chan struct{} // wakes Run: a viewer has left or has all of the output

	mu    sync.Mutex // guards the audience too
	out   backlog
	seen  uint64 // how much of the output is on the owner's screen; the last owner's when there is none
	kept  uint64 // how much of that the owner has acknowledged: behind a skip less, and still wanted if it is lost
	over  bool   // as ended
	input input

	screen    *screen.Screen // what a terminal shows that has got all of the output
	sized     uint64         // how much output there was when the screen got its size
	keyframes keyframes
	marks     marks
	skipping  skipping
}

// New makes a session's terminal of a channel, which it owns from now on. size is what the channel
// was opened with.
func New(s *session.Channel, c Channel, size wire.Size) *Terminal {
	t := &Terminal{
		session: s, channel: c, room: make(chan struct{}, 1), ended: make(chan struct{}), idle: make(chan struct{}, 1),
		input: newInput(size), screen: screen.New(size),
	}
	t.audience = audience.New(s, &t.mu)
	return t
}

// Audience implements [session.Stage].
func (t *Terminal) Audience() session.Audience { return t.audience }

// Admit implements [session.Stage].
func (t *Terminal) Admit(session.Viewer) error { return nil }

// Run implements [session.Stage]. What a channel that ended by itself said last is kept for whoever
// comes within the grace.
func (t *Terminal) Run(ctx context.Context) *wire.Exit {
	t.audience.Open()
	moving, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer t.channel.Close()
	defer stop()
	wg.Go(func() {
		defer t.end() // after Guard, so that a panic does not look like an end of the output
		t.session.Guard(func() { t.pump(moving) })
	})
	wg.Go(func() { t.session.Guard(func() { t.feed(moving) }) })
	select {
	case <-ctx.Done():
	case <-t.ended:
	}
	var exit *wire.Exit
	if ctx.Err() == nil {
		wait, cancel := context.WithTimeout(context.Background(), audience.ExitWait)
		exit = t.channel.Wait(wait)
		cancel()
		for !t.delivered() && ctx.Err() == nil {
			select {
			case <-ctx.Done():
			case <-t.idle:
			}
		}
	}
	switch {
	case exit != nil:
		return exit
	case ctx.Err() != nil: // it was ended, and the channel's end is the effect
		return audience.Ended(ctx)
	}
	return &wire.Exit{Code: wire.AgentLost, Detail: "the shell's connection broke"}
}

// pump moves the channel's output into the backlog.
func (t *Terminal) pump(ctx context.Context) {
	buf := make([]byte, outPiece)
	for {
		for !t.mayRead() {
			select {
			case <-t.room:
			case <-ctx.Done():
				return
			}
		}
		n, err := t.channel.Read(buf)
		if n > 0 {
			t.session.Count(0, n)
			t.take(buf[:n])
		}
		if err != nil { // io.EOF or a broken transport: how the channel ended tells them apart
			return
		}
	}
}

// end says that there is no more output.
func (t *Terminal) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over = true
	close(t.ended)
	t.audience.WakeLocked()
}

// take takes new output in.
func (t *Terminal) take(p []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.outLocked(p)
	t.audience.WakeLocked()
}

func (t *Terminal) outLocked(p []byte) {
	t.out.add(p, t.kept)
	t.marks.add(t.out.head-uint64(len(p)), t.screen.Left(), t.kept)
	t.screen.Write(p)
	t.keyframes.add(t.screen, t.out.head, t.out.start())
	t.skipping.look(p, time.Now())
}

func (t *Terminal) mayRead() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	ahead := uint64(aheadDetached)
	if t.audience.OwnerLocked() != nil {
		ahead = aheadAttached
		if t.skipping.awaits(time.Now()) {
			ahead = skipAhead - wire.MaxData
		}
	}
	return t.out.head-t.seen < ahead && t.out.head-t.kept < skipAhead-wire.MaxData
}

// delivered says that the output has ended and the owner's viewer has all of it.
func (t *Terminal) delivered() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	owner := t.audience.OwnerLocked()
	return owner != nil && owner.Next == t.out.head
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
