package relay

import (
	"net"
	"sync"
)

// handover is a net.Listener of connections that somebody else has accepted. Its methods may be called concurrently.
type handover struct {
	conns chan net.Conn // unbuffered: the server takes each at once
	done  chan struct{}
	close sync.Once
}

func newHandover() *handover { return &handover{conns: make(chan net.Conn), done: make(chan struct{})} }

// give hands a connection to the server. If it is false the server has ended, and the connection is still the caller's.
func (h *handover) give(conn net.Conn) bool {
	select {
	case h.conns <- conn:
		return true
	case <-h.done:
		return false
	}
}

func (h *handover) Accept() (net.Conn, error) {
	select {
	case conn := <-h.conns:
		return conn, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

func (h *handover) Close() error {
	h.close.Do(func() { close(h.done) })
	return nil
}

func (h *handover) Addr() net.Addr { return &net.TCPAddr{} }
