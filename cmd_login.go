//go:build !agentonly

package main

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"scrier/client"
	"scrier/wire"
)

func loginCommand() *cobra.Command {
	var username, keyFile, fingerprint, transport string
	var browser, asJSON bool
	c := &cobra.Command{
		Use:   "login [HOST[:PORT]] [--username U] [--ssh-key-file F] [--fingerprint SHA256:…] [--browser] [--json]",
		Short: "Log in to a relay with your SSH key",
		Long: `Log in to a relay: prove that you hold an SSH key that is registered there, with ssh-agent or a key
file, and get a certificate that is good for 8 hours. The relay's fingerprint is asked about at the
first login and remembered; with --fingerprint nothing is asked. The port is 8443 unless it is named.
IdentityFile, IdentityAgent and IdentitiesOnly of ~/.ssh/config count, for the relay's host.

Without HOST the login at the current relay is renewed, as the same operator and with the same key. See
"scrier relays list".

A key that an administrator has registered counts for an operator when its owner says so: at the first
login you are asked whether you are that operator. With --username nothing is asked.

With --browser, a login that is still good is used, and a link is printed that signs a browser in as
you. It works once, within 15 minutes.
` + exitHelp("0    logged in", wire.NoSSHPubkey, wire.KeyUnusable, wire.KeyUnproved, wire.Unauthenticated, wire.RelayUntrusted, wire.RelayUnreachable, wire.BadConfig, wire.Cancelled, wire.ClockSkew, wire.Busy, wire.AuditUnavailable),
		Example: `  scrier login relay.example.com --fingerprint SHA256:…
  scrier login 192.0.2.7:8443 --username ann --ssh-key-file ~/.ssh/id_work.pub
  scrier login relay.example.com --browser
  scrier login`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return exact(1, "the relay's HOST:PORT, or nothing")(c, args)
		},
		RunE: func(c *cobra.Command, args []string) error {
			home, err := client.FindHome()
			if err != nil {
				return err
			}
			req := client.LoginRequest{Username: username, Fingerprint: fingerprint, Now: time.Now,
				Confirm: func(relay, fingerprint string) (bool, error) { return confirm(c.Context(), relay, fingerprint) },
				Claim:   func(relay, username string) (bool, error) { return confirmClaim(c.Context(), relay, username) },
			}
			if req.Transport, err = transportOf(transport); err != nil {
				return err
			}
			useKey := keyFile
			if len(args) == 1 {
				req.Relay = args[0]
			} else {
				last, err := lastLogin(home)
				if err != nil {
					return err
				}
				req.Relay, req.Username = last.Relay, cmp.Or(username, last.Username)
				if keyFile == "" && req.Username == last.Username {
					useKey = last.KeyFile
				}
			}
			req.Keys = sshKeys(useKey, hostOf(req.Relay), username)
			if browser && keyFile == "" {
				if l, err := home.Current(req.Relay, time.Now()); err == nil && fits(l, req) {
					l.Roads.Transport = req.Transport
					err := printLink(c, l, asJSON)
					if !slices.Contains([]wire.Code{wire.Unauthenticated, wire.Expired, wire.OperatorChanged, wire.Revoked}, wire.CodeOf(err)) {
						return err
					}
				}
			}
			l, err := home.Login(c.Context(), req)
			if err != nil {
				return interrupted(c.Context(), err)
			}
			if asJSON && !browser {
				return printValue(c.OutOrStdout(), relayViewOf(client.KnownRelay{Relay: l.Relay, Known: l.Known, Current: true}))
			}
			if !asJSON {
				fmt.Fprintf(c.OutOrStdout(), "%s (%s) is logged in at %s until %s\n", wire.Printable(l.Username), wire.Printable(l.Role), l.Relay, client.Stamp(l.Expires))
			}
			if !browser {
				return nil
			}
			if l, err = home.Current(l.Relay, time.Now()); err != nil { // as it was saved
				return err
			}
			l.Roads.Transport = req.Transport
			return printLink(c, l, asJSON)
		},
	}
	c.Flags().StringVar(&username, "username", "", "log in as the operator `NAME` (default: whoever the key belongs to)")
	c.Flags().StringVar(&keyFile, "ssh-key-file", "", "private key `FILE`, or a .pub whose private half is in ssh-agent or beside it")
	transportFlag(c.Flags(), &transport)
	c.Flags().StringVar(&fingerprint, "fingerprint", "", "the relay's `FINGERPRINT`, which begins with SHA256:")
	c.Flags().BoolVar(&browser, "browser", false, "print a link that signs a browser in")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON: the login, with --browser the link")
	return c
}

// lastLogin is the login that is to be renewed.
func lastLogin(home client.Home) (client.KnownRelay, error) {
	last, ok, err := home.Last()
	if err != nil || ok {
		return last, err
	}
	relays, _, err := stillLoggedIn(home)
	if err != nil {
		return last, err
	}
	how := ""
	if len(relays) > 0 {
		how = fmt.Sprintf(", or choose one of %s with `scrier relays use RELAY`", strings.Join(relays, ", "))
	}
	return last, wire.Errorf(wire.Usage, "there is no login to renew: name the relay, `scrier login HOST:PORT`%s", how)
}

// fits says whether an earlier login is the one that was asked for.
func fits(l client.Login, r client.LoginRequest) bool {
	return (r.Username == "" || r.Username == l.Username) && (r.Fingerprint == "" || r.Fingerprint == l.Pin)
}

// printLink asks for a sign-in link with a login, and prints it.
func printLink(c *cobra.Command, l client.Login, asJSON bool) error {
	r, err := dialLogin(c.Context(), l)
	if err != nil {
		return err
	}
	defer r.Close()
	data, err := r.Do(c.Context(), "POST", "/self/links", struct{}{})
	if err != nil {
		return interrupted(c.Context(), err)
	}
	link, err := decode[signInLink](data)
	if err != nil {
		return err
	}
	link.URL = pageOrigin(l.Relay) + link.Path // where it was just reached, whatever it calls itself
	if asJSON {
		return printValue(c.OutOrStdout(), link)
	}
	fmt.Fprintf(c.OutOrStdout(), "Open this link within 15 minutes; it works once, and signs the browser in as %s:\n  %s\n", wire.Printable(l.Username), wire.Printable(link.URL))
	return nil
}

// signInLink is a link as the API gives it.
type signInLink struct {
	URL     string    `json:"url"`
	Path    string    `json:"path"`
	Expires time.Time `json:"expires"`
}

// of is the whole link, by what the relay calls itself, else by what it is called here.
func (l signInLink) of(t *target) string {
	if l.URL != "" {
		return wire.Printable(l.URL)
	}
	origin := "https://" + placeholder
	if addr := t.known(); addr != "" {
		origin = pageOrigin(addr)
	}
	return wire.Printable(origin + l.Path)
}

// placeholder stands where a relay's address belongs that is not known.
const placeholder = "HOST:PORT"

// address is the relay in a line to hand over: by what it calls itself, else by what it is called here. What a relay
// says is taken only if a shell takes it for one word.
func (t *target) address(named string) string {
	for _, addr := range []string{named, t.known()} {
		if a, err := wire.RelayAddress(addr); err == nil && plainAddress(a) {
			if strings.HasPrefix(a, "[") {
				a = "'" + a + "'" // brackets are a pattern for shells
			}
			return a
		}
	}
	return placeholder
}

// known is what the relay is called here; empty over its admin socket.
func (t *target) known() string {
	if t.state != "" {
		return ""
	}
	home, err := client.FindHome()
	if err != nil {
		return ""
	}
	login, err := home.Current(t.relay, time.Now())
	if err != nil {
		return ""
	}
	return login.Relay
}

// pageOrigin is where a relay's pages are.
func pageOrigin(relay string) string { return "https://" + strings.TrimSuffix(relay, ":443") }

func logoutCommand() *cobra.Command {
	var all, pins, asJSON bool
	var relay string
	c := &cobra.Command{
		Use:   "logout [--all] [--forget] [--relay HOST:PORT] [--json]",
		Short: "Forget the login at a relay",
		Long: `Log out of the current relay, or of all relays: the login's key and certificate are deleted from this machine.
It says at which relays you are still logged in. The relay's fingerprint is remembered. --forget forgets it too,
for a relay that was set up anew.
` + exitHelp("0    logged out"),
		Args: exact(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			home, err := client.FindHome()
			if err != nil {
				return err
			}
			forgotten, err := home.Logout(relay, all, pins)
			if err != nil {
				return err
			}
			if asJSON {
				left, _, err := stillLoggedIn(home)
				if err != nil {
					return err
				}
				return printValue(c.OutOrStdout(), map[string][]string{"logged_out": append([]string{}, forgotten...), "logged_in": append([]string{}, left...)})
			}
			switch {
			case len(forgotten) > 0:
				fmt.Fprintf(c.OutOrStdout(), "logged out at %s\n", wire.Printable(strings.Join(forgotten, ", ")))
			case relay != "":
				fmt.Fprintf(c.OutOrStdout(), "you were not logged in at %s\n", wire.Printable(relay))
			default:
				fmt.Fprintln(c.OutOrStdout(), "you were not logged in at a current relay")
			}
			return tellOthers(c, home)
		},
	}
	c.Flags().BoolVar(&all, "all", false, "at all relays")
	c.Flags().BoolVar(&pins, "forget", false, "forget the relay's fingerprint as well")
	c.Flags().StringVar(&relay, "relay", "", "at the relay `HOST:PORT`")
	c.Flags().BoolVar(&asJSON, "json", false, `print {"logged_out", "logged_in"}: relays from which you are out, and at which you are still in`)
	return c
}

// hostOf is a relay's host without its port; empty if the address is none.
func hostOf(relay string) string {
	addr, err := wire.RelayAddress(relay)
	if err != nil {
		return ""
	}
	host, _, _ := net.SplitHostPort(addr)
	return host
}

// sshKeys is where an operator's SSH keys are; host and user, if it is not empty, are what ssh's configuration is asked for.
func sshKeys(file, host, user string) client.SSHKeyConfig {
	home, err := os.UserHomeDir()
	if err != nil {
		home = ""
	}
	return client.SSHKeyConfig{
		KeyFile: file, Agent: client.SSHAgent(), Home: home, Settings: client.SSHConfig(host, user), Passphrase: askPassphrase,
	}
}

// askPassphrase asks on the terminal, even when standard input is not one.
func askPassphrase(prompt string) ([]byte, error) {
	tty, err := openTTY()
	if err == nil {
		defer tty.Close()
		var terminal *client.Terminal
		if terminal, err = client.OpenTerminal(tty.in, tty.out); err == nil {
			return terminal.Ask(context.Background(), prompt, false) // which ends with signals
		}
	}
	return nil, wire.Errorf(wire.KeyUnusable, "the key needs a passphrase, and there is no terminal to ask on")
}

// confirm shows an unknown relay's fingerprint, as ssh does.
func confirm(ctx context.Context, relay, fingerprint string) (bool, error) {
	tty, err := openTTY()
	if err != nil {
		return false, wire.Errorf(wire.RelayUntrusted, "the relay at %s is not known yet, and there is no terminal to ask on; its fingerprint is %s", relay, fingerprint).
			Advise("compare the fingerprint with what the relay's administrator says, then give it with --fingerprint")
	}
	defer tty.Close()
	fmt.Fprintf(tty.out, "The relay at %s is not known yet.\nIts fingerprint is %s.\nDoes its administrator give you the same? (yes/no) ", relay, fingerprint)
	return answer(ctx, tty, fingerprint, "the fingerprint")
}

// confirmClaim asks whether the person is the operator for whom their key was registered.
func confirmClaim(ctx context.Context, relay, username string) (bool, error) {
	username = wire.Printable(username)
	tty, err := openTTY()
	if err != nil {
		return false, wire.Errorf(wire.KeyUnproved, "your key is registered at %s for the operator %s, and there is no terminal to ask on whether that is you", relay, username).
			Advise("if it is you, give --username %s", pasted(username, "NAME"))
	}
	defer tty.Close()
	fmt.Fprintf(tty.out, "Your key is registered at %s for the operator %s.\nFrom now on it counts for %s. Is that you? (yes/no) ", relay, username, username)
	return answer(ctx, tty, username, username)
}

// answer reads yes or no, or what was asked about, which stands for yes. It ends with ctx.
func answer(ctx context.Context, tty *tty, about, what string) (bool, error) {
	in := bufio.NewReader(tty.in)
	for range 3 {
		line, err := lineOf(ctx, in)
		if err != nil {
			fmt.Fprintln(tty.out) // what follows must not stand behind the question
			if ctx.Err() != nil {
				return false, err
			}
			return false, &wire.Error{Code: wire.Cancelled, Detail: "there was no answer", Err: err}
		}
		switch strings.ToLower(strings.TrimSpace(line)) {
		case "yes":
			return true, nil
		case "no":
			return false, nil
		}
		if strings.TrimSpace(line) == about {
			return true, nil
		}
		fmt.Fprintf(tty.out, "Please type yes, no or %s: ", what)
	}
	return false, nil
}
