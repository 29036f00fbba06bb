// Package ssh is the SSH client of sessions, which runs in the relay: one connection a session, over
// the session's tunnel, and any number of channels on it.
//
// The server's host key must be one that the envoy's agent reported. What the server opens is refused, unless it
// belongs to a [Listener], and so is whatever it asks for.
package ssh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"scrier/relay/allowance"
	"scrier/wire"
)

// Version is our side of SSH's version exchange (RFC 4253, 4.2). It may be sent ahead.
const Version = "SSH-2.0-Scrier"

// Greeting is [Version] as it goes over the wire.
var Greeting = []byte(Version + "\r\n")

const (
	// What each step may take bounds what a hostile server can make us wait. The second is sshd's LoginGraceTime:
	// PAM's modules ask other machines. Those of PAM's session come behind it, when the shell is opened. The time that
	// a person needs for an answer does not count.
	exchangeTimeout       = 15 * time.Second
	authenticationTimeout = 2 * time.Minute
	shellTimeout          = time.Minute
)

// Config is what a [Client] is made with.
type Config struct {
	Signer   ssh.Signer // the session's ephemeral key
	Login    string
	HostKeys [][]byte // SSH wire format; the only ones that are accepted
	// Authenticated is called when the key is no longer needed: authentication is over, well or not, or the
	// server has accepted it and wants more.
	Authenticated func()
	// Person is asked what the server wants to know; nil: nobody can be asked.
	Person Person
	// Step is told what the login waits for from now on, one of the steps; nil: nobody wants to know.
	Step func(what string)
	// Guard calls what a goroutine of the client's does, and outlives its panics; nil: it is just called.
	Guard func(func())
}

// Client is one authenticated SSH connection. Its methods may be called at the same time.
//
// It ends with the last of its channels and listeners, unless it is held: the transport is closed then, which no
// server can hold up.
type Client struct {
	conn      ssh.Conn
	transport *transport
	guard     func(func())
	wait      sync.WaitGroup

	ended chan struct{}   // closed when the connection has ended; only after the handshake
	shuts context.Context // ends with shut, which frees what nobody reads
	stop  context.CancelFunc
	asks  chan struct{} // held while the server has to answer a request of the connection's, as answers name no question

	mu        sync.Mutex
	uses      int           // channels, listeners and holds: what keeps the connection
	channels  int           // with those that only the server has still to close; see maxChannels
	sessions  bool          // it has opened a channel for a program
	opening   int           // such channels that it was asked for, and has not answered
	ahead     chan struct{} // while it is not nil nobody else sends, see startAhead; closed when that is over
	listening int           // listeners, with those that are opened or closed
	listeners map[address]*Listener
	asking    *Listener // it asks for any port, and has no answer yet
	agent     *Listener
	granted   bool // programs may reach the agent
	closed    bool
}

// Dial makes a client of a tunnel on which [Greeting] was sent already. The client owns the tunnel
// from then on, also when Dial fails.
func Dial(ctx context.Context, tunnel wire.Stream, c Config) (*Client, error) {
	cl := &Client{
		transport: newTransport(tunnel), guard: c.Guard, ended: make(chan struct{}), asks: make(chan struct{}, 1),
		listeners: map[address]*Listener{},
	}
	cl.shuts, cl.stop = context.WithCancel(context.Background())
	if cl.guard == nil {
		cl.guard = func(f func()) { f() }
	}
	if c.Step == nil {
		c.Step = func(string) {}
	}
	c.Step(KeyExchange)
	err := cl.within(ctx, exchangeTimeout, func(ctx context.Context, limit *allowance.Limit) error { return cl.handshake(ctx, c, limit) })
	if err != nil {
		cl.Close()
		return nil, err
	}
	return cl, nil
}

// What a login waits for.
const (
	KeyExchange    = "the key exchange with the SSH server"
	Authentication = "the SSH server's authentication, in which PAM may be slow"
	OpeningShell   = "the SSH server to open the shell, where PAM's session modules may be slow"
)

func tooLate(what string, limit time.Duration) func() error {
	return func() error { return wire.Errorf(wire.SSHTimeout, "waited %s for %s", wire.Period(limit), what) }
}

// within runs the handshake, which ends with ctx or its limit at the latest: closing the transport is what ends a
// step that a hostile server drags out.
func (c *Client) within(ctx context.Context, limit time.Duration, step func(context.Context, *allowance.Limit) error) error {
	ctx, l := allowance.New(ctx, limit, tooLate(KeyExchange, limit))
	defer l.Stop()
	stop := context.AfterFunc(ctx, func() { c.transport.Reset(wire.CodeOf(wire.Cause(ctx, wire.Cancelled))) })
	err := step(ctx, l)
	if !stop() {
		err = errors.Join(wire.Cause(ctx, wire.Cancelled), err)
	}
	if wire.CodeOf(err) == wire.Internal {
		err = brokeOff(err)
	}
	return err
}

func (c *Client) handshake(ctx context.Context, p Config, limit *allowance.Limit) error {
	authenticated := sync.OnceFunc(p.Authenticated)
	defer authenticated()
	l := &login{Config: p, ctx: ctx, limit: limit, over: c.transport.over, accepted: authenticated, attempts: map[string]int{}}
	var offered ssh.PublicKey
	verified := false
	config := &ssh.ClientConfig{
		User:           p.Login,
		AuthCallback:   l.next,
		BannerCallback: l.banner,
		ClientVersion:  Version,
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			offered = key
			for _, k := range p.HostKeys {
				if bytes.Equal(k, key.Marshal()) {
					offered, verified = nil, true
					p.Step(Authentication)
					limit.Next(authenticationTimeout, tooLate(Authentication, authenticationTimeout))
					return nil
				}
			}
			return errors.New("not a reported host key")
		},
		HostKeyAlgorithms: algorithms(p.HostKeys),
	}
	all := ssh.SupportedAlgorithms() // the default leaves some out
	config.KeyExchanges, config.Ciphers, config.MACs = all.KeyExchanges, all.Ciphers, all.MACs
	conn, channels, requests, err := ssh.NewClientConn(c.transport, "envoy", config)
	if offered != nil {
		return &wire.Error{Code: wire.HostKeyMismatch, Err: err, Detail: fmt.Sprintf(
			"the server shows %s %s, the agent reported %s", offered.Type(), ssh.FingerprintSHA256(offered), fingerprints(p.HostKeys))}
	}
	if l.failed != nil {
		return l.failed
	}
	if err != nil {
		if none, ok := errors.AsType[*ssh.AlgorithmNegotiationError](err); ok {
			return &wire.Error{Code: wire.TargetRefused, Err: err, Detail: nothingInCommon(none)}
		}
		if strings.Contains(err.Error(), "unable to authenticate") {
			return &wire.Error{Code: wire.AuthFailed, Detail: "as " + p.Login, Err: err}
		}
		if verified { // the server is the right one, and broke off when it learned who wants in
			return &wire.Error{Code: wire.AuthFailed, Detail: "as " + p.Login + ": the SSH server ended the connection", Err: err}
		}
		return &wire.Error{Code: wire.TargetRefused, Detail: "SSH handshake: " + words(err), Err: err}
	}
	c.mu.Lock()
	c.conn = conn
	c.mu.Unlock()
	c.run(func() {
		c.refuse(requests)
		drain(conn)
		c.transport.fail(brokeOff(conn.Wait()))
		close(c.ended)
	})
	c.run(func() {
		for ch := range channels {
			c.arrived(ch)
		}
	})
	return nil
}

// refuse answers the server's global requests. Its keep-alives are among them: the refusal is the answer that they
// want.
func (c *Client) refuse(requests <-chan *ssh.Request) {
	for r := range requests {
		if r.WantReply {
			c.quiet()
			_ = r.Reply(false, nil) // the peer may be gone
		}
	}
}

// nothingInCommon says what both sides have, and what to change.
func nothingInCommon(e *ssh.AlgorithmNegotiationError) string {
	option := map[string]string{"key exchange": "KexAlgorithms", "host key": "HostKeyAlgorithms"}[e.What]
	switch {
	case option != "":
	case strings.Contains(e.What, "cipher"):
		option = "Ciphers"
	default:
		option = "MACs"
	}
	return fmt.Sprintf("the SSH server and the relay have no %s in common: the server has %s, the relay has %s; add one of these to %s in the server's sshd_config",
		e.What, listed(e.RequestedAlgorithms), listed(e.SupportedAlgorithms), option)
}

// listed is a list of names of either side's, cut to what a person reads.
func listed(names []string) string {
	const most = 300 // bytes
	text := strings.Join(names, ", ")
	if len(text) > most {
		text = text[:most] + "…"
	}
	return wire.Printable(text)
}

// words is what package ssh says of a failure, for a person. A server's own words may be in it, of any
// length.
func words(err error) string {
	const most = 300 // bytes
	text := err.Error()
	if len(text) > most {
		text = text[:most] + "…"
	}
	return wire.Printable(text)
}

// brokeOff is the end of the connection, or of a channel, that is no refusal.
func brokeOff(err error) error {
	return &wire.Error{Code: wire.TargetRefused, Detail: "the SSH server broke off: " + words(err), Err: err}
}

var errClosed = wire.Errorf(wire.Cancelled, "the SSH connection is closed")

// Ended is closed when the connection has ended, however that came.
func (c *Client) Ended() <-chan struct{} { return c.ended }

// Err is how the connection ended; nil: it has not. It is set before anything else fails because of the end.
func (c *Client) Err() error { return c.transport.failure() }

// fault is what an error of package ssh's means, which tells the end of a channel from that of the connection by
// nothing. It may have to wait for what is on its way from the server.
func (c *Client) fault(err error) error {
	if c.transport.sound() {
		return brokeOff(err)
	}
	return c.Err()
}

// run runs f beside the caller, and has Close wait for it. On a connection that is closed it says false
// and does not run f.
func (c *Client) run(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.wait.Go(func() { c.guard(f) })
	return true
}

// Hold keeps the connection without a channel, until it is released. It may be released more than once.
func (c *Client) Hold() (release func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.Err(); err != nil {
		return nil, err
	}
	c.uses++
	return sync.OnceFunc(c.leave), nil
}

// leave takes a use off the connection; the last one closes it.
func (c *Client) leave() {
	c.mu.Lock()
	c.uses--
	last := c.uses == 0
	c.mu.Unlock()
	if last {
		c.shut()
	}
}

// Close ends everything, the transport first: no server can hold it up.
func (c *Client) Close() {
	c.shut()
	c.wait.Wait()
}

func (c *Client) shut() {
	c.mu.Lock()
	c.closed = true
	conn := c.conn
	c.mu.Unlock()
	c.transport.fail(errClosed)
	c.stop()
	c.transport.Reset(wire.None)
	if conn != nil {
		_ = conn.Close() // the transport is gone already
	}
}
