package relay

import (
	"context"
	"crypto/tls"
	"net"

	"scrier/relay/web"
)

// browse gives a browser's connection over TCP to HTTP's server, or closes it when its network has too many.
func (l *listener) browse(c *tcpConn, secure *tls.Conn) {
	from := c.RemoteAddr().String()
	leave, err := l.overTCP.enter(from)
	if err != nil {
		_ = c.Close()
		return
	}
	c.visited(l.visit(from, web.VisitConfig{Leave: leave, Close: func() { _ = c.Close() }, Known: c.acquaint}))
	if !l.browsers.give(secure) {
		_ = c.Close()
	}
}

// visitOver puts a connection's visit where requests find it.
func visitOver(ctx context.Context, conn net.Conn) context.Context {
	secure, ok := conn.(*tls.Conn)
	if !ok {
		return ctx
	}
	c, ok := secure.NetConn().(*tcpConn)
	if !ok {
		return ctx
	}
	var a web.Arrival
	a.Began(c.visit.Load())
	return web.WithArrival(ctx, &a)
}
