// Package hold is a stage that shows nothing: a session stays open for as long as somebody has it, for other channels. What
// arrives at a port that the machine listens at is told to who has it.
package hold

import (
	"bytes"
	"context"
	"sync"

	"scrier/relay/session"
	"scrier/relay/session/audience"
	"scrier/wire"
)

// Listener tells what arrives, until it is closed.
type Listener interface {
	Accept(ctx context.Context) (*wire.Arrived, error)
	Port() uint16
}

// Hold keeps a session open. It implements [session.Stage].
type Hold struct {
	session  *session.Channel
	listener Listener
	release  func()
	mine     []byte // whose it is, as in [wire.Attach]; nil: any viewer of the owner's
	audience *audience.Audience
	ended    chan struct{} // closed with the listener

	mu      sync.Mutex // guards the audience too
	client  []byte     // what the last owner calls itself; nil: there was none
	arrived []wire.Message
	err     error // why the listener has ended
}

// New keeps a session open until the stage ends, and calls release then. listener may be nil: nothing arrives. client, if not
// nil, is the one viewer that it is for: a program that copies or forwards, from which nobody can take it over.
func New(s *session.Channel, listener Listener, client []byte, release func()) *Hold {
	h := &Hold{session: s, listener: listener, release: release, mine: client, ended: make(chan struct{})}
	h.audience = audience.New(s, &h.mu)
	return h
}

// Audience implements [session.Stage].
func (h *Hold) Audience() session.Audience { return h.audience }

// Admit implements [session.Stage]: there is nothing to watch.
func (h *Hold) Admit(who session.Viewer) error {
	if who.Watch {
		return wire.Errorf(wire.Conflict, "this session shows nothing that can be watched")
	}
	return nil
}

// Run implements [session.Stage]. Who leaves ends it in order.
func (h *Hold) Run(ctx context.Context) *wire.Exit {
	defer h.release()
	h.audience.Open()
	if h.listener != nil {
		listening, stop := context.WithCancel(ctx)
		defer stop()
		go h.session.Guard(func() { h.listen(listening) })
	}
	select {
	case <-ctx.Done():
	case <-h.ended:
	}
	err := context.Cause(ctx) // the listener's end is the effect
	if err == nil {
		err = h.err
	}
	if wire.CodeOf(err) == wire.Left {
		return &wire.Exit{}
	}
	return wire.ExitOf(err)
}

// maxArrived is how many arrivals wait to be told: more are left to end by themselves.
const maxArrived = 256

func (h *Hold) listen(ctx context.Context) {
	for {
		a, err := h.listener.Accept(ctx)
		h.mu.Lock()
		if err == nil && len(h.arrived) < maxArrived {
			h.arrived = append(h.arrived, a)
		}
		h.err = err
		h.audience.WakeLocked()
		h.mu.Unlock()
		if err != nil {
			close(h.ended)
			return
		}
	}
}

// Serve implements [session.Stage].
func (h *Hold) Serve(_ context.Context, f *wire.Framed, who session.Viewer, a *wire.Attach) error {
	v := &seat{hold: h}
	v.Seat = h.audience.Seat(who, f, v)
	attached, err := h.join(v, a)
	if err != nil {
		return err
	}
	h.audience.Attend(f, v.Seat, attached)
	return nil
}

func (h *Hold) join(v *seat, a *wire.Attach) (*wire.Attached, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.mine != nil && !bytes.Equal(h.mine, a.Client) {
		return nil, wire.Errorf(wire.Conflict, "the session belongs to a program that copies or forwards, which nobody else can show").Advise("open a session of your own")
	}
	if a.Back && h.client != nil && !bytes.Equal(h.client, a.Client) {
		return nil, &wire.Error{Code: wire.TakenOver}
	}
	if err := h.audience.EnterLocked(v.Seat); err != nil {
		return nil, err
	}
	h.client = append([]byte{}, a.Client...)
	attached := h.session.Attached()
	attached.Size = wire.Size{}.Clamp()
	if h.listener != nil {
		attached.Port = h.listener.Port()
	}
	return attached, nil
}

// seat is one attached viewer. It is an [audience.Source] without output.
type seat struct {
	*audience.Seat
	hold *Hold
}

// News implements [audience.Source].
func (v *seat) News() []wire.Message {
	news := v.hold.arrived
	v.hold.arrived = nil
	return news
}

// Read implements [audience.Source].
func (v *seat) Read([]byte) int { return 0 }

// Window implements [audience.Source].
func (v *seat) Window() uint64 { return 0 }

// Shown implements [audience.Source].
func (v *seat) Shown() {}

// Done implements [audience.Source].
func (v *seat) Done() bool { return true }

// Given implements [audience.Source].
func (v *seat) Given() uint64 { return 0 }

// Active implements [audience.Source].
func (v *seat) Active() bool { return true }

// Take implements [audience.Source]. A page tells its size as it would for a terminal.
func (v *seat) Take(m wire.Message) error {
	switch m.(type) {
	case *wire.Resize:
		return nil
	case *wire.EOF:
		v.hold.session.End(&wire.Error{Code: wire.Left})
		return nil
	}
	return wire.Errorf(wire.Protocol, "unexpected %T from who holds a session", m)
}

// Left implements [audience.Source]. Nobody else can take what arrives.
func (v *seat) Left() {
	if v.hold.listener != nil {
		v.hold.session.End(&wire.Error{Code: wire.ViewerLost})
	}
}
