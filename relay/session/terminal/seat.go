package terminal

import (
	"context"
	"time"

	"scrier/relay/session"
	"scrier/relay/session/audience"
	"scrier/wire"
)

// seat is one attached viewer of a terminal. It is an [audience.Source].
type seat struct {
	*audience.Seat
	terminal *Terminal
	size     wire.Size // the terminal's, as a watcher was told
	skips    bool      // the viewer wants output to be left out
	paints   bool      // it understands Skip
	paint    []byte    // its terminal gets this before all else
	anew     bool      // when it has got all of the output, its terminal is painted anew
}

// Serve implements [session.Stage].
func (t *Terminal) Serve(_ context.Context, f *wire.Framed, who session.Viewer, a *wire.Attach) error {
	v := &seat{terminal: t, skips: a.Skip, paints: a.Skip || a.Paint}
	v.Seat = t.audience.Seat(who, f, v)
	v.Prompt, v.Asides = a.Prompt, a.Asides
	attached, err := t.join(v, a)
	if err != nil {
		return err
	}
	t.audience.Attend(f, v.Seat, attached)
	return nil
}

// join makes v a viewer of the terminal.
func (t *Terminal) join(v *seat, a *wire.Attach) (joined *wire.Attached, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	defer func() {
		if joined == nil {
			t.audience.ForgetLocked(v.Seat)
		}
	}()
	start, head := t.out.start(), t.out.head
	if a.From != nil && *a.From > head {
		return nil, wire.Errorf(wire.BadRequest, "the session has produced %d bytes, not %d", head, *a.From)
	}
	var id [16]byte
	copy(id[:], a.Client)
	if a.Back && !v.Watch && len(t.input.clients) > 0 && t.input.clients[0].id != id { // also while that one has no connection
		return nil, &wire.Error{Code: wire.TakenOver}
	}
	if v.Next = start; a.From != nil {
		v.Next = max(start, *a.From)
	}
	late := v.paints && start > 0 && (a.From == nil || *a.From < start)
	if late {
		if !v.Watch && a.Size != (wire.Size{}) {
			t.resizeLocked(a.Size)
		}
		v.Next, v.paint = t.beginLocked(start)
	}
	v.Seen, v.Confirmed = v.Next, v.Next
	if err := t.audience.EnterLocked(v.Seat); err != nil {
		return nil, err
	}
	attached := t.session.Attached()
	if !v.Watch {
		t.seen, t.kept, t.skipping = v.Seen, v.Confirmed, skipping{}
		attached.Typed = t.input.become(id).taken
		// and InputAcked is 0: an acknowledgement may have been lost with the connection before
		if a.Size != (wire.Size{}) {
			t.resizeLocked(a.Size)
		}
		wake(t.room)
	}
	v.size = t.input.size
	v.anew = v.paints && (a.Anew || v.Next < t.sized || v.Next < head && t.screen.Size() != v.size)
	attached.Offset, attached.Head = v.Next, head
	attached.Window, attached.Watching, attached.Size = wire.ViewerWindow, v.Watch, v.size
	return attached, nil
}

func (v *seat) owns() bool { return v.terminal.audience.OwnerLocked() == v.Seat }

// News implements [audience.Source].
func (v *seat) News() (messages []wire.Message) {
	t := v.terminal
	if v.paint != nil {
		messages = skips(v.paint, v.Next)
		v.paint = nil
	}
	if v.Watch && v.size != t.input.size {
		v.size = t.input.size
		messages = append(messages, &wire.Resize{Size: v.size})
	}
	if v.anew && v.Next == t.out.head {
		v.anew = false
		messages = append(messages, t.anewLocked()...)
	}
	if v.Watch {
		return append(messages, v.caughtUp()...)
	}
	if v.skips && t.skipping.due && v.owns() {
		t.skipping = skipping{}
		if t.out.head-v.Next >= worthSkipping {
			messages = append(messages, t.skipLocked(v.Seat)...)
		}
		t.seen = v.Seen
		wake(t.room)
	}
	return messages
}

// caughtUp brings a watcher on that has fallen so far behind that the backlog has forgotten what comes
// next. An owner holds the channel back before that.
func (v *seat) caughtUp() []wire.Message {
	start := v.terminal.out.start()
	if v.Next >= start {
		return nil
	}
	if v.paints {
		if messages := v.terminal.skipLocked(v.Seat); messages != nil {
			return messages
		}
	}
	// Not to the backlog's very edge: the next output would push it over again, with a notice each time.
	to := max(start, v.terminal.out.head-min(v.terminal.out.head, wire.ViewerWindow))
	v.Missed += to - v.Next
	v.SkipLocked(to)
	return []wire.Message{&wire.Notice{Code: wire.Busy, Text: "you fell behind: some output is not shown"}}
}

// Read implements [audience.Source].
func (v *seat) Read(p []byte) int {
	t := v.terminal
	n := t.out.read(p, v.Next)
	if t.over && v.Next+uint64(n) == t.out.head {
		wake(t.idle)
	}
	return n
}

// Window implements [audience.Source].
func (v *seat) Window() uint64 {
	if v.skips && v.terminal.skipping.pauses(time.Now()) && v.owns() {
		return 0
	}
	return wire.ViewerWindow
}

// Shown implements [audience.Source].
func (v *seat) Shown() {
	if v.owns() {
		t := v.terminal
		t.seen, t.kept = v.Seen, v.Confirmed
		if t.out.head-v.Confirmed <= backlogSize { // all else would still be wanted if the connection broke
			t.out.trim()
		}
		wake(t.room)
	}
}

// Done implements [audience.Source].
func (v *seat) Done() bool { return v.Next == v.terminal.out.head }

// Given implements [audience.Source].
func (v *seat) Given() uint64 {
	if !v.owns() {
		return v.InputAcked
	}
	return v.terminal.input.clients[0].given
}

// Active implements [audience.Source].
func (v *seat) Active() bool { return true }

// Left implements [audience.Source].
func (v *seat) Left() {
	t := v.terminal
	if t.audience.OwnerLocked() == nil {
		t.seen, t.skipping = t.kept, skipping{}
	}
	wake(t.room)
	wake(t.idle)
}

// Take implements [audience.Source].
func (v *seat) Take(m wire.Message) error {
	t := v.terminal
	if v.Watch {
		return wire.Errorf(wire.Forbidden, "a watcher does not type")
	}
	if !v.owns() {
		return nil // it has just been taken over; its end is on its way
	}
	switch m := m.(type) {
	case *wire.Data:
		if v.skips {
			t.typedLocked(v.Seat, m.Bytes, time.Now())
		}
		return t.input.add(m.Bytes)
	case *wire.Resize:
		t.resizeLocked(m.Size)
	case *wire.EOF:
		t.input.end()
	default:
		return wire.Errorf(wire.Protocol, "unexpected %T from a viewer", m)
	}
	return nil
}

func (t *Terminal) resizeLocked(size wire.Size) {
	if !t.input.resizeTo(size) {
		return
	}
	for _, w := range t.audience.WatchersLocked() {
		w.WakeLocked()
	}
}
