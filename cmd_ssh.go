package main

import (
	"context"
	"errors"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"scrier/client"
	"scrier/wire"
)

func sshCommand() *cobra.Command {
	var login, envoy, keyFile, relay, attach string
	var noSkip bool
	c := &cobra.Command{
		Use:   "ssh [USER@]ENVOY [-l USER] [--ssh-key-file F] | ssh --attach SESSION",
		Short: "Open a shell on an envoy",
		Long: `Open a shell on an envoy, as the user whose authorized_keys there holds your SSH key. ENVOY is a
hostname, an id, or a prefix of one that only one envoy has. USER@ENVOY, -l and --login say who to be there; of several @
the last one counts, as with ssh. If ~/.ssh/config has an IdentityFile for that
name and says IdentitiesOnly, only this key counts.

With --ssh-key-file only that key counts. It need not be registered if the relay allows that
(operators.inline_keys): it counts for this session.

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
` + remoteExitHelp("N    the remote shell's exit status, if it ended by itself\n255  a signal ended it, or you left with ~.",
			wire.NoTerminal, wire.Unauthenticated, wire.Expired, wire.Forbidden, wire.RelayUnreachable, wire.NoSuchEnvoy, wire.AmbiguousEnvoy,
			wire.EnvoyOffline, wire.Quarantined, wire.AgentTimeout, wire.AgentLost, wire.Limit, wire.PubkeyNotAuthorized, wire.NoSSHPubkey, wire.KeyUnproved,
			wire.AmbiguousLogin, wire.KeyRestricted, wire.AccountNotLoginable, wire.LoginNotAllowed, wire.HostKeyMismatch,
			wire.TargetRefused, wire.PortNotAllowed, wire.AuthFailed, wire.LoginUnanswered, wire.SSHTimeout, wire.Revoked, wire.Killed, wire.TakenOver, wire.AuditUnavailable) +
			"  All codes are in docs/errors.md.\n",
		Example: `  scrier ssh web1
  scrier ssh deploy@web1
  scrier ssh -l deploy web1
  scrier ssh 3f2a --ssh-key-file ~/.ssh/id_work.pub
  scrier ssh --attach 01a209a2-1760-7c47-b1f5-7fdf7dbc07d2`,
		Args: func(c *cobra.Command, args []string) error {
			if attach == "" {
				err := exact(1, "one ENVOY")(c, args)
				if err == nil {
					envoy, login, err = loginAt(args[0], login)
				}
				return err
			}
			if login != "" || keyFile != "" {
				return wire.Errorf(wire.Usage, "--attach goes on with a session as it is: --login and --ssh-key-file do not go with it")
			}
			return exact(0, "no ENVOY with --attach")(c, args)
		},
		RunE: func(c *cobra.Command, args []string) error {
			terminal, err := client.OpenTerminal(os.Stdin, os.Stdout)
			if err != nil {
				return err
			}
			ctx := c.Context()
			dial := target{relay: relay}
			r, err := dial.dial(ctx)
			if err != nil {
				return err
			}
			defer r.Close()
			req := client.ShellRequest{Attach: attach, Login: login, Terminal: terminal, Messages: os.Stderr, NoSkip: noSkip}
			if attach == "" {
				req.Envoy = envoy
				key, err := oneKey(ctx, sshKeys(keyFile, envoy, login))
				if err != nil {
					return interrupted(ctx, err)
				}
				if key != nil {
					defer key.Close()
					req.Key = key
				}
			}
			status, err := r.Shell(ctx, req)
			if e, ok := errors.AsType[*wire.Error](err); ok && req.Key != nil && keyFile == "" && (e.Code == wire.NoSSHPubkey || e.Code == wire.PubkeyNotAuthorized) {
				err = e.Advise("only the key %s counted, as ssh is configured so for %s (IdentityFile, IdentitiesOnly); name another with --ssh-key-file",
					ssh.FingerprintSHA256(req.Key.PublicKey()), wire.Printable(req.Envoy))
			}
			if err != nil {
				return interrupted(ctx, err)
			}
			if status != 0 {
				return exitStatus(status)
			}
			return nil
		},
	}
	c.Flags().StringVarP(&login, "login", "l", "", "the `USER` to be on the envoy (default: the one who has your key)")
	c.Flags().StringVar(&keyFile, "ssh-key-file", "", "use only this key of yours: a private key `FILE` or a .pub")
	c.Flags().StringVar(&attach, "attach", "", "go on with the open `SESSION` of this id")
	c.Flags().BoolVar(&noSkip, "no-skip", false, "show all output, also what is still on its way when Ctrl-C, Ctrl-\\ or Ctrl-Z is typed")
	c.Flags().StringVar(&relay, "relay", "", "use the relay at `HOST:PORT` instead of the current one")
	return passesStatus(c)
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
