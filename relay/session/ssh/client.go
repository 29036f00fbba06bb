// Package ssh is the SSH client of sessions, which runs in the relay: one connection a session, over
// the session's tunnel, and any number of channels on it.
//
// The server's host key must be one that the envoy's agent reported. Whatever the server opens or
// asks for is refused: there is no forwarding here, no agent, no X11.
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

	// closeWait is how long a server may take to close a channel that we have closed.
	closeWait = 2 * time.Second
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
// It ends with its last channel: the transport is closed then, which no server can hold up.
type Client struct {
	conn      ssh.Conn
	transport *transport
	guard     func(func())
	wait      sync.WaitGroup

	opening chan struct{} // held while a channel is opened
	ended   chan struct{} // closed when the connection has ended; only after the handshake

	mu       sync.Mutex
	channels int
	closed   bool
}

// Dial makes a client of a tunnel on which [Greeting] was sent already. The client owns the tunnel
// from then on, also when Dial fails.
func Dial(ctx context.Context, tunnel wire.Stream, c Config) (*Client, error) {
	cl := &Client{transport: newTransport(tunnel), guard: c.Guard, opening: make(chan struct{}, 1), ended: make(chan struct{})}
	if cl.guard == nil {
		cl.guard = func(f func()) { f() }
	}
	if c.Step == nil {
		c.Step = func(string) {}
	}
	c.Step(KeyExchange)
	err := cl.within(ctx, KeyExchange, exchangeTimeout, func(ctx context.Context, limit *allowance.Limit) error { return cl.handshake(ctx, c, limit) })
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

// within runs a step of the server's, which ends with ctx or its limit at the latest: closing the transport is
// what ends a step that a hostile server drags out.
func (c *Client) within(ctx context.Context, what string, limit time.Duration, step func(context.Context, *allowance.Limit) error) error {
	ctx, l := allowance.New(ctx, limit, tooLate(what, limit))
	defer l.Stop()
	stop := context.AfterFunc(ctx, func() { c.transport.Reset(wire.CodeOf(wire.Cause(ctx, wire.Cancelled))) })
	err := step(ctx, l)
	if !stop() {
		err = errors.Join(wire.Cause(ctx, wire.Cancelled), err)
	}
	if wire.CodeOf(err) == wire.Internal {
		err = &wire.Error{Code: wire.TargetRefused, Detail: "the SSH server broke off: " + words(err), Err: err}
	}
	return err
}

// beside is within, for a shell on a connection that has other channels: they go on, and so does the step, which
// nobody waits for any more when ctx has ended; late undoes it then.
func (c *Client) beside(ctx context.Context, step func() error, late func()) error {
	ctx, cancel := context.WithTimeoutCause(ctx, shellTimeout, tooLate(OpeningShell, shellTimeout)())
	defer cancel()
	var mu sync.Mutex
	gone := false
	done := make(chan error, 1)
	if !c.run(func() {
		err := step()
		mu.Lock()
		undo := gone || err != nil
		done <- err
		mu.Unlock()
		if undo { // it may have to wait for the server: nobody waits for it
			late()
		}
	}) {
		return errClosed
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	mu.Lock()
	defer mu.Unlock()
	select {
	case err := <-done: // it was just in time
		return err
	default:
		gone = true
		return wire.Cause(ctx, wire.Cancelled)
	}
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
		_ = conn.Wait() // how it ended shows where it is used
		close(c.ended)
	})
	// The server's keep-alives are global requests: the refusal is the answer that they want.
	c.run(func() { ssh.DiscardRequests(requests) })
	c.run(func() {
		for ch := range channels {
			_ = ch.Reject(ssh.Prohibited, "this client opens its own channels only") // the peer may be gone
		}
	})
	return nil
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

var errClosed = wire.Errorf(wire.Cancelled, "the SSH connection is closed")

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

// open opens a channel, which must leave in the end.
func (c *Client) open(kind string, data []byte) (ssh.Channel, <-chan *ssh.Request, error) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil, nil, errClosed
	}
	c.channels++
	c.mu.Unlock()
	type answer struct {
		channel  ssh.Channel
		requests <-chan *ssh.Request
		err      error
	}
	done := make(chan answer, 1)
	go func() {
		var a answer
		a.channel, a.requests, a.err = c.conn.OpenChannel(kind, data)
		done <- a
	}()
	var a answer
	select {
	case a = <-done:
	case <-c.ended:
		// A channel that is opened in the very moment in which the connection ends is told nothing: x/crypto/ssh has
		// dropped its channels by then, and OpenChannel waits for ever. That goroutine cannot be ended.
		select {
		case a = <-done:
		default:
			a.err = errors.New("the connection ended")
		}
	}
	if a.err != nil {
		c.leave()
	}
	return a.channel, a.requests, a.err
}

// alone says that the connection has no channel.
func (c *Client) alone() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.channels == 0
}

// single says that the connection has one channel.
func (c *Client) single() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.channels == 1
}

// leave takes a channel off the connection; the last one closes it.
func (c *Client) leave() {
	c.mu.Lock()
	c.channels--
	last := c.channels == 0
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
	c.transport.Reset(wire.None)
	if conn != nil {
		_ = conn.Close() // the transport is gone already
	}
}
