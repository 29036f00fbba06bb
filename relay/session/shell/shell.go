// Package shell drives sessions of kind ssh: the SSH client that runs in the relay.
//
// It opens one channel with a terminal and a shell, and nothing else exists here: no forwarding,
// no agent, no X11. Whatever the server opens or asks for is refused. The server's host key must
// be one that the envoy's agent reported.
package shell

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

	"scrier/wire"
)

// Version is our side of SSH's version exchange (RFC 4253, 4.2). It may be sent ahead.
const Version = "SSH-2.0-Scrier"

// Greeting is [Version] as it goes over the wire.
var Greeting = []byte(Version + "\r\n")

// handshakeTimeout bounds what a hostile server can make us wait.
const handshakeTimeout = 15 * time.Second

// Params is what a shell is opened with.
type Params struct {
	Signer   ssh.Signer // the session's ephemeral key
	Login    string
	HostKeys [][]byte // SSH wire format; the only ones that are accepted
	Term     string
	Size     wire.Size
	Env      map[string]string
	// Authenticated is called when authentication is over, well or not.
	Authenticated func()
}

// Shell is a running shell. Read gives its output; Write takes input and may run at the same
// time.
type Shell struct {
	conn    ssh.Conn
	tunnel  wire.Stream
	net     *tunnelConn
	channel ssh.Channel
	wait    sync.WaitGroup

	exit *wire.Exit    // nil: the server has not told
	done chan struct{} // closed when exit is known or the channel is gone
}

// Start opens a shell over a tunnel on which [Greeting] was sent already. The shell owns the
// tunnel from then on, also when Start fails.
func Start(ctx context.Context, tunnel wire.Stream, p Params) (*Shell, error) {
	s := &Shell{tunnel: tunnel, done: make(chan struct{})}
	ctx, cancel := context.WithTimeoutCause(ctx, handshakeTimeout, wire.Errorf(wire.TargetRefused, "the SSH server did not finish its handshake within %s", handshakeTimeout))
	defer cancel()
	// Closing the transport is what ends a handshake that a hostile server drags out.
	stop := context.AfterFunc(ctx, func() { tunnel.Reset(wire.CodeOf(wire.Cause(ctx, wire.Cancelled))) })
	err := s.start(p)
	if !stop() {
		err = errors.Join(wire.Cause(ctx, wire.Cancelled), err)
	}
	if wire.CodeOf(err) == wire.Internal {
		err = &wire.Error{Code: wire.TargetRefused, Detail: "the SSH server broke off: " + wire.Printable(err.Error()), Err: err}
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Shell) start(p Params) error {
	if err := s.handshake(p); err != nil {
		return err
	}
	channel, requests, err := s.conn.OpenChannel("session", nil)
	if err != nil {
		return &wire.Error{Code: wire.AccountNotLoginable, Detail: "the SSH server opens no session: " + wire.Printable(err.Error()), Err: err}
	}
	s.channel = channel
	s.wait.Go(func() { s.requests(requests) })
	for name, value := range p.Env { // servers ignore what they do not accept
		if _, err := channel.SendRequest("env", false, ssh.Marshal(struct{ Name, Value string }{name, value})); err != nil {
			return err
		}
	}
	return s.terminal(p)
}

// terminal asks for the terminal and, right behind it, for the shell: waiting for the first
// answer would cost a round trip. Without a terminal the shell that may have started is of no
// use; the caller ends it.
func (s *Shell) terminal(p Params) error {
	type answer struct {
		ok  bool
		err error
	}
	sent := s.net.nextWrite()
	pty := make(chan answer, 1)
	s.wait.Go(func() {
		ok, err := s.channel.SendRequest("pty-req", true, ptyRequest(p.Term, p.Size))
		pty <- answer{ok, err}
	})
	var a answer
	select {
	case <-sent: // package ssh writes a packet in the goroutine that sends it; nothing else is sent now
		_, err := s.channel.SendRequest("shell", false, nil)
		if a = <-pty; err != nil {
			return err
		}
	case a = <-pty: // refused or broken before the write was seen
		if a.ok && a.err == nil {
			_, a.err = s.channel.SendRequest("shell", false, nil)
		}
	}
	if a.err == nil && !a.ok {
		a.err = wire.Errorf(wire.AccountNotLoginable, "the SSH server gives no terminal (PermitTTY no?)")
	}
	return a.err
}

func (s *Shell) handshake(p Params) error {
	authenticated := sync.OnceFunc(p.Authenticated)
	defer authenticated()
	var offered ssh.PublicKey
	verified := false
	config := &ssh.ClientConfig{
		User:          p.Login,
		Auth:          []ssh.AuthMethod{ssh.PublicKeys(p.Signer)},
		ClientVersion: Version,
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			offered = key
			for _, k := range p.HostKeys {
				if bytes.Equal(k, key.Marshal()) {
					offered, verified = nil, true
					return nil
				}
			}
			return errors.New("not a reported host key")
		},
		HostKeyAlgorithms: algorithms(p.HostKeys),
	}
	s.net = newTunnelConn(s.tunnel)
	conn, channels, requests, err := ssh.NewClientConn(s.net, "envoy", config)
	if offered != nil {
		return &wire.Error{Code: wire.HostKeyMismatch, Err: err, Detail: fmt.Sprintf(
			"the server shows %s %s, the agent reported %s", offered.Type(), ssh.FingerprintSHA256(offered), fingerprints(p.HostKeys))}
	}
	if err != nil {
		if strings.Contains(err.Error(), "unable to authenticate") {
			return &wire.Error{Code: wire.AuthFailed, Detail: "as " + p.Login, Err: err}
		}
		if verified { // the server is the right one, and broke off when it learned who wants in
			return &wire.Error{Code: wire.AuthFailed, Detail: "as " + p.Login + ": the SSH server ended the connection", Err: err}
		}
		return &wire.Error{Code: wire.TargetRefused, Detail: "SSH handshake: " + wire.Printable(err.Error()), Err: err}
	}
	s.conn = conn
	s.wait.Go(func() { ssh.DiscardRequests(requests) })
	s.wait.Go(func() {
		for c := range channels {
			_ = c.Reject(ssh.Prohibited, "this client opens its own channels only") // the peer may be gone
		}
	})
	return nil
}

// algorithms are those of the reported keys, so that a server with several shows one of them.
func algorithms(blobs [][]byte) (out []string) {
	for _, b := range blobs {
		k, err := ssh.ParsePublicKey(b)
		if err != nil {
			continue
		}
		if k.Type() == ssh.KeyAlgoRSA {
			out = append(out, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
			continue
		}
		out = append(out, k.Type())
	}
	return out
}

func fingerprints(blobs [][]byte) string {
	var out []string
	for _, b := range blobs {
		if k, err := ssh.ParsePublicKey(b); err == nil {
			out = append(out, k.Type()+" "+ssh.FingerprintSHA256(k))
		}
	}
	if len(out) == 0 {
		return "none"
	}
	return strings.Join(out, ", ")
}

// requests keeps the exit status and refuses everything else a server may ask.
func (s *Shell) requests(in <-chan *ssh.Request) {
	defer close(s.done)
	for r := range in {
		switch r.Type {
		case "exit-status":
			var m struct{ Status uint32 }
			if ssh.Unmarshal(r.Payload, &m) == nil && s.exit == nil {
				s.exit = &wire.Exit{Status: m.Status}
			}
		case "exit-signal":
			var m struct {
				Signal     string
				CoreDumped bool
				Message    string
				Lang       string
			}
			if ssh.Unmarshal(r.Payload, &m) == nil && s.exit == nil {
				s.exit = &wire.Exit{Signal: wire.Printable(m.Signal)}
			}
		}
		if r.WantReply {
			_ = r.Reply(false, nil) // the peer may be gone
		}
	}
}

// Read gives the terminal's output; io.EOF when the shell has closed it.
func (s *Shell) Read(p []byte) (int, error) { return s.channel.Read(p) }

// Write takes input. It blocks while the server takes none.
func (s *Shell) Write(p []byte) (int, error) { return s.channel.Write(p) }

// CloseWrite says that there is no more input.
func (s *Shell) CloseWrite() error { return s.channel.CloseWrite() }

// Resize tells the terminal's new size.
func (s *Shell) Resize(size wire.Size) error {
	size = size.Clamp()
	_, err := s.channel.SendRequest("window-change", false, ssh.Marshal(struct{ Cols, Rows, W, H uint32 }{uint32(size.Cols), uint32(size.Rows), 0, 0}))
	return err
}

// Wait gives how the shell ended, after Read has returned io.EOF; nil: nobody knows.
func (s *Shell) Wait(ctx context.Context) *wire.Exit {
	select {
	case <-s.done:
		return s.exit
	case <-ctx.Done():
		return nil
	}
}

// Close ends everything, the transport first: no server can hold it up.
func (s *Shell) Close() {
	s.tunnel.Reset(wire.None)
	if s.conn != nil {
		_ = s.conn.Close() // the transport is gone already
	}
	s.wait.Wait()
}
