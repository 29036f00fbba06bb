package screen_test

import (
	"bytes"
	"math"
	"strings"
	"testing"

	"scrier/relay/screen"
	"scrier/wire"
)

// A note is one line more above the viewer's screen, whatever moves there; the screen is the same as without.
// A repaint that is too long is none.
func TestNote(t *testing.T) {
	size := wire.Size{Cols: 80, Rows: 24}
	all, viewer := screen.New(size), screen.New(size)
	all.Write([]byte(strings.Repeat("a line of output\r\n", 200)))
	want := all.Repaint(nil, math.MaxInt32, 0, "")
	for _, lines := range []uint64{0, 3, 24, 1000} {
		viewer.Write([]byte(strings.Repeat("a line of output\r\n", 30)))
		before := viewer.Left()
		viewer.Write(all.Repaint(nil, math.MaxInt32, lines, "… 1 kB not shown …"))
		if up := viewer.Left() - before; up != min(lines, 24)+1 {
			t.Errorf("with %d lines and a note %d moved up", lines, up)
		}
		if got := viewer.Repaint(nil, math.MaxInt32, 0, ""); !bytes.Equal(got, want) {
			t.Errorf("with %d lines and a note the screen is another one:\n%q\n%q", lines, got, want)
		}
	}
	if all.Repaint(nil, len(want), 0, "") == nil || all.Repaint(nil, len(want)-1, 0, "") != nil {
		t.Error("the limit of a repaint is not its length")
	}
}
