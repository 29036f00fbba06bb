package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The program builds for what people have at their desks and in their racks, with nothing that vet finds:
// all of it on Linux, and elsewhere what operators need.
func TestOtherSystems(t *testing.T) {
	for _, target := range []string{"linux/arm64", "linux/arm", "darwin/amd64", "darwin/arm64", "windows/amd64", "freebsd/amd64"} {
		t.Run(target, func(t *testing.T) {
			system, processor, _ := strings.Cut(target, "/")
			run := func(args ...string) string {
				t.Helper()
				c := exec.CommandContext(t.Context(), "go", args...)
				c.Env = append(os.Environ(), "GOOS="+system, "GOARCH="+processor, "GOARM=7", "CGO_ENABLED=0")
				out, err := c.CombinedOutput()
				if err != nil {
					t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
				}
				return string(out)
			}
			run("build", "-o", filepath.Join(t.TempDir(), "scrier"), ".")
			list := run("list", "-deps", "-f", `{{if not .Standard}}{{$d := .Dir}}{{.ImportPath}}{{range .GoFiles}} {{$d}}/{{.}}{{end}}{{end}}`, ".")
			var own []string
			for line := range strings.Lines(list) {
				f := strings.Fields(line)
				if len(f) < 2 || f[0] != "scrier" && !strings.HasPrefix(f[0], "scrier/") {
					continue
				}
				own = append(own, f[0])
				if system == "linux" {
					continue
				}
				if strings.HasPrefix(f[0], "scrier/agent") {
					t.Errorf("%s is in a program without an agent", f[0])
				}
				run(append([]string{"vet"}, f[1:]...)...) // by its files, as the tests are for Linux
			}
			if system == "linux" {
				run(append([]string{"vet"}, own...)...)
			}
			if len(own) < 5 {
				t.Errorf("vet saw %d packages:\n%s", len(own), list)
			}
		})
	}
}
