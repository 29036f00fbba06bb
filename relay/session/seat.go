package session

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"scrier/wire"
)

const (
	// viewerStall is how long a viewer's transport may refuse to take a frame before the viewer
	// counts as lost.
	viewerStall = time.Minute

	// ackDelay lets the acknowledgement of a keystroke travel with its echo.
	ackDelay = 30 * time.Millisecond

	checkEvery = time.Minute
)

// seat is what every viewer has, of a terminal or of a display: who it is, and how it ends. Its
// fields are guarded by mu, the mutex of what it looks at.
type seat struct {
	Viewer
	mu     *sync.Mutex
	stream wire.Stream
	wake   chan struct{}
	// active says whether a person has typed since the last call; nil: each Data is typed.
	active func() bool

	pong    *wire.Pong
	names   bool       // the watchers' names are news to it
	end     *wire.Exit // its own end, before the session's
	lost    error      // its transport's end
	left    bool
	leaving bool      // it said that the session is to end
	checked time.Time // by listen alone
}

func newSeat(who Viewer, mu *sync.Mutex, stream wire.Stream) seat {
	return seat{Viewer: who, mu: mu, stream: stream, wake: make(chan struct{}, 1)}
}

func (v *seat) seated() *seat { return v }

func (v *seat) wakeLocked() { wake(v.wake) }

// endLocked ends this viewer alone.
func (v *seat) endLocked(exit *wire.Exit) {
	if v.end != nil {
		return
	}
	v.end = exit
	v.wakeLocked()
	time.AfterFunc(exitWait, func() { // its transport may be stuck with what it has to take before
		v.mu.Lock()
		left := v.left
		v.mu.Unlock()
		if !left {
			v.stream.Reset(exit.Code)
		}
	})
}

// messagesLocked are those that are due besides what the session shows.
func (v *seat) messagesLocked(names func() []string) (messages []wire.Message) {
	if v.pong != nil {
		messages = append(messages, v.pong)
		v.pong = nil
	}
	if v.names {
		messages = append(messages, &wire.Watchers{Names: names()})
		v.names = false
	}
	return messages
}

// listen takes what the viewer sends, until its end. take obeys one message, under the mutex.
func (v *seat) listen(f *wire.Framed, take func(wire.Message) error) {
	for {
		m, err := f.Receive()
		if err == nil {
			refused := v.check(m)
			v.mu.Lock()
			err = v.takeLocked(m, refused, take)
			v.mu.Unlock()
		}
		if err != nil {
			v.mu.Lock()
			if v.lost == nil {
				v.lost = err
				if wire.CodeOf(err) == wire.Internal { // no word of the transport's own
					v.leaving = errors.Is(err, io.EOF) && !v.Watch && v.end == nil
					v.lost = &wire.Error{Code: wire.ViewerLost, Err: err}
				}
			}
			v.wakeLocked()
			v.mu.Unlock()
			return
		}
	}
}

// check says whether the viewer may still do what m is for. It reads the store: not under the mutex.
func (v *seat) check(m wire.Message) error {
	_, data := m.(*wire.Data)
	if v.Check == nil || !data && !v.Watch || time.Since(v.checked) < checkEvery {
		return nil
	}
	v.checked = time.Now()
	// What a desktop's viewer sends is mostly answers: they do not keep a sign-in alive.
	return v.Check(data && !v.Watch && (v.active == nil || v.active()))
}

func (v *seat) takeLocked(m wire.Message, refused error, take func(wire.Message) error) error {
	if refused != nil {
		v.checked = time.Time{} // nor is what comes behind it taken
		v.endLocked(&wire.Exit{Code: wire.CodeOf(refused), Detail: wire.DetailOf(refused)})
		return nil
	}
	if p, ok := m.(*wire.Ping); ok {
		v.pong = &wire.Pong{N: p.N}
		v.wakeLocked()
		return nil
	}
	return take(m)
}

// admit does what comes before anybody sees a session: their right to it, and the record of who
// only watches.
func (s *Session) admit(ctx context.Context, who Viewer) error {
	if who.Check != nil { // they may have signed out since they got the ticket
		if err := who.Check(false); err != nil {
			return err
		}
	}
	if who.Watch {
		return s.watched(ctx, "session.watch", who)
	}
	return nil
}

// attend serves a viewer that has joined until serve returns, and leaves its stream in order: the
// last frame was sent, or the stream is reset. leave takes the viewer out.
func (s *Session) attend(f *wire.Framed, v *seat, attached *wire.Attached, take func(wire.Message) error, serve func() error, leave func(error)) {
	defer s.table.changed(s.row.ID)
	s.table.changed(s.row.ID)
	if err := f.Send(attached); err != nil {
		leave(&wire.Error{Code: wire.ViewerLost, Err: err})
		f.Reset(wire.ViewerLost)
		return
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		v.listen(f, take)
	}()
	err := serve()
	leave(err)
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
