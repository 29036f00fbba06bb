package client

import (
	"context"
	"errors"
	"io"
	"sync/atomic"

	"scrier/wire"
)

// Conn is a channel of raw bytes. Read, Write and the others may be called at the same time. Close resets what is not
// finished: a direction is when its reader has seen io.EOF, or behind CloseWrite.
type Conn interface {
	io.ReadWriteCloser
	CloseWrite() error
}

// channel is a Conn that is also a stream, for [wire.Splice].
type channel interface {
	Conn
	wire.Stream
}

// conn is a channel that ends with its session's link.
type conn struct {
	wire.Stream
	session     *Session
	read, wrote atomic.Bool // that direction has come to its end
	stop        func() bool // ends the wait for the session's end
}

func newConn(s *Session, stream wire.Stream) *conn {
	return &conn{Stream: stream, session: s, stop: context.AfterFunc(s.life.Context(), func() { stream.Reset(wire.CodeOf(s.life.Err())) })}
}

// Read fails with the reason of the session's end, if that is why.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Stream.Read(p)
	if errors.Is(err, io.EOF) {
		c.read.Store(true)
		return n, io.EOF
	}
	if err != nil {
		err = c.session.failed(err)
	}
	return n, err
}

// Write fails in the same way.
func (c *conn) Write(p []byte) (int, error) {
	n, err := c.Stream.Write(p)
	if err != nil {
		err = c.session.failed(err)
	}
	return n, err
}

func (c *conn) CloseWrite() error {
	if c.wrote.Swap(true) {
		return nil
	}
	return c.Stream.CloseWrite()
}

// Close implements [Conn]. What was written before CloseWrite still arrives: a reset would take it back.
func (c *conn) Close() error {
	c.stop()
	switch {
	case !c.wrote.Load():
		c.Reset(wire.None)
	case !c.read.Load():
		c.CloseRead(wire.None)
	}
	return nil
}
