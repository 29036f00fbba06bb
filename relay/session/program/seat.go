package program

import (
	"errors"
	"os"
	"sync"
	"time"

	"scrier/relay/session/audience"
	"scrier/wire"
)

const (
	// viewerStall is how long a viewer's transport may refuse to take a frame before its link counts as broken.
	viewerStall = time.Minute

	// ackDelay lets the acknowledgement of input travel with output.
	ackDelay = 30 * time.Millisecond
)

// frames are buffers for one frame of bytes each. A seat has one while it sends: nearly all of them wait.
var frames = sync.Pool{New: func() any { return new([wire.DataHeader + wire.MaxData]byte) }}

// seat is one connection of the viewer's with a numbered program. The program's mutex guards it.
type seat struct {
	*wire.Framed
	program *Numbered
	wake    chan struct{}
	next    [2]uint64 // byte of each output to send
	last    int       // the output of which something was sent last
	told    uint64    // how much of the input the viewer knows to be given
	window  int       // how far it knows that input may be ahead; 0: it is to hear of both, as an Ack may be lost with a link
	done    bool      // Exit was sent
	why     error     // the stream has ended; nil: it has not
}

// sentLocked says that all that the program has written was sent.
func (v *seat) sentLocked() bool {
	return v.next[output] == v.program.out[output].Head() && v.next[errout] == v.program.out[errout].Head()
}

// goneLocked says that the viewer will not come back.
func (v *seat) goneLocked() bool { return v.why != nil && !lostAlone(v.why) }

// lateLocked says that the viewer has not ended the stream in time.
func (v *seat) lateLocked() bool { return errors.Is(v.why, os.ErrDeadlineExceeded) }

// attend serves the viewer until it has Exit, or its stream ends, and leaves the stream in order: the last frame was sent, or
// it is reset.
func (v *seat) attend(a *wire.Attached) {
	n := v.program
	if err := v.Send(a); err != nil {
		v.lose(err)
		n.leave(v)
		v.Reset(wire.ViewerLost)
		return
	}
	n.session.Changed()
	read := make(chan struct{})
	go func() {
		defer close(read)
		n.session.Guard(v.listen)
	}()
	var err error = &wire.Error{Code: wire.Internal} // of a panic, which ends the session
	n.session.Guard(func() { err = v.send() })
	if err == nil { // the viewer ends the stream when it has Exit
		v.sent()
		err = v.SetReadDeadline(time.Now().Add(max(n.session.Grace(), audience.ExitWait)))
	}
	if err != nil {
		v.lose(err)
		v.Reset(resetOf(err))
	}
	<-read
	n.leave(v)
	if err == nil && v.SetReadDeadline(time.Time{}) != nil {
		v.Reset(wire.None)
	}
}

func (v *seat) sent() {
	v.program.mu.Lock()
	defer v.program.mu.Unlock()
	v.done = true
}

// resetOf is the code for a stream that has failed: the viewer comes back unless it is the one that has broken the protocol.
func resetOf(err error) wire.Code {
	if code := wire.CodeOf(err); code != wire.Internal {
		return code
	}
	return wire.ViewerLost
}

func (v *seat) lose(err error) {
	n := v.program
	n.mu.Lock()
	defer n.mu.Unlock()
	if v.why == nil {
		v.why = err
	}
	wake(v.wake)
}

// listen takes what the viewer sends, until its end. It waits for nothing else: acknowledgements may stand behind input.
func (v *seat) listen() {
	for {
		m, err := v.Receive()
		if err == nil {
			err = v.take(m)
		}
		if err != nil {
			v.lose(err)
			return
		}
	}
}

func (v *seat) take(m wire.Message) error {
	n := v.program
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.seat != v {
		return &wire.Error{Code: wire.TakenOver}
	}
	switch m := m.(type) {
	case *wire.Data:
		if len(m.Bytes) > n.in.Room() || n.eof {
			return wire.Errorf(wire.Protocol, "input is more than %d bytes ahead, or behind its end", n.in.Most)
		}
		n.in.Add(m.Bytes)
		if n.in.Room() < n.in.Most/2 {
			n.widenLocked(&n.in, wire.ProgramWindow)
			wake(v.wake)
		}
		wake(n.fed)
	case *wire.EOF:
		n.eof = true
		wake(n.fed)
	case *wire.Closed:
		if !n.closed {
			n.closed = true
			go n.session.Guard(func() { _ = n.process.CloseOutput() }) // a program that has ended needs none
		}
	case *wire.Ack:
		for i, offset := range []uint64{m.Offset, m.Errors} {
			if offset > v.next[i] {
				return wire.Errorf(wire.Protocol, "%d bytes of output %d are acknowledged, and %d were sent", offset, i+1, v.next[i])
			}
			n.out[i].Release(offset)
			wake(n.room[i])
		}
	default:
		return wire.Errorf(wire.Protocol, "unexpected %T from the viewer of a program", m)
	}
	return nil
}

// send sends what there is for the viewer, until Exit or the end of the stream.
func (v *seat) send() error {
	delay := time.NewTimer(ackDelay)
	defer delay.Stop()
	late := false
	for {
		some, last, err := v.sendDue(late)
		if last || err != nil {
			return err
		}
		if late = false; some {
			continue
		}
		if !v.owes() {
			<-v.wake
			continue
		}
		delay.Reset(ackDelay)
		select {
		case <-v.wake:
		case <-delay.C:
			late = true
		}
	}
}

// owes says that the viewer does not know how much of its input was given.
func (v *seat) owes() bool {
	v.program.mu.Lock()
	defer v.program.mu.Unlock()
	return v.told != v.program.in.Base()
}

// sendDue sends what is due now. some says that there was something; last, that nothing follows.
func (v *seat) sendDue(late bool) (some, last bool, err error) {
	buf := frames.Get().(*[wire.DataHeader + wire.MaxData]byte)
	defer frames.Put(buf)
	frame, messages, last, err := v.due(buf[:], late)
	if err != nil || len(frame) == 0 && len(messages) == 0 {
		return false, last, err
	}
	return true, last, v.WriteBy(time.Now().Add(viewerStall), messages, frame)
}

// due is what is to be sent now: messages, and then a frame made in buf. last says that nothing follows.
func (v *seat) due(buf []byte, late bool) (frame []byte, messages []wire.Message, last bool, err error) {
	n := v.program
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case v.why != nil:
		return nil, nil, false, v.why
	case n.seat != v:
		return nil, nil, false, &wire.Error{Code: wire.TakenOver}
	case n.final != nil && (n.final.Code != wire.None || v.sentLocked()):
		return nil, []wire.Message{n.final}, true, nil
	}
	for range n.out {
		v.last = 1 - v.last
		c := n.out[v.last].Copy(buf[wire.DataHeader:], v.next[v.last])
		if c == 0 {
			continue
		}
		v.next[v.last] += uint64(c)
		if frame = wire.DataFrame(buf, c); v.last == errout {
			frame = wire.ErrorsFrame(buf, c)
		}
		if v.sentLocked() {
			wake(n.news)
		}
		break
	}
	given := n.in.Base()
	if v.window != n.in.Most || given != v.told && (len(frame) > 0 || late || given-v.told >= uint64(n.in.Most/4)) {
		v.told, v.window = given, n.in.Most
		messages = append(messages, &wire.Ack{Offset: given, Window: uint32(n.in.Most)})
	}
	return frame, messages, false, nil
}
