package terminal

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"scrier/wire"
)

// What comes first takes effect first: a key that was typed after a new size runs with it, and one that
// was typed before does not. Sizes that follow one another soon are one.
func TestInputInOrder(t *testing.T) {
	in := newInput(wire.Size{Cols: 80, Rows: 24})
	in.become([16]byte{1})
	now := time.Now()
	var got []string
	take := func() time.Duration {
		for {
			s := in.next(now)
			switch {
			case len(s.bytes) > 0:
				got = append(got, string(s.bytes))
			case s.size != wire.Size{}:
				got = append(got, fmt.Sprintf("%dx%d", s.size.Cols, s.size.Rows))
			default:
				return s.wait
			}
		}
	}
	typed := func(text string) {
		t.Helper()
		if err := in.add([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	size := func(cols uint16) { in.resizeTo(wire.Size{Cols: cols, Rows: 24}) }

	typed("a")
	size(100)
	typed("b")
	take()
	size(101)
	typed("c")
	size(102)
	size(103)
	typed("d")
	wait := take()
	if want := []string{"a", "100x24", "b"}; !slices.Equal(got, want) || wait != resizeEvery {
		t.Errorf("the channel got %q, and the rest waits %s", got, wait)
	}
	now = now.Add(wait)
	take()
	if want := []string{"a", "100x24", "b", "103x24", "cd"}; !slices.Equal(got, want) {
		t.Errorf("the channel got %q, not %q", got, want)
	}
	for cols := range uint16(1000) { // a storm: ten a second, and the last one wins
		size(cols + 1)
		now = now.Add(time.Millisecond)
		take()
	}
	now = now.Add(resizeEvery)
	take()
	if sizes := got[5:]; len(sizes) < 9 || len(sizes) > 12 || sizes[len(sizes)-1] != "1000x24" {
		t.Errorf("a thousand sizes in a second are %q", sizes)
	}
}
