//go:build !agentonly

package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"scrier/wire"
)

const fleetJSON = `[
 {"id":"aaaaaaaa-0000-4000-8000-000000000001","hostname":"web2","state":"online","last_seen":"2026-11-23T16:00:00Z","labels":{"env":"prod"},"facts":{"load":900,"disk":5},"new":1},
 {"id":"aaaaaaaa-0000-4000-8000-000000000002","hostname":"db1","state":"offline","last_seen":"2026-11-23T17:00:00Z","labels":{"env":"test"},"facts":{"load":1000,"disk":40}},
 {"id":"aaaaaaaa-0000-4000-8000-000000000003","hostname":"web1","state":"online","last_seen":"2026-11-23T15:00:00Z","labels":{"env":"prod","role":"db"},"facts":{"load":7,"disk":5}}
]`

// show lists the fleet with flags.
func showFleet(t *testing.T, flags ...string) (out string, err error) {
	t.Helper()
	l := listing[envoy]{columns: envoyColumns, labels: func(e envoy) map[string]string { return e.Labels }}
	c := &cobra.Command{Use: "list", SilenceErrors: true, SilenceUsage: true, RunE: func(c *cobra.Command, _ []string) error {
		if err := l.prepare(); err != nil {
			return err
		}
		return l.print(c, json.RawMessage(fleetJSON), nil)
	}}
	l.flags(c)
	var b bytes.Buffer
	c.SetOut(&b)
	c.SetErr(&b)
	c.SetArgs(flags)
	err = c.Execute()
	return b.String(), err
}

func TestListing(t *testing.T) {
	names := func(out string) string {
		var got []string
		for _, l := range strings.Split(strings.TrimSpace(out), "\n")[1:] {
			got = append(got, strings.Fields(l)[0])
		}
		return strings.Join(got, " ")
	}
	for flags, want := range map[string]string{
		"":                                "web2 db1 web1",
		"--sort hostname":                 "db1 web1 web2",
		"--sort hostname-":                "web2 web1 db1",
		"--sort load":                     "web1 web2 db1", // as numbers
		"--sort LAST-SEEN-":               "db1 web2 web1",
		"--sort disk":                     "web2 web1 db1", // equal ones stay as they were
		"--label env=prod":                "web2 web1",
		"--label env=prod --label !role":  "web2",
		"--label role!=db --sort load-":   "db1 web2",
		"--columns hostname,load":         "web2 db1 web1",
		"--columns hostname --sort state": "db1 web2 web1",
	} {
		out, err := showFleet(t, strings.Fields(flags)...)
		if err != nil || names(out) != want {
			t.Errorf("%s: %v\n%s", flags, err, out)
		}
	}
	out, err := showFleet(t, "--columns", "full-id, Hostname,last-seen")
	if err != nil || !strings.HasPrefix(out, "FULL ID                               HOSTNAME  LAST SEEN\naaaaaaaa-0000-4000-8000-000000000001  web2      ") {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err = showFleet(t, "--label", "env=none"); err != nil || out != "None of 3 rows has these labels.\n" {
		t.Errorf("%v\n%s", err, out)
	}
}

// JSON is what the relay gives, all of it, in UTC.
func TestListingJSON(t *testing.T) {
	out, err := showFleet(t, "--json", "--sort", "hostname-", "--label", "env=prod")
	if err != nil {
		t.Fatal(err)
	}
	var got []map[string]any
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0]["hostname"] != "web2" || got[0]["new"] != 1.0 || got[0]["last_seen"] != "2026-11-23T16:00:00Z" || got[1]["hostname"] != "web1" {
		t.Errorf("%v", got)
	}
	if out, err = showFleet(t, "--json", "--label", "env=none"); err != nil || strings.TrimSpace(out) != "[]" {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestListingRefuses(t *testing.T) {
	for flags, want := range map[string]string{
		"--columns hostname,nmae":          `--columns: there is no column "nmae"; there are hostname, id, state`,
		"--columns ,":                      `there is no column ""`,
		"--sort hostname--":                `--sort: there is no column "hostname-"`,
		"--sort -":                         `there is no column ""`,
		"--label =":                        `KEY!=VALUE`,
		"--columns hostname --json":        "give one of the two",
		"--sort hostname --label env=a,b!": "KEY",
	} {
		_, err := showFleet(t, strings.Fields(flags)...)
		if wire.CodeOf(err) != wire.Usage || !strings.Contains(wire.DetailOf(err), want) {
			t.Errorf("%s: %v", flags, err)
		}
	}
}
