package builtin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"

	"scrier/agent/account"
	"scrier/agent/builtin/worker"
	"scrier/wire"
)

const (
	// handshakeTime is how long a peer may take from the first byte to the end of authentication.
	handshakeTime = 15 * time.Second

	// maxSessions bounds the session channels of one connection, as sshd's MaxSessions does; each
	// costs a process, some file descriptors and two buffers. sshd has 10, and can be set up to have more. Many
	// programs of one operator share a connection here.
	maxSessions = 64
)

// Config says whom a [Server] serves, and as whom it presents itself.
type Config struct {
	User    string       // the login; the process's own unless it is root; never one of uid 0
	HostKey ssh.Signer   // an Ed25519 key that stays the same; see [LoadOrMakeHostKey]
	Log     *slog.Logger // nil: nothing is logged
	Worker  []string     // how to run [worker.Work]; default /proc/self/exe agent builtin-worker
	Shell   string       // instead of the account's own shell; for tests
}

// A Server is an SSH server for one account. It may serve many connections at a time.
type Server struct {
	account account.Account
	hostKey ssh.Signer
	log     *slog.Logger

	asRoot   bool   // this process is root, so its children must become the account
	ttyGroup uint32 // see [pty.give]; only looked up by root
	groups   *groups
	guard    *guard
	forwards chan struct{} // a place for each forwarded connection of all guests

	worker    []string
	workerEnv []string // of workers, in addition; only tests set it
}

// New resolves the account and checks that it can log in. Its errors are
// [wire.AccountNotLoginable] where the account is at fault. From then on the programs that this
// process runs do not get the files that it was started with, except for the standard streams, and hear SIGHUP
// and SIGINT.
func New(c Config) (*Server, error) {
	if c.HostKey == nil || c.HostKey.PublicKey().Type() != ssh.KeyAlgoED25519 {
		return nil, errors.New("make ssh server: an ed25519 host key is needed")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if err := keepFiles(); err != nil {
		return nil, err
	}
	hearSignals()
	ctx, cancel := context.WithTimeout(context.Background(), lookupTime)
	defer cancel()
	db := account.System()
	a, err := findAccount(ctx, db, c.User)
	if err != nil {
		return nil, err
	}
	if c.Shell != "" {
		a.Shell = c.Shell
	}
	if err := checkShell(a); err != nil {
		return nil, err
	}
	if len(c.Worker) == 0 {
		c.Worker = []string{"/proc/self/exe", "agent", worker.Command}
	}
	s := &Server{account: a, hostKey: c.HostKey, log: c.Log, asRoot: os.Geteuid() == 0, groups: new(groups), worker: c.Worker}
	s.guard, s.forwards = &guard{server: s}, make(chan struct{}, forwardPlaces())
	if s.asRoot {
		s.ttyGroup = ttyGroup(ctx, db)
	}
	return s, nil
}

// Close ends what serves all connections together. Every Serve must have returned.
func (s *Server) Close() error {
	s.guard.close()
	return nil
}

// HostKeys are the keys with which the server proves who it is. The relay accepts no others.
func (s *Server) HostKeys() []ssh.PublicKey { return []ssh.PublicKey{s.hostKey.PublicKey()} }

// Login is the name of the account that is served.
func (s *Server) Login() string { return s.account.Login }

// Serve speaks SSH on conn until the peer goes, conn fails or ctx ends, and closes conn. Only the
// holder of the guest's key is let in, only under the server's login, and only for what the guest may do.
//
// Serve returns when the connection and its processes are done, that is at most a little over
// five seconds after the connection's end. A peer that leaves is no error.
func (s *Server) Serve(ctx context.Context, conn net.Conn, guest Guest) error {
	// Three places close conn, and each must be able to rely on its being closed afterwards.
	hangUp := sync.OnceFunc(func() { _ = conn.Close() }) // conn is not used any more, whatever the error
	defer hangUp()
	if guest.Key == nil {
		return errors.New("serve ssh: no key to let in")
	}
	var watch sync.WaitGroup
	var late atomic.Bool
	authDone, over := make(chan struct{}), make(chan struct{})
	watch.Go(func() {
		timer := time.NewTimer(handshakeTime)
		defer timer.Stop()
		select {
		case <-authDone:
		case <-timer.C:
			late.Store(true)
			hangUp()
			return
		case <-ctx.Done():
			hangUp()
			return
		case <-over:
			return
		}
		select {
		case <-ctx.Done():
			hangUp()
		case <-over:
		}
	})
	defer watch.Wait()
	defer close(over)

	in := readAhead(conn, aheadMost)
	defer in.end()
	defer hangUp()
	sshConn, channels, requests, err := ssh.NewServerConn(in, s.config(guest.Key))
	if err != nil {
		return handshakeError(ctx, err, late.Load())
	}
	close(authDone)

	connected, disconnect := context.WithCancelCause(ctx)
	f := newForwards(s, guest, sshConn)
	var work sync.WaitGroup
	work.Go(func() { f.answer(connected, requests) })
	work.Go(func() { s.accept(connected, channels, f) })
	err = sshConn.Wait()
	hangUp()
	disconnect(net.ErrClosed)
	work.Go(f.end)
	work.Wait()
	if ctx.Err() != nil {
		return wire.Cause(ctx, wire.Cancelled)
	}
	if ordinaryEnd(err) {
		return nil
	}
	if wire.CodeOf(err) != wire.Internal { // the stream has ended with a reason of its own
		return fmt.Errorf("serve ssh: %w", err)
	}
	return wire.Errorf(wire.Protocol, "serve ssh: %w", err)
}

// config admits one key under one name.
func (s *Server) config(ephemeral ssh.PublicKey) *ssh.ServerConfig {
	want := ephemeral.Marshal()
	c := &ssh.ServerConfig{
		ServerVersion: "SSH-2.0-Scrier",
		MaxAuthTries:  3,
		PublicKeyCallback: func(meta ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if meta.User() != s.account.Login || !bytes.Equal(key.Marshal(), want) {
				return nil, errors.New("not this session's login and key")
			}
			return &ssh.Permissions{}, nil
		},
	}
	c.AddHostKey(s.hostKey)
	return c
}

// accept answers every channel that the peer opens, and returns when the connection is gone and
// all sessions are done.
func (s *Server) accept(ctx context.Context, channels <-chan ssh.NewChannel, f *forwards) {
	var sessions sync.WaitGroup
	defer sessions.Wait()
	slots := make(chan struct{}, maxSessions)
	for nc := range channels {
		switch nc.ChannelType() {
		case "session":
		case "direct-tcpip", "direct-streamlocal@openssh.com":
			f.dial(ctx, nc)
			continue
		default:
			_ = nc.Reject(ssh.Prohibited, "only sessions and forwards are served here")
			continue
		}
		select {
		case slots <- struct{}{}:
		default:
			_ = nc.Reject(ssh.ResourceShortage, "too many sessions on this connection")
			continue
		}
		sessions.Go(func() {
			defer func() { <-slots }()
			channel, requests, err := nc.Accept()
			if err != nil {
				return // the connection is gone
			}
			(&session{server: s, guest: f.guest, forwards: f, channel: channel}).serve(ctx, requests)
		})
	}
}

func handshakeError(ctx context.Context, err error, late bool) error {
	var auth *ssh.ServerAuthError
	switch {
	case ctx.Err() != nil:
		return wire.Cause(ctx, wire.Cancelled)
	case late:
		return wire.Errorf(wire.AuthFailed, "no authentication within %v", handshakeTime)
	case errors.As(err, &auth):
		return wire.Errorf(wire.AuthFailed, "authenticate: %w", err)
	}
	return wire.Errorf(wire.Protocol, "ssh handshake: %w", err)
}

// ordinaryEnd says whether err is what one sees when the peer ends the connection in order: with
// SSH's own message for it, by closing it, or by closing it before it has read everything.
func ordinaryEnd(err error) bool {
	return err == nil || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		strings.HasPrefix(err.Error(), "ssh: disconnect, reason 11:") // SSH_DISCONNECT_BY_APPLICATION
}
