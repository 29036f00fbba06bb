package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"scrier/sockets"
	"scrier/wire"
)

// Any user may listen at a port above 1023. While the real desktop server is down, such a user could
// put a false one there, and operators would type their passwords into it. So the agent looks who
// listens before it connects, and again when it has.

var loopback4 = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// dialListener connects to a port of this machine's loopback if each of those who listen there
// is a user whom trust lets.
func dialListener(ctx context.Context, port uint16, trust func(context.Context, uint32) error) (*net.TCPConn, error) {
	ctx, cancel := context.WithTimeout(ctx, targetDial)
	defer cancel()
	before, err := trustedListeners(ctx, port, trust)
	if err != nil {
		return nil, err
	}
	conn, err := dialLoopback(ctx, before, port)
	if err != nil {
		return nil, &wire.Error{Code: wire.TargetRefused, Detail: fmt.Sprintf("port %d of the machine takes no connection", port), Err: err}
	}
	// If the same sockets listen before and after, one of them took the connection.
	after, err := sockets.Listeners(port)
	if err == nil && !slices.Equal(before, after) {
		err = wire.Errorf(wire.ListenerUntrusted, "another program began to listen at port %d while the agent was connecting; try again", port)
	}
	if err != nil {
		_ = conn.Close() // nothing was sent on it
		return nil, err
	}
	return conn, nil
}

// trustedListeners is who listens at a port. It is an error if one of them is not trusted.
func trustedListeners(ctx context.Context, port uint16, trust func(context.Context, uint32) error) ([]sockets.Listener, error) {
	found, err := sockets.Listeners(port)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, wire.Errorf(wire.TargetRefused, "nothing listens at port %d of the machine's loopback", port)
	}
	for _, l := range found {
		if err := trust(ctx, l.UID); err != nil {
			return nil, wire.Errorf(wire.CodeOf(err), "port %d: %s", port, wire.DetailOf(err))
		}
	}
	return found, nil
}

// dialLoopback tries the addresses at which they listen. A socket at :: is tried by IPv4 first: a
// machine whose IPv6 is switched off may have one.
func dialLoopback(ctx context.Context, at []sockets.Listener, port uint16) (*net.TCPConn, error) {
	var errs []error
	for _, ip := range []netip.Addr{loopback4, netip.IPv6Loopback()} {
		if !slices.ContainsFunc(at, func(l sockets.Listener) bool {
			a := l.Addr.Unmap()
			return a == netip.IPv6Unspecified() || a.Is4() == ip.Is4()
		}) {
			continue
		}
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", netip.AddrPortFrom(ip, port).String())
		if err == nil {
			return conn.(*net.TCPConn), nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}
