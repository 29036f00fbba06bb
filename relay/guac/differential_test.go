package guac_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"scrier/relay/guac"
)

// guacamoleJS is the module that the page is built from.
func guacamoleJS(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("there is no go.mod above this package")
		}
	}
	module := filepath.Join(dir, "static/node_modules/@glokon/guacamole-common-js/lib/esm/guacamole.js")
	if _, err := os.Stat(module); err != nil {
		t.Fatalf("the page's packages are not installed: %v", err)
	}
	return module
}

// Both ways: what Append writes, the page's parser reads as what was meant; what the page's
// library writes, Next reads as what was meant. It is the same text, too.
//
// On malformed input the two differ: the page's parser takes a length of any number of digits
// with parseInt (" 3", "+3", "03", "3x" are all 3; "-1" makes it go back), elements and
// instructions of any size, and what is not UTF-8 as the decoder before it left it. All of that
// is an error here; nothing that is accepted here is read in another way there.
func TestThePageReadsWhatIsWrittenAndTheOtherWayRound(t *testing.T) {
	const instructions = 100_000
	r := rand.New(rand.NewPCG(3, 4))
	var stream []byte
	want := make([][]string, 0, instructions)
	for range instructions {
		e := []string{text(r)}
		for range r.IntN(7) {
			e = append(e, text(r))
		}
		want = append(want, e)
		stream = guac.Append(stream, e[0], e[1:]...)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	node := exec.CommandContext(ctx, "node", "testdata/parse.mjs", guacamoleJS(t))
	node.Stdin = bytes.NewReader(stream)
	var complaint strings.Builder
	node.Stderr = &complaint
	out, err := node.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	lines := json.NewDecoder(bufio.NewReaderSize(out, 1<<20))
	n := 0
	var theirs []byte
	for ; ; n++ {
		var line []string
		if err := lines.Decode(&line); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("line %d: %v\n%s", n, err, complaint.String())
		}
		if n >= instructions || !slices.Equal(line[1:], want[n]) {
			t.Fatalf("instruction %d: the page reads %q", n, line[1:])
		}
		theirs = append(theirs, line[0]...)
	}
	if err := node.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, complaint.String())
	}
	if n != instructions {
		t.Errorf("the page read %d instructions of %d", n, instructions)
	}
	if !bytes.Equal(stream, theirs) {
		t.Error("the page writes other text than Append")
	}
	reader := guac.NewReader(bytes.NewReader(theirs))
	for n, e := range want {
		i, err := reader.Next()
		if err != nil || !slices.Equal(elements(i), e) {
			t.Fatalf("instruction %d, %q, is read as %v, %v", n, e, i, err)
		}
	}
}
