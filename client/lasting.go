package client

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"scrier/wire"
)

// lasting is a channel that goes on when its link is lost: over the session that takes the place of its own ([Session.Succeed]), or over
// another link of the same one.
//
//	carried --broken--> waiting --Attached--> carried
//	   |                   |
//	   | both ends, a code | no session, no longer kept
//	   v                   v
//	  over                over
type lasting struct {
	*wire.Lasting
	client []byte // names this viewer among the session's
	part   uint32 // the channel's number
	done   chan struct{}
	wrote  atomic.Bool

	mu      sync.Mutex
	session *Session // that it is on
	taken   int      // of the budget
}

func newLasting(s *Session, client []byte, stream wire.Stream, a *wire.Attached) *lasting {
	c := &lasting{client: client, part: a.Part, session: s, done: make(chan struct{})}
	c.Lasting = wire.NewLasting(func(n int) bool {
		if !s.kept.take(n) {
			return false
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.taken += n
		return true
	})
	turn, _, _ := c.Begin()
	go func() {
		defer close(c.done)
		c.run(turn, wire.NewFramed(stream), a.Typed)
		c.mu.Lock()
		defer c.mu.Unlock()
		s.kept.give(c.taken)
		c.taken = 0
	}()
	return c
}

// Done is closed when it is over: the relay has all that was written, and knows how the stream has ended, or never will.
func (c *lasting) Done() <-chan struct{} { return c.done }

// run has the stream carried until it is over.
func (c *lasting) run(turn int, f *wire.Framed, came uint64) {
	for pause := time.Duration(0); ; {
		began := time.Now()
		err := c.carry(turn, f, came)
		if err == nil || c.Lasting.Err() != nil && !c.Untold() {
			return
		}
		if pause = min(pause+100*time.Millisecond, maxPause); time.Since(began) >= stable {
			pause = 0
		}
		if turn, f, came, err = c.again(pause); err != nil {
			if !c.Over() { // else the relay knew already
				c.Fail(err)
			}
			return
		}
	}
}

// carry carries it over one connection, which ends with the session unless that was lost.
func (c *lasting) carry(turn int, f *wire.Framed, came uint64) error {
	s := c.on()
	stop := context.AfterFunc(s.life.Context(), func() {
		if s.Lost() {
			f.Reset(wire.Internal)
		} else {
			c.Reset(wire.CodeOf(s.life.Err()))
		}
	})
	defer stop()
	return c.Carry(turn, f, came)
}

func (c *lasting) on() *Session {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session
}

// again has another connection, and tries for as long as the relay may keep the session.
func (c *lasting) again(pause time.Duration) (turn int, f *wire.Framed, came uint64, err error) {
	s := c.on()
	ctx, cancel := context.WithTimeout(context.Background(), s.patience())
	defer cancel()
	for {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
		if s.Err() != nil {
			if s, err = s.next(ctx); err != nil {
				return 0, nil, 0, err
			}
			c.mu.Lock()
			c.session = s
			c.mu.Unlock()
		}
		turn, from, _ := c.Begin()
		stream, a, err := s.connect(ctx, &wire.Connect{
			Channel: &wire.Channel{Kind: wire.Back, Number: c.part}, Client: c.client, Numbered: true, Came: from,
		}, attachWait)
		switch {
		case err == nil && !a.Numbered:
			stream.Reset(wire.Protocol)
			return 0, nil, 0, wire.Errorf(wire.Protocol, "the relay opened something else")
		case err == nil:
			return turn, wire.NewFramed(stream), a.Typed, nil
		case ctx.Err() != nil:
			return 0, nil, 0, lost(err)
		case s.Err() == nil && !passing(err):
			return 0, nil, 0, err
		}
		pause = min(pause+100*time.Millisecond, maxPause)
	}
}

// patience is how long the relay may keep what nobody is attached to.
func (s *Session) patience() time.Duration {
	grace := time.Duration(s.is.Grace) * time.Second
	if grace == 0 {
		grace = usualGrace
	}
	return grace + linkNotice
}

// next is the session that takes the place of one that was lost.
func (s *Session) next(ctx context.Context) (*Session, error) {
	if !s.Lost() {
		return nil, s.Err()
	}
	select {
	case <-s.heir.known:
	case <-ctx.Done():
	}
	if ctx.Err() != nil || s.heir.session == nil {
		return nil, s.Err()
	}
	return s.heir.session, nil
}

// Read fails with the reason of the session's end, if that is why.
func (c *lasting) Read(p []byte) (int, error) {
	n, err := c.Lasting.Read(p)
	return n, c.why(err)
}

// Write fails in the same way.
func (c *lasting) Write(p []byte) (int, error) {
	n, err := c.Lasting.Write(p)
	return n, c.why(err)
}

func (c *lasting) why(err error) error {
	if err == nil || errors.Is(err, io.EOF) || c.Lasting.Err() == nil {
		return err
	}
	return c.on().failed(err)
}

func (c *lasting) CloseWrite() error {
	if c.wrote.Swap(true) {
		return nil
	}
	return c.Lasting.CloseWrite()
}

// Close implements [Conn]. What was written before CloseWrite still arrives.
func (c *lasting) Close() error {
	if c.wrote.Load() {
		c.CloseRead(wire.None)
		return nil
	}
	c.Reset(wire.None)
	return nil
}
