package audience

import (
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
)

// frames are buffers for one Data frame each. A seat has one while it sends: nearly all of them wait.
var frames = sync.Pool{New: func() any { return new([wire.DataHeader + wire.MaxData]byte) }}

// send sends the viewer what there is for it, at the pace of its acknowledgements, until its end.
func (v *Seat) send(f *wire.Framed) error {
	delay := time.NewTimer(ackDelay)
	defer delay.Stop()
	late := false // the input's acknowledgement has waited long enough
	for {
		some, last, err := v.sendDue(f, late)
		if last || err != nil {
			return err
		}
		late = false
		if some {
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

// sendDue sends what is due now. some says that there was something; last, that nothing follows.
func (v *Seat) sendDue(f *wire.Framed, late bool) (some, last bool, err error) {
	buf := frames.Get().(*[wire.DataHeader + wire.MaxData]byte)
	defer frames.Put(buf)
	again, n, messages, last, err := v.due(buf[wire.DataHeader:], late)
	if err != nil || n == 0 && len(messages) == 0 && again == nil {
		return false, last, err
	}
	frame := again
	if n > 0 {
		frame = wire.DataFrame(buf[:], n)
	}
	if err := f.WriteBy(time.Now().Add(viewerStall), messages, frame); err != nil {
		return true, last, &wire.Error{Code: wire.ViewerLost, Err: err}
	}
	return true, last, nil
}

// due is what is to be sent now: messages, then n bytes in p, or a frame again that a lane has lost. last says that nothing
// follows; late, that the acknowledgement of input need not wait for output to travel with.
func (v *Seat) due(p []byte, late bool) (again []byte, n int, messages []wire.Message, last bool, err error) {
	a := v.audience
	a.mu.Lock()
	defer a.mu.Unlock()
	if v.lost != nil {
		return nil, 0, nil, false, v.lost
	}
	if v.end != nil {
		return nil, 0, []wire.Message{v.end}, true, nil
	}
	apart := v.apartLocked()
	if !apart && len(v.again) == 0 {
		messages = v.source.News()
	}
	messages, v.notes = append(messages, v.notes...), nil
	if v.pong != nil {
		messages = append(messages, v.pong)
		v.pong = nil
	}
	if v.names {
		messages = append(messages, &wire.Watchers{Names: a.namesLocked()})
		v.names = false
	}
	switch {
	case apart:
	case len(v.again) > 0:
		again, v.again = v.again[0], v.again[1:]
	default:
		n = v.readLocked(p, time.Now())
	}
	if given := v.source.Given(); given != v.InputAcked && (n > 0 || late || given-v.InputAcked >= wire.ViewerWindow/4) {
		v.InputAcked = given
		messages = append(messages, &wire.Ack{Offset: given})
	}
	if a.final != nil && n == 0 && again == nil && !v.outLocked() && (a.final.Code != wire.None || v.source.Done()) {
		return nil, 0, append(messages, a.final), true, nil
	}
	return again, n, messages, false, nil
}

// readLocked reads output that may be sent now.
func (v *Seat) readLocked(p []byte, now time.Time) (n int) {
	window := v.source.Window()
	if window == 0 {
		return 0
	}
	most := window
	if v.Prompt {
		window = v.pace.window(window, now)
		p = p[:min(len(p), int(window/4))] // a frame is on the screen, and acknowledged, as a whole
	}
	full := true
	if limit := v.Seen + window; v.Next < limit {
		p = p[:min(uint64(len(p)), limit-v.Next)]
		n = v.source.Read(p)
		full = n == len(p)
		if n > 0 {
			v.Next += uint64(n)
			v.pace.sent(v.Next, !full, now)
		}
	}
	v.weighLocked(full, most, now)
	return n
}

func (v *Seat) owesAck() bool {
	v.audience.mu.Lock()
	defer v.audience.mu.Unlock()
	return v.source.Given() != v.InputAcked
}
