package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"scrier/wire"
)

const (
	// closeWait is how long a server may take to close a channel by itself when both directions have ended.
	closeWait = 5 * time.Second
	// drainWait is how long it may take after that, when it is told to: it may have to write to a slow peer.
	drainWait = time.Minute
)

// Target is where a connection goes from the machine, or what listens there.
type Target struct {
	Unix       bool
	Host       string // or the path of a unix socket
	Port       uint16
	Origin     string // who connected, for the server's log; empty: the loopback
	OriginPort uint16
}

func (t Target) String() string {
	if t.Unix {
		return wire.Printable(t.Host)
	}
	return net.JoinHostPort(wire.Printable(t.Host), strconv.Itoa(int(t.Port)))
}

// check refuses what sshd would take for a broken protocol, which ends the connection with all its channels.
func (t Target) check() error {
	if len(t.Host) > wire.MaxTarget || len(t.Origin) > wire.MaxTarget || strings.ContainsRune(t.Host+t.Origin, 0) {
		return wire.Errorf(wire.BadRequest, "a host or path is longer than %d bytes, or has a zero byte", wire.MaxTarget)
	}
	if t.Unix && t.Host == "" {
		return wire.Errorf(wire.BadRequest, "no path of a socket is given")
	}
	return nil
}

// opening is the request for a channel to it.
func (t Target) opening() (kind string, data []byte) {
	if t.Unix {
		return "direct-streamlocal@openssh.com", ssh.Marshal(struct { // OpenSSH's PROTOCOL, 2.4
			Path, Reserved string
			Port           uint32
		}{t.Host, "", 0})
	}
	if t.Origin == "" {
		t.Origin = "127.0.0.1"
	}
	return "direct-tcpip", ssh.Marshal(struct { // RFC 4254, 7.2
		Host       string
		Port       uint32
		Origin     string
		OriginPort uint32
	}{t.Host, uint32(t.Port), t.Origin, uint32(t.OriginPort)})
}

// Dial connects from the machine. It fails with [wire.ForwardFailed] and the server's words when that cannot be, with
// [wire.SSHTimeout] when the server takes longer than a minute, with [wire.Busy] when there are 1,024 channels
// already, and else with [Client.Err] or the cause of ctx. Other channels go on meanwhile.
func (c *Client) Dial(ctx context.Context, t Target) (*Conn, error) {
	if err := t.check(); err != nil {
		return nil, err
	}
	if t.Host == "" || !t.Unix && t.Port == 0 {
		return nil, wire.Errorf(wire.BadRequest, "no host or port to connect to is given")
	}
	ctx, cancel := context.WithTimeoutCause(ctx, openTimeout, tooLate("the SSH server to connect to "+t.String(), openTimeout)())
	defer cancel()
	kind, data := t.opening()
	a, err := c.open(ctx, kind, data, func(*ssh.Request) {})
	if e, refused := errors.AsType[*ssh.OpenChannelError](err); refused {
		return nil, &wire.Error{Code: wire.ForwardFailed, Detail: fmt.Sprintf("the SSH server does not connect to %s: %s", t, refusal(e)), Err: err}
	}
	if err != nil {
		return nil, err
	}
	return newConn(a), nil
}

// Conn is a connection that passes through a channel. It is a [wire.Stream], with what SSH has for it:
//
//   - There are no codes: the peer of a Reset sees an ordinary end, at least behind what it was sent before. And it cannot
//     tell that this side reads no more while it still writes: what comes is thrown away then.
//   - Write is one piece of 32 KiB ahead of what the server takes, and CloseWrite behind it tells of its errors.
//   - When both directions have ended in order, the later of the two ends is told when the server has closed the channel:
//     then sshd has written all to where the connection goes. It has about a minute for that.
//   - What is written to a connection that the other end has closed is lost; for 10 s without an error, so that its last
//     words are not thrown away with the connection that they are on the way to.
//
// A Conn must be ended in both directions, or Reset: until then it keeps the SSH connection.
type Conn struct {
	channel *channel
	in      *inlet
	out     *outlet

	mu       sync.Mutex
	inEnded  bool // all has come, or nobody wants more
	unwanted bool // nobody wants more
	outEnded bool // all was sent
	over     bool // the last has begun to end, or was reset
	reset    chan struct{}
}

var _ wire.Stream = (*Conn)(nil)

func newConn(a *channel) *Conn {
	c := &Conn{channel: a, in: newInlet(a.client), out: newOutlet(a.client, a.Channel), reset: make(chan struct{})}
	c.out.over = c.sent
	if !a.client.run(func() { c.in.pump(a.Channel, c.came) }) {
		c.in.stop(a.client.Err())
	}
	return c
}

// came is called when no more comes, and tells what that means.
func (c *Conn) came(err error) {
	switch {
	case !orderly(err):
		c.in.end(c.channel.client.fault(err))
	case !c.channel.client.transport.sound():
		c.in.end(c.channel.client.Err())
	default:
		c.ended(&c.inEnded, func(err error) {
			if err == nil {
				err = io.EOF
			}
			c.in.end(err)
		})
	}
}

// sent is called when no more is sent.
func (c *Conn) sent() (err error) {
	c.ended(&c.outEnded, func(e error) { err = e })
	return err
}

// ended notes the end of a direction, and tells that it is over; that of the second is the channel's. An error is that of
// the connection, which broke meanwhile.
func (c *Conn) ended(direction *bool, tell func(error)) {
	c.mu.Lock()
	*direction = true
	last := c.inEnded && c.outEnded && !c.over
	c.over = c.over || last
	unwanted := c.unwanted
	c.mu.Unlock()
	if !last {
		tell(nil)
		return
	}
	defer c.channel.leave() // when it is told, as the last one closes the connection
	if !unwanted {          // the server knows that it is over: it closes the channel when it is done
		select {
		case <-c.channel.gone:
		case <-c.reset:
		case <-time.After(closeWait):
		}
	}
	c.channel.end()
	select {
	case <-c.channel.gone:
		if !c.channel.client.transport.sound() {
			tell(c.channel.client.Err())
			return
		}
	case <-c.reset:
	case <-time.After(drainWait):
	}
	tell(nil)
}

// Read implements [wire.Stream].
func (c *Conn) Read(p []byte) (int, error) { return c.in.Read(p) }

// Write implements [wire.Stream].
func (c *Conn) Write(p []byte) (int, error) { return c.out.Write(p) }

// CloseWrite implements [wire.Stream].
func (c *Conn) CloseWrite() error { return c.out.CloseWrite() }

// CloseRead implements [wire.Stream].
func (c *Conn) CloseRead(code wire.Code) {
	c.in.stop(&wire.Error{Code: code})
	c.mu.Lock()
	c.unwanted = true
	ended := c.inEnded
	c.mu.Unlock()
	if !ended {
		c.channel.client.run(func() { c.ended(&c.inEnded, func(error) {}) }) // how it ends is told to nobody
	}
}

// Reset implements [wire.Stream].
func (c *Conn) Reset(code wire.Code) {
	err := &wire.Error{Code: code}
	c.in.stop(err)
	c.out.stop(err)
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.reset:
		return
	default:
	}
	close(c.reset)
	if !c.over {
		c.over = true
		c.channel.end()
		c.channel.leave()
	}
}

// SetDeadline implements [wire.Stream].
func (c *Conn) SetDeadline(t time.Time) error {
	_ = c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

// SetReadDeadline implements [wire.Stream].
func (c *Conn) SetReadDeadline(t time.Time) error { return c.in.setDeadline(t) }

// SetWriteDeadline implements [wire.Stream].
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.out.setDeadline(t) }
