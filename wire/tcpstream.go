package wire

import (
	"errors"
	"io"
	"os"
	"sync"
	"time"
)

// tcpStream is a stream of a TCP link. yamux has its bytes and its two ordinary ends; the codes are here. An end with a
// code is told by a frame of ours, and behind it yamux says its ordinary end, so that both sides forget the stream.
type tcpStream struct {
	link *tcpLink
	id   uint32
	ours bool // opened on this side

	writing sync.Mutex // a Write and CloseWrite, never both
	sending sync.Mutex // yamux is given bytes or the end, which does not wait
	stopped chan struct{}
	widened chan struct{}
	writeBy tcpDeadline
	window  int64 // bytes that the peer takes; guarded by the link's turns

	mu       sync.Mutex
	mux      *tcpMuxStream // nil: yamux is about to tell
	accepted bool
	answered bool  // the peer has heard of it
	writeErr error // why no more is written, if it did not end in the ordinary way
	closed   bool  // CloseWrite was called
	finished bool  // yamux has been told the end
	readErr  error // why no more is read
	readEnd  bool  // io.EOF was read
	fin      bool  // the peer's ordinary end has arrived
	woken    bool  // nothing blocks in Read any more
	readBy   time.Time
	granted  int64 // bytes that the peer may have sent in all
	received int64
	read     int64
	before   int64 // received when it was looked at last
	buffers  bool  // yamux has a buffer for it
	over     bool
}

func newTCPStream(l *tcpLink, id uint32, ours bool) *tcpStream {
	return &tcpStream{
		link: l, id: id, ours: ours, accepted: ours, window: tcpFirstWindow, granted: tcpFirstWindow,
		stopped: make(chan struct{}), widened: make(chan struct{}, 1),
	}
}

// bind gives the stream its bytes. What has happened to it already is done now.
func (s *tcpStream) bind(mux *tcpMuxStream) {
	s.mu.Lock()
	s.mux = mux
	if s.woken || s.link.Err() != nil {
		s.wake()
	}
	finish := s.writeErr != nil
	s.mu.Unlock()
	if finish {
		s.finish()
	}
}

// take says that the stream has been accepted.
func (s *tcpStream) take() {
	s.mu.Lock()
	s.accepted = true
	s.mu.Unlock()
	s.settle()
}

// Read implements [Stream].
func (s *tcpStream) Read(p []byte) (int, error) {
	for {
		if err := s.readable(); err != nil {
			return 0, err
		}
		n, err := s.mux.Read(p)
		if n > 0 {
			s.consumed(n)
			return n, nil
		}
		switch {
		case err == nil: // p is empty
			return 0, s.readable()
		case errors.Is(err, errTCPMuxDeadline):
			continue // for a reason that readable tells, or the deadline was moved
		case errors.Is(err, io.EOF) && s.ended():
			return 0, io.EOF
		}
		if err := s.readable(); err != nil {
			return 0, err
		}
		return 0, s.link.failed(err)
	}
}

// readable is why nothing is read any more, or not now.
func (s *tcpStream) readable() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch err := s.link.Err(); {
	case s.readErr != nil:
		return s.readErr
	case err != nil:
		return err
	case !s.readBy.IsZero() && !time.Now().Before(s.readBy):
		return os.ErrDeadlineExceeded
	}
	return nil
}

// ended says whether yamux's io.EOF is the peer's ordinary end.
func (s *tcpStream) ended() bool {
	s.mu.Lock()
	end := s.fin && s.readErr == nil && s.link.Err() == nil
	s.readEnd = s.readEnd || end
	s.mu.Unlock()
	if end {
		s.settle()
	}
	return end
}

// consumed counts bytes that were read.
func (s *tcpStream) consumed(n int) {
	s.mu.Lock()
	if s.readErr != nil {
		n = 0 // they have been counted when the reading ended
	}
	s.read += int64(n)
	s.mu.Unlock()
	s.link.in.consumed(n)
}

// rest lets the buffer go of a stream on which nothing has come since the last call.
func (s *tcpStream) rest() {
	s.mu.Lock()
	idle := s.mux != nil && s.received == s.read && s.received == s.before && s.buffers
	s.before = s.received
	if idle {
		s.buffers = false
	}
	s.mu.Unlock()
	if idle {
		s.mux.Shrink()
	}
}

// stopReading ends the reading. The caller holds mu, and says the result to the link's reader afterwards.
func (s *tcpStream) stopReading(err error) (unread int) {
	s.readErr = err
	s.woken = true
	s.wake()
	return int(s.received - s.read)
}

// wake frees a Read that blocks. The caller holds mu.
func (s *tcpStream) wake() {
	s.woken = true
	if s.mux != nil {
		_ = s.mux.SetReadDeadline(time.Unix(1, 0)) // it does not fail
	}
}

// wakeReader frees a Read that blocks, as the link has ended.
func (s *tcpStream) wakeReader() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wake()
}

// Write implements [Stream].
func (s *tcpStream) Write(p []byte) (n int, err error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	for {
		if err := s.writable(); err != nil {
			return n, err
		}
		select {
		case <-s.writeBy.passed():
			return n, os.ErrDeadlineExceeded
		default:
		}
		if n == len(p) {
			return n, nil
		}
		turn, err := s.link.turns.next(s, len(p)-n)
		if err != nil {
			return n, err
		}
		sent, err := s.send(p[n : n+turn.n])
		if err != nil {
			return n, s.link.failed(err)
		}
		if !sent {
			s.link.turns.leave(turn)
			continue // writable says why
		}
		n += turn.n
	}
}

// send gives bytes to yamux, unless it has been told the end.
func (s *tcpStream) send(p []byte) (bool, error) {
	s.sending.Lock()
	defer s.sending.Unlock()
	s.mu.Lock()
	finished := s.finished
	s.mu.Unlock()
	if finished {
		return false, nil
	}
	_, err := s.mux.Write(p)
	return true, err
}

// writable is why nothing is written any more.
func (s *tcpStream) writable() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch err := s.link.Err(); {
	case s.writeErr != nil:
		return s.writeErr
	case err != nil:
		return err
	case s.closed:
		return io.ErrClosedPipe
	}
	return nil
}

// CloseWrite implements [Stream].
func (s *tcpStream) CloseWrite() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.writable(); err != nil {
		if errors.Is(err, io.ErrClosedPipe) {
			return nil
		}
		return err
	}
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.finish()
	return nil
}

// finish tells yamux the ordinary end of what is written here.
func (s *tcpStream) finish() {
	s.sending.Lock()
	s.mu.Lock()
	first := !s.finished && s.mux != nil
	s.finished = s.finished || first
	s.mu.Unlock()
	if first {
		_ = s.mux.Close() // it does not fail
	}
	s.sending.Unlock()
	s.settle()
}

// CloseRead implements [Stream].
func (s *tcpStream) CloseRead(code Code) { s.reset(tcpResetReads, code) }

// Reset implements [Stream].
func (s *tcpStream) Reset(code Code) { s.reset(tcpResetWrites|tcpResetReads, code) }

// reset ends those directions that have not ended.
func (s *tcpStream) reset(flags uint16, code Code) {
	err := &Error{Code: code}
	var tell uint16
	unread := 0
	s.mu.Lock()
	if flags&tcpResetWrites != 0 && s.writeErr == nil && !s.closed {
		tell |= tcpResetWrites
		s.writeErr = err
		close(s.stopped)
	}
	if flags&tcpResetReads != 0 && s.readErr == nil && !s.readEnd {
		if !s.fin {
			tell |= tcpResetReads
		}
		unread = s.stopReading(err)
	}
	s.mu.Unlock()
	if tell != 0 {
		s.link.out.control(newTCPHeader(tcpReset, tell, s.id, uint32(code)))
	}
	if tell&tcpResetWrites != 0 {
		s.finish()
	}
	s.link.in.consumed(unread)
	s.settle()
}

// resetByPeer ends directions as the peer says.
func (s *tcpStream) resetByPeer(flags uint16, err error) {
	unread, stop := 0, false
	s.mu.Lock()
	if flags&tcpResetWrites != 0 && s.readErr == nil && !s.fin {
		unread = s.stopReading(err)
	}
	if flags&tcpResetReads != 0 && s.writeErr == nil && !s.closed {
		s.writeErr, stop = err, true
		close(s.stopped)
	}
	s.mu.Unlock()
	if stop {
		s.finish()
	}
	s.link.in.consumed(unread)
	s.settle()
}

// settle forgets the stream when both directions have ended, on both sides.
func (s *tcpStream) settle() {
	s.mu.Lock()
	over := s.finished && s.fin && (s.readErr != nil || s.readEnd) && s.accepted && !s.over
	s.over = s.over || over
	s.mu.Unlock()
	if over {
		s.link.forget(s)
	}
}

// grant counts what yamux tells the peer that it may send.
func (s *tcpStream) grant(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.granted += n
}

// frame checks a frame of yamux's before yamux gets it.
func (s *tcpStream) frame(h *tcpHeader) error {
	dropped := 0
	s.mu.Lock()
	defer func() {
		s.mu.Unlock()
		s.link.in.consumed(dropped)
	}()
	flags := h.flags()
	if h.kind() == tcpData {
		n := int64(h.value())
		switch {
		case flags != 0:
			return errors.New("bytes with flags")
		case s.fin:
			return errors.New("bytes behind the end")
		case s.received+n > s.granted:
			return errors.New("more bytes than its window")
		}
		s.received += n
		s.buffers = s.buffers || n > 0
		if s.readErr != nil {
			s.read += n
			dropped = int(n)
		}
		return nil
	}
	if flags&tcpACK != 0 {
		if !s.ours || s.answered {
			return errors.New("an answer to nothing")
		}
		s.answered = true
	}
	if flags&tcpFIN != 0 {
		if s.fin {
			return errors.New("a second end")
		}
		s.fin = true
	}
	return nil
}

// allowed does what a window update says, when yamux has done so.
func (s *tcpStream) allowed(n uint32, flags uint16) {
	if !s.link.turns.widen(s, int64(n)) {
		_ = s.link.violated("stream %d: a window that is too large", s.id)
	}
	if flags&tcpACK != 0 {
		s.link.unanswered.Release(1)
	}
	s.settle()
}

// SetDeadline implements [Stream].
func (s *tcpStream) SetDeadline(t time.Time) error {
	_ = s.SetReadDeadline(t) // neither fails
	return s.SetWriteDeadline(t)
}

// SetReadDeadline implements [Stream].
func (s *tcpStream) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readBy = t
	if !s.woken {
		_ = s.mux.SetReadDeadline(t) // it does not fail
	}
	return nil
}

// SetWriteDeadline implements [Stream].
func (s *tcpStream) SetWriteDeadline(t time.Time) error {
	s.writeBy.set(t)
	return nil
}
