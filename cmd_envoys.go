//go:build !agentonly

package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"scrier/client"
	"scrier/wire"
)

// envoy is what the tables show of one.
type envoy struct {
	ID, Hostname, State, Version string
	LastSeen                     time.Time `json:"last_seen"`
	Enrolled, Revoked            time.Time
	Labels                       map[string]string
	Facts                        wire.Facts
	HostKeys                     []string `json:"host_keys"`
	Transport                    string
	TransportReason              string `json:"transport_reason"`
	Warnings                     []string
	Follows                      bool
	Quarantine                   *quarantine
}

// quarantine is what happened to an envoy whose identity two machines have.
type quarantine struct {
	Since         time.Time
	Why           string
	Counts, Other struct {
		Generation  uint64
		Source, Key string
		Time        time.Time
	}
}

func envoysCommand() *cobra.Command {
	var t target
	c := group(&cobra.Command{
		Use: "envoys", Short: "List and manage the enrolled machines",
		Long: `Envoys are the enrolled machines. ENVOY is a hostname, an id, or a prefix of one that only one
envoy has; if several match, they are listed, and nothing is guessed.`,
	})
	t.flags(c)

	var showJSON bool
	show := &cobra.Command{
		Use:   "show ENVOY [--json]",
		Short: "Show all that is known of an envoy",
		Long:  "Show all that is known of an envoy.\n" + exitHelp("0    shown", wire.Unauthenticated, wire.Expired, wire.NoSuchEnvoy, wire.AmbiguousEnvoy, wire.Forbidden, wire.RelayUnreachable),
		Args:  exact(1, "one ENVOY"),
		RunE: func(c *cobra.Command, args []string) error {
			data, err := t.do(c, "GET", "/envoys/"+client.Escape(args[0]), nil)
			if err != nil {
				return err
			}
			if showJSON {
				return printJSON(c.OutOrStdout(), data)
			}
			e, err := decode[envoy](data)
			if err != nil {
				return err
			}
			return showEnvoy(c.OutOrStdout(), e)
		},
	}
	show.Flags().BoolVar(&showJSON, "json", false, "print JSON")

	revoke := endEnvoy(&t, "revoke", "Revoke an envoy's identity for good", `Revoke an envoy's identity for good: its connection and its sessions end at once, and its
certificates count no more. To use the machine again, enrol it again.`, "revoked",
		func(name string) (string, string) { return "POST", "/envoys/" + client.Escape(name) + "/revoke" })
	remove := endEnvoy(&t, "remove", "Revoke an envoy and forget it", `Revoke an envoy and take it off the list. Sessions and audit records of it stay.`, "removed",
		func(name string) (string, string) { return "DELETE", "/envoys/" + client.Escape(name) })
	c.AddCommand(listEnvoys(&t), show, renameEnvoy(&t), releaseEnvoy(&t), revoke, remove)
	return c
}

func renameEnvoy(t *target) *cobra.Command {
	var follow, asJSON bool
	rename := &cobra.Command{
		Use:   "rename ENVOY NAME | ENVOY --follow [--json]",
		Short: "Give an envoy a name",
		Long: `Give an envoy a name, which stays whatever hostname its machine has. An envoy that was enrolled without a
name follows the hostname that its agent reports, unless another envoy has that name; --follow has this one do so.
` + exitHelp("0    renamed", wire.BadRequest, wire.ProofRequired, wire.Unauthenticated, wire.Expired, wire.NoSuchEnvoy, wire.AmbiguousEnvoy, wire.Conflict, wire.Forbidden, wire.RelayUnreachable, wire.AuditUnavailable),
		Example: `  scrier envoys rename 638d3cb9 web1
  scrier envoys rename web1 --follow`,
		Args: func(c *cobra.Command, args []string) error {
			if follow {
				return exact(1, "one ENVOY with --follow")(c, args)
			}
			return exact(2, "an ENVOY and its new NAME")(c, args)
		},
		RunE: func(c *cobra.Command, args []string) error {
			in := map[string]any{"follow": true}
			if !follow {
				in = map[string]any{"name": args[1]}
			}
			data, err := t.do(c, "POST", "/envoys/"+client.Escape(args[0])+"/rename", in)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), data)
			}
			e, err := decode[envoy](data)
			if err != nil {
				return err
			}
			how := ""
			if e.Follows {
				how = ", and follows its machine's hostname"
			}
			fmt.Fprintf(c.OutOrStdout(), "%s is called %s now%s\n", wire.Printable(e.ID), wire.Printable(e.Hostname), how)
			return nil
		},
	}
	rename.Flags().BoolVar(&follow, "follow", false, "follow the hostname that the agent reports")
	rename.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return rename
}

func releaseEnvoy(t *target) *cobra.Command {
	var sure consent
	var asJSON bool
	release := &cobra.Command{
		Use:   "release ENVOY [--yes] [--json]",
		Short: "Release an envoy from quarantine",
		Long: `Release an envoy from quarantine. It got there because two machines have used its identity, so one of
them is a copy. The command shows what happened and from which addresses, and asks. After a release the
newest certificate counts: the machine that has it is served again, and every other one is refused and has
to be enrolled by itself. If the newest is not with the right machine, or if you do not know, revoke the
envoy and enrol the machine again: ` + "`scrier envoys revoke ENVOY`" + `.
` + exitHelp("0    released", wire.Unauthenticated, wire.Expired, wire.NoSuchEnvoy, wire.AmbiguousEnvoy, wire.Conflict, wire.Forbidden, wire.Cancelled, wire.RelayUnreachable, wire.AuditUnavailable),
		Args: exact(1, "one ENVOY"),
		RunE: func(c *cobra.Command, args []string) error {
			if err := sure.possible(c); err != nil {
				return err
			}
			r, err := t.dial(c.Context())
			if err != nil {
				return err
			}
			defer r.Close()
			path := "/envoys/" + client.Escape(args[0])
			var seen any // nothing: whatever it is in quarantine for
			if !sure.yes {
				data, err := r.Do(c.Context(), "GET", path+"?strict=true", nil)
				if err != nil {
					return interrupted(c.Context(), err)
				}
				e, err := decode[envoy](data)
				if err != nil {
					return err
				}
				if err := confirmRelease(c, sure, e); err != nil {
					return err
				}
				path, seen = "/envoys/"+client.Escape(e.ID), map[string]time.Time{"since": e.Quarantine.Since} // what was shown
			}
			data, err := r.Do(c.Context(), "POST", path+"/release", seen)
			if err != nil {
				return interrupted(c.Context(), err)
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), data)
			}
			e, err := decode[envoy](data)
			if err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "%s (%s) was released\n", wire.Printable(e.Hostname), wire.Printable(e.ID))
			return nil
		},
	}
	sure.flag(release)
	release.Flags().BoolVar(&asJSON, "json", false, "print JSON: the envoy as it was")
	return release
}

// confirmRelease tells what happened, and asks.
func confirmRelease(c *cobra.Command, sure consent, e envoy) error {
	q := e.Quarantine
	if q == nil {
		return wire.Errorf(wire.Conflict, "envoy %s is not in quarantine", e.Hostname).
			Advise("there is nothing to release; `scrier envoys show %s` says how it is", pasted(e.Hostname, "ENVOY"))
	}
	lines := []string{e.Hostname + " (" + e.ID + ") is in quarantine since " + when(q.Since) + ": " + q.Why + "."}
	for _, line := range parties(q) {
		lines = append(lines, "  "+line[0]+": "+line[1])
	}
	return sure.ask(c, lines, "The newest certificate will count. Is the machine that has it the right one, and is the copy gone?", e.Hostname+" stays in quarantine")
}

// parties are the two certificates of a quarantine, as rows of a table.
func parties(q *quarantine) [][]string {
	line := func(generation uint64, source, key string, at time.Time) string {
		out := "generation " + strconv.FormatUint(generation, 10) + ", from " + cmp.Or(source, "an unknown address")
		if !at.IsZero() {
			out += ", " + when(at)
		}
		return strings.TrimSuffix(out+", key "+key, ", key ")
	}
	return [][]string{
		{"newest certificate", line(q.Counts.Generation, q.Counts.Source, q.Counts.Key, q.Counts.Time)},
		{"used beside it", line(q.Other.Generation, q.Other.Source, q.Other.Key, q.Other.Time)},
	}
}

func endEnvoy(t *target, name, short, long, done string, route func(string) (method, path string)) *cobra.Command {
	var sure consent
	var asJSON bool
	c := &cobra.Command{
		Use:   name + " ENVOY [--yes] [--json]",
		Short: short,
		Long: long + `

It says which envoy that is and what ends with it, and asks.
` + exitHelp("0    "+done, wire.Unauthenticated, wire.Expired, wire.NoSuchEnvoy, wire.AmbiguousEnvoy, wire.Forbidden, wire.Cancelled, wire.RelayUnreachable, wire.AuditUnavailable),
		Example: `  scrier envoys ` + name + ` web1
  scrier envoys ` + name + ` 638d3cb9 --yes`,
		Args: exact(1, "one ENVOY"),
		RunE: func(c *cobra.Command, args []string) error {
			if err := sure.possible(c); err != nil {
				return err
			}
			r, err := t.dial(c.Context())
			if err != nil {
				return err
			}
			defer r.Close()
			which := args[0]
			if !sure.yes {
				if which, err = confirmEnd(c, r, sure, which, name); err != nil {
					return err
				}
			}
			method, path := route(which)
			data, err := r.Do(c.Context(), method, path, nil)
			if err != nil {
				return interrupted(c.Context(), err)
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), data)
			}
			e, err := decode[envoy](data)
			if err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "%s (%s) was %s\n", wire.Printable(e.Hostname), wire.Printable(e.ID), done)
			return nil
		},
	}
	sure.flag(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON: the envoy as it was")
	return c
}

// confirmEnd says what ends with an envoy, and asks. The id is that of the envoy that was shown: a name may be another
// one's by the time of the answer.
func confirmEnd(c *cobra.Command, r *client.Relay, sure consent, which, name string) (id string, err error) {
	data, err := r.Do(c.Context(), "GET", "/envoys/"+client.Escape(which)+"?strict=true", nil)
	if err != nil {
		return "", interrupted(c.Context(), err)
	}
	e, err := decode[envoy](data)
	if err != nil {
		return "", err
	}
	sessions, err := ending(c, r, "on it", func(s sessionRow) bool { return s.EnvoyID == e.ID })
	if err != nil {
		return "", err
	}
	lines := []string{e.Hostname + " (" + e.ID + ") is " + e.State + ", last seen " + ago(e.LastSeen) + ".", sessions}
	if e.State != "revoked" {
		lines = append(lines, "Its identity counts no more then: to use the machine again, enrol it again.")
	}
	return e.ID, sure.ask(c, lines, strings.ToUpper(name[:1])+name[1:]+" "+e.Hostname+"?", e.Hostname+" stays as it is")
}

// envoyColumns are what a list of envoys can show.
var envoyColumns = []column[envoy]{
	{name: "hostname", cell: func(e envoy) string { return e.Hostname }},
	{name: "id", cell: func(e envoy) string { return e.ID[:min(8, len(e.ID))] }},
	{name: "state", cell: func(e envoy) string { return e.State }},
	{name: "last-seen", cell: func(e envoy) string { return ago(e.LastSeen) }, compare: byTime(func(e envoy) time.Time { return e.LastSeen }), still: quiet[envoy]},
	{name: "os", cell: func(e envoy) string { return e.Facts.OS }},
	{name: "load", cell: func(e envoy) string { return load(e.Facts) }, compare: byNumber(func(e envoy) uint32 { return e.Facts.Load }), still: quiet[envoy]},
	{name: "disk", cell: func(e envoy) string { return disk(e.Facts) }, compare: byNumber(func(e envoy) uint8 { return e.Facts.Disk }), still: quiet[envoy]},
	{name: "transport", cell: road},
	{name: "labels", cell: func(e envoy) string { return labels(e.Labels) }},
	{name: "warnings", cell: func(e envoy) string { return strings.Join(e.Warnings, "; ") }, still: stillWarnings},
	{name: "full-id", cell: func(e envoy) string { return e.ID }, more: true},
	{name: "version", cell: func(e envoy) string { return e.Facts.Version }, more: true},
	{name: "arch", cell: func(e envoy) string { return e.Facts.Arch }, more: true},
	{name: "enrolled", cell: func(e envoy) string { return client.Stamp(e.Enrolled) }, compare: byTime(func(e envoy) time.Time { return e.Enrolled }), more: true},
	{name: "users", cell: func(e envoy) string { return strings.Join(e.Facts.Users, " ") }, more: true},
	{name: "console", cell: func(e envoy) string { return e.Facts.Console }, more: true},
}

// stillWarnings are the warnings but for the one that says since when an envoy was not seen.
func stillWarnings(e envoy) string {
	return strings.Join(slices.DeleteFunc(slices.Clone(e.Warnings), func(w string) bool { return strings.HasPrefix(w, "last seen ") }), "; ")
}

func listEnvoys(t *target) *cobra.Command {
	l := listing[envoy]{columns: envoyColumns, labels: func(e envoy) map[string]string { return e.Labels }}
	var follow bool
	c := &cobra.Command{
		Use:   "list [--label k=v,k!=v] [--sort COLUMN[-]] [--columns A,B,C] [--watch] [--json]",
		Short: "List the envoys",
		Long: `List the envoys with what their agents report.

` + watchHelp + `
What changes all the time (last-seen, load, disk) is no change for that.
` + exitHelp("0    listed\n120  --watch was ended by Ctrl-C", wire.Unauthenticated, wire.Expired, wire.Forbidden, wire.RelayUnreachable),
		Example: `  scrier envoys list --label env=prod,role!=db --sort load-
  scrier envoys list --columns hostname,full-id,version
  scrier envoys list --watch --json | jq -r '.change + " " + .row.hostname'`,
		Args: exact(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := l.prepare(); err != nil {
				return err
			}
			if follow {
				w := watcher[envoy]{listing: &l, target: t, path: "/envoys", event: "envoy", gone: "envoy-gone", id: func(e envoy) string { return e.ID }}
				return w.watch(c)
			}
			data, err := t.do(c, "GET", "/envoys", nil)
			if err != nil {
				return err
			}
			return l.print(c, data, func() {
				fmt.Fprintln(c.ErrOrStderr(), "No envoys yet. Make a token with `scrier token create` and enrol a machine with it.")
			})
		},
	}
	l.flags(c)
	c.Flags().BoolVar(&follow, "watch", false, "go on, and show what changes")
	return c
}

func showEnvoy(w io.Writer, e envoy) error {
	rows := [][]string{
		{"id", e.ID}, {"state", e.State}, {"last seen", when(e.LastSeen)}, {"enrolled", when(e.Enrolled)},
	}
	if !e.Revoked.IsZero() {
		rows = append(rows, []string{"revoked", when(e.Revoked)})
	}
	if q := e.Quarantine; q != nil {
		rows = append(rows, []string{"in quarantine", when(q.Since) + ": " + q.Why})
		rows = append(rows, parties(q)...)
	}
	f := e.Facts
	rows = append(rows,
		[]string{"reported name", reportedName(e)}, []string{"os", f.OS + ", " + f.Arch}, []string{"agent", f.Version},
		[]string{"transport", road(e)},
		[]string{"uptime", wire.Rough(time.Duration(f.Uptime) * time.Second)}, []string{"load", load(f)}, []string{"root disk", disk(f)},
		[]string{"logged in", strings.Join(f.Users, " ")}, []string{"ssh server", answers(f)},
		[]string{"clock", clock(f)},
		[]string{"labels", labels(e.Labels)}, []string{"host keys", fingerprints(e.HostKeys, nil)},
		[]string{"warnings", strings.Join(e.Warnings, "; ")},
	)
	return table(w, []string{"hostname", wire.Printable(e.Hostname)}, rows)
}

// reportedName is a machine's hostname, and whether the envoy's name follows it.
func reportedName(e envoy) string {
	if e.Follows {
		return e.Facts.Hostname + " (the envoy's name follows it)"
	}
	return e.Facts.Hostname
}

// clock tells how a machine's clock is off, by the relay's.
func clock(f wire.Facts) string {
	off := time.Duration(f.Offset) * time.Millisecond
	if off < 0 {
		return (-off).String() + " ahead of the relay's"
	}
	return off.String() + " behind the relay's"
}

// road is what carries an envoy's connection, and why, if that is not QUIC.
func road(e envoy) string {
	if e.TransportReason == "" {
		return e.Transport
	}
	return e.Transport + ": " + e.TransportReason
}

func answers(f wire.Facts) string {
	if !f.SSH {
		return "does not answer"
	}
	return "answers: " + f.SSHServer
}

func when(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return client.Stamp(t) + " (" + ago(t) + ")"
}

func load(f wire.Facts) string { return strconv.FormatFloat(float64(f.Load)/100, 'f', 2, 64) }
func disk(f wire.Facts) string { return strconv.Itoa(int(f.Disk)) + "%" }

func labels(m map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, k+"="+m[k])
	}
	return strings.Join(out, " ")
}
