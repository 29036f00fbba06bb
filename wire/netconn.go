package wire

import (
	"net"
	"sync"
)

// NetConn is a stream as the [net.Conn] that packages like net/http and x/crypto/ssh want. It adds
// what a stream has not: addresses, and one Close for both directions. Methods of the stream stay
// what they are; a [Framed] as Stream gives the bytes behind its frames.
//
// A NetConn must not be copied after its first use.
type NetConn struct {
	Stream
	Remote net.Addr // what RemoteAddr says; nil: an address that says "stream"

	// End is what Close does to the stream, such as Reset where nobody reads the rest, or [Finish]
	// where the peer may still be writing. Nil is an ordinary end: the peer reads all that was
	// written and then io.EOF, and what it still writes fails.
	End func(Stream)

	writing sync.Mutex // held by Write
}

// Write is the stream's.
func (c *NetConn) Write(p []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	return c.Stream.Write(p)
}

// Close ends the stream, see [NetConn.End]. As net.Conn asks for, it frees a Read or Write that
// blocks.
func (c *NetConn) Close() error {
	if c.End != nil {
		c.End(c.Stream)
		return nil
	}
	if !c.writing.TryLock() {
		c.Reset(None) // a Write is cut off, so this must not look like an ordinary end to the peer
		return nil
	}
	defer c.writing.Unlock()
	c.CloseRead(None)
	return c.CloseWrite()
}

// LocalAddr says that there is none.
func (c *NetConn) LocalAddr() net.Addr { return streamAddr{} }

// RemoteAddr is Remote.
func (c *NetConn) RemoteAddr() net.Addr {
	if c.Remote != nil {
		return c.Remote
	}
	return streamAddr{}
}

// streamAddr stands where a stream has no address.
type streamAddr struct{}

func (streamAddr) Network() string { return "scrier" }
func (streamAddr) String() string  { return "stream" }
