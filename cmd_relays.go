//go:build !agentonly

package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"scrier/client"
	"scrier/wire"
)

func relaysCommand() *cobra.Command {
	c := group(&cobra.Command{
		Use: "relays", Short: "List the relays you know, and choose one",
		Long: `The relays are those that you have logged in to on this machine. Commands go to the current one, which is
that of the last login until another one is chosen, or to the one that --relay names.`,
	})

	var asJSON bool
	list := &cobra.Command{
		Use:   "list [--json]",
		Short: "List the relays you know",
		Long: `List the relays you have logged in to on this machine: which is the current one (*), who you are there, until
when the login is good, and the relay's fingerprint. Nothing is asked of the relays; see "scrier status".
` + exitHelp("0    listed", wire.BadConfig),
		Args: exact(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			home, err := client.FindHome()
			if err != nil {
				return err
			}
			relays, err := home.Relays()
			if err != nil {
				return err
			}
			if asJSON {
				return printValue(c.OutOrStdout(), relayViews(relays))
			}
			if len(relays) == 0 {
				fmt.Fprintln(c.ErrOrStderr(), "No relays yet. `scrier login HOST:PORT` logs in to one.")
				return nil
			}
			var rows [][]string
			for _, r := range relays {
				mark := ""
				if r.Current {
					mark = "*"
				}
				rows = append(rows, []string{mark, r.Relay, r.Username, r.Role, loginEnds(r.Username, r.Expires), r.Pin})
			}
			return table(c.OutOrStdout(), []string{"CURRENT", "RELAY", "OPERATOR", "ROLE", "LOGIN ENDS", "FINGERPRINT"}, rows)
		},
	}
	list.Flags().BoolVar(&asJSON, "json", false, "print JSON")

	var useJSON bool
	use := &cobra.Command{
		Use:   "use RELAY [--json]",
		Short: "Choose the relay that commands go to",
		Long: `Choose the relay that commands go to. RELAY is one of "scrier relays list" at which there is a login.
` + exitHelp("0    chosen", wire.BadRequest, wire.Unauthenticated, wire.BadConfig),
		Example: `  scrier relays use relay.example.com
  scrier relays use 192.0.2.7:443`,
		Args: exact(1, "one RELAY"),
		RunE: func(c *cobra.Command, args []string) error {
			home, err := client.FindHome()
			if err != nil {
				return err
			}
			r, err := home.Use(args[0])
			if err != nil {
				return err
			}
			if useJSON {
				return printValue(c.OutOrStdout(), relayViewOf(r))
			}
			end := "until " + client.Stamp(r.Expires)
			if !r.LoggedIn(time.Now()) {
				end = "but the login has ended; `scrier login` renews it"
			}
			fmt.Fprintf(c.OutOrStdout(), "commands go to %s now, where you are %s (%s) %s\n", wire.Printable(r.Relay), wire.Printable(r.Username), wire.Printable(r.Role), end)
			return nil
		},
	}
	use.Flags().BoolVar(&useJSON, "json", false, "print JSON")
	c.AddCommand(list, use)
	return c
}

// relayView is a known relay in JSON.
type relayView struct {
	Relay       string    `json:"relay"` // host:port
	Current     bool      `json:"current"`
	State       string    `json:"state"` // of the login: logged_in, expired or logged_out
	Username    string    `json:"username,omitempty"`
	Role        string    `json:"role,omitempty"`
	Expires     time.Time `json:"expires,omitzero"`
	Fingerprint string    `json:"fingerprint"`
	Cluster     string    `json:"cluster,omitempty"`
}

func relayViewOf(r client.KnownRelay) relayView {
	v := relayView{
		Relay: r.Relay, Current: r.Current, State: "logged_out", Username: r.Username, Role: r.Role, Expires: r.Expires.UTC(),
		Fingerprint: r.Pin, Cluster: r.Cluster,
	}
	switch {
	case r.LoggedIn(time.Now()):
		v.State = "logged_in"
	case r.Username != "":
		v.State = "expired"
	}
	return v
}

func relayViews(relays []client.KnownRelay) []relayView {
	out := []relayView{}
	for _, r := range relays {
		out = append(out, relayViewOf(r))
	}
	return out
}

// loginEnds says until when a login is good, or that it has ended, or that there is none.
func loginEnds(username string, expires time.Time) string {
	switch {
	case username == "":
		return "logged out"
	case !time.Now().Before(expires):
		return "ended " + ago(expires)
	}
	return client.Stamp(expires)
}

// stillLoggedIn are the relays at which there is a login that has not ended, and whether one of them is the current one.
func stillLoggedIn(home client.Home) (relays []string, current bool, err error) {
	all, err := home.Relays()
	for _, r := range all {
		if r.LoggedIn(time.Now()) {
			relays = append(relays, r.Relay)
			current = current || r.Current
		}
	}
	return relays, current, err
}

// tellOthers says at which relays one is logged in still, and how to go on with them.
func tellOthers(c *cobra.Command, home client.Home) error {
	relays, current, err := stillLoggedIn(home)
	if err != nil || len(relays) == 0 {
		return err
	}
	how := ""
	if !current {
		how = ": " + client.Choose(relays)
	}
	fmt.Fprintf(c.OutOrStdout(), "You are still logged in at %s%s. `scrier logout --all` logs out everywhere.\n", wire.Printable(strings.Join(relays, ", ")), wire.Printable(how))
	return nil
}
