package main

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestParseRoadCells(t *testing.T) {
	o, err := parse([]string{"-run", "roads"}, io.Discard)
	if err != nil || len(o.roadCells) != 100 {
		t.Fatalf("got %d networks, %v", len(o.roadCells), err)
	}
	seen := make(map[weather]bool)
	for _, c := range o.roadCells {
		seen[c] = true
	}
	if len(seen) != 100 || !seen[weather{roundTrip: 300 * time.Millisecond, loss: 0.005, rate: 20, reorder: 0.01}] {
		t.Errorf("got %v", o.roadCells)
	}
	o, err = parse([]string{"-run", "roads", "-roads", "100ms/1%/20mbit/1%"}, io.Discard)
	if want := (weather{roundTrip: 100 * time.Millisecond, loss: 0.01, rate: 20, reorder: 0.01}); err != nil || len(o.roadCells) != 1 || o.roadCells[0] != want {
		t.Errorf("got %v, %v", o.roadCells, err)
	}
	if got, want := o.roadCells[0].String(), "100 ms, 1 %, 1 % reordered, 20 Mbit/s"; got != want {
		t.Errorf("it is called %q, not %q", got, want)
	}
	for _, bad := range []string{"", "100ms/1%/20mbit", "100ms/1%/20mbit/100%", "100ms/1%/20mbit/NaN%", "100ms/1%/20mbit/1%/1%"} {
		if _, err := parse([]string{"-roads", bad}, io.Discard); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestRoadGrid(t *testing.T) {
	cell := weather{roundTrip: 50 * time.Millisecond, loss: 0.005}
	keys := samples{50 * time.Millisecond, 5200 * time.Microsecond}
	found := map[weather][]passage{cell: {
		{echoes: keys, file: 120 << 20, forward: 1 << 19}, {echoes: keys, file: 25 << 19, forward: 3 << 20, overTCP: true}, {said: io.EOF},
	}}
	var b strings.Builder
	if err := roadGrid([]weather{cell}, found, time.Minute).print(&b); err != nil {
		t.Fatal(err)
	}
	want := "\n| 50 ms, 0.5 % | 5.2 / 50 ms | 5.2 / 50 ms | failed | 120 | 12.5 t | failed | 0.50 | 3.00 | failed |\n"
	if !strings.Contains(b.String(), want) {
		t.Errorf("it prints\n%s\nnot\n%s", b.String(), want)
	}
}

func TestPattern(t *testing.T) {
	target, err := servePattern("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = target.Close() })
	addr := target.Addr().String()
	if rate, err := pouring(t.Context(), "", addr, 20*time.Millisecond); err != nil || rate <= 0 {
		t.Errorf("it pours %g bytes a second, %v", rate, err)
	}
	if err := passed(t.Context(), "", addr, 300_000); err != nil {
		t.Error(err)
	}

	// One byte on the way is another, in either direction.
	for _, at := range []int{0, 299_999} {
		for _, up := range []bool{false, true} {
			bad := spoiling(t, addr, at, up)
			if err := passed(t.Context(), "", bad, 300_000); !errors.Is(err, errNotExact) {
				t.Errorf("byte %d, up %t: %v", at, up, err)
			}
		}
	}
	if _, err := pouring(t.Context(), "", spoiling(t, addr, 299_999, false), time.Minute); !errors.Is(err, errNotExact) {
		t.Errorf("while it pours: %v", err)
	}
}

// spoiling passes connections on to a target, and changes one byte of what follows the request.
func spoiling(t *testing.T, target string, at int, up bool) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	spoil := func(to, from *net.TCPConn, at int) {
		data, _ := io.ReadAll(io.LimitReader(from, 300_000))
		if at < len(data) {
			data[at] ^= 1
		}
		_, _ = to.Write(data)
		_ = to.CloseWrite()
	}
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", target)
			if err != nil {
				_ = near.Close()
				return
			}
			head := make([]byte, patternHead)
			if _, err := io.ReadFull(near, head); err != nil {
				_, _ = near.Close(), far.Close()
				return
			}
			_, _ = far.Write(head)
			a, b := near.(*net.TCPConn), far.(*net.TCPConn)
			const nothing = 300_000
			there, back := nothing, nothing
			switch {
			case up && head[0] == patternUp:
				there = at
			case !up && head[0] == patternDown:
				back = at
			}
			go spoil(b, a, there)
			go spoil(a, b, back)
		}
	}()
	return l.Addr().String()
}

func TestEqual(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	data := bytes.Repeat([]byte("x"), 100_000)
	if err := errors.Join(os.WriteFile(a, data, 0o600), beginning(b, a, 100_000)); err != nil {
		t.Fatal(err)
	}
	if err := equal(a, b); err != nil {
		t.Error(err)
	}
	data[99_999] = 'y'
	if err := os.WriteFile(a, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := equal(a, b); !errors.Is(err, errNotExact) {
		t.Errorf("got %v", err)
	}
	if beginning(b, a, 100_001) == nil {
		t.Error("a file has more than it has")
	}
}
