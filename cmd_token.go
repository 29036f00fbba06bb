package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"scrier/wire"
)

func tokenCommand() *cobra.Command {
	var t target
	c := group(&cobra.Command{Use: "token", Short: "Make enrolment tokens for machines"})
	t.flags(c)

	var name string
	var ttl time.Duration
	var asJSON bool
	create := &cobra.Command{
		Use:   "create [--name NAME] [--ttl 15m] [--json] [--state DIR]",
		Short: "Make a token that enrols one machine",
		Long: `Make a token that enrols one machine, once. It carries the relay's fingerprint, so that the
machine trusts nothing else. It is shown once; whoever has it can enrol a machine until it expires.
` + exitHelp("0    the token was printed", wire.BadRequest, wire.Unauthenticated, wire.Expired, wire.Forbidden, wire.RelayUnreachable, wire.AuditUnavailable),
		Example: `  scrier token create --name web1 --state /var/lib/scrier-relay
  scrier token create --ttl 1h --json | jq -r .token`,
		Args: exact(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			data, err := t.do(c, "POST", "/tokens", map[string]string{"name": name, "ttl": ttl.String()})
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), data)
			}
			v, err := decode[struct {
				Token, Fingerprint string
				Expires            time.Time
			}](data)
			if err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "%s\n", wire.Printable(v.Token))
			fmt.Fprintf(c.ErrOrStderr(), "Good once, until %s. On the machine, run this, which asks for it:\n  scrier agent enroll --relay HOST:PORT\n", v.Expires.Local().Format(time.DateTime))
			return nil
		},
	}
	create.Flags().StringVar(&name, "name", "", "the machine's `NAME` as an envoy (default: its hostname)")
	create.Flags().DurationVar(&ttl, "ttl", 15*time.Minute, "how long the token is good, at most 168h")
	create.Flags().BoolVar(&asJSON, "json", false, `print {"token", "fingerprint", "expires"}`)
	c.AddCommand(create)
	return c
}
