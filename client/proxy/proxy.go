// Package proxy is an SSH server on two pipes, for the ProxyCommand of an SSH client. Each of its channels is a channel of
// a session through a relay, so that ssh, scp, sftp, rsync and whatever uses them work as they are.
//
// Nobody is authenticated: whoever holds the other ends of the pipes is the person who started this process. What they may do
// on the machine is decided by the relay and the machine, when the session is opened.
package proxy

import (
	"context"
	"errors"
	"io"
	"time"

	"golang.org/x/crypto/ssh"

	"scrier/wire"
)

// Config is what [Serve] needs.
type Config struct {
	Conn    io.ReadWriteCloser // to the SSH client; Close ends a Read that waits
	HostKey ssh.Signer
	// Open opens the session for the user name that the client gives. What is to be said to the person meanwhile goes to messages.
	Open func(ctx context.Context, user string, messages io.Writer) (Session, error)
	// Report tells the person about an error. It is called before the client learns that the connection has ended.
	Report   func(w io.Writer, err error)
	Messages io.Writer // to the person
	// Unseen says that nobody sees Messages: what is said before the client is let in comes as a banner of SSH's instead.
	Unseen bool
}

const (
	// version is what the client hears first. Only a server whose name begins with OpenSSH is told that nobody reads a program's
	// output any more (eow@openssh.com).
	version = "SSH-2.0-OpenSSH_9.9 Scrier"

	// handshakeWait is how long the client may take until it is let in, without what Open takes.
	handshakeWait = 2 * time.Minute
)

// ciphers has those first that processors compute by themselves. The bytes never leave this machine in this form.
func ciphers() []string {
	return []string{"aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes128-ctr", "aes192-ctr", "aes256-ctr"}
}

// Serve serves one client until it ends the connection, or ctx ends, which both is no error, or the session ends. The person
// was told of an error already.
func Serve(ctx context.Context, c Config) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	stop := context.AfterFunc(ctx, func() { _ = c.Conn.Close() }) // frees who reads or writes there
	defer stop()
	s := newServer(c, end)
	late := time.AfterFunc(handshakeWait, func() {
		s.fail(wire.Errorf(wire.Cancelled, "the SSH client did not finish its greeting within %s", wire.Period(handshakeWait)))
	})
	defer late.Stop()
	conn, channels, requests, err := ssh.NewServerConn(&pipes{ReadWriteCloser: c.Conn, gone: func() { s.fail(errGone) }}, s.config(ctx, late))
	if err == nil {
		s.serve(ctx, conn, channels, requests)
	} else if ctx.Err() == nil { // a client that speaks another protocol, or none of our ciphers
		s.fail(wire.Errorf(wire.Protocol, "the SSH client: %w", err))
	}
	if s.session != nil {
		_ = s.session.Close()
	}
	if f, ok := errors.AsType[*failure](context.Cause(ctx)); ok {
		return f.error
	}
	return nil
}

// config lets anybody in, however they want to, and opens the session meanwhile. A client that cannot do without a key or a
// password may show any.
func (s *server) config(ctx context.Context, late *time.Timer) *ssh.ServerConfig {
	var banner func(string) error
	open := func(meta ssh.ConnMetadata) (*ssh.Permissions, error) {
		if s.session != nil { // behind the question whether a key would do comes its signature
			return nil, nil
		}
		late.Stop()
		if s.Unseen {
			s.Messages = bannerWriter(banner)
		}
		session, err := s.Open(ctx, meta.User(), s.Messages)
		if err != nil {
			s.fail(err)
			_ = s.Conn.Close() // a refusal of SSH's would say that a key may help
			return nil, err
		}
		s.session = session
		return nil, nil
	}
	c := &ssh.ServerConfig{
		Config:                      ssh.Config{Ciphers: ciphers()},
		ServerVersion:               version,
		NoClientAuth:                true,
		NoClientAuthCallback:        open,
		PublicKeyCallback:           func(m ssh.ConnMetadata, _ ssh.PublicKey) (*ssh.Permissions, error) { return open(m) },
		PasswordCallback:            func(m ssh.ConnMetadata, _ []byte) (*ssh.Permissions, error) { return open(m) },
		KeyboardInteractiveCallback: func(m ssh.ConnMetadata, _ ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) { return open(m) },
		PreAuthConnCallback:         func(c ssh.ServerPreAuthConn) { banner = c.SendAuthBanner },
	}
	c.AddHostKey(s.HostKey)
	return c
}

// bannerWriter sends what is written as banners of SSH's. Once the client is let in they go nowhere.
type bannerWriter func(string) error

func (b bannerWriter) Write(p []byte) (int, error) {
	_ = b(string(p))
	return len(p), nil
}
