package ssh

import (
	"context"
	"errors"
	"io"
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

	mu      sync.Mutex
	changed *sync.Cond
	reading bool          // package ssh waits for more: it has understood all that came
	reads   uint64        // how often it did
	closed  bool          // by package ssh, which knows better why
	err     error         // how the connection ended
	wait    chan struct{} // closed by the next Write, if anybody waits
	waiting int           // inlets that are not read
	held    int           // bytes that have come since there were any, and that no inlet has taken
	most    int           // maxHeld
}

// maxHeld is how much may wait for those who do not read, in bytes as they came. A channel holds 2 MiB by itself, but
// package ssh keeps each packet apart, and what comes in packets of a byte takes sixty times as much of the memory.
const maxHeld = 256 << 20

// overhead is the least that a packet of data has beside the data, in bytes.
const overhead = 30

func newTransport(s wire.Stream) *transport {
	over, end := context.WithCancel(context.Background())
	c := &transport{skip: len(Greeting), most: maxHeld, over: over, end: end, NetConn: wire.NetConn{
		Stream: s,
		End:    func(s wire.Stream) { s.Reset(wire.None) }, // nobody reads the rest
	}}
	c.changed = sync.NewCond(&c.mu)
	return c
}

func (c *transport) Read(p []byte) (int, error) {
	c.mu.Lock()
	c.reading = true
	c.reads++
	c.changed.Broadcast()
	c.mu.Unlock()
	n, err := c.NetConn.Read(p)
	c.mu.Lock()
	c.reading = false
	if c.waiting > 0 {
		c.held += n
	}
	if c.held > c.most {
		err = wire.Errorf(wire.Busy, "%d MiB of the SSH server's output wait, and nobody reads them", c.most>>20).Advise("read what comes, or open fewer channels at a time")
	}
	c.failLocked(err)
	c.mu.Unlock()
	if err != nil {
		c.end()
	}
	return n, err
}

// pause says that what an inlet has taken is not read, and goOn that it was.
func (c *transport) pause() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting++
}

func (c *transport) goOn() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting--; c.waiting == 0 {
		c.held = 0 // what others hold is on its way
	}
}

// taken says that an inlet has taken n of the bytes that have come.
func (c *transport) taken(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = max(0, c.held-n)
}

// Close is package ssh's.
func (c *transport) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	return c.NetConn.Close()
}

// dropped says that package ssh has closed it.
func (c *transport) dropped() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// fail says how the connection ended, if nobody has said so before.
func (c *transport) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = false
	c.failLocked(err)
}

func (c *transport) failLocked(err error) {
	switch {
	case err == nil || c.err != nil || c.closed:
		return
	case errors.Is(err, io.EOF) || wire.CodeOf(err) == wire.None:
		err = &wire.Error{Code: wire.TargetRefused, Detail: "the SSH server ended the connection", Err: err}
	case wire.CodeOf(err) == wire.Internal:
		err = brokeOff(err)
	}
	c.err = err
	c.changed.Broadcast()
}

func (c *transport) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// sound tells whether the connection goes on behind all that has come by now. Package ssh ends channels in the same
// way when the server closes them and when the connection breaks. But when it waits for more here, it is not because
// the connection broke that it has ended a channel: so the end of what comes on that channel is what the server means.
func (c *transport) sound() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for before := c.reads; !c.reading && c.reads == before && c.err == nil; {
		c.changed.Wait()
	}
	return c.err == nil
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
	n := min(c.skip, len(p))
	c.skip -= n
	if n > 0 && n == len(p) {
		return n, nil
	}
	m, err := c.NetConn.Write(p[n:])
	if err != nil {
		c.mu.Lock()
		c.failLocked(err)
		c.mu.Unlock()
		_ = c.NetConn.Close() // or else whoever waits for an answer would wait for ever
	}
	return n + m, err
}
