//go:build !agentonly

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"scrier/wire"
)

// watching is a watcher without a relay.
func watching(t *testing.T, asJSON bool, picks ...string) (w *watcher[envoy], out *bytes.Buffer) {
	t.Helper()
	l := &listing[envoy]{columns: envoyColumns, labels: func(e envoy) map[string]string { return e.Labels }, json: asJSON, picks: picks}
	if !asJSON {
		l.names = "hostname,state,load,warnings"
	}
	if err := l.prepare(); err != nil {
		t.Fatal(err)
	}
	w = &watcher[envoy]{listing: l, event: "envoy", gone: "envoy-gone", id: func(e envoy) string { return e.ID }}
	out = &bytes.Buffer{}
	w.show = &lines[envoy]{watcher: w, out: out, err: out}
	if asJSON {
		w.show = &stream[envoy]{out: out, err: out}
	}
	return w, out
}

func envoyJSON(name, state, label string, load int, warning string) string {
	return fmt.Sprintf(`{"id":"%s-id","hostname":"%s","state":"%s","labels":{"env":"%s"},"facts":{"load":%d},"warnings":["%s"]}`, name, name, state, label, load, warning)
}

func begin(t *testing.T, w *watcher[envoy], envoys ...string) {
	t.Helper()
	items, err := w.read(json.RawMessage("[" + strings.Join(envoys, ",") + "]"))
	if err == nil {
		err = w.replace(items)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func hear(t *testing.T, w *watcher[envoy], name, data string) {
	t.Helper()
	if err := w.apply(name, json.RawMessage(data)); err != nil {
		t.Fatal(err)
	}
}

// said are the lines but for their times.
func said(out *bytes.Buffer) string {
	text := regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d\d:\d\d +`).ReplaceAllString(out.String(), "")
	out.Reset()
	return regexp.MustCompile(` {2,}`).ReplaceAllString(text, " ")
}

// A line is what somebody would want to know: neither a heartbeat nor what was not asked for.
func TestWatchLines(t *testing.T) {
	w, out := watching(t, false, "env=prod")
	begin(t, w, envoyJSON("web1", "online", "prod", 5, ""), envoyJSON("test1", "online", "test", 5, ""))
	if got := said(out); got != "TIME CHANGE HOSTNAME STATE LOAD WARNINGS\nlisted web1 online 0.05\n" {
		t.Errorf("%q", got)
	}
	for _, c := range []struct{ name, data, want string }{
		{"envoy", envoyJSON("web1", "online", "prod", 900, ""), ""},
		{"envoy", envoyJSON("web1", "offline", "prod", 900, "last seen 3s ago"), "changed web1 offline 9.00 last seen 3s ago\n"},
		{"envoy", envoyJSON("web1", "offline", "prod", 900, "last seen 9s ago"), ""},
		{"envoy", envoyJSON("web1", "offline", "prod", 900, "the disk is full"), "changed web1 offline 9.00 the disk is full\n"},
		{"envoy", envoyJSON("test1", "offline", "test", 1, ""), ""},
		{"envoy", envoyJSON("test1", "offline", "prod", 1, ""), "added test1 offline 0.01\n"},
		{"envoy", envoyJSON("web2", "online", "prod", 1, "\\u202e\\u001b[2J"), "added web2 online 0.01 ??[2J\n"},
		{"envoy-gone", `{"id":"web1-id"}`, "gone web1 offline 9.00 the disk is full\n"},
		{"envoy-gone", `{"id":"web1-id"}`, ""},
		{"envoy", envoyJSON("web2", "online", "test", 1, ""), "gone web2 online 0.01\n"},
		{"session", `{"id":"x"}`, ""},
	} {
		hear(t, w, c.name, c.data)
		got := said(out)
		if strings.Contains(c.want, "?") {
			if strings.ContainsAny(got, "\x1b\u202e") {
				t.Errorf("%s: %q", c.data, got)
			}
			continue
		}
		if got != c.want {
			t.Errorf("%s: %q, not %q", c.data, got, c.want)
		}
	}
	// A relay that is there again: what has changed meanwhile.
	begin(t, w, envoyJSON("new1", "online", "prod", 1, ""), envoyJSON("test1", "offline", "prod", 2, ""))
	if got := said(out); got != "added new1 online 0.01\n" {
		t.Errorf("%q", got)
	}
	begin(t, w)
	if got := said(out); strings.Count(got, "gone ") != 2 {
		t.Errorf("%q", got)
	}
}

// A relay cannot fill the memory of who watches it: neither by one answer, nor by events one after the other.
func TestWatchIsBounded(t *testing.T) {
	w, _ := watching(t, false)
	if _, err := w.read(json.RawMessage("[" + strings.Repeat("{},", mostRows) + "{}]")); wire.CodeOf(err) != wire.Protocol {
		t.Errorf("an answer of many rows: %v", err)
	}
	if _, err := w.read(json.RawMessage(`["` + strings.Repeat("x", mostBytes) + `"]`)); wire.CodeOf(err) != wire.Protocol {
		t.Errorf("a long answer: %v", err)
	}
	large := json.RawMessage(`"` + strings.Repeat("x", 1<<20-2) + `"`)
	one := func(n int, raw json.RawMessage) item[envoy] { return item[envoy]{envoy{ID: fmt.Sprint(n)}, raw} }
	begin(t, w)
	for n := range mostBytes >> 20 {
		if err := w.put(one(n, large)); err != nil {
			t.Fatalf("event %d: %v", n, err)
		}
	}
	if err := w.put(one(-1, large)); wire.CodeOf(err) != wire.Protocol {
		t.Errorf("one more: %v", err)
	}
	w, _ = watching(t, false)
	begin(t, w)
	for n := range mostRows {
		if err := w.put(one(n, nil)); err != nil {
			t.Fatalf("row %d: %v", n, err)
		}
	}
	if err := w.apply("envoy", json.RawMessage(`{"id":"one more"}`)); wire.CodeOf(err) != wire.Protocol {
		t.Errorf("one row more: %v", err)
	}
	// What goes makes room again, and so does what becomes smaller.
	w, _ = watching(t, false)
	begin(t, w)
	for n := range 2 * mostBytes >> 20 {
		if err := w.put(one(n, large)); err != nil {
			t.Fatalf("event %d: %v", n, err)
		}
		if n%2 == 0 {
			hear(t, w, "envoy-gone", fmt.Sprintf(`{"id":"%d"}`, n))
		} else {
			hear(t, w, "envoy", fmt.Sprintf(`{"id":"%d"}`, n))
		}
	}
}

// A relay that was put back to an older log is followed from there on, and one that has the same log tells nothing twice.
func TestAuditTailGoesBack(t *testing.T) {
	at := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	records := func(from, to int, types string) (items []item[auditRow]) {
		for n := from; n < to; n++ {
			items = append(items, item[auditRow]{row: auditRow{Seq: uint64(n), Time: at.Add(time.Duration(n) * time.Second), Type: types}})
		}
		return items
	}
	log := records(0, 30, "old")
	get := func(query string) ([]item[auditRow], error) {
		var from, limit int
		if _, err := fmt.Sscanf(query, "from=%d&limit=%d", &from, &limit); err != nil {
			if _, err := fmt.Sscanf(query, "limit=%d", &limit); err != nil {
				t.Fatal(query)
			}
			from = len(log) - limit
		}
		from = min(max(from, 0), len(log))
		return log[from:min(len(log), from+limit)], nil
	}
	l := &listing[auditRow]{columns: auditColumns, names: "seq,type"}
	if err := l.prepare(); err != nil {
		t.Fatal(err)
	}
	var out, notes bytes.Buffer
	a := auditTail{lines: lines[auditRow]{watcher: &watcher[auditRow]{listing: l}, out: &out, err: &notes}, limit: 3}
	connection := func(want, note string) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 3*poll/2)
			defer cancel()
			if err := a.poll(ctx, func() error { return nil }, get); ctx.Err() == nil {
				t.Error(err)
			}
		})
		if got := strings.Join(strings.Fields(out.String()), " "); got != want {
			t.Errorf("%q, not %q", got, want)
		}
		if got := notes.String(); (note == "") != (got == "") || !strings.Contains(got, note) {
			t.Errorf("it says %q", got)
		}
		out.Reset()
		notes.Reset()
	}
	connection("SEQ TYPE 27 old 28 old 29 old", "")
	log = append(log, records(30, 32, "old")...)
	connection("30 old 31 old", "")
	connection("", "")
	log = log[:20] // it was put back
	connection("17 old 18 old 19 old", "an older one")
	log = append(log, records(20, 21, "new")...)
	connection("20 new", "")
	log = append(log[:19:19], records(19, 40, "newer")...) // and once more, and has grown past what was seen
	connection("37 newer 38 newer 39 newer", "an older one")
}

func TestWatchJSON(t *testing.T) {
	w, out := watching(t, true)
	begin(t, w, envoyJSON("web1", "online", "prod", 5, ""))
	hear(t, w, "envoy", envoyJSON("web1", "online", "prod", 6, ""))
	hear(t, w, "envoy", envoyJSON("web1", "offline", "prod", 6, ""))
	hear(t, w, "envoy-gone", `{"id":"web1-id"}`)
	var got []string
	for line := range strings.Lines(out.String()) {
		var v struct {
			Change string
			Time   time.Time
			Row    map[string]any
		}
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatal(err)
		}
		if _, zone := v.Time.Zone(); zone != 0 || v.Time.IsZero() {
			t.Errorf("the time is %s", v.Time)
		}
		got = append(got, fmt.Sprint(v.Change, " ", v.Row["hostname"], " ", v.Row["state"]))
	}
	if want := []string{"listed web1 online", "changed web1 offline", "gone web1 offline"}; strings.Join(got, ";") != strings.Join(want, ";") {
		t.Errorf("%q", got)
	}
}

// What is lost is waited for, at growing intervals, and said once; what will not mend ends it.
func TestFollowAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lost := &wire.Error{Code: wire.RelayUnreachable}
		answers := []error{lost, lost, lost, nil, lost, nil, &wire.Error{Code: wire.Expired}}
		var notes []string
		var times []time.Duration
		start := time.Now()
		err := follow(t.Context(), func(s string) error { notes = append(notes, s); return nil }, func(_ context.Context, up func() error) error {
			times = append(times, time.Since(start).Round(time.Second))
			if len(times) == 1 { // up, and then lost
				if err := up(); err != nil {
					return err
				}
				return lost
			}
			a := answers[len(times)-1]
			if a == nil {
				if err := up(); err != nil {
					return err
				}
				return lost
			}
			return a
		})
		if wire.CodeOf(err) != wire.Expired {
			t.Error(err)
		}
		if got, want := fmt.Sprint(times), "[0s 2s 6s 14s 16s 20s 22s]"; got != want {
			t.Errorf("%s, not %s", got, want)
		}
		if len(notes) != 5 || !strings.Contains(notes[0], "was lost") || notes[1] != "connected again" || notes[3] != "connected again" {
			t.Errorf("%q", notes)
		}
	})
	for _, first := range []error{&wire.Error{Code: wire.RelayUnreachable}, unshown{errors.New("no space")}} {
		n := 0
		err := follow(t.Context(), nil, func(_ context.Context, up func() error) error {
			if n++; n > 1 {
				t.Fatal("again")
			}
			if wire.CodeOf(first) == wire.Internal && up() != nil {
				t.Error("up")
			}
			return first
		})
		if !errors.Is(err, first) {
			t.Error(err)
		}
	}
}

// counting counts how often it is drawn.
type counting struct {
	*lines[envoy]
	drawn int
}

func (c *counting) flush() error {
	c.drawn++
	return nil
}

// Changes that come one upon the other are drawn together, and the last of them is not forgotten.
func TestWatchDrawsTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := watching(t, false)
		c := &counting{lines: w.show.(*lines[envoy])}
		w.show = c
		events, ended := make(chan func() error), make(chan error, 1)
		go func() {
			for range 1000 {
				events <- func() error { return nil }
				time.Sleep(time.Millisecond)
			}
			time.Sleep(together)
			ended <- wire.Errorf(wire.RelayShutdown, "over")
		}()
		if err := w.present(events, ended); wire.CodeOf(err) != wire.RelayShutdown || c.drawn < 4 || c.drawn > 6 {
			t.Errorf("drawn %d times, %v", c.drawn, err)
		}
	})
}
