package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"scrier/client"
	"scrier/wire"
)

func sessionsCommand() *cobra.Command {
	var t target
	c := group(&cobra.Command{Use: "sessions", Short: "List and end sessions"})
	t.flags(c)

	c.AddCommand(listSessions(&t), killSession(&t))
	return c
}

// sessionRow is what tables and questions show of a session.
type sessionRow struct {
	ID, Operator, Login, Kind, State, Reason, Detail string
	Envoy                                            string `json:"envoy_name"`
	EnvoyID                                          string `json:"envoy_id"`
	Created                                          time.Time
	Sent, Received                                   uint64
	Attached                                         bool
	Watchers                                         []string
}

// sessionColumns are what a list of sessions can show.
var sessionColumns = []column[sessionRow]{
	{name: "id", cell: func(s sessionRow) string { return s.ID }},
	{name: "operator", cell: func(s sessionRow) string { return s.Operator }},
	{name: "envoy", cell: func(s sessionRow) string { return s.Envoy }},
	{name: "login", cell: func(s sessionRow) string { return s.Login }},
	{name: "kind", cell: func(s sessionRow) string { return s.Kind }},
	{name: "state", cell: func(s sessionRow) string { return s.State }},
	{name: "reason", cell: func(s sessionRow) string { return s.Reason }},
	{name: "begun", cell: func(s sessionRow) string { return ago(s.Created) }, compare: byTime(func(s sessionRow) time.Time { return s.Created }), still: quiet[sessionRow]},
	{name: "sent", cell: func(s sessionRow) string { return size(s.Sent) }, compare: byNumber(func(s sessionRow) uint64 { return s.Sent }), still: quiet[sessionRow]},
	{name: "received", cell: func(s sessionRow) string { return size(s.Received) }, compare: byNumber(func(s sessionRow) uint64 { return s.Received }), still: quiet[sessionRow]},
	{name: "created", cell: func(s sessionRow) string { return client.Stamp(s.Created) }, compare: byTime(func(s sessionRow) time.Time { return s.Created }), more: true},
	{name: "attached", cell: func(s sessionRow) string { return map[bool]string{true: "yes", false: "no"}[s.Attached] }, more: true},
	{name: "watchers", cell: func(s sessionRow) string { return strings.Join(s.Watchers, " ") }, more: true},
	{name: "envoy-id", cell: func(s sessionRow) string { return s.EnvoyID }, more: true},
	{name: "detail", cell: func(s sessionRow) string { return s.Detail }, more: true},
}

func listSessions(t *target) *cobra.Command {
	l := listing[sessionRow]{columns: sessionColumns}
	var all, follow bool
	c := &cobra.Command{
		Use:   "list [--all] [--sort COLUMN[-]] [--columns A,B,C] [--watch] [--json]",
		Short: "List the open sessions, or the last 1,000 of all",
		Long: `List the open sessions, or with --all the last 1,000, newest first.

` + watchHelp + `
What changes all the time (begun, sent, received) is no change for that. A session that has ended is gone; with --all it
stays, and is changed.
` + exitHelp("0    listed\n130  --watch was ended by Ctrl-C", wire.Unauthenticated, wire.Expired, wire.Forbidden, wire.RelayUnreachable),
		Example: `  scrier sessions list --sort received-
  scrier sessions list --all --columns created,operator,envoy,login,reason
  scrier sessions list --watch`,
		Args: exact(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := l.prepare(); err != nil {
				return err
			}
			path := "/sessions"
			if all {
				path += "?all=true"
			}
			if follow {
				w := watcher[sessionRow]{listing: &l, target: t, path: path, event: "session", id: func(s sessionRow) string { return s.ID }}
				if !all {
					w.over = func(s sessionRow) bool { return s.State == "closed" }
				}
				return w.watch(c)
			}
			data, err := t.do(c, "GET", path, nil)
			if err != nil {
				return err
			}
			return l.print(c, data, func() {
				fmt.Fprintln(c.ErrOrStderr(), "No sessions. `scrier ssh ENVOY` opens one; --all lists those that have ended.")
			})
		},
	}
	c.Flags().BoolVar(&all, "all", false, "also those that have ended")
	l.flags(c)
	c.Flags().BoolVar(&follow, "watch", false, "go on, and show what changes")
	return c
}

// name tells one session from another to a person.
func (s sessionRow) name() string {
	who := s.Operator + " on " + s.Envoy
	if s.Login != "" {
		who += " as " + s.Login
	}
	return who + " (" + s.Kind + ", begun " + ago(s.Created) + ")"
}

// openSessions are those that can still be ended.
func openSessions(c *cobra.Command, r *client.Relay) ([]sessionRow, error) {
	data, err := r.Do(c.Context(), "GET", "/sessions", nil)
	if err != nil {
		return nil, interrupted(c.Context(), err)
	}
	all, err := decode[[]sessionRow](data)
	return slices.DeleteFunc(all, func(s sessionRow) bool { return s.State == "closing" || s.State == "closed" }), err
}

func killSession(t *target) *cobra.Command {
	var sure consent
	var asJSON bool
	c := &cobra.Command{
		Use:   "kill ID [--yes] [--json]",
		Short: "End a session",
		Long: `End an open session. Its operator is told. ID is the session's, as "scrier sessions list" has it, or the
beginning of one that only one open session has: then the command says which session that is, and asks.
` + exitHelp("0    ended", wire.BadRequest, wire.NotFound, wire.Forbidden, wire.Cancelled, wire.RelayUnreachable, wire.AuditUnavailable),
		Example: `  scrier sessions kill 01a20943-d6c6-7e7a-9f1b-f1e52f739cbb
  scrier sessions kill 01a20943 --yes`,
		Args: exact(1, "a session's ID"),
		RunE: func(c *cobra.Command, args []string) error {
			id := strings.ToLower(args[0])
			_, err := wire.ParseSessionID(id)
			whole := err == nil
			if !whole {
				if strings.Trim(id, "0123456789abcdef-") != "" {
					return wire.Errorf(wire.BadRequest, "%q is not a session's id, nor the beginning of one", args[0]).Advise("`scrier sessions list` has the ids")
				}
				if err := sure.possible(c); err != nil {
					return err
				}
			}
			r, err := t.dial(c.Context())
			if err != nil {
				return err
			}
			defer r.Close()
			if !whole {
				s, err := sessionLike(c, r, id)
				if err != nil {
					return err
				}
				id = s.ID
				if !sure.yes {
					if err := sure.ask(c, []string{id + ": " + s.name()}, "End this session?", "the session goes on"); err != nil {
						return err
					}
				}
			}
			if _, err := r.Do(c.Context(), "DELETE", "/sessions/"+client.Escape(id), nil); err != nil {
				return interrupted(c.Context(), err)
			}
			if asJSON {
				return printValue(c.OutOrStdout(), map[string]string{"id": id})
			}
			fmt.Fprintf(c.OutOrStdout(), "%s was ended\n", wire.Printable(id))
			return nil
		},
	}
	sure.flag(c)
	c.Flags().BoolVar(&asJSON, "json", false, `print {"id"}`)
	return c
}

// maxLike is how many sessions an error lists.
const maxLike = 10

// sessionLike is the one open session whose id begins so.
func sessionLike(c *cobra.Command, r *client.Relay, prefix string) (sessionRow, error) {
	all, err := openSessions(c, r)
	if err != nil {
		return sessionRow{}, err
	}
	found := slices.DeleteFunc(all, func(s sessionRow) bool { return !strings.HasPrefix(s.ID, prefix) })
	switch len(found) {
	case 0:
		return sessionRow{}, wire.Errorf(wire.NotFound, "no open session has an id that begins with %q", prefix).Advise("`scrier sessions list` has the ids")
	case 1:
		return found[0], nil
	}
	var names []string
	for _, s := range found[:min(len(found), maxLike)] {
		names = append(names, s.ID+", "+s.name())
	}
	if n := len(found) - len(names); n > 0 {
		names = append(names, fmt.Sprintf("and %d more", n))
	}
	return sessionRow{}, wire.Errorf(wire.BadRequest, "%q fits %d sessions: %s", prefix, len(found), strings.Join(names, "; ")).Advise("give more of the id")
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
