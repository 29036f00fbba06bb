package screen_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// Of the lines above the screen none is lost that the viewer has seen, and none is there twice.
func TestLinesAboveTheScreen(t *testing.T) {
	t.Parallel()
	var output strings.Builder
	var ends []int // of each line
	for i := range 500 {
		fmt.Fprintf(&output, "line %d\r\n", i)
		ends = append(ends, output.Len())
	}
	output.WriteString("prompt$")
	var examples []example
	seen := []int{0, 3, 10, 100, 480, 490, 499}
	for _, n := range seen {
		examples = append(examples, example{cols: 80, rows: 24, output: []op{{W: []byte(output.String())}}, cut: ends[n], list: true})
	}
	for i, lines := range judge(t, examples) {
		var want []string
		for k := range 500 {
			if k <= seen[i] || k > 500-24 { // what was seen, and what is on the screen
				want = append(want, fmt.Sprintf("line %d", k))
			}
		}
		want = append(want, "prompt$")
		// Below the last line that was seen the viewer's screen may have been empty, and these lines are pushed up, too.
		lines = slices.DeleteFunc(lines, func(s string) bool { return s == "" })
		if !slices.Equal(lines, want) {
			t.Errorf("seen to line %d: %q\nwant %q", seen[i], lines, want)
		}
	}
}
