package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"scrier/wire"
)

// TestVersion builds the program as people do: from an archive, and in the clone of a repository that has what
// this one has.
func TestVersion(t *testing.T) {
	dir := t.TempDir()
	source := filepath.Join(dir, "archive")
	do := func(name string, args ...string) string {
		t.Helper()
		c := exec.CommandContext(t.Context(), name, args...)
		c.Dir = source
		c.Env = append(os.Environ(), "CGO_ENABLED=0", "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_SYSTEM="+os.DevNull,
			"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com",
			"GIT_AUTHOR_DATE=2026-11-27T12:00:00+02:00", "GIT_COMMITTER_DATE=2026-11-27T12:00:00+02:00")
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
		}
		return strings.TrimSpace(string(out))
	}
	program := filepath.Join(dir, "scrier")
	build := func(flags ...string) (told string) {
		t.Helper()
		do("go", append(append([]string{"build", "-trimpath", "-buildvcs=auto", "-o", program}, flags...), ".")...)
		told = do(program, "version")
		var asJSON version
		if err := json.Unmarshal([]byte(do(program, "version", "--json")), &asJSON); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(strings.TrimSpace(asJSON.String()), told); diff != "" {
			t.Errorf("--json tells something else (-json +text):\n%s", diff)
		}
		if want := "scrier version " + asJSON.Build.String(); do(program, "--version") != want {
			t.Errorf("--version does not print %q", want)
		}
		return told
	}
	want := func(told, line1, line2 string) {
		t.Helper()
		lines := strings.Split(told, "\n")
		if len(lines) != 3 || !strings.HasPrefix(lines[0], "scrier "+line1+" go1.") || lines[1] != line2 || lines[2] != "speaks "+wire.ALPNAgent+" "+wire.ALPNClient {
			t.Errorf("got:\n%s\nwanted a line of %q, and %q", told, line1, line2)
		}
	}

	copyGo(t, source)
	want(build(), "devel", "commit unknown")
	want(build("-ldflags", "-X scrier/wire.version=v1.4.0 -X scrier/wire.commit=0123456789abcdef -X scrier/wire.date=2026-01-02T03:04:05Z"),
		"v1.4.0", "commit 0123456789abcdef of 2026-01-02T03:04:05Z")

	do("git", "init", "--quiet")
	do("git", "add", "--all", "--force")
	do("git", "commit", "--quiet", "--message", "all")
	commit := "commit " + do("git", "rev-parse", "HEAD") + " of 2026-11-27T10:00:00Z"
	clone := filepath.Join(dir, "clone")
	do("git", "clone", "--quiet", source, clone)
	source = clone
	want(build(), "devel", commit)
	want(build("-ldflags", "-X scrier/wire.version=v1.4.0"), "v1.4.0", commit)

	do("git", "tag", "v1.5.0")
	want(build(), "v1.5.0", commit)
	if err := os.WriteFile(filepath.Join(source, "more.go"), []byte("package main\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	want(build(), "v1.5.0", commit+", modified")
}

// copyGo copies what the program is built of.
func copyGo(t *testing.T, to string) {
	t.Helper()
	files := []string{"go.mod", "go.sum"}
	for _, p := range packages(t) {
		for _, f := range p.GoFiles {
			files = append(files, filepath.Join("."+strings.TrimPrefix(p.ImportPath, "scrier"), f))
		}
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(to, f)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to, f), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.CopyFS(filepath.Join(to, "static/dist"), os.DirFS("static/dist")); err != nil {
		t.Fatal(err)
	}
}
