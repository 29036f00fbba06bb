package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"scrier/wire"
)

// unscripted are the codes that no script meets, each with the reason.
var unscripted = map[wire.Code]string{
	wire.None:                "the absence of an error",
	wire.Internal:            "there is no known way to it; one that is found is a bug with a test of its own",
	wire.Protocol:            "needs a peer that breaks the rules: tests of packages wire, relay and agent are one",
	wire.VersionMismatch:     "needs a program of another version, and there is only one yet",
	wire.TicketInvalid:       "programs use their tickets at once: tests of package relay do not",
	wire.CertificateMismatch: "needs an RDP server with another certificate a moment later: relay/guac has a real guacd meet one",
	wire.RelayLost:           "needs several relays on one state, which no command starts yet: package relay/session has them die, stand still and be cut off",
	wire.FileDenied:          "pages alone meet it, in words: the story web_files has a folder without permission, package relay/files a real server",
	wire.FileNoSpace:         "pages alone meet it: package relay/files has a disk that is full",
	wire.FileFailed:          "pages alone meet it: package relay/files has servers that end and fall silent",
	wire.KeyfileChanged:      "needs another program to edit the file within each of five moments of a few milliseconds: agent/keys does",
}

// meeting finds the codes that a line of a script provokes: as what a command is refused with, in
// what is expected to be shown to a person, in a session's row, or in an agent's log.
var meeting = regexp.MustCompile(`^refused ([a-z_]+)|\\\(([a-z_]+)\\\)|"reason": "([a-z_]+)"|no link to the relay\.\*([a-z_]+)`)

// TestCodes wants a script for each code.
func TestCodes(t *testing.T) {
	files, err := filepath.Glob("stories/script/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("find scripts: %v, %d found", err, len(files))
	}
	met := map[string]string{}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			for _, m := range meeting.FindAllStringSubmatch(line, -1) {
				met[m[1]+m[2]+m[3]+m[4]] = f
			}
		}
	}
	for _, c := range wire.Codes() {
		why, excused := unscripted[c]
		switch where := met[c.String()]; {
		case where == "" && !excused:
			t.Errorf("no script of stories/script meets %s (%d)", c, c)
		case where != "" && excused:
			t.Errorf("%s meets %s, which is said not to be possible: %s", where, c, why)
		}
	}
}
