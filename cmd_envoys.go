package main

import (
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
	Warnings                     []string
}

func envoysCommand() *cobra.Command {
	var t target
	c := group(&cobra.Command{
		Use: "envoys", Short: "List and manage the enrolled machines",
		Long: `Envoys are the enrolled machines. ENVOY is a hostname, an id, or a prefix of one that only one
envoy has; several matches are listed, never guessed.`,
	})
	t.flags(c)

	var asJSON bool
	list := &cobra.Command{
		Use:   "list [--json]",
		Short: "List the envoys",
		Long:  "List the envoys with what their agents report.\n" + exitHelp("0    listed", wire.Unauthenticated, wire.Expired, wire.Forbidden, wire.RelayUnreachable),
		Args:  exact(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			data, err := t.do(c, "GET", "/envoys", nil)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), data)
			}
			envoys, err := decode[[]envoy](data)
			if err != nil {
				return err
			}
			if len(envoys) == 0 {
				fmt.Fprintln(c.ErrOrStderr(), "No envoys yet. Make a token with `scrier token create` and enrol a machine with it.")
				return nil
			}
			return listEnvoys(c.OutOrStdout(), envoys)
		},
	}
	list.Flags().BoolVar(&asJSON, "json", false, "print JSON")

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
	c.AddCommand(list, show, revoke, remove)
	return c
}

func endEnvoy(t *target, name, short, long, done string, route func(string) (method, path string)) *cobra.Command {
	return &cobra.Command{
		Use:   name + " ENVOY",
		Short: short,
		Long:  long + "\n" + exitHelp("0    "+done, wire.Unauthenticated, wire.Expired, wire.NoSuchEnvoy, wire.AmbiguousEnvoy, wire.Forbidden, wire.RelayUnreachable, wire.AuditUnavailable),
		Args:  exact(1, "one ENVOY"),
		RunE: func(c *cobra.Command, args []string) error {
			method, path := route(args[0])
			data, err := t.do(c, method, path, nil)
			if err != nil {
				return err
			}
			e, err := decode[envoy](data)
			if err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "%s (%s) was %s\n", wire.Printable(e.Hostname), wire.Printable(e.ID), done)
			return nil
		},
	}
}

func listEnvoys(w io.Writer, envoys []envoy) error {
	var rows [][]string
	for _, e := range envoys {
		rows = append(rows, []string{
			e.Hostname, e.ID[:min(8, len(e.ID))], e.State, ago(e.LastSeen), e.Facts.OS, load(e.Facts), disk(e.Facts),
			labels(e.Labels), strings.Join(e.Warnings, "; "),
		})
	}
	return table(w, []string{"HOSTNAME", "ID", "STATE", "LAST SEEN", "OS", "LOAD", "DISK", "LABELS", "WARNINGS"}, rows)
}

func showEnvoy(w io.Writer, e envoy) error {
	rows := [][]string{
		{"id", e.ID}, {"state", e.State}, {"last seen", when(e.LastSeen)}, {"enrolled", when(e.Enrolled)},
	}
	if !e.Revoked.IsZero() {
		rows = append(rows, []string{"revoked", when(e.Revoked)})
	}
	f := e.Facts
	rows = append(rows,
		[]string{"reported name", f.Hostname}, []string{"os", f.OS + ", " + f.Arch}, []string{"agent", f.Version},
		[]string{"uptime", (time.Duration(f.Uptime) * time.Second).String()}, []string{"load", load(f)}, []string{"root disk", disk(f)},
		[]string{"logged in", strings.Join(f.Users, " ")}, []string{"ssh server", answers(f)},
		[]string{"clock", clock(f)},
		[]string{"labels", labels(e.Labels)}, []string{"host keys", fingerprints(e.HostKeys, nil)},
		[]string{"warnings", strings.Join(e.Warnings, "; ")},
	)
	return table(w, []string{"hostname", wire.Printable(e.Hostname)}, rows)
}

// clock tells how a machine's clock is off, by the relay's.
func clock(f wire.Facts) string {
	off := time.Duration(f.Offset) * time.Millisecond
	if off < 0 {
		return (-off).String() + " ahead of the relay's"
	}
	return off.String() + " behind the relay's"
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
	return t.Local().Format(time.DateTime) + " (" + ago(t) + ")"
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
