package client

import (
	"io"
	"sync"

	"scrier/wire"
)

// supply is a command's input, numbered by bytes. What was read of it is kept until the relay says that it has arrived at the
// command: so it can be sent once more on another connection. One goroutine reads, and one sends; a third hears what has
// arrived.
type supply struct {
	news chan struct{} // wakes who sends
	room chan struct{} // wakes who reads

	mu   sync.Mutex
	ring wire.Ring // no more than the relay lets input be ahead
	sent uint64    // on the connection that is in use
	most uint64    // that was sent on any
	eof  bool      // behind ring nothing comes
}

// fill reads the input to its end, or until over is closed. A Read cannot be interrupted in every case.
func (s *supply) fill(from io.Reader, over <-chan struct{}) {
	for from != nil {
		space := s.space(over)
		if len(space) == 0 {
			return
		}
		n, err := from.Read(space)
		s.came(n)
		if err != nil { // one that fails is one that has ended
			break
		}
	}
	s.mu.Lock()
	s.eof = true
	s.mu.Unlock()
	poke(s.news)
}

func (s *supply) space(over <-chan struct{}) []byte {
	for {
		s.mu.Lock()
		space := s.ring.Space()
		s.mu.Unlock()
		if len(space) > 0 {
			return space[:min(len(space), wire.MaxData)]
		}
		select {
		case <-s.room:
		case <-over:
			return nil
		}
	}
}

func (s *supply) came(n int) {
	s.mu.Lock()
	if n > 0 {
		s.ring.Came(n)
	}
	s.mu.Unlock()
	poke(s.news)
}

// resume begins with a connection of which the relay says how much it has taken, and how far input may be ahead.
func (s *supply) resume(a *wire.Attached) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.Typed < s.ring.Base() || a.Typed > s.most {
		return wire.Errorf(wire.Protocol, "the relay has taken %d bytes of input, and is to have from %d to %d", a.Typed, s.ring.Base(), s.most)
	}
	s.sent = a.Typed
	s.widenLocked(a.Window)
	return nil
}

func (s *supply) widenLocked(window uint32) {
	s.ring.Most = max(s.ring.Most, int(min(window, wire.ProgramWindow)))
	poke(s.room)
}

// arrived is told what has arrived.
func (s *supply) arrived(m *wire.Ack) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.Offset > s.sent {
		return wire.Errorf(wire.Protocol, "the relay acknowledges %d bytes of input, and %d were sent", m.Offset, s.sent)
	}
	s.ring.Release(m.Offset)
	s.widenLocked(m.Window)
	return nil
}

// next fills p with what is to be sent now, which counts as sent then. eof says that behind it there is nothing.
func (s *supply) next(p []byte) (n int, eof bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n = s.ring.Copy(p, s.sent)
	s.sent += uint64(n)
	s.most = max(s.most, s.sent)
	return n, s.eof && s.sent == s.ring.Head()
}
