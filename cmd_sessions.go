package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"scrier/client"
	"scrier/wire"
)

func sessionsCommand() *cobra.Command {
	var t target
	c := group(&cobra.Command{Use: "sessions", Short: "List and end sessions"})
	t.flags(c)

	var all, asJSON bool
	list := &cobra.Command{
		Use:   "list [--all] [--json]",
		Short: "List the open sessions, or the last 1,000 of all",
		Long:  "List the open sessions, or with --all the last 1,000, newest first.\n" + exitHelp("0    listed", wire.Unauthenticated, wire.Expired, wire.Forbidden, wire.RelayUnreachable),
		Args:  exact(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			path := "/sessions"
			if all {
				path += "?all=true"
			}
			data, err := t.do(c, "GET", path, nil)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), data)
			}
			sessions, err := decode[[]struct {
				ID, Operator, Login, Kind, State, Reason, Detail string
				Envoy                                            string `json:"envoy_name"`
				Created                                          time.Time
				Sent, Received                                   uint64
			}](data)
			if err != nil {
				return err
			}
			var rows [][]string
			for _, s := range sessions {
				rows = append(rows, []string{s.ID, s.Operator, s.Envoy, s.Login, s.Kind, s.State, s.Reason, ago(s.Created), size(s.Sent), size(s.Received)})
			}
			if len(rows) == 0 {
				fmt.Fprintln(c.ErrOrStderr(), "No sessions. `scrier ssh ENVOY` opens one; --all lists those that have ended.")
				return nil
			}
			return table(c.OutOrStdout(), []string{"ID", "OPERATOR", "ENVOY", "LOGIN", "KIND", "STATE", "REASON", "BEGUN", "SENT", "RECEIVED"}, rows)
		},
	}
	list.Flags().BoolVar(&all, "all", false, "also those that have ended")
	list.Flags().BoolVar(&asJSON, "json", false, "print JSON")

	var killJSON bool
	kill := &cobra.Command{
		Use:   "kill ID [--json]",
		Short: "End a session",
		Long:  "End an open session. Its operator is told.\n" + exitHelp("0    ended", wire.BadRequest, wire.NotFound, wire.Forbidden, wire.RelayUnreachable, wire.AuditUnavailable),
		Args:  exact(1, "a session's ID"),
		RunE: func(c *cobra.Command, args []string) error {
			if _, err := t.do(c, "DELETE", "/sessions/"+client.Escape(args[0]), nil); err != nil {
				return err
			}
			if killJSON {
				return printValue(c.OutOrStdout(), map[string]string{"id": args[0]})
			}
			fmt.Fprintf(c.OutOrStdout(), "%s was ended\n", wire.Printable(args[0]))
			return nil
		},
	}
	kill.Flags().BoolVar(&killJSON, "json", false, `print {"id"}`)
	c.AddCommand(list, kill)
	return c
}

// size is a number of bytes in a person's unit.
func size(n uint64) string {
	const units = "KMGTP"
	if n < 1024 {
		return fmt.Sprintf("%dB", n)
	}
	f, i := float64(n)/1024, 0
	for f >= 1024 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	return fmt.Sprintf("%.1f%ciB", f, units[i])
}
