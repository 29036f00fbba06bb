//go:build !agentonly

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"scrier/client"
	"scrier/wire"
)

func sshCommand() *cobra.Command {
	var o sshOptions
	c := &cobra.Command{
		Use: `ssh [USER@]ENVOY [-t|-T] [-n] [-N] [-A] [-L FORWARD]… [-R FORWARD]… [-D FORWARD]… [-W ADDRESS] [-l USER]
             [--ssh-key-file F] [--new] [--] [COMMAND…] | ssh --attach SESSION`,
		Short: "Open a shell on an envoy, run a command there, or forward connections",
		Long: `Open a shell on an envoy, as the user whose authorized_keys there holds your SSH key. ENVOY is a
hostname, an id, or a prefix of one that only one envoy has. USER@ENVOY, -l and --login say who to be there; of several @
the last one counts, as with ssh. If ~/.ssh/config has an IdentityFile for that
name and says IdentitiesOnly, only this key counts.

With a COMMAND that runs instead, as with ssh: its words are joined by blanks and given to the login's shell;
flags of scrier's own stand before it. Standard input, output and error are the command's, byte by byte, and
nothing of scrier's is on standard output. It has no terminal unless -t is given, and ends when this program
does: it gets SIGHUP. When the connection to the relay is lost it goes on over another one. A shell has none either if standard input is no terminal: it reads that as a script.

With --ssh-key-file only that key counts. It need not be registered if the relay allows that
(operators.inline_keys): it counts for this session.

-L, -R, -D and -W forward connections, and are written as with ssh:
  -L [BIND:]PORT:HOST:HOSTPORT  takes connections here, which the machine makes to HOST:HOSTPORT
  -R [BIND:]PORT:HOST:HOSTPORT  takes connections at the machine, which this one makes; port 0 is any that is free
  -R [BIND:]PORT                the same, and each says by SOCKS where it goes
  -D [BIND:]PORT                takes connections here that say so by SOCKS 4, 4a or 5
  -W HOST:PORT                  one connection, which is standard input and output: for ProxyCommand
In place of [BIND:]PORT and of HOST:HOSTPORT may stand the path of a socket. Without BIND only this machine, and with -R only that one, can
connect; "*" is every address. The machine's agent.yaml says which hosts and ports it connects to. The forwards end with the
shell or the command, once the connections that are open have ended; Ctrl-C ends them. -N opens none of the two, and
forwards until Ctrl-C. A forward that cannot be set up is a message, and an error with -N or -W.

-A lets programs on the machine use your ssh-agent while you are there. So can whoever is root on that machine, and the relay.

A session of yours that is open to the same login is shared: then there is no second login, and --new asks for one all the same.
-A always does.

What the machine's SSH server says first (its banner, PAM's messages) is shown on standard error, and what it wants to
know besides your key (a password, a one-time code) is asked in the terminal: both with the machine's name. It is
never Scrier that asks for a password.

A session whose connection broke, or whose browser tab was closed, stays open for a while
(scrier.detach_grace of the relay, 60 s unless it was changed). When a network went away, or this machine slept,
it goes on here by itself; Ctrl-C and ~. end the wait. --attach goes on with any session of yours, and takes it
over from wherever it is shown now. See "scrier sessions list" for its id.

When Ctrl-C, Ctrl-\ or Ctrl-Z stops a program that prints faster than this terminal shows, what is still on
its way is left out, and a line says how much; the screen is the same as if it had been shown. --no-skip
shows all of it.

In the shell, after a newline:  ~.  disconnects   ~?  lists these keys   ~~  sends a tilde
  ~^Z  suspends scrier
` + remoteExitHelp("N    the exit status of the command, or of the shell if it ended by itself\n128+N  a signal N ended the command\n255  a signal ended the shell, or you left with ~.",
			wire.NoTerminal, wire.Unauthenticated, wire.Expired, wire.Forbidden, wire.RelayUnreachable, wire.NoSuchEnvoy, wire.AmbiguousEnvoy,
			wire.EnvoyOffline, wire.Quarantined, wire.AgentTimeout, wire.AgentLost, wire.Limit, wire.PubkeyNotAuthorized, wire.NoSSHPubkey, wire.KeyUnproved,
			wire.AmbiguousLogin, wire.KeyRestricted, wire.AccountNotLoginable, wire.LoginNotAllowed, wire.HostKeyMismatch,
			wire.TargetRefused, wire.PortNotAllowed, wire.ChannelNotAllowed, wire.ForwardFailed, wire.AuthFailed, wire.LoginUnanswered, wire.SSHTimeout, wire.Revoked, wire.Killed, wire.TakenOver, wire.AuditUnavailable) +
			"  All codes are in docs/errors.md.\n",
		Example: `  scrier ssh web1
  scrier ssh deploy@web1
  scrier ssh web1 uptime
  scrier ssh web1 'cd /var/log && tar cz .' > log.tar.gz
  scrier ssh web1 -t top
  scrier ssh web1 -N -L 8080:localhost:80 -D 1080
  scrier ssh 3f2a --ssh-key-file ~/.ssh/id_work.pub
  scrier ssh --attach 01a209a2-1760-7c47-b1f5-7fdf7dbc07d2`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			command, err := o.parse(c, args)
			if err != nil || command == nil {
				return err
			}
			status, err := o.run(c.Context(), command)
			if err != nil {
				return interrupted(c.Context(), err)
			}
			if status != 0 {
				return passedOn(status)
			}
			return nil
		},
	}
	o.flags(c)
	return passesStatus(c)
}

func (o *sshOptions) flags(c *cobra.Command) {
	c.Flags().StringVarP(&o.login, "login", "l", "", "the `USER` to be on the envoy (default: the one who has your key)")
	c.Flags().StringVar(&o.keyFile, "ssh-key-file", "", "use only this key of yours: a private key `FILE` or a .pub")
	c.Flags().StringVar(&o.attach, "attach", "", "go on with the open `SESSION` of this id")
	c.Flags().BoolVar(&o.noSkip, "no-skip", false, "show all output, also what is still on its way when Ctrl-C, Ctrl-\\ or Ctrl-Z is typed")
	c.Flags().StringVar(&o.relay, "relay", "", "use the relay at `HOST:PORT` instead of the current one")
	transportFlag(c.Flags(), &o.transport)
	c.Flags().BoolVarP(&o.terminal, "tty", "t", false, "give the command a terminal")
	c.Flags().BoolVarP(&o.plain, "no-tty", "T", false, "give the shell no terminal")
	c.Flags().BoolVarP(&o.noInput, "no-stdin", "n", false, "the command gets no standard input")
	c.Flags().StringArrayVarP(&o.forwards.local, "local-forward", "L", nil, "take connections here for the machine to make, as `FORWARD` says: [BIND:]PORT:HOST:HOSTPORT")
	c.Flags().StringArrayVarP(&o.forwards.remote, "remote-forward", "R", nil, "take connections at the machine for this one to make, as `FORWARD` says: [BIND:]PORT:HOST:HOSTPORT, or [BIND:]PORT for SOCKS")
	c.Flags().StringArrayVarP(&o.forwards.dynamic, "dynamic-forward", "D", nil, "take SOCKS connections here, as `FORWARD` says: [BIND:]PORT")
	c.Flags().StringVarP(&o.forwards.stdio, "stdio-forward", "W", "", "pass standard input and output to one `ADDRESS`: HOST:PORT, or a socket's path")
	c.Flags().BoolVarP(&o.forwards.agent, "forward-agent", "A", false, "let the machine use your ssh-agent during this session")
	c.Flags().BoolVarP(&o.forwards.alone, "no-command", "N", false, "open no shell and run nothing: forward until Ctrl-C")
	c.Flags().BoolVar(&o.fresh, "new", false, "open a new session, also if one of yours could be shared")
	c.Flags().SetInterspersed(false)
}

// sshOptions are the flags of `scrier ssh`.
type sshOptions struct {
	login, keyFile, relay, attach    string
	transport                        string
	noSkip, terminal, plain, noInput bool
	fresh                            bool
	forwards                         forwardOptions
	envoy                            string
}

// parse reads what stands behind the flags: the envoy, more flags, as ssh takes them there too, and the words of the
// command. They are nil if there is nothing to do, and empty for a shell.
func (o *sshOptions) parse(c *cobra.Command, args []string) (command []string, err error) {
	if o.attach == "" && len(args) > 0 && args[0] != "" {
		o.envoy = args[0]
		if err := c.Flags().Parse(args[1:]); err != nil {
			return nil, c.FlagErrorFunc()(c, err)
		}
		if help, err := c.Flags().GetBool("help"); err == nil && help {
			return nil, c.Help()
		}
		args = c.Flags().Args()
		if o.envoy, o.login, err = loginAt(o.envoy, o.login); err != nil {
			return nil, err
		}
	}
	switch {
	case o.attach != "" && len(args) > 0:
		return nil, wire.Errorf(wire.Usage, "`%s` takes no ENVOY and no command with --attach; see `%[1]s --help`", c.CommandPath())
	case o.attach != "" && (o.envoy != "" || o.login != "" || o.keyFile != "" || o.terminal || o.plain || o.noInput || o.fresh || o.forwards.any()):
		return nil, wire.Errorf(wire.Usage, "--attach goes on with a session as it is: ENVOY, --login (-l), --ssh-key-file, --new, -t, -T, -n and forwards do not go with it")
	case o.attach == "" && o.envoy == "":
		return nil, wire.Errorf(wire.Usage, "`%s` takes one ENVOY; see `%[1]s --help`", c.CommandPath())
	case o.terminal && (o.plain || o.noInput):
		return nil, wire.Errorf(wire.Usage, "-t is for a terminal: -T and -n do not go with it")
	case o.noInput && len(args) == 0 && o.attach == "" && !o.forwards.noProgram():
		return nil, wire.Errorf(wire.Usage, "-n needs a command: a shell without input has nothing to do")
	case o.forwards.noProgram() && (len(args) > 0 || o.terminal):
		return nil, wire.Errorf(wire.Usage, "-N and -W run nothing on the machine: -t and a command do not go with them")
	}
	return append([]string{}, args...), o.forwards.parse()
}

// run opens the shell, or runs the command, and gives its exit status.
func (o *sshOptions) run(ctx context.Context, words []string) (int, error) {
	command := strings.Join(words, " ") // as ssh does; an empty one is a shell without a terminal
	wants := o.attach != "" || !o.plain && !o.forwards.noProgram() && (len(words) == 0 || o.terminal)
	terminal, err := client.OpenTerminal(os.Stdin, os.Stdout)
	switch {
	case !wants, o.attach == "" && wire.CodeOf(err) == wire.NoTerminal:
		if wants {
			fmt.Fprintln(os.Stderr, "scrier: standard input is not a terminal, so there is none on the envoy either")
		}
		terminal = nil
	case err != nil:
		return 0, err
	}
	f, err := o.forwards.listen(ctx, terminal != nil)
	if err != nil {
		return 0, err
	}
	if f != nil {
		defer f.Close()
	}
	dial := target{relay: o.relay, transport: o.transport}
	r, err := dial.dial(ctx)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	var key *client.SSHKey
	if o.attach == "" {
		if key, err = oneKey(ctx, sshKeys(o.keyFile, o.envoy, o.login)); err != nil {
			return 0, err
		}
		if key != nil {
			defer key.Close()
		}
	}
	p := program{sshOptions: o, relay: r, key: key, command: command, terminal: terminal}
	var status int
	if o.forwards.any() {
		status, err = p.forwarding(ctx, f)
	} else {
		status, err = p.run(ctx, nil)
	}
	if e, ok := errors.AsType[*wire.Error](err); ok && key != nil && o.keyFile == "" && (e.Code == wire.NoSSHPubkey || e.Code == wire.PubkeyNotAuthorized) {
		err = e.Advise("only the key %s counted, as ssh is configured so for %s (IdentityFile, IdentitiesOnly); name another with --ssh-key-file",
			ssh.FingerprintSHA256(key.PublicKey()), wire.Printable(o.envoy))
	}
	return status, err
}

// program is what runs on the machine: a shell, or a command.
type program struct {
	*sshOptions
	relay    *client.Relay
	key      *client.SSHKey // nil: all count
	command  string
	terminal *client.Terminal // nil: it has none
}

// signer is the only key that counts; nil: all do.
func (p *program) signer() ssh.Signer {
	if p.key == nil {
		return nil
	}
	return p.key
}

// run runs it to its end. h is the session that it is a channel of; nil: its own, or one that can be shared.
func (p *program) run(ctx context.Context, h *held) (int, error) {
	if p.terminal != nil {
		req := client.ShellRequest{
			Envoy: p.envoy, Attach: p.attach, Login: p.login, Key: p.signer(), Command: p.command, Terminal: p.terminal, Messages: os.Stderr, NoSkip: p.noSkip,
			Share: !p.fresh,
		}
		if h != nil {
			req.Session, req.Agent, req.Rejoined = h.session, h.agent, h.rejoin
		}
		return p.relay.Shell(ctx, req)
	}
	signal.Ignore(syscall.SIGPIPE) // `| head`: the command ends by that, and not this program
	req := client.CommandRequest{
		Envoy: p.envoy, Login: p.login, Key: p.signer(), Command: p.command, In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Messages: os.Stderr, Share: !p.fresh,
	}
	if p.noInput {
		req.In = nil
	}
	if h != nil {
		req.Session, req.Agent, req.Rejoined = h.session, h.agent, h.rejoin
	}
	req.Terminal = asking()
	return p.relay.Command(ctx, req)
}

// asking is the terminal that this program was started in, in which the machine may ask before it lets anybody in; nil:
// there is none.
func asking() *client.Terminal {
	terminal, err := client.ControllingTerminal()
	if err != nil {
		return nil
	}
	return terminal
}

// passedOn is a remote program's exit status on this system, which may have room for 8 bits only: what is no success
// does not become one.
func passedOn(status int) exitStatus {
	if runtime.GOOS != "windows" && status != 0 && status&0xff == 0 {
		return wire.NoStatus
	}
	return exitStatus(status)
}

// loginAt parts USER@ENVOY at the last @, as ssh does, since a login may have one. login is what -l names.
func loginAt(arg, login string) (envoy, user string, err error) {
	at := strings.LastIndexByte(arg, '@')
	if at < 0 {
		return arg, login, nil
	}
	envoy, user = arg[at+1:], arg[:at]
	switch {
	case user == "" || envoy == "":
		return "", "", wire.Errorf(wire.Usage, "%q is not USER@ENVOY: a part of it is missing", wire.Printable(arg))
	case login != "" && login != user:
		return "", "", wire.Errorf(wire.Usage, "%s names the login %s, and -l the login %s: leave one of the two out",
			wire.Printable(arg), wire.Printable(user), wire.Printable(login))
	}
	return envoy, user, nil
}

// oneKey is the key that --ssh-key-file names, or that ssh is configured to use alone for the envoy; nil: all count.
func oneKey(ctx context.Context, keys client.SSHKeyConfig) (*client.SSHKey, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if keys.KeyFile == "" {
		return client.ConfiguredKey(ctx, keys)
	}
	return client.Signer(ctx, keys)
}
