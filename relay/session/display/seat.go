package display

import (
	"errors"
	"io"
	"time"

	"scrier/relay/session/audience"
	"scrier/wire"
)

// seat is one attached viewer of a display. It is an [audience.Source].
type seat struct {
	*audience.Seat
	display *Display
	screen  Screen
	room    chan struct{} // wakes show
	fed     chan struct{} // wakes feed
	closed  chan struct{} // the viewer has gone

	spool []byte // of the output: what waits to be sent
	dark  bool   // the screen has ended

	typed []byte
	given uint64 // of the input: handed to the desktop
}

// show moves what is to be seen into the spool.
func (v *seat) show() {
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
func (v *seat) put(p []byte) bool {
	for {
		v.display.mu.Lock()
		limit := ownerSpool
		if v.Watch {
			limit = watcherSpool
		}
		room := len(v.spool)+len(p) <= limit
		if room {
			v.spool = append(v.spool, p...)
			v.WakeLocked()
		} else if v.Watch {
			v.EndLocked(&wire.Exit{Code: wire.Busy, Detail: "your connection is too slow for this desktop"})
		}
		v.display.mu.Unlock()
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
func (v *seat) darken(err error) {
	select {
	case <-v.display.desktop.Done():
	case <-v.closed:
	case <-time.After(screenWait):
	}
	v.display.mu.Lock()
	defer v.display.mu.Unlock()
	v.dark = true
	v.WakeLocked()
	select {
	case <-v.display.desktop.Done():
	default:
		why := wire.ExitOf(err)
		if errors.Is(err, io.EOF) {
			why = &wire.Exit{Code: wire.DesktopFailed, Detail: "guacd ended this view"}
		}
		v.EndLocked(why)
	}
}

// feed gives the desktop what the viewer sends.
func (v *seat) feed() {
	err := v.screen.Type(typing{v})
	if err == nil {
		return
	}
	v.display.mu.Lock()
	defer v.display.mu.Unlock()
	switch code := wire.CodeOf(err); code {
	case wire.Protocol, wire.Forbidden, wire.BadRequest: // otherwise the screen ends too, and knows why
		v.EndLocked(&wire.Exit{Code: code, Detail: wire.DetailOf(err)})
	}
}

// typing reads what the viewer sent, until it has gone.
type typing struct{ *seat }

func (v typing) Read(p []byte) (int, error) {
	for {
		v.display.mu.Lock()
		n := copy(p, v.typed)
		if n > 0 {
			if v.typed = v.typed[n:]; len(v.typed) == 0 {
				v.typed = nil
			}
			v.given += uint64(n)
			v.WakeLocked()
		}
		v.display.mu.Unlock()
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

// News implements [audience.Source].
func (v *seat) News() []wire.Message { return nil }

// Read implements [audience.Source].
func (v *seat) Read(p []byte) int {
	n := copy(p, v.spool)
	v.spool = v.spool[:copy(v.spool, v.spool[n:])]
	wake(v.room)
	return n
}

// Window implements [audience.Source].
func (v *seat) Window() uint64 { return displayAhead }

// Shown implements [audience.Source].
func (v *seat) Shown() {}

// Done implements [audience.Source].
func (v *seat) Done() bool { return v.dark && len(v.spool) == 0 }

// Given implements [audience.Source].
func (v *seat) Given() uint64 { return v.given }

// Active implements [audience.Source]: most of what a desktop's viewer sends is answers.
func (v *seat) Active() bool { return v.screen.Active() }

// Left implements [audience.Source].
func (v *seat) Left() {}

// Take implements [audience.Source].
func (v *seat) Take(m wire.Message) error {
	data, ok := m.(*wire.Data)
	if !ok {
		return wire.Errorf(wire.Protocol, "unexpected %T from the viewer of a desktop", m)
	}
	if v.EndingLocked() {
		return nil // taken over, say: its end is on its way
	}
	if len(v.typed)+len(data.Bytes) > wire.ViewerWindow {
		return wire.Errorf(wire.Protocol, "input is more than %d bytes ahead", wire.ViewerWindow)
	}
	v.typed = append(v.typed, data.Bytes...)
	wake(v.fed)
	return nil
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
