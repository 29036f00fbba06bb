package relay

import (
	"context"
	"net"

	"scrier/relay/web"
	"scrier/wire"
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
		if !l.of.handshakes.arrives(wire.Network(from)) {
			_ = conn.Close() // nothing was said yet
			continue
		}
		leave, err := l.of.overTCP.enter(from)
		if err != nil {
			_ = conn.Close()
			continue
		}
		return &browserConn{conn, l.of.visit(leave, func() { _ = conn.Close() }, func() {})}, nil
	}
}

// browserConn is a browser's connection over TCP, below TLS.
type browserConn struct {
	net.Conn
	visit *web.Visit
}

func (c *browserConn) Close() error {
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
