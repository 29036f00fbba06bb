package proxy

import (
	"io"
	"net"
	"time"
)

// pipes makes a connection of the pipes to the client. It has no deadlines: [Serve] closes it.
type pipes struct {
	io.ReadWriteCloser
	gone func() // is told that the client has gone
}

// Read notices at once that the client has gone, whatever is going on: package ssh reads ahead.
func (p *pipes) Read(b []byte) (int, error) {
	n, err := p.ReadWriteCloser.Read(b)
	if err != nil {
		p.gone()
	}
	return n, err
}

func (p *pipes) LocalAddr() net.Addr              { return noAddr{} }
func (p *pipes) RemoteAddr() net.Addr             { return noAddr{} }
func (p *pipes) SetDeadline(time.Time) error      { return nil }
func (p *pipes) SetReadDeadline(time.Time) error  { return nil }
func (p *pipes) SetWriteDeadline(time.Time) error { return nil }

type noAddr struct{}

func (noAddr) Network() string { return "pipe" }
func (noAddr) String() string  { return "pipe" }
