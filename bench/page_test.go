package main

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"
)

func TestRaces(t *testing.T) {
	var many samples
	for i := range 100 {
		many = append(many, time.Duration(i+1)*time.Millisecond)
	}
	var b strings.Builder
	err := races(&b, []race{
		{name: "seen", webTransport: many, webSocket: many},
		{name: "20 MB", webTransport: samples{20 * time.Second}, unfinished: [2]string{"", "3 MB in 25 s"}},
	}, []string{"remark"})
	if err != nil {
		t.Fatal(err)
	}
	want := `
in the page  WebSocket p50  p99    WebTransport p50  p99    ratio p50  p99
seen         50 ms          99 ms  50 ms             99 ms  1.00       1.00
20 MB        3 MB in 25 s   -      20.0 s            -      -          -
remark
`
	if b.String() != want {
		t.Errorf("it prints\n%s\nnot\n%s", b.String(), want)
	}
	b.Reset()
	if err := races(&b, nil, nil); err != nil || b.Len() > 0 {
		t.Errorf("nothing measured: %q, %v", b.String(), err)
	}
}

func TestFar(t *testing.T) {
	const size = 3*farWrite + 1
	var screen bytes.Buffer
	if err := far(strings.NewReader("aFQ"), &screen, 24, size); err != nil {
		t.Fatal(err)
	}
	got := screen.String()
	for _, want := range []string{"\x1b[1;23r", "\x1b[24;1Hready", "\x1b[24;8Ha\x1b8", "\x1b[24;1Hmore ", "\x1b[24;1Hover ", "\x1b[r"} {
		before, after, ok := strings.Cut(got, want)
		if !ok {
			t.Fatalf("%q is not among what follows: %.200q", want, got)
		}
		if want == "\x1b[24;1Hover " {
			if n := len(strings.TrimSuffix(strings.TrimPrefix(before, "\x1b8"), "\x1b7")); n != size {
				t.Errorf("the output has %d bytes, not %d", n, size)
			}
		}
		got = after
	}
}

func TestFarColumns(t *testing.T) {
	var screen bytes.Buffer
	if err := far(strings.NewReader(strings.Repeat("x", farColumns)+"yQ"), &screen, 24, 0); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\x1b[24;107Hx\x1b8", "\x1b[24;8Hy\x1b8"} {
		if !strings.Contains(screen.String(), want) {
			t.Errorf("there is no %q", want)
		}
	}
}

func TestParsePage(t *testing.T) {
	o, err := parse([]string{"-skip", "page,wan,wancommand,desktop,lag", "-keys", "7"}, io.Discard)
	if err != nil || strings.Join(o.run, " ") != "echo output command bulk forward beside open" || o.keys != 7 {
		t.Errorf("got %+v, %v", o, err)
	}
	for _, bad := range [][]string{{"-skip", "nothing"}, {"-run", "page", "-skip", "page"}, {"-clicks", "0"}} {
		if _, err := parse(bad, io.Discard); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}
