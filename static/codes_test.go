package static_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"scrier/wire"
)

// TestCodes holds the pages' table of codes against the relay's, line by line.
func TestCodes(t *testing.T) {
	data, err := os.ReadFile("src/wire/codes.ts")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(string(data)) {
		if row, ok := strings.CutPrefix(strings.TrimRight(line, "\n"), "  ["); ok {
			got = append(got, "["+strings.TrimSuffix(row, ","))
		}
	}
	codes, classes := wire.Codes(), wire.Classes()
	if len(got) != len(codes)+len(classes) {
		t.Fatalf("src/wire/codes.ts has %d lines of codes and classes, wire %d", len(got), len(codes)+len(classes))
	}
	for i, class := range classes {
		if want := fmt.Sprintf("[%d, %q]", class.First, class.Meaning); got[len(codes)+i] != want {
			t.Errorf("src/wire/codes.ts has the line %s, wire/class.go %s", got[len(codes)+i], want)
		}
	}
	got = got[:len(codes)]
	if len(got) != len(codes) {
		t.Errorf("src/wire/codes.ts has %d codes, wire/code.go %d", len(got), len(codes))
	}
	for i, c := range codes {
		if i >= len(got) {
			t.Errorf("src/wire/codes.ts lacks %s (%d)", c, c)
			continue
		}
		var row []any
		if err := json.Unmarshal([]byte(got[i]), &row); err != nil || len(row) != 4 {
			t.Errorf("src/wire/codes.ts: %s is not [number, name, meaning, hint]: %v", got[i], err)
			continue
		}
		want := []any{float64(c), c.String(), c.Meaning(), c.Hint()}
		for j, w := range want {
			if row[j] != w {
				t.Errorf("src/wire/codes.ts: %s (%d) has %q, wire/code.go %q", c, c, row[j], w)
			}
		}
	}
}
