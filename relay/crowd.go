package relay

import (
	"net"
	"sync"

	"scrier/wire"
)

// How many links without a certificate there may be at the same time. That is enough for a company
// that logs in on Monday morning from one address; it also bounds what strangers can hold.
const (
	maxStrangers          = 1024
	maxStrangersPerSource = 64
)

// How many connections of browsers there may be at the same time, over TCP and QUIC together. Each
// tab may have several, and a whole company may come from one address.
const (
	maxBrowsers          = 8192
	maxBrowsersPerSource = 1024
)

// crowd counts the connections of peers that have not shown who they are, by their address.
type crowd struct {
	max, perSource int

	mu    sync.Mutex
	total int
	by    map[string]int
}

// enter takes a place, or refuses with [wire.Busy].
func (s *crowd) enter(source string) (leave func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.total >= s.max || s.by[source] >= s.perSource {
		return nil, wire.Errorf(wire.Busy, "too many connections without a login")
	}
	if s.by == nil {
		s.by = map[string]int{}
	}
	s.total++
	s.by[source]++
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.total--
		if s.by[source]--; s.by[source] == 0 {
			delete(s.by, source)
		}
	}), nil
}

// browserListener is TCP's share of the browsers' connections.
type browserListener struct {
	net.Listener
	crowd *crowd
}

// Accept closes a connection at once when there are too many.
func (l browserListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		leave, err := l.crowd.enter(sourceOf(conn.RemoteAddr()))
		if err == nil {
			return &browserConn{conn, leave}, nil
		}
		_ = conn.Close() // nothing was said yet
	}
}

type browserConn struct {
	net.Conn
	leave func()
}

func (c *browserConn) Close() error {
	c.leave()
	return c.Conn.Close()
}

// sourceOf is an address without its port.
func sourceOf(addr net.Addr) string {
	return wire.Host(addr.String())
}
