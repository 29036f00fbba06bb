package wiretest

import (
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"scrier/wire"
)

// Window is how many bytes a stream takes before its Write waits for the reader.
const Window = 64 << 10

// Streams returns the two ends of a stream.
func Streams() (wire.Stream, wire.Stream) { return newStreams() }

func newStreams() (*stream, *stream) {
	ab, ba := newFlow(), newFlow()
	return &stream{in: ba, out: ab}, &stream{in: ab, out: ba}
}

type stream struct{ in, out *flow }

func (s *stream) Read(p []byte) (int, error)  { return s.in.read(p) }
func (s *stream) Write(p []byte) (int, error) { return s.out.write(p) }

func (s *stream) CloseWrite() error {
	s.out.end(io.EOF)
	return nil
}

func (s *stream) CloseRead(code wire.Code) { s.in.stop(&wire.Error{Code: code}) }

func (s *stream) Reset(code wire.Code) {
	s.out.end(&wire.Error{Code: code})
	s.in.stop(&wire.Error{Code: code})
}

func (s *stream) fail(err error) {
	s.out.end(err)
	s.in.stop(err)
}

func (s *stream) SetDeadline(t time.Time) error {
	if err := s.SetReadDeadline(t); err != nil {
		return err
	}
	return s.SetWriteDeadline(t)
}

func (s *stream) SetReadDeadline(t time.Time) error {
	s.in.deadline(t, &s.in.readBy)
	return nil
}

func (s *stream) SetWriteDeadline(t time.Time) error {
	s.out.deadline(t, &s.out.writeBy)
	return nil
}

// flow is one direction.
type flow struct {
	mu              sync.Mutex
	changed         *sync.Cond
	buf             []byte
	ended           error // what the reader gets behind buf
	stopped         error // what the writer gets
	readBy, writeBy time.Time
}

func newFlow() *flow {
	f := new(flow)
	f.changed = sync.NewCond(&f.mu)
	return f
}

func (f *flow) read(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		switch {
		case f.stopped != nil:
			return 0, f.stopped
		case f.ended != nil && !errors.Is(f.ended, io.EOF):
			return 0, f.ended
		case len(f.buf) > 0:
			n := copy(p, f.buf)
			f.buf = f.buf[n:]
			f.changed.Broadcast()
			return n, nil
		case f.ended != nil:
			return 0, f.ended
		case passed(f.readBy):
			return 0, os.ErrDeadlineExceeded
		}
		f.changed.Wait()
	}
}

func (f *flow) write(p []byte) (n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		switch {
		case f.stopped != nil:
			return n, f.stopped
		case errors.Is(f.ended, io.EOF):
			return n, io.ErrClosedPipe
		case f.ended != nil:
			return n, f.ended
		case len(p) == 0:
			return n, nil
		case len(f.buf) < Window:
			k := min(len(p), Window-len(f.buf))
			f.buf = append(f.buf, p[:k]...)
			p, n = p[k:], n+k
			f.changed.Broadcast()
			continue
		case passed(f.writeBy):
			return n, os.ErrDeadlineExceeded
		}
		f.changed.Wait()
	}
}

func (f *flow) end(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended == nil {
		f.ended = err
	}
	f.changed.Broadcast()
}

func (f *flow) stop(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stopped == nil {
		f.stopped = err
	}
	f.changed.Broadcast()
}

func (f *flow) deadline(t time.Time, which *time.Time) {
	f.mu.Lock()
	*which = t
	f.changed.Broadcast()
	f.mu.Unlock()
	if !t.IsZero() {
		time.AfterFunc(time.Until(t), func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.changed.Broadcast()
		})
	}
}

func passed(t time.Time) bool { return !t.IsZero() && !time.Now().Before(t) }
