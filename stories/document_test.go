package stories

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"

	"github.com/rogpeppe/go-internal/testscript"
)

// cmdExcerpt writes what stands in a document into a file: so what people copy is what is tried.
//
//	excerpt DOCUMENT LANGUAGE N FILE
//
// It is the N-th block of code that is marked as of the language.
func cmdExcerpt(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 4 {
		ts.Fatalf("usage: excerpt DOCUMENT LANGUAGE N FILE")
	}
	n, err := strconv.Atoi(args[2])
	ts.Check(err)
	text, err := os.ReadFile(filepath.Join(source, args[0]))
	ts.Check(err)
	found := regexp.MustCompile("(?ms)^```"+regexp.QuoteMeta(args[1])+"\n(.*?)^```$").FindAllSubmatch(text, -1)
	if n < 1 || n > len(found) {
		ts.Fatalf("%s has %d blocks of %s", args[0], len(found), args[1])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[3]), found[n-1][1], 0o644))
}
