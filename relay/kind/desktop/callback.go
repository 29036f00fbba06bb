package desktop

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"scrier/sockets"
	"scrier/wire"
)

// callback is the port at which guacd finds the desktop server of one session. It takes one
// connection, of guacd: on a host with other users anybody may try.
type callback struct {
	listener *net.TCPListener
	host     string
}

// listen opens a fresh port at host, which is where guacd reaches this relay.
func listen(ctx context.Context, host string) (*callback, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return nil, wire.Errorf(wire.GuacdUnavailable, "cannot listen at scrier.proxy_hostname %s for guacd: %w", host, err)
	}
	return &callback{listener: l.(*net.TCPListener), host: host}, nil
}

func (c *callback) port() int { return c.listener.Addr().(*net.TCPAddr).Port }

func (c *callback) close() { _ = c.listener.Close() } // nothing was written

// accept waits for guacd, whose other connection is guacd, until ctx ends, and closes the port. Who is not
// guacd is turned away and changes nothing.
func (c *callback) accept(ctx context.Context, guacd net.Conn) (*net.TCPConn, error) {
	defer c.close()
	stop := context.AfterFunc(ctx, c.close)
	defer stop()
	for {
		conn, err := c.listener.AcceptTCP()
		if err != nil {
			if ctx.Err() != nil {
				return nil, wire.Cause(ctx, wire.Cancelled)
			}
			return nil, fmt.Errorf("wait for guacd: %w", err)
		}
		if isGuacd(conn, guacd) == nil {
			return conn, nil
		}
		wire.Conn(conn).Reset(wire.None)
	}
}

// isGuacd says whether a connection comes from where the one to guacd goes: on this machine from a
// process of the same user, else from the same address.
func isGuacd(conn *net.TCPConn, guacd net.Conn) error {
	from, to := addrPort(conn.RemoteAddr()), addrPort(conn.LocalAddr())
	there, here := addrPort(guacd.RemoteAddr()), addrPort(guacd.LocalAddr())
	if !from.Addr().IsLoopback() && from.Addr() != to.Addr() {
		if from.Addr() != there.Addr() {
			return wire.Errorf(wire.Forbidden, "%s is not guacd, which is at %s", from, there)
		}
		return nil
	}
	caller, err := sockets.Owner(from, to)
	if err != nil {
		return err
	}
	owner, err := sockets.Owner(there, here)
	if err != nil {
		return err
	}
	if caller != owner {
		return wire.Errorf(wire.Forbidden, "uid %d is not guacd's, %d", caller, owner)
	}
	return nil
}

func addrPort(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	p := t.AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}
