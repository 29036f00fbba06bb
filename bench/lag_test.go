package main

import (
	"io"
	"strings"
	"testing"
	"time"
)

func TestParseCells(t *testing.T) {
	o, err := parse([]string{"-run", "lag"}, io.Discard)
	if err != nil || len(o.cells) != 18 || len(o.speeds) != 4 || !o.lags("hops") {
		t.Errorf("got %+v, %v", o, err)
	}
	o, err = parse([]string{"-run", "lag", "-lag", "link,screen", "-cells", "100ms/1%/20mbit,0ms/*/0mbit", "-speeds", "256k,1m,0,77"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	want := []weather{{roundTrip: 100 * time.Millisecond, loss: 0.01, rate: 20}, {}, {loss: 0.01}, {loss: 0.02}}
	if len(o.cells) != len(want) {
		t.Fatalf("%d cells: %v", len(o.cells), o.cells)
	}
	for i, w := range want {
		if o.cells[i] != w {
			t.Errorf("cell %d is %+v, not %+v", i, o.cells[i], w)
		}
	}
	if got := []int64{o.speeds[0], o.speeds[1], o.speeds[2], o.speeds[3]}; got[0] != 256<<10 || got[1] != 1<<20 || got[2] != 0 || got[3] != 77 {
		t.Errorf("speeds are %v", got)
	}
	if o.lags("hops") || !o.lags("link") {
		t.Error("the tables are not those that were named")
	}
	for _, bad := range [][]string{
		{"-cells", "100ms"}, {"-cells", "100/1%/0mbit"}, {"-cells", "0ms/100%/0mbit"}, {"-cells", "0ms/NaN%/0mbit"}, {"-cells", "0ms/0%/-1mbit"},
		{"-cells", "-1ms/0%/0mbit"}, {"-cells", ""}, {"-speeds", "fast"}, {"-speeds", "-1"}, {"-lag", "nothing"}, {"-tries", "0"}, {"-limit", "0s"},
	} {
		if _, err := parse(bad, io.Discard); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestPrinting(t *testing.T) {
	begin := time.Now()
	p := &printing{marker: []byte("MARKER"), waiting: map[byte]time.Time{'X': begin, 'Y': begin}}
	p.add([]byte("0123X456"), begin.Add(time.Second))
	if len(p.echoes) != 1 || p.echoes[0] != time.Second || len(p.waiting) != 1 {
		t.Errorf("echoes %v, waiting for %v", p.echoes, p.waiting)
	}
	for _, piece := range []string{"abcMAR", "KE"} {
		if p.add([]byte(piece), begin); p.over {
			t.Fatalf("it is over with %q", piece)
		}
	}
	if p.add([]byte("R> "), begin); !p.over || p.shown != 8+6+2+3 {
		t.Errorf("over: %t, shown: %d", p.over, p.shown)
	}
}

func TestSlowScreen(t *testing.T) {
	now := time.Now()
	p := &printing{speed: 1000, marker: []byte("M")}
	p.add(make([]byte, 500), now)
	p.add(make([]byte, 500), now)
	if wait := p.free.Sub(now); wait > time.Second || wait < time.Second-drainStep {
		t.Errorf("after 1000 bytes at 1000 a second it waits %s", wait)
	}
}

func TestTally(t *testing.T) {
	c := tally{took: samples{time.Second, 2 * time.Second, 3 * time.Second}, bytes: []int64{1 << 20, 3, 2 << 20}, late: 1, missing: 2}
	for _, line := range [][2]string{
		{c.interrupted(20 * time.Second), "2000 ms / 3000 ms (1 of 4: > 20s)"},
		{c.echoed(20 * time.Second), "> 20s"},
		{c.left(20 * time.Second), "1.00 MiB, 2000 ms / 3000 ms (1 of 4: > 20s)"},
		{(&tally{late: 3}).left(time.Second), "> 1s"},
		{(&tally{said: io.EOF}).echoed(time.Second), "failed"},
		{(&tally{echoes: samples{time.Millisecond}, missing: 1}).echoed(time.Second), "1.00 ms / 1.00 ms (1 of 2: > 1s)"},
	} {
		if line[0] != line[1] {
			t.Errorf("it says %q, not %q", line[0], line[1])
		}
	}
}

func TestGrid(t *testing.T) {
	var b strings.Builder
	g := grid{columns: []string{"what", "ssh"}, rows: [][]string{{"1 MiB/s", amount(3 << 19)}, {"a", amount(-12)}}, remarks: []string{"remark"}}
	if err := g.print(&b); err != nil {
		t.Fatal(err)
	}
	want := "\nwhat     ssh\n1 MiB/s  1.50 MiB\na        -12 B\nremark\n"
	if b.String() != want {
		t.Errorf("it prints\n%s\nnot\n%s", b.String(), want)
	}
}

func TestParseQueues(t *testing.T) {
	const said = `0      7      127.0.0.1:2222    127.0.0.1:40000 	 skmem:(r0,rb131072,t0,tb3939840,f0,w0,o0,bl0,d0) cubic bytes_acked:5 bytes_received:3989 segs_out:9
9      0      127.0.0.1:40000    127.0.0.1:2222 	 skmem:(r0,rb2078703,t0,tb2626560,f0,w0,o0,bl0,d0) cubic bytes_received:12
0      0      127.0.0.1:40001    127.0.0.1:12222 	 skmem:(r0,rb1,t0,tb1,f0,w0,o0,bl0,d0) cubic
`
	var c counts
	if err := parseQueues(said, "2222", &c); err != nil {
		t.Fatal(err)
	}
	if want := (counts{sendQ: 7, sndbuf: 3939840, recvQ: 9, rcvbuf: 2078703, input: 3989}); c != want {
		t.Errorf("got %+v, not %+v", c, want)
	}
	first, _, _ := strings.Cut(said, "\n")
	if parseQueues(first, "2222", &c) == nil {
		t.Error("one end is enough")
	}
	if parseQueues(said+first+"\n", "2222", &c) == nil {
		t.Error("two connections count as one")
	}
}

func TestSince(t *testing.T) {
	c := since(counts{read: 100, input: 40, received: 5}, counts{read: 1000, input: 50, received: 705, printed: 900, shown: 600})
	if c.read != 890 || c.received != 700 {
		t.Errorf("got %+v", c)
	}
	if c := since(counts{received: -1}, counts{received: -1}); c.received != -1 {
		t.Errorf("without a relay it received %d", c.received)
	}
	n, err := parseIO("rchar: 12\nwchar: 34\n", "wchar")
	if err != nil || n != 34 {
		t.Errorf("got %d, %v", n, err)
	}
	if _, err := parseIO("rchar: 12\n", "wchar"); err == nil {
		t.Error("a count that is not there was found")
	}
}
