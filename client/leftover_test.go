package client

import (
	"strings"
	"testing"
)

func TestLeftover(t *testing.T) {
	for name, c := range map[string]struct{ out, undo string }{
		"nothing":                     {"$ ls\r\n\x1b[31mred\x1b[0m\r\n", ""},
		"vim that was cut off":        {"\x1b[?1049h\x1b[22;0;0t\x1b[>4;2m\x1b[?1h\x1b=\x1b[?2004h\x1b[?1004h\x1b[1;24r\x1b[?25l", "\x1b[?1l\x1b[?25h\x1b[?1004l\x1b[?1049l\x1b[?2004l\x1b7\x1b[r\x1b8\x1b>\x1b[0m"},
		"vim that has ended":          {"\x1b[?1049h\x1b[?1h\x1b=\x1b[?2004h\x1b[?25l\x1b[?25h\x1b[?2004l\x1b[?1l\x1b>\x1b[?1049l", ""},
		"a mouse":                     {"\x1b[?1000;1002;1006h", "\x1b[?1000l\x1b[?1002l\x1b[?1006l\x1b[0m"},
		"no wrapping":                 {"\x1b[?7l", "\x1b[?7h\x1b[0m"},
		"a reset":                     {"\x1b[?1000h\x1b[?25l\x1bc", ""},
		"a soft reset":                {"\x1b[?1000h\x1b[!p", ""},
		"a shape of the cursor":       {"\x1b[5 q", "\x1b[0 q\x1b[0m"},
		"its usual shape":             {"\x1b[5 q\x1b[ q", ""},
		"graphics":                    {"\x1b(0lqk", "\x1b(B\x0f\x1b[0m"},
		"a keyboard protocol":         {"\x1b[>1u\x1b[>3u\x1b[<u", "\x1b[<1u\x1b[0m"},
		"modes that nobody knows":     {"\x1b[?9999h\x1b[?;h\x1b[?xh\x1b[4h", ""},
		"margins gone":                {"\x1b[2;10r\x1b[r", ""},
		"a sequence that was cut":     {"\x1b[?10", "\x18\x1b[0m"},
		"a string that was cut":       {"\x1b]0;half", "\x18\x1b[0m"},
		"what stands in a string":     {"\x1bP\x1b[?1000h\x1b\\", ""},
		"one that is broken off":      {"\x1b[?10\x1b[?1000h", "\x1b[?1000l\x1b[0m"},
		"a very long one":             {"\x1b[?" + strings.Repeat("1;", 5000) + "25l", "\x1b[?1h"[:0]},
		"a cancelled one":             {"\x1b[?1000\x18h", ""},
		"a control in the middle":     {"\x1b[?10\n00h", "\x1b[?1000l\x1b[0m"},
		"modes saved in the sessions": {"\x1b[?1000s\x1b[?1000r", ""},
	} {
		for cut := range min(len(c.out)+1, 80) {
			var l leftover
			l.feed([]byte(c.out[:cut]))
			l.feed([]byte(c.out[cut:]))
			if name == "a very long one" { // what is cut counts as far as it was kept
				if len(l.seq) > maxSeq || len(l.undo()) > 200 {
					t.Fatalf("%s: %d bytes kept, %q", name, len(l.seq), l.undo())
				}
				continue
			}
			if got := l.undo(); got != c.undo {
				t.Fatalf("%s, cut at %d: %q, not %q", name, cut, got, c.undo)
			}
		}
	}
}

// A title is put away before the first that comes, and comes back.
func TestLeftoverTitle(t *testing.T) {
	var l leftover
	for i, c := range []struct{ out, before string }{
		{"plain", ""}, {"\x1b]0;one\x07", saveTitle}, {"\x1b]2;two\x1b\\", ""}, {"\x1b]7;file:///x\x07", ""},
	} {
		if got := l.feed([]byte(c.out)); got != c.before {
			t.Errorf("%d: %q", i, got)
		}
	}
	if got := l.undo(); got != restoreTitle+"\x1b[0m" {
		t.Errorf("%q", got)
	}
}

func FuzzLeftover(f *testing.F) {
	f.Add([]byte("\x1b[?1049h\x1b]0;x\x07"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var whole, pieces leftover
		whole.feed(b)
		for i := range b {
			pieces.feed(b[i : i+1])
		}
		whole.title, pieces.title = false, false // in pieces it may come too late to be put away
		if whole.undo() != pieces.undo() {
			t.Errorf("%q and %q", whole.undo(), pieces.undo())
		}
		again := leftover{}
		again.feed(b)
		undo := again.undo()
		again.feed([]byte(undo))
		again.title = false
		if left := again.undo(); left != "" {
			t.Errorf("%q leaves %q", undo, left)
		}
	})
}
