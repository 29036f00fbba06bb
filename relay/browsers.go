package relay

import (
	"context"
	"net"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"scrier/relay/web"
)

// browserListener is TCP's share of the browsers' connections.
type browserListener struct {
	net.Listener
	of *listener
}

// Accept closes a connection at once when there are too many, or when its network begins too many.
func (l browserListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := conn.RemoteAddr().String()
		if !l.of.handshakes.arrives(from) {
			_ = conn.Close() // nothing was said yet
			continue
		}
		leave, err := l.of.overTCP.enter(from)
		if err != nil {
			_ = conn.Close()
			continue
		}
		b := &browserConn{Conn: conn, bytes: l.of.bytes.of(from), closed: make(chan struct{})}
		b.visit = l.of.visit(from, web.VisitConfig{Leave: leave, Close: func() { _ = conn.Close() }})
		return b, nil
	}
}

// browserConn is a browser's connection over TCP, below TLS. A stranger's is read no faster than its
// network may send.
type browserConn struct {
	net.Conn
	visit *web.Visit
	bytes *rate.Limiter

	once   sync.Once
	closed chan struct{}
}

func (c *browserConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n == 0 || c.visit.IsKnown() {
		return n, err
	}
	wait := c.bytes.ReserveN(time.Now(), n).Delay()
	if wait == 0 {
		return n, err
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.closed:
	}
	return n, err
}

func (c *browserConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	c.visit.End()
	return c.Conn.Close()
}

// visitOver puts a connection's visit where requests find it.
func visitOver(ctx context.Context, conn net.Conn) context.Context {
	if t, ok := conn.(interface{ NetConn() net.Conn }); ok { // TLS
		conn = t.NetConn()
	}
	b, ok := conn.(*browserConn)
	if !ok {
		return ctx
	}
	var a web.Arrival
	a.Began(b.visit)
	return web.WithArrival(ctx, &a)
}
