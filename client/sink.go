package client

import (
	"context"
	"io"
	"sync"
	"time"

	"scrier/wire"
)

// stuckOutput is how long an output that is not taken may hold up the end of a command that was lost or ended from outside.
const stuckOutput = time.Second

// sinkPiece is how much of an output is written at a time, in bytes.
const sinkPiece = 64 << 10

// sink writes one of a command's outputs. What has come waits here, so that a writer that is slow holds up nothing else; the relay
// sends no more than it may be behind.
type sink struct {
	to     io.Writer
	failed func(error)   // hears, once, that what comes cannot be written: it goes nowhere then
	news   chan struct{} // is woken when something was written
	fed    chan struct{} // wakes run
	done   chan struct{} // closed when all is written, and nothing more comes

	mu      sync.Mutex
	ring    wire.Ring
	nowhere bool
	over    bool // nothing more comes
}

func newSink(to io.Writer, most int, news chan struct{}, failed func(error)) *sink {
	s := &sink{to: to, failed: failed, news: news, fed: make(chan struct{}, 1), done: make(chan struct{})}
	s.ring.Most = most
	return s
}

// run writes until the end.
func (s *sink) run() {
	defer close(s.done)
	for {
		s.mu.Lock()
		piece, over := s.ring.Next(s.ring.Base()), s.over
		s.mu.Unlock()
		switch piece = piece[:min(len(piece), sinkPiece)]; {
		case len(piece) > 0:
			_, err := s.to.Write(piece)
			s.wrote(len(piece), err)
			if err != nil {
				s.failed(err)
			}
			poke(s.news)
		case over:
			return
		default:
			<-s.fed
		}
	}
}

func (s *sink) wrote(n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ring.Release(s.ring.Base() + uint64(n))
	if err != nil {
		s.nowhere = true
		s.ring.Release(s.ring.Head())
	}
}

// put takes what has come.
func (s *sink) put(b []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(b) > s.ring.Room() {
		return wire.Errorf(wire.Protocol, "the relay sends more than %d bytes of output ahead", s.ring.Most)
	}
	s.ring.Add(b)
	if s.nowhere {
		s.ring.Release(s.ring.Head())
		poke(s.news)
	}
	poke(s.fed)
	return nil
}

// end says that nothing more comes.
func (s *sink) end() {
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
	poke(s.fed)
}

// drain waits until all is written: for as long as it takes, or only while something is.
func (s *sink) drain(ctx context.Context, patient bool) {
	for {
		var stuck <-chan time.Time
		if !patient {
			stuck = time.After(stuckOutput)
		}
		_, before := s.came()
		select {
		case <-s.done:
			return
		case <-ctx.Done():
			return
		case <-stuck:
			if _, now := s.came(); now == before {
				return
			}
		}
	}
}

// came is how much has come, and written how much of that is written.
func (s *sink) came() (came, written uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ring.Head(), s.ring.Base()
}
