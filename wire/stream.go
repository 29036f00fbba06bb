package wire

import (
	"context"
	"crypto/x509"
	"io"
	"net"
	"time"
)

// Stream is one conversation: two byte streams with their own ends.
//
// Every method may be called at the same time as every other one. Two calls of Read, or two of
// Write, at the same time are the caller's mistake: nobody could tell which bytes went where.
//
// A method fails in one of four ways:
//   - The peer ended that direction with a code ([Stream.Reset], [Stream.CloseRead]), or this side
//     did so itself: an [Error] with the code. [None] is a code like any other here, so such an
//     error is not nil.
//   - The whole link ended: the very error that [Link.Err] gives, which is set by then.
//   - A deadline passed: an error that is [os.ErrDeadlineExceeded]. The stream goes on, and a later
//     deadline revives it.
//   - Read only: [io.EOF], once the peer's CloseWrite is reached.
//
// A stream that is no part of a [Link] has the errors of what carries it in place of the second.
type Stream interface {
	// Read blocks until there is a byte, an end or an error. What the peer wrote before it said
	// CloseWrite is read before io.EOF; what it wrote before Reset, or before the link ended, may be
	// lost.
	io.Reader
	// Write blocks until the transport has taken everything, which it does no faster than the peer
	// reads. Taken is not arrived.
	io.Writer
	// CloseWrite says "no more from me"; the peer reads io.EOF. It waits for a Write under way.
	CloseWrite() error
	// CloseRead says "I read no more": the peer's Write fails with the code. Every stream must be
	// read to its end or closed so, else it leaks. It does not wait.
	CloseRead(Code)
	// Reset ends both directions at once, and frees a Read or Write that blocks, on both sides; they
	// fail with the code. On a stream that has ended it does nothing. It does not wait.
	Reset(Code)
	// A deadline holds for calls that block already, too; the zero time is none.
	SetDeadline(time.Time) error
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
}

// Link is one authenticated connection that carries streams. Its methods may be called at the same
// time by any number of goroutines.
type Link interface {
	// Open begins a stream. It blocks while the peer allows no more streams, and it does not wait
	// for the peer to accept: who opens must write first, as the peer learns of the stream with its
	// first bytes. It fails with the cause of ctx, or with [Link.Err].
	Open(ctx context.Context) (Stream, error)
	// Accept waits for the next stream that the peer opened, in the order of opening. It fails with
	// the cause of ctx, or with [Link.Err]. A stream that was accepted outlives ctx.
	Accept(ctx context.Context) (Stream, error)
	// Close ends the link and all its streams; the peer sees code and detail. It returns when
	// nothing of the link is left on this side. A link that has ended already keeps its reason.
	Close(code Code, detail string) error
	// Context ends with the link. Its cause has no code: what the end of the link means for what runs
	// in the context is decided by who runs it, and not by the peer.
	Context() context.Context
	// Err is nil while the link lives. Then it is how it ended: an [Error] with the code and detail
	// with which one of the sides closed it, or, when it broke, the transport's own error, whose
	// [CodeOf] is [Internal].
	//
	// It is set before any method of the link or of its streams fails because of the end. So
	// "the stream failed, and Err is not nil" means that the link is why, and errors.Is(err, Err())
	// tells the end of the link from an end of the stream that came just before it.
	Err() error
	Peer() Peer
}

// Peer is who is at the other end, as the transport knows it.
type Peer struct {
	Addr         net.Addr
	Road         Road
	Certificates []*x509.Certificate // leaf first; already verified by the TLS configuration
	// Export derives bytes that only the two ends of this very connection know (RFC 8446, 7.5).
	Export func(label string, n int) ([]byte, error)
}

// Conn makes a Stream of a connected socket: *net.TCPConn or *net.UnixConn.
func Conn(c HalfCloser) Stream { return connStream{c} }

// HalfCloser is what the connections of package net have beside net.Conn.
type HalfCloser interface {
	net.Conn
	CloseRead() error
	CloseWrite() error
}

type connStream struct{ HalfCloser }

func (c connStream) CloseRead(Code) { _ = c.HalfCloser.CloseRead() } // a closed socket is what is wanted

func (c connStream) Reset(Code) {
	if t, ok := c.HalfCloser.(*net.TCPConn); ok {
		_ = t.SetLinger(0) // RST tells the peer that this is no ordinary end
	}
	_ = c.HalfCloser.Close()
}
