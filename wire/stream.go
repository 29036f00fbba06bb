package wire

import (
	"context"
	"crypto/x509"
	"io"
	"net"
	"time"
)

// Stream is one conversation: two byte streams with their own ends. Read and Write may run at
// the same time as each other and as every other method.
type Stream interface {
	io.Reader
	io.Writer
	// CloseWrite says "no more from me"; the peer reads io.EOF. It waits for a Write under way.
	CloseWrite() error
	// CloseRead says "I read no more". Every stream must be read to its end or closed so, else it
	// leaks.
	CloseRead(Code)
	// Reset ends both directions at once; the peer's Read and Write fail with the code.
	Reset(Code)
	SetDeadline(time.Time) error
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
}

// Link is one authenticated connection that carries streams.
type Link interface {
	Open(ctx context.Context) (Stream, error)
	Accept(ctx context.Context) (Stream, error)
	// Close ends the link and all its streams; the peer sees code and detail.
	Close(code Code, detail string) error
	// Context ends with the link; its cause tells why.
	Context() context.Context
	Peer() Peer
}

// Peer is who is at the other end, as the transport knows it.
type Peer struct {
	Addr         net.Addr
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
