package client

import (
	"context"
	"crypto/rand"
	"sync/atomic"
	"time"

	"scrier/wire"
)

// laneAfter is how many bytes a channel has carried when it gets a connection of its own, if its link knows nothing of its line
// ([wire.Line.After]).
const laneAfter = 4 << 20

// laneAgain is how long no further lane is tried when the relay could not be reached for one: where TCP is blocked each attempt is a wait.
const laneAgain = time.Minute

// laner makes lanes to one relay. The zero value makes none.
type laner struct {
	dial  func(ctx context.Context, token []byte, s *wire.Laned) error
	until *atomic.Int64 // no attempt before this time, in Unix nanoseconds

	memory *wire.LaneMemory
	line   *wire.Line // of the link
}

// carries says that a channel may have much to carry. What a person types and reads stays on the link: it moves to another network
// with it.
func carries(c *wire.Channel) bool {
	if c == nil {
		return false
	}
	switch c.Kind {
	case wire.Program, wire.System:
		return c.Plain || c.Kind == wire.System
	case wire.SFTP, wire.DialTCP, wire.DialUnix, wire.Accept, wire.Tunnel:
		return true
	}
	return false
}

// laned makes a stream that is to begin with c one that may go on over a lane when it has carried much. ctx is its link's.
func (l laner) laned(ctx context.Context, s wire.Stream, c *wire.Connect) wire.Stream {
	if l.dial == nil {
		return s
	}
	token := make([]byte, wire.LaneToken)
	rand.Read(token) // does not fail
	var stream *wire.Laned
	stream = wire.NewLaned(s, laneAfter, func() { l.move(ctx, token, stream) })
	c.Lane, c.Gates = token, true
	return stream
}

// gates takes the relay's word that a stream that began with c has gates. Where packets are lost files have a lane at once.
func (l laner) gates(s wire.Stream, c *wire.Connect, m *wire.Gates) error {
	stream, ok := s.(*wire.Laned)
	if !ok || c == nil || !c.Gates || !stream.Gates(l.memory, l.line) {
		return wire.Errorf(wire.Protocol, "the relay has gates for a stream that can have none")
	}
	if c.Channel != nil && c.Channel.Kind == wire.SFTP && (m.Lossy || l.line.Lossy()) {
		stream.Want()
	}
	return nil
}

// move has a stream go on over a lane, unless none could be had lately.
func (l laner) move(ctx context.Context, token []byte, stream *wire.Laned) {
	if time.Now().UnixNano() < l.until.Load() {
		return
	}
	err := l.dial(ctx, token, stream)
	if err != nil && ctx.Err() == nil && wire.CodeOf(err) != wire.NotFound { // which is of a stream that has ended
		l.until.Store(time.Now().Add(laneAgain).UnixNano())
	}
}
