package relay

import (
	"context"
	"net"
	"net/http"
	"time"

	"scrier/relay/web"
	"scrier/wire"
)

// calls are streams of operators' links, as connections of HTTP: so the API over a link is the very same as over
// the admin socket.
type calls struct{ *handover }

func newCalls() *calls { return &calls{newHandover()} }

func (c *calls) add(conn *callConn) {
	if !c.give(conn) {
		conn.Reset(wire.RelayShutdown)
		conn.ended()
	}
}

func (c *calls) serve(ctx context.Context, api http.Handler) error {
	return serveAPI(ctx, c, api, func(conn net.Conn) web.Caller { return conn.(*callConn).client.who })
}

// serveAPI serves the API to the connections of l; caller says who is at the other end of one.
func serveAPI(ctx context.Context, l net.Listener, api http.Handler, caller func(net.Conn) web.Caller) error {
	server := &http.Server{
		Handler:           api,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      5 * time.Minute, // an export of a large audit log over a slow line
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          discardLog(),
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return web.WithCaller(ctx, caller(conn))
		},
	}
	return serveHTTP(ctx, server, func() error { return server.Serve(l) })
}

// callConn is a stream of an operator's link, which says who is calling.
type callConn struct {
	*wire.NetConn
	client *client
	ended  context.CancelFunc // the HTTP server is through with it
}

func (c *callConn) Close() error {
	defer c.ended()
	return c.NetConn.Close()
}
