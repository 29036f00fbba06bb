package session

import (
	"context"
	"time"

	"scrier/wire"
)

// viewer is one attached viewer of a terminal.
type viewer struct {
	seat
	terminal *terminal
	client   [16]byte

	next     uint64 // of the output: the next byte to send
	seen     uint64 // up to here it is on the screen
	acked    uint64 // of the input: what the viewer was told
	sizeSeen wire.Size
}

// serve implements [stage].
func (t *terminal) serve(_ context.Context, f *wire.Framed, who Viewer, a *wire.Attach) error {
	v := &viewer{seat: newSeat(who, &t.mu, f), terminal: t}
	copy(v.client[:], a.Client)
	attached, err := t.join(v, a)
	if err != nil {
		return err
	}
	defer t.gone.Done()
	t.session.attend(f, &v.seat, attached, v.take, func() error { return v.serve(f) }, func(err error) { t.leave(v, err) })
	return nil
}

// join makes v a viewer of the terminal.
func (t *terminal) join(v *viewer, a *wire.Attach) (*wire.Attached, error) {
	s := t.session
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.final != nil || s.ctx.Err() != nil {
		return nil, wire.Errorf(wire.NotFound, "the session has ended")
	}
	start, head := t.out.start(), t.out.head
	v.next = start
	if a.From != nil {
		if *a.From > head {
			return nil, wire.Errorf(wire.BadRequest, "the session has produced %d bytes, not %d", head, *a.From)
		}
		v.next = max(start, *a.From)
	}
	v.seen = v.next
	var typed uint64
	if err := t.enterLocked(v); err != nil {
		return nil, err
	}
	if !v.Watch {
		t.seen = v.seen
		t.becomeLocked(v.client)
		typed, v.acked = t.clients[0].taken, t.clients[0].given
		if a.Size != (wire.Size{}) {
			t.resizeLocked(a.Size)
		}
		wake(t.room)
	}
	v.sizeSeen = t.size
	return &wire.Attached{
		Session: s.row.ID, Envoy: s.row.EnvoyName, EnvoyID: s.row.Envoy, Kind: wire.Kind(s.row.Kind), Login: s.loginName(),
		Offset: v.next, Head: head, Typed: typed, Window: wire.ViewerWindow, Watching: v.Watch, Size: t.size,
	}, nil
}

// leave takes v out; err tells how it went.
func (t *terminal) leave(v *viewer, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.exitLocked(v, err) {
		return
	}
	t.seen = v.seen
	if t.final == nil {
		t.waitLocked()
	}
	wake(t.room)
	wake(t.idle)
}

// serve sends the viewer what there is for it, at the pace of its acknowledgements, until its end.
func (v *viewer) serve(f *wire.Framed) error {
	buf := make([]byte, wire.DataHeader+wire.MaxData)
	delay := time.NewTimer(ackDelay)
	defer delay.Stop()
	late := false // the input's acknowledgement has waited long enough
	for {
		n, messages, last, err := v.due(buf[wire.DataHeader:], late)
		if err != nil {
			return err
		}
		late = false
		if n > 0 || len(messages) > 0 {
			var frame []byte
			if n > 0 {
				frame = wire.DataFrame(buf, n)
			}
			if err := f.WriteBy(time.Now().Add(viewerStall), messages, frame); err != nil {
				return &wire.Error{Code: wire.ViewerLost, Err: err}
			}
		}
		if last {
			return nil
		}
		if n > 0 || len(messages) > 0 {
			continue
		}
		if v.owesAck() {
			delay.Reset(ackDelay)
			select {
			case <-v.wake:
			case <-delay.C:
				late = true
			}
			continue
		}
		<-v.wake
	}
}

// due is what is to be sent now: messages, then n bytes in p. last says that nothing follows.
func (v *viewer) due(p []byte, late bool) (n int, messages []wire.Message, last bool, err error) {
	t := v.terminal
	t.mu.Lock()
	defer t.mu.Unlock()
	if v.lost != nil {
		return 0, nil, false, v.lost
	}
	if v.end != nil {
		return 0, []wire.Message{v.end}, true, nil
	}
	if start := t.out.start(); v.next < start { // a watcher only: the owner holds the shell back
		v.next, v.seen = start, max(v.seen, start)
		messages = append(messages, &wire.Notice{Code: wire.Busy, Text: "you fell behind: some output is not shown"})
	}
	messages = append(messages, v.messagesLocked(t.namesLocked)...)
	if v.Watch && v.sizeSeen != t.size {
		v.sizeSeen = t.size
		messages = append(messages, &wire.Resize{Size: t.size})
	}
	limit := v.seen + wire.ViewerWindow
	n = t.out.read(p[:min(uint64(len(p)), limit-v.next)], v.next)
	v.next += uint64(n)
	if given := v.givenLocked(); given != v.acked && (n > 0 || late || given-v.acked >= wire.ViewerWindow/4) {
		v.acked = given
		messages = append(messages, &wire.Ack{Offset: given})
	}
	if t.over && v.next == t.out.head {
		wake(t.idle)
	}
	if t.final != nil && n == 0 && (t.final.Code != wire.None || v.next == t.out.head) {
		return 0, append(messages, t.final), true, nil
	}
	return n, messages, false, nil
}

func (v *viewer) givenLocked() uint64 {
	t := v.terminal
	if v.Watch || t.owner != v || len(t.clients) == 0 {
		return v.acked
	}
	return t.clients[0].given
}

func (v *viewer) owesAck() bool {
	v.terminal.mu.Lock()
	defer v.terminal.mu.Unlock()
	return v.givenLocked() != v.acked
}

// take obeys one message; the terminal's mutex is held.
func (v *viewer) take(m wire.Message) error {
	t := v.terminal
	if m, ok := m.(*wire.Ack); ok {
		if m.Offset > v.next {
			return wire.Errorf(wire.Protocol, "%d bytes are acknowledged, and %d were sent", m.Offset, v.next)
		}
		v.seen = max(v.seen, m.Offset) // a watcher's may be of before it fell behind
		v.wakeLocked()
		if t.owner == v {
			t.seen = v.seen
			wake(t.room)
		}
		return nil
	}
	if v.Watch {
		return wire.Errorf(wire.Forbidden, "a watcher does not type")
	}
	if t.owner != v {
		return nil // it has just been taken over; its end is on its way
	}
	switch m := m.(type) {
	case *wire.Data:
		if len(t.typed)+len(m.Bytes) > wire.ViewerWindow {
			return wire.Errorf(wire.Protocol, "input is more than %d bytes ahead", wire.ViewerWindow)
		}
		t.typed = append(t.typed, m.Bytes...)
		t.clients[0].taken += uint64(len(m.Bytes))
		wake(t.fed)
	case *wire.Resize:
		t.resizeLocked(m.Size)
	case *wire.EOF:
		t.eof = true
		wake(t.fed)
	default:
		return wire.Errorf(wire.Protocol, "unexpected %T from a viewer", m)
	}
	return nil
}

func (t *terminal) resizeLocked(size wire.Size) {
	if size = size.Clamp(); size == t.size {
		return
	}
	t.size, t.resize = size, true
	wake(t.fed)
	for _, w := range t.watchers {
		w.wakeLocked()
	}
}
