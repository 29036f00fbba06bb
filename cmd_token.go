//go:build !agentonly

package main

import (
	"encoding/hex"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"scrier/client"
	"scrier/wire"
)

func tokenCommand() *cobra.Command {
	var t target
	c := group(&cobra.Command{Use: "token", Short: "Make enrolment tokens for machines"})
	t.flags(c)

	var name string
	var ttl time.Duration
	var asJSON, replace bool
	create := &cobra.Command{
		Use:   "create [--name NAME [--replace]] [--ttl 15m] [--json] [--state DIR]",
		Short: "Make a token that enrols one machine",
		Long: `Make a token that enrols one machine, once. It carries the relay's fingerprint, so that the
machine trusts nothing else. It is shown once; whoever has it can enrol a machine until it expires.

--name is what the machine is called from then on. Without it the machine is called by the hostname that it
reports, also when that changes. --replace is for a machine that is enrolled again: the envoy that has the name now is
removed when the token is used, with its sessions.
` + exitHelp("0    the token was printed", wire.BadRequest, wire.ProofRequired, wire.Unauthenticated, wire.Expired, wire.NoSuchEnvoy, wire.AmbiguousEnvoy, wire.Forbidden, wire.RelayUnreachable, wire.AuditUnavailable),
		Example: `  scrier token create --name web1 --state /var/lib/scrier-relay
  scrier token create --name web1 --replace
  scrier token create --ttl 1h --json | jq -r .token`,
		Args: exact(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			if replace && name == "" {
				return wire.Errorf(wire.Usage, "--replace goes with --name: whose place the machine takes")
			}
			data, err := t.do(c, "POST", "/tokens", map[string]any{"name": name, "ttl": ttl.String(), "replace": replace})
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), data)
			}
			v, err := decode[struct {
				ID, Token string
				Expires   time.Time
				Relay     string `json:"relay_address"`
			}](data)
			if err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "%s\n", wire.Printable(v.Token))
			fmt.Fprintf(c.ErrOrStderr(), "Good once, until %s. On the machine, run this, which asks for it:\n  scrier agent enroll --relay %s\nTo take it back: scrier token revoke %s%s\n",
				client.Stamp(v.Expires), t.address(v.Relay), pasted(v.ID, "ID"), wire.Printable(t.again()))
			return nil
		},
	}
	create.Flags().StringVar(&name, "name", "", "the machine's `NAME` as an envoy (default: its hostname)")
	create.Flags().BoolVar(&replace, "replace", false, "remove the envoy that has this name now when the token is used")
	create.Flags().DurationVar(&ttl, "ttl", 15*time.Minute, "the token is good for this `TIME`, such as 30m or 24h; at most 168h")
	create.Flags().Lookup("ttl").DefValue = "15m"
	create.Flags().BoolVar(&asJSON, "json", false, `print {"id", "token", "fingerprint", "expires"}, and "name" and "relay_address" if there are`)
	c.AddCommand(create, listTokens(&t), revokeToken(&t))
	return c
}

// tokenRow is what the table shows of a token.
type tokenRow struct {
	ID, Name, Void   string
	CreatedBy        string `json:"created_by"`
	Replaces         string
	Changed          bool `json:"maker_changed"`
	Created, Expires time.Time
}

// tokenColumns are what a list of tokens can show.
var tokenColumns = []column[tokenRow]{
	{name: "id", cell: func(v tokenRow) string { return v.ID }},
	{name: "name", cell: func(v tokenRow) string { return v.Name }},
	{name: "made-by", cell: func(v tokenRow) string { return v.CreatedBy }},
	{name: "made", cell: func(v tokenRow) string { return ago(v.Created) }, compare: byTime(func(v tokenRow) time.Time { return v.Created })},
	{name: "expires", cell: func(v tokenRow) string { return client.Stamp(v.Expires) }, compare: byTime(func(v tokenRow) time.Time { return v.Expires })},
	{name: "note", cell: tokenRow.note},
	{name: "replaces", cell: func(v tokenRow) string { return v.Replaces }, more: true},
}

// note is what there is to know of a token before it is used.
func (v tokenRow) note() string {
	switch {
	case v.Void != "":
		return "no good: " + v.Void
	case v.Changed:
		return "the role or keys of who made it have changed since"
	case v.Replaces != "":
		return "removes the envoy " + v.Replaces + " when it is used"
	}
	return ""
}

func listTokens(t *target) *cobra.Command {
	l := listing[tokenRow]{columns: tokenColumns}
	list := &cobra.Command{
		Use:   "list [--sort COLUMN[-]] [--columns A,B,C] [--json]",
		Short: "List the tokens that were not used",
		Long: `List the tokens that were not used and have not expired, the newest first. The tokens themselves are
kept nowhere: ID is the name to revoke one by. A token counts while the operator who made it may make
tokens; NOTE says so if they may not.
` + exitHelp("0    listed", wire.Unauthenticated, wire.Expired, wire.Forbidden, wire.RelayUnreachable),
		Example: `  scrier token list --sort expires`,
		Args:    exact(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := l.prepare(); err != nil {
				return err
			}
			data, err := t.do(c, "GET", "/tokens", nil)
			if err != nil {
				return err
			}
			return l.print(c, data, func() { fmt.Fprintln(c.ErrOrStderr(), "No tokens. `scrier token create` makes one.") })
		},
	}
	l.flags(list)
	return list
}

func revokeToken(t *target) *cobra.Command {
	var asJSON bool
	revoke := &cobra.Command{
		Use:   "revoke ID [--json]",
		Short: "Revoke a token that was not used",
		Long: `Revoke a token that was not used: it enrols nobody from then on. ID is the token's in
` + "`scrier token list`" + `, never the token itself. A machine that it has enrolled stays enrolled.
` + exitHelp("0    revoked", wire.Unauthenticated, wire.Expired, wire.NotFound, wire.Forbidden, wire.RelayUnreachable, wire.AuditUnavailable),
		Args: exact(1, "a token's ID"),
		RunE: func(c *cobra.Command, args []string) error {
			if _, err := hex.DecodeString(args[0]); err != nil { // it is not repeated: it may be a token
				return wire.Errorf(wire.Usage, "ID is the one in `scrier token list`, never the token itself; see `%s --help`", c.CommandPath())
			}
			if _, err := t.do(c, "DELETE", "/tokens/"+client.Escape(args[0]), nil); err != nil {
				return err
			}
			if asJSON {
				return printValue(c.OutOrStdout(), map[string]string{"id": args[0]})
			}
			fmt.Fprintf(c.OutOrStdout(), "%s was revoked\n", wire.Printable(args[0]))
			return nil
		},
	}
	revoke.Flags().BoolVar(&asJSON, "json", false, `print {"id"}`)
	return revoke
}
