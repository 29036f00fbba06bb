//go:build !agentonly

package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"strconv"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"
	"golang.org/x/term"

	"scrier/client"
	"scrier/client/forward"
	"scrier/client/openssh"
	"scrier/client/proxy"
	"scrier/wire"
)

func proxyCommand() *cobra.Command {
	var o proxyOptions
	c := &cobra.Command{
		Use:   "proxy [--suffix SUFFIX] [--raw] ENVOY [PORT]",
		Short: "Be an SSH server on standard input and output, for native SSH clients",
		Long: `Speak SSH on standard input and output, as the ProxyCommand of ssh and of what uses it: scp, sftp, rsync, git, Ansible and
others. "scrier ssh-config" writes a configuration with which "ssh web1.scrier" works. ENVOY is a hostname, an id, or a
prefix of one that only one envoy has. PORT is 22, for programs that name one.

What the client asks for becomes channels of a session of the relay's: with the session's own key, checked by policy, and
recorded in the audit log. One that is open already is shared. The user name that the client gives is the login on the envoy;
` + openssh.AnyUser + `, which the configuration gives where you name nobody, is the one who has your key. The client needs no
key and no password here. Your keys count as with "scrier ssh": if ssh's configuration has an IdentityFile for that host and
says IdentitiesOnly, only this key.

With --raw the client speaks with the envoy's own SSH server, end to end: nobody on the way can read, check or record what is
done. The relay and the machine have to allow that by name (scrier.allow.raw).

It ends when its standard input does.
` + remoteExitHelp("0    the client has ended the connection", wire.Unauthenticated, wire.Expired, wire.Forbidden, wire.RelayUnreachable, wire.NoSuchEnvoy, wire.AmbiguousEnvoy,
			wire.EnvoyOffline, wire.Quarantined, wire.AgentTimeout, wire.AgentLost, wire.Limit, wire.PubkeyNotAuthorized, wire.NoSSHPubkey, wire.AmbiguousLogin,
			wire.KeyRestricted, wire.ChannelNotAllowed, wire.LoginNotAllowed, wire.TargetRefused, wire.AuthFailed, wire.Killed, wire.AuditUnavailable) +
			"  All codes are in docs/errors.md.\n",
		Example: `  ssh -o ProxyCommand='scrier proxy %h %p' web1
  ssh -o ProxyCommand='scrier proxy --raw %h' -o HostKeyAlias=web1 ann@web1`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) < 1 || len(args) > 2 || args[0] == "" {
				return wire.Errorf(wire.Usage, "`%s` takes one ENVOY, and a PORT at most; see `%[1]s --help`", c.CommandPath())
			}
			if len(args) == 2 {
				if port, err := strconv.ParseUint(args[1], 10, 16); err != nil || port != 22 {
					return wire.Errorf(wire.Usage, "an envoy has no port %s for SSH: the machine's agent knows where its SSH server listens; leave PORT out", wire.Printable(args[1]))
				}
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error { return o.run(c.Context(), args[0]) },
	}
	c.Flags().StringVar(&o.suffix, "suffix", "", "what stands behind the envoy's name in ENVOY, and is no part of it (`SUFFIX`)")
	c.Flags().BoolVar(&o.raw, "raw", false, "give the bytes of the envoy's own SSH server")
	c.Flags().StringVar(&o.relay, "relay", "", "use the relay at `HOST:PORT` instead of the current one")
	transportFlag(c.Flags(), &o.transport)
	return passesStatus(c)
}

// proxyOptions are the flags of `scrier proxy`.
type proxyOptions struct {
	suffix, relay, transport string
	raw                      bool
	host, envoy              string // as the client has it, and the envoy that it stands for
}

func (o *proxyOptions) run(ctx context.Context, host string) error {
	o.host, o.envoy = host, openssh.Envoy(host, o.suffix)
	// It is one of the programs that Ctrl-C reaches; it ends with its client, which may go on by itself (ControlPersist).
	signal.Ignore(os.Interrupt)
	if o.raw {
		return o.passRaw(ctx)
	}
	conn, err := proxy.Stdio()
	if err != nil {
		return err
	}
	home, err := client.FindHome()
	if err != nil {
		return err
	}
	hostKey, err := home.HostKey()
	if err != nil {
		return err
	}
	dialled := o.dial(ctx)
	defer dialled.close()
	c := proxy.Config{
		Conn: conn, HostKey: hostKey, Open: func(ctx context.Context, user string, messages io.Writer) (proxy.Session, error) {
			return o.open(ctx, home, dialled, user, messages)
		},
		Report:   func(w io.Writer, err error) { report(w, typed(err)) },
		Messages: stderr(), Unseen: unseen(os.Stderr),
	}
	if proxy.Serve(ctx, c) != nil {
		return exitStatus(wire.NoStatus) // it was said
	}
	return nil
}

// dialling is a connection to the relay that is being made.
type dialling struct {
	done  chan struct{}
	relay *client.Relay
	err   error
}

// dial connects while the client says who it wants to be.
func (o *proxyOptions) dial(ctx context.Context) *dialling {
	d := &dialling{done: make(chan struct{})}
	go func() {
		defer close(d.done)
		d.relay, d.err = (&target{relay: o.relay, transport: o.transport}).dial(ctx)
	}()
	return d
}

func (d *dialling) wait(ctx context.Context) (*client.Relay, error) {
	select {
	case <-d.done:
		return d.relay, d.err
	case <-ctx.Done():
		return nil, wire.Cause(ctx, wire.Cancelled)
	}
}

// close ends the connection, if there is one by now: the process ends.
func (d *dialling) close() {
	select {
	case <-d.done:
		if d.relay != nil {
			_ = d.relay.Close()
		}
	default:
	}
}

// open opens the session for a client that gives a user name.
func (o *proxyOptions) open(ctx context.Context, home client.Home, d *dialling, user string, messages io.Writer) (proxy.Session, error) {
	login := openssh.Login(user)
	if login == "" {
		login = sshConfigOf(home).User(ctx, userConfig(), o.host)
	}
	key, err := oneKey(ctx, sshKeys("", o.host, login))
	if err != nil {
		return nil, err
	}
	r, err := d.wait(ctx)
	if err != nil {
		return nil, err
	}
	req := client.SessionRequest{Envoy: o.envoy, Login: login, Likes: likes(), Messages: messages}
	if key != nil { // it is let go of with the process: further sessions need it too
		req.Key = key
	}
	if terminal, err := client.ControllingTerminal(); err == nil {
		req.Terminal = terminal
	}
	first, err := r.Open(ctx, req)
	if e, ok := errors.AsType[*wire.Error](err); ok && key != nil && (e.Code == wire.NoSSHPubkey || e.Code == wire.PubkeyNotAuthorized) {
		err = e.Advise("only the key %s counted, as ssh is configured so for %s (IdentityFile, IdentitiesOnly)", ssh.FingerprintSHA256(key.PublicKey()), wire.Printable(o.host))
	}
	if err != nil {
		return nil, err
	}
	req.Login, req.New, req.Terminal = first.Login(), true, nil // nobody can be asked any more: the client has the terminal
	return proxy.Relayed(first, func(ctx context.Context) (*client.Session, error) { return r.Open(ctx, req) }), nil
}

// likes are the rights of a client of which nobody knows yet what it wants.
func likes() (all []wire.Right) {
	for _, r := range wire.Rights() {
		if r != wire.MayRaw { // which is alone in its session
			all = append(all, r)
		}
	}
	return all
}

// passRaw joins the client with the machine's own SSH server.
func (o *proxyOptions) passRaw(ctx context.Context) error {
	r, err := (&target{relay: o.relay, transport: o.transport}).dial(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	c, err := r.Tunnel(ctx, o.envoy)
	if err != nil {
		return err
	}
	if err := forward.Stdio(ctx, c, os.Stdin, os.Stdout); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

// unseen says whether nobody reads what is written to f: ssh gives a ProxyCommand no standard error when it is to go on by
// itself (ControlPersist).
func unseen(f *os.File) bool {
	info, err := f.Stat()
	if err != nil {
		return true
	}
	null, err := os.Stat(os.DevNull)
	return err == nil && os.SameFile(info, null)
}

// stderr is standard error. On a terminal, lines begin at its left whatever mode ssh has given it.
func stderr() io.Writer {
	if term.IsTerminal(int(os.Stderr.Fd())) {
		return proxy.Lines(os.Stderr)
	}
	return os.Stderr
}
