package wire

import (
	"bufio"
	"errors"
	"io"
	"sync"
	"time"
)

// readerSize is enough for heartbeats and keys, of which one read brings several; what is longer goes past the
// reader's buffer. There may be ten thousand readers, of which nearly all wait.
const readerSize = 512

// sendTimeout bounds how long a peer may refuse to take a message before it counts as lost.
const sendTimeout = 15 * time.Second

// Framed is a stream that carries frames for all its life: an agent's control stream, a
// viewer's. Send and WriteData may be called by several goroutines, Receive by one.
type Framed struct {
	Stream
	r   *bufio.Reader
	buf []byte // reused by Receive for Data and Errors

	ahead *ahead // nil: nothing is received ahead

	mu sync.Mutex // one frame at a time; held while the stream takes it
}

// ahead is a message that is being received before it is asked for.
type ahead struct {
	done chan struct{} // closed when the rest is set
	m    Message
	err  error
	bug  any // what it panicked with
}

// NewFramed wraps s; from now on nobody else reads it.
func NewFramed(s Stream) *Framed {
	return &Framed{Stream: s, r: bufio.NewReaderSize(s, readerSize)}
}

// Read gives the bytes behind the frames that were received, for a stream that stops being
// framed ([Call]).
func (f *Framed) Read(p []byte) (int, error) { return f.r.Read(p) }

// Send writes one message and gives up when the peer does not take it within 15 s.
func (f *Framed) Send(m Message) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.Stream.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		return err
	}
	err := Send(f.Stream, m)
	if derr := f.Stream.SetWriteDeadline(time.Time{}); err == nil {
		err = derr
	}
	return err
}

// WriteData writes a frame made by [DataFrame] or [ErrorsFrame]. It blocks for as long as the peer does not read.
func (f *Framed) WriteData(frame []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, err := f.Stream.Write(frame)
	return err
}

// WriteBy writes messages and a frame made by [DataFrame], which may be empty, in one Write, and
// gives up at a time. What belongs together arrives together.
func (f *Framed) WriteBy(deadline time.Time, messages []Message, frame []byte) error {
	if len(messages) > 0 {
		var all []byte
		for _, m := range messages {
			var err error
			if all, err = appendMessage(all, m); err != nil {
				return err
			}
		}
		frame = append(all, frame...)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.Stream.SetWriteDeadline(deadline); err != nil {
		return err
	}
	_, err := f.Stream.Write(frame)
	return err
}

// Receive reads the next message. The bytes of a [Data] or [Errors] are valid until the next call. io.EOF
// is an ordinary end.
func (f *Framed) Receive() (Message, error) {
	if a := f.ahead; a != nil {
		<-a.done
		f.ahead = nil
		if a.bug != nil { // where panics are looked after, not beside it
			panic(a.bug)
		}
		return a.m, a.err
	}
	return f.receive(f.next)
}

// ReceiveAhead begins to receive the next message, unless that has begun already. The channel is closed when it
// is there, and Receive gives it then without waiting: so a message can be waited for beside something else.
// Nobody else may read the stream until Receive or [Framed.StopAhead] has returned.
func (f *Framed) ReceiveAhead() <-chan struct{} {
	if f.ahead == nil {
		a := &ahead{done: make(chan struct{})}
		f.ahead = a
		go func() {
			defer close(a.done)
			defer func() { a.bug = recover() }()
			a.m, a.err = f.receive(f.next)
		}()
	}
	return f.ahead.done
}

// StopAhead ends what ReceiveAhead began, for a stream that is to end; a message that has come is lost.
func (f *Framed) StopAhead() error {
	if f.ahead == nil {
		return nil
	}
	err := f.SetReadDeadline(time.Unix(1, 0)) // wakes a Read that blocks
	<-f.ahead.done
	f.ahead = nil
	return errors.Join(err, f.SetReadDeadline(time.Time{}))
}

// ReceiveWithin is Receive for a peer that has to finish what it begins: it may wait with a frame for as
// long as it likes, and a frame of which the first byte has come must be whole within a time. The error
// is else [os.ErrDeadlineExceeded]. It takes the stream's read deadline for itself.
func (f *Framed) ReceiveWithin(within time.Duration) (Message, error) {
	return f.receive(func() (FrameType, []byte, error) {
		if _, err := f.r.Peek(1); err != nil {
			return 0, nil, err
		}
		if err := f.SetReadDeadline(time.Now().Add(within)); err != nil {
			return 0, nil, err
		}
		t, payload, err := f.next()
		if derr := f.SetReadDeadline(time.Time{}); err == nil {
			err = derr
		}
		return t, payload, err
	})
}

func (f *Framed) next() (FrameType, []byte, error) { return readFrame(f.r, f.buf) }

func (f *Framed) receive(next func() (FrameType, []byte, error)) (Message, error) {
	for range maxSkipped {
		t, payload, err := next()
		if err != nil {
			return nil, err
		}
		if holdsBytes(t) {
			f.buf = payload[:0]
		}
		m, err := decode(t, payload)
		if t == frameAnswer { // a secret: nothing of it stays
			clear(payload)
			if f.r.Buffered() == 0 {
				f.r = bufio.NewReaderSize(f.Stream, readerSize)
			}
		}
		if m != nil || err != nil {
			return m, err
		}
	}
	return nil, Errorf(Protocol, "more than %d frames in a row that this version does not know", maxSkipped)
}

// ReceiveSmall is Receive for a peer that nobody knows yet: no more than limit bytes are taken from
// it.
func (f *Framed) ReceiveSmall(limit int) (Message, error) {
	t, payload, err := readFrameUpTo(f.r, nil, uint64(limit))
	if err != nil {
		return nil, err
	}
	m, err := decode(t, payload)
	if m == nil && err == nil {
		err = Errorf(Protocol, "frame 0x%x is not known here", uint64(t))
	}
	return m, err
}

// Finish ends a stream in an orderly way: what was sent arrives, what still comes is discarded
// until the peer ends too or the time is over.
func Finish(s Stream, wait time.Duration) {
	// The deadline first: it ends a Write that the peer's flow control blocks, which CloseWrite
	// waits for.
	if s.SetDeadline(time.Now().Add(wait)) != nil || s.CloseWrite() != nil {
		s.Reset(None)
		return
	}
	if _, err := io.Copy(io.Discard, s); err != nil {
		s.CloseRead(None)
	}
}
