package client

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"

	"scrier/sockets"
	"scrier/wire"
)

// door is a listening port on loopback for one viewer.
type door struct {
	l         *net.TCPListener
	once      sync.Once
	strangers int // that were turned away
}

// newDoor binds the port; an empty addr is a free one.
func newDoor(ctx context.Context, addr string) (*door, error) {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	if err := loopback(addr); err != nil {
		return nil, err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, wire.Errorf(wire.Usage, "--listen: cannot listen on %s: %w", addr, err)
	}
	return &door{l: l.(*net.TCPListener)}, nil
}

func (d *door) addr() string { return d.l.Addr().String() }

// close ends the listening; connections that wait in the kernel's queue are reset.
func (d *door) close() {
	d.once.Do(func() { _ = d.l.Close() }) // nothing was written
}

// accept waits for a viewer of our own user until ctx ends. Every user of this machine can connect
// to a port on loopback: others are turned away, and the wait goes on.
func (d *door) accept(ctx context.Context, messages io.Writer) (*net.TCPConn, error) {
	stop := context.AfterFunc(ctx, d.close)
	defer stop()
	for {
		conn, err := d.l.AcceptTCP()
		if ctx.Err() != nil {
			if err == nil {
				_ = conn.Close()
			}
			return nil, context.Cause(ctx)
		}
		if err != nil {
			return nil, fmt.Errorf("wait for a viewer: %w", err)
		}
		uid, err := ownerOf(conn)
		if err == nil && uid == os.Getuid() {
			return conn, nil
		}
		wire.Conn(conn).Reset(wire.None)
		if d.strangers++; d.strangers == 1 { // once: another user could fill the screen
			why := fmt.Sprintf("of another user (uid %d)", uid)
			if err != nil {
				why = "whose user is not known: " + err.Error()
			}
			fmt.Fprintf(messages, "A connection %s was turned away.\n", wire.Printable(why))
		}
	}
}

// ownerOf is the uid of the process at the other end of a connection on this machine. Only Linux can
// tell it; on other systems every process counts as our own user's.
func ownerOf(c *net.TCPConn) (uid int, err error) {
	if runtime.GOOS != "linux" {
		return os.Getuid(), nil
	}
	there, here := c.RemoteAddr().(*net.TCPAddr).AddrPort(), c.LocalAddr().(*net.TCPAddr).AddrPort()
	owner, err := sockets.Owner(there, here)
	return int(owner), err
}

// loopback checks an address that viewers may connect to. Others on the network must not: many
// desktop servers ask for no password.
func loopback(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err != nil || host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return wire.Errorf(wire.Usage, "--listen: %q is not host:port on loopback, like 127.0.0.1:5901", addr)
	}
	return nil
}
