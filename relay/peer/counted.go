package peer

import (
	"errors"
	"os"
	"sync/atomic"

	"scrier/wire"
)

// counted is a stream that has a place on its link for as long as one of its directions is open.
type counted struct {
	wire.Stream
	over        func() // both have ended; may be called again
	read, wrote atomic.Bool
}

// ended notes that a direction has.
func (c *counted) ended(direction *atomic.Bool) {
	direction.Store(true)
	if c.read.Load() && c.wrote.Load() {
		c.over()
	}
}

func lasts(err error) bool { return err == nil || errors.Is(err, os.ErrDeadlineExceeded) }

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.Stream.Read(b)
	if !lasts(err) {
		c.ended(&c.read)
	}
	return n, err
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.Stream.Write(b)
	if !lasts(err) {
		c.ended(&c.wrote)
	}
	return n, err
}

func (c *counted) CloseWrite() error {
	err := c.Stream.CloseWrite()
	c.ended(&c.wrote)
	return err
}

func (c *counted) CloseRead(code wire.Code) {
	c.Stream.CloseRead(code)
	c.ended(&c.read)
}

func (c *counted) Reset(code wire.Code) {
	c.Stream.Reset(code)
	c.ended(&c.read)
	c.ended(&c.wrote)
}
