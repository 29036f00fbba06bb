//go:build !agentonly

package main

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// maxAgent is the size that the agent's build may have, in bytes: it is copied to every machine.
const maxAgent = 12_000_000

// The agent's build, as its recipe in the justfile makes it, is small, has nothing of relay and operators in it, and says
// so when it is asked for that.
func TestAgentBuild(t *testing.T) {
	program := filepath.Join(t.TempDir(), "scrier")
	c := exec.CommandContext(t.Context(), "sh", "-euc", recipe(t, "agent", " -o scrier-agent ", ` -o "$PROGRAM" `))
	c.Env = append(os.Environ(), "PROGRAM="+program)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	info, err := os.Stat(program)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > maxAgent {
		t.Errorf("the agent's build has %d bytes, more than %d: see what `go list -deps -tags agentonly .` has that is new, and whether `go build -tags agentonly -ldflags=-dumpdep .` says ReflectMethod, which keeps the methods of all types", info.Size(), maxAgent)
	}
	t.Logf("%d bytes", info.Size())

	list, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-tags", "agentonly", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	deps := strings.Fields(string(list))
	if !slices.Contains(deps, "scrier/agent") {
		t.Error("there is no agent in the agent's build")
	}
	for _, pattern := range []string{"scrier/relay/...", "scrier/client/...", "scrier/static", "scrier/certs/acme", "net/http", "go.etcd.io/bbolt", "go.etcd.io/etcd/...", "go.uber.org/zap/...", "google.golang.org/grpc/...", "filippo.io/age", "github.com/prometheus/client_golang/...", "github.com/prometheus/client_model/...", "github.com/prometheus/procfs/...", "github.com/quic-go/quic-go/http3", "github.com/quic-go/webtransport-go"} {
		for _, d := range deps {
			if matches(pattern, d) {
				t.Errorf("%s is in the agent's build", d)
			}
		}
	}

	for _, path := range slices.Sorted(maps.Keys(leaves(newRoot()))) {
		args := append(strings.Fields(path)[1:], "--help")
		out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput()
		switch name := args[0]; {
		case name == "agent" || name == "version" || name == "help":
			if err != nil || !strings.Contains(string(out), "Usage:\n  "+path) {
				t.Errorf("%s: %v\n%s", path, err, out)
			}
		case err == nil || err.Error() != "exit status 64" || !strings.Contains(string(out), "hint: this is the agent's build"):
			t.Errorf("%s: %v\n%s", path, err, out)
		}
	}
	if out, err := exec.CommandContext(t.Context(), program, "version").Output(); err != nil || !strings.Contains(string(out), ", the agent alone\n") {
		t.Errorf("version: %v\n%s", err, out)
	}
}

// recipe is the command of a task in the justfile, with one part of it changed.
func recipe(t *testing.T, name, part, by string) string {
	t.Helper()
	text, err := os.ReadFile("justfile")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "\n"+name+":\n")
	command, _, _ := strings.Cut(rest, "\n\n")
	if strings.Count(command, part) != 1 {
		t.Fatalf("the recipe %q of the justfile has no %q: %q", name, part, command)
	}
	return strings.Replace(command, part, by, 1)
}
