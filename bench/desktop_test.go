package main

import (
	"io"
	"strings"
	"testing"
	"time"
)

func TestParseUsage(t *testing.T) {
	u, err := parseUsage("17 (a b) c) S 1 17 17 0 -1 4194560 900 0 3 0 250 50 7 8 20 0 9 0 4000 123456 300 18446744073709551615 1\n")
	if err != nil || u.processor != 3*time.Second || u.reaped != 150*time.Millisecond || u.memory%300 != 0 || u.memory == 0 {
		t.Errorf("got %+v, %v", u, err)
	}
	for _, bad := range []string{"", "17 (x) S 1 2", strings.Repeat("x ", 60)} {
		if u, err := parseUsage(bad); err == nil {
			t.Errorf("%q is %+v", bad, u)
		}
	}
}

func TestDesktopFigures(t *testing.T) {
	times := func(d time.Duration) (s samples) {
		for range 100 {
			s = append(s, d)
		}
		return s
	}
	at := func(d time.Duration, frames int) showing {
		w := work{took: 10 * time.Second, frames: frames, bytes: 1000 * frames, middle: load{processor: time.Second, memory: 2e6}}
		return showing{first: times(d), seen: times(d), arrived: times(d), dragged: w, crowd: w}
	}
	o := options{viewers: 5}
	found := [len(kinds)]showing{at(100*time.Millisecond, 200), at(110*time.Millisecond, 100), at(90*time.Millisecond, 200)}
	var b strings.Builder
	if err := table(&b, desktopFigures(found, "remark", o)); err != nil {
		t.Fatal(err)
	}
	got := strings.Join(strings.Fields(b.String()), " ")
	for _, want := range []string{
		"first picture p50, WebTransport [1] bare 100 ms 110 ms 1.10 <= 1.10",
		"first picture p50, WebSocket [5] bare 100 ms 90 ms 0.90 <= 1.10",
		"key seen p99, WebTransport bare 100 ms 110 ms 1.10 <= 1.10",
		"frames a second, 1 viewer, WebTransport bare 20.0 10.0 0.50 >= 0.91",
		"frames a second, 5 viewers, WebTransport bare 4.0 2.0 0.50 >= 0.91",
		"processor of relay or bridge, 1 viewer, WebSocket [7] bare 10.0 % 10.0 % 1.00 -",
		"memory of relay or bridge, 5 viewers, WebSocket bare 2.0 MB 2.0 MB 1.00 -",
		"remark",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("there is no %q in\n%s", want, b.String())
		}
	}
}

func TestParseDesktop(t *testing.T) {
	o, err := parse([]string{"-run", "desktop", "-rounds", "2", "-drag", "1s"}, io.Discard)
	if err != nil || o.rounds != 2 || o.drag != time.Second || strings.Join(o.run, " ") != "desktop" {
		t.Errorf("got %+v, %v", o, err)
	}
	for _, bad := range [][]string{{"-viewers", "1"}, {"-drag", "0s"}, {"-opened", "0"}} {
		if _, err := parse(bad, io.Discard); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestListing(t *testing.T) {
	text := string(listing(3, 2))
	lines := strings.Split(text, "\n")
	if len(lines) != 3 {
		t.Fatalf("%d lines", len(lines))
	}
	for _, l := range lines {
		if len(l) > 150 { // the pixel that tells the first picture is to the right of it
			t.Errorf("%d columns", len(l))
		}
	}
}
