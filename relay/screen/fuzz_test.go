package screen_test

import (
	"bytes"
	"math"
	"strings"
	"testing"

	"scrier/relay/screen"
	"scrier/wire"
)

// Whatever comes, the model neither fails nor takes more memory, and what it paints makes another model the same.
func FuzzScreen(f *testing.F) {
	for i, e := range edges() {
		f.Add([]byte(e), []byte("then"), uint16(20), uint16(6), uint16(10+i%20), uint16(1+i%8))
	}
	f.Add(bytes.Repeat([]byte("e\u0301\u0302"), 100), []byte("x"), uint16(1000), uint16(1000), uint16(1), uint16(1))
	f.Fuzz(func(t *testing.T, p, then []byte, cols, rows, newCols, newRows uint16) {
		first := wire.Size{Cols: cols % 100, Rows: rows % 50}
		s := screen.New(first)
		whole := screen.New(first)
		half := len(p) / 2
		s.Write(p[:half])
		whole.Write(p[:half])
		s.Resize(wire.Size{Cols: newCols % 100, Rows: newRows % 50})
		whole.Resize(s.Size())
		for _, c := range p[half:] { // as whole, but byte by byte
			s.Write([]byte{c})
		}
		whole.Write(p[half:])
		for _, s := range []*screen.Screen{s, whole} {
			s.Resize(wire.Size{Cols: rows % 100, Rows: newCols % 50})
			s.Resize(wire.Size{Cols: cols % 100, Rows: newRows % 50})
			s.Resize(wire.Size{Cols: 3, Rows: rows % 50})
			s.Write(then)
			s.Resize(wire.Size{Cols: newRows % 100, Rows: 7})
		}
		again(t, s)
		again(t, whole)
		s.Write(then)
		again(t, s)
		if n, most := s.Bytes(), 100*100*16*4+64*1024+3<<20; n > most {
			t.Errorf("%d bytes of memory", n)
		}
	})
}

func again(t *testing.T, s *screen.Screen) {
	t.Helper()
	paint := s.Repaint(nil, math.MaxInt32, 3, "")
	for _, forbidden := range []string{"\x07", "\x1b[c", "\x1b[6n", "\x1b]52", "\x1b[5n", "?\x07", ";?\x1b", "\x1bc"} {
		if at := strings.Index(string(paint), forbidden); at >= 0 && s.AtGround() {
			t.Errorf("there is %q in the repaint", forbidden)
		}
	}
	o := screen.New(s.Size())
	o.Write(paint)
	if !s.Reachable() || s.Spaced() || s.Odd() {
		return
	}
	if d := s.Differs(o); d != "" {
		t.Errorf("%s\n%q", d, paint)
	}
}
