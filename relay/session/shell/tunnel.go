package shell

import (
	"net"
	"sync"

	"scrier/wire"
)

// tunnelConn is a stream as the net.Conn that package ssh wants. The version line was sent
// already, so the first write of it goes nowhere.
type tunnelConn struct {
	wire.Stream
	skip int

	mu   sync.Mutex
	wait chan struct{} // closed by the next Write, if anybody waits
}

// nextWrite is closed when the next packet has been handed to the stream.
func (c *tunnelConn) nextWrite() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wait = make(chan struct{})
	return c.wait
}

func (c *tunnelConn) wrote() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wait != nil {
		close(c.wait)
		c.wait = nil
	}
}

func (c *tunnelConn) Write(p []byte) (int, error) {
	defer c.wrote()
	if c.skip == 0 {
		return c.Stream.Write(p)
	}
	n := min(c.skip, len(p))
	c.skip -= n
	if n == len(p) {
		return n, nil
	}
	m, err := c.Stream.Write(p[n:])
	return n + m, err
}

func (c *tunnelConn) Close() error {
	c.Reset(wire.None)
	return nil
}

func (c *tunnelConn) LocalAddr() net.Addr  { return tunnelAddr{} }
func (c *tunnelConn) RemoteAddr() net.Addr { return tunnelAddr{} }

type tunnelAddr struct{}

func (tunnelAddr) Network() string { return "tunnel" }
func (tunnelAddr) String() string  { return "envoy" }
