package screen

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "write widths.go anew")

// Every character is as wide as in the page, and joins what it joins there.
func TestWidthsAreThePages(t *testing.T) {
	t.Parallel()
	modules, err := filepath.Abs("../../static/node_modules")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "node", "testdata/widths.mjs", modules).Output()
	if err != nil || len(out) != 0x110000 {
		t.Fatalf("%d characters, %v: are the page's packages installed (./just web)?", len(out), err)
	}
	if *update {
		if err := os.WriteFile("widths.go", table(out), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	wrong := 0
	for c, want := range out {
		if got := property(rune(c)); got != want && wrong < 10 {
			wrong++
			t.Errorf("%U: %d, want %d", c, got, want)
		}
	}
}

func table(properties []byte) []byte {
	var runs [][4]byte
	for c, p := range properties {
		if c == 0 || p != properties[c-1] {
			runs = append(runs, [4]byte{byte(c >> 16), byte(c >> 8), byte(c), p})
		}
	}
	var b bytes.Buffer
	b.WriteString("// Made by go test -run TestWidths -update; do not edit.\n\npackage screen\n\n" +
		"// widths has four bytes for each run of characters with the same property: the first of them, and the property.\nconst widths = \"\" +\n")
	for i, r := range runs {
		if i%8 == 0 {
			b.WriteString("\t\"")
		}
		for _, v := range r {
			fmt.Fprintf(&b, `\x%02x`, v)
		}
		switch {
		case i == len(runs)-1:
			b.WriteString("\"\n")
		case i%8 == 7:
			b.WriteString("\" +\n")
		}
	}
	return b.Bytes()
}
