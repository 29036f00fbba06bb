package ssh

import (
	"context"
	"sync"

	"scrier/wire"
)

// transport is a tunnel as the net.Conn that package ssh wants. The version line was sent
// already, so the first write of it goes nowhere.
type transport struct {
	wire.NetConn
	skip int
	over context.Context // ends when nothing more can be read
	end  context.CancelFunc

	mu   sync.Mutex
	wait chan struct{} // closed by the next Write, if anybody waits
}

func newTransport(s wire.Stream) *transport {
	over, end := context.WithCancel(context.Background())
	return &transport{skip: len(Greeting), over: over, end: end, NetConn: wire.NetConn{
		Stream: s,
		End:    func(s wire.Stream) { s.Reset(wire.None) }, // nobody reads the rest
	}}
}

func (c *transport) Read(p []byte) (int, error) {
	n, err := c.NetConn.Read(p)
	if err != nil {
		c.end()
	}
	return n, err
}

// nextWrite is closed when the next packet has been handed to the stream.
func (c *transport) nextWrite() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wait = make(chan struct{})
	return c.wait
}

func (c *transport) wrote() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wait != nil {
		close(c.wait)
		c.wait = nil
	}
}

func (c *transport) Write(p []byte) (int, error) {
	defer c.wrote()
	if c.skip == 0 {
		return c.NetConn.Write(p)
	}
	n := min(c.skip, len(p))
	c.skip -= n
	if n == len(p) {
		return n, nil
	}
	m, err := c.NetConn.Write(p[n:])
	return n + m, err
}
