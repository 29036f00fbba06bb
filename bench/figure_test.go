package main

import (
	"io"
	"strings"
	"testing"
	"time"
)

func TestPercentile(t *testing.T) {
	var s samples
	for i := range 200 {
		s = append(s, time.Duration(200-i)) // 1 to 200, backwards
	}
	for p, want := range map[int]time.Duration{0: 1, 1: 2, 10: 20, 50: 100, 99: 198, 100: 200} {
		if got := s.percentile(p); got != want {
			t.Errorf("percentile %d is %d, not %d", p, got, want)
		}
	}
	if got := (samples{7}).percentile(99); got != 7 {
		t.Errorf("of one sample it is %d", got)
	}
	if s[0] != 200 {
		t.Error("the samples were sorted in place")
	}
}

func TestTable(t *testing.T) {
	f := timing("open", "ssh", 400*time.Millisecond, 100*time.Millisecond)
	f.aim, f.note = "<= 0.60", "first\nsecond"
	var b strings.Builder
	if err := table(&b, []figure{timing("echo", "ssh", 100*time.Microsecond, 1500*time.Microsecond), f}); err != nil {
		t.Fatal(err)
	}
	want := `figure    against  it      scrier   ratio  aim
echo      ssh      100 µs  1.50 ms  15.00  -
open [1]  ssh      400 ms  100 ms   0.25   <= 0.60
[1] first
    second
`
	if b.String() != want {
		t.Errorf("it prints\n%s\nnot\n%s", b.String(), want)
	}
}

func TestParse(t *testing.T) {
	o, err := parse([]string{"-run", "open,echo", "-opens", "3"}, io.Discard)
	if err != nil || strings.Join(o.run, " ") != "open echo" || o.opens != 3 {
		t.Errorf("got %+v, %v", o, err)
	}
	for _, bad := range [][]string{{"-run", "nothing"}, {"-echoes", "0"}, {"echo"}, {"-nonsense"}} {
		if _, err := parse(bad, io.Discard); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}
