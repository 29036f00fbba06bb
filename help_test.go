package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestHelp asks each command for its help, which must list its exit statuses.
func TestHelp(t *testing.T) {
	for path := range leaves(newRoot()) {
		argv := append(strings.Fields(path)[1:], "--help")
		c := exec.Command(binary, argv...)
		c.Env = append(os.Environ(), "GORACE="+raceOptions)
		out, err := c.Output()
		if err != nil {
			t.Errorf("%s --help: %v", path, err)
		}
		if !strings.Contains(string(out), "\nUsage:\n  "+path) {
			t.Errorf("%s --help does not show how to use it:\n%s", path, out)
		}
		library := path == "scrier help" || strings.HasPrefix(path, "scrier completion ")
		if !library && !strings.Contains(string(out), "\nEXIT STATUS\n") {
			t.Errorf("%s --help does not tell the exit statuses:\n%s", path, out)
		}
	}
}
