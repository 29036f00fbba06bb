package session

import (
	"errors"
	"io"
	"time"

	"scrier/wire"
)

// onlooker is one attached viewer of a display.
type onlooker struct {
	seat
	display *display
	screen  Screen
	room    chan struct{} // wakes show
	fed     chan struct{} // wakes feed
	closed  chan struct{} // the viewer has gone

	spool []byte // of the output: what waits to be sent
	dark  bool   // the screen has ended
	next  uint64 // of the output: the number of the next byte to send
	seen  uint64 // up to here the viewer has taken it in

	typed []byte
	given uint64 // of the input: handed to the desktop
	acked uint64 // and what the viewer was told
}

// show moves what is to be seen into the spool.
func (v *onlooker) show() {
	buf := make([]byte, wire.MaxData)
	for {
		n, err := v.screen.Read(buf)
		if n > 0 && !v.put(buf[:n]) {
			return
		}
		if err != nil {
			v.darken(err)
			return
		}
	}
}

// put waits for room in the spool; a watcher's end is that there is none.
func (v *onlooker) put(p []byte) bool {
	for {
		v.mu.Lock()
		limit := ownerSpool
		if v.Watch {
			limit = watcherSpool
		}
		room := len(v.spool)+len(p) <= limit
		if room {
			v.spool = append(v.spool, p...)
			v.wakeLocked()
		} else if v.Watch {
			v.endLocked(&wire.Exit{Code: wire.Busy, Detail: "your connection is too slow for this desktop"})
		}
		v.mu.Unlock()
		if room || v.Watch {
			return room
		}
		select {
		case <-v.room:
		case <-v.closed:
			return false
		}
	}
}

// screenWait is how long the desktop may take to end after one of its screens did. guacd looks at each
// user by itself, and some only when it hears of them.
const screenWait = 6 * time.Second

// darken ends the viewer whose screen has ended: with the desktop if that ends too, else alone.
func (v *onlooker) darken(err error) {
	select {
	case <-v.display.desktop.Done():
	case <-v.closed:
	case <-time.After(screenWait):
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.dark = true
	v.wakeLocked()
	select {
	case <-v.display.desktop.Done():
	default:
		why := &wire.Exit{Code: wire.CodeOf(err), Detail: wire.DetailOf(err)}
		if errors.Is(err, io.EOF) {
			why = &wire.Exit{Code: wire.DesktopFailed, Detail: "guacd ended this view"}
		}
		v.endLocked(why)
	}
}

// feed gives the desktop what the viewer sends.
func (v *onlooker) feed() {
	err := v.screen.Type(typing{v})
	if err == nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	switch code := wire.CodeOf(err); code {
	case wire.Protocol, wire.Forbidden, wire.BadRequest: // otherwise the screen ends too, and knows why
		v.endLocked(&wire.Exit{Code: code, Detail: wire.DetailOf(err)})
	}
}

// typing reads what the viewer sent, until it has gone.
type typing struct{ *onlooker }

func (v typing) Read(p []byte) (int, error) {
	for {
		v.mu.Lock()
		n := copy(p, v.typed)
		if n > 0 {
			if v.typed = v.typed[n:]; len(v.typed) == 0 {
				v.typed = nil
			}
			v.given += uint64(n)
			v.wakeLocked()
		}
		v.mu.Unlock()
		if n > 0 {
			return n, nil
		}
		select {
		case <-v.fed:
		case <-v.closed:
			return 0, io.EOF
		}
	}
}

// take obeys one message; the display's mutex is held.
func (v *onlooker) take(m wire.Message) error {
	switch m := m.(type) {
	case *wire.Ack:
		if m.Offset > v.next {
			return wire.Errorf(wire.Protocol, "%d bytes are acknowledged, and %d were sent", m.Offset, v.next)
		}
		v.seen = max(v.seen, m.Offset)
		v.wakeLocked()
	case *wire.Data:
		if v.end != nil {
			return nil // taken over, say: its end is on its way
		}
		if len(v.typed)+len(m.Bytes) > wire.ViewerWindow {
			return wire.Errorf(wire.Protocol, "input is more than %d bytes ahead", wire.ViewerWindow)
		}
		v.typed = append(v.typed, m.Bytes...)
		wake(v.fed)
	default:
		return wire.Errorf(wire.Protocol, "unexpected %T from the viewer of a desktop", m)
	}
	return nil
}

// serve sends the viewer what there is for it, at the pace of its acknowledgements, until its end.
func (v *onlooker) serve(f *wire.Framed) error {
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
				wake(v.room)
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
func (v *onlooker) due(p []byte, late bool) (n int, messages []wire.Message, last bool, err error) {
	d := v.display
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.lost != nil {
		return 0, nil, false, v.lost
	}
	if v.end != nil {
		return 0, []wire.Message{v.end}, true, nil
	}
	messages = v.messagesLocked(d.namesLocked)
	if limit := v.seen + displayAhead; v.next < limit {
		n = copy(p[:min(uint64(len(p)), limit-v.next)], v.spool)
		v.spool = v.spool[:copy(v.spool, v.spool[n:])]
		v.next += uint64(n)
	}
	if v.given != v.acked && (n > 0 || late || v.given-v.acked >= wire.ViewerWindow/4) {
		v.acked = v.given
		messages = append(messages, &wire.Ack{Offset: v.given})
	}
	if d.final != nil && n == 0 && (d.final.Code != wire.None || v.dark && len(v.spool) == 0) {
		return 0, append(messages, d.final), true, nil
	}
	return n, messages, false, nil
}

func (v *onlooker) owesAck() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.given != v.acked
}
