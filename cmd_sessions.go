//go:build !agentonly

package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"scrier/client"
	"scrier/wire"
)

func sessionsCommand() *cobra.Command {
	var t target
	c := group(&cobra.Command{Use: "sessions", Short: "List, show and end sessions"})
	t.flags(c)

	c.AddCommand(listSessions(&t), showSession(&t), killSession(&t))
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
` + exitHelp("0    listed\n120  --watch was ended by Ctrl-C", wire.Unauthenticated, wire.Expired, wire.Forbidden, wire.RelayUnreachable),
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

// sessionChannels are what the relay tells of a session's channels.
type sessionChannels struct {
	Channels []sessionChannel
	More     bool
}

// sessionChannel is one of them.
type sessionChannel struct {
	Number         uint32
	Open           bool
	Begun, Ended   time.Time
	What           map[string]string
	Reason, Signal string
	Status         *int
	Sent, Received uint64
	Files          []struct{ What map[string]string }
}

// about says in a few words what a channel was for.
func (c sessionChannel) about() string {
	for _, key := range []string{"command", "subsystem", "target"} {
		if v := c.What[key]; v != "" {
			return v
		}
	}
	return ""
}

// result says how a channel ended.
func (c sessionChannel) result() string {
	switch {
	case c.Open:
		return "open"
	case c.Reason == "exit" && c.Signal != "":
		return "SIG" + c.Signal
	case c.Reason == "exit" && c.Status != nil:
		return fmt.Sprintf("exit %d", *c.Status)
	}
	return c.Reason
}

// aboutFile says what became of a file: "uploaded 12B /srv/a", "renamed /a to /b".
func aboutFile(what map[string]string) string {
	var words []string
	for _, direction := range []string{"upload", "download"} {
		if n := what[direction]; n != "" {
			words = append(words, direction, n+" bytes", what["path"])
			if sum := what[direction+"_sha256"]; sum != "" {
				words = append(words, "sha256", sum)
			}
		}
	}
	if change := what["change"]; change != "" {
		words = append(words, change, what["path"])
		if to := what["to"]; to != "" {
			words = append(words, "to", to)
		}
	}
	if len(words) == 0 {
		words = append(words, "open", what["path"])
	}
	for _, key := range []string{"attributes", "status", "refused"} {
		if v := what[key]; v != "" {
			words = append(words, "("+key+": "+v+")")
		}
	}
	return strings.Join(words, " ")
}

func showSession(t *target) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "show ID [--json]",
		Short: "Show a session, open or closed, and what was done in it",
		Long: `Show a session, open or closed, and its channels: shells, commands, copies of files with each file, forwards.
Who may not see the audit log sees their own sessions. ID is the session's, or the beginning of one that only one open
session has.
` + exitHelp("0    shown", wire.BadRequest, wire.NotFound, wire.Forbidden, wire.RelayUnreachable),
		Example: `  scrier sessions show 01a20943-d6c6-7e7a-9f1b-f1e52f739cbb`,
		Args:    exact(1, "a session's ID"),
		RunE: func(c *cobra.Command, args []string) error {
			r, err := t.dial(c.Context())
			if err != nil {
				return err
			}
			defer r.Close()
			id := strings.ToLower(args[0])
			if _, err := wire.ParseSessionID(id); err != nil {
				if strings.Trim(id, "0123456789abcdef-") != "" {
					return wire.Errorf(wire.BadRequest, "%q is not a session's id, nor the beginning of one", args[0]).Advise("`scrier sessions list --all` has the ids")
				}
				s, err := sessionLike(c, r, id)
				if err != nil {
					return err
				}
				id = s.ID
			}
			data, err := r.Do(c.Context(), "GET", "/sessions/"+client.Escape(id), nil)
			if err != nil {
				return interrupted(c.Context(), err)
			}
			more, err := r.Do(c.Context(), "GET", "/sessions/"+client.Escape(id)+"/channels", nil)
			if err != nil {
				return interrupted(c.Context(), err)
			}
			if asJSON {
				var whole map[string]any
				if whole, err = decode[map[string]any](data); err != nil {
					return err
				}
				channels, err := decode[map[string]any](more)
				if err != nil {
					return err
				}
				whole["channels"], whole["more"] = channels["channels"], channels["more"]
				return printValue(c.OutOrStdout(), whole)
			}
			s, err := decode[sessionRow](data)
			if err != nil {
				return err
			}
			channels, err := decode[sessionChannels](more)
			if err != nil {
				return err
			}
			return s.show(c.OutOrStdout(), channels)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the session with its channels")
	return c
}

// show prints a session and its channels.
func (s sessionRow) show(w io.Writer, all sessionChannels) error {
	state := s.State
	if s.Reason != "" {
		state += " (" + strings.TrimSuffix(s.Reason+": "+s.Detail, ": ") + ")"
	}
	if err := table(w, []string{"id", s.ID}, [][]string{
		{"operator", s.Operator}, {"envoy", s.Envoy}, {"login", s.Login}, {"kind", s.Kind}, {"state", state},
		{"begun", when(s.Created)}, {"sent", size(s.Sent)}, {"received", size(s.Received)}, {"watchers", strings.Join(s.Watchers, " ")},
	}); err != nil {
		return err
	}
	var rows [][]string
	for _, c := range all.Channels {
		rows = append(rows, []string{fmt.Sprint(c.Number), c.What["channel"], client.Stamp(c.Begun), size(c.Sent), size(c.Received), c.result(), c.about()})
	}
	fmt.Fprintln(w)
	if err := table(w, []string{"CHANNEL", "WHAT", "BEGUN", "SENT", "RECEIVED", "RESULT", "OF"}, rows); err != nil {
		return err
	}
	for _, c := range all.Channels {
		for _, f := range c.Files {
			fmt.Fprintf(w, "%d: %s\n", c.Number, wire.Printable(aboutFile(f.What)))
		}
	}
	if all.More {
		fmt.Fprintln(w, "There is more than this: see `scrier audit list --session`.")
	}
	return nil
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
