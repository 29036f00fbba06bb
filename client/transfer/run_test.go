package transfer_test

import (
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"

	"scrier/client/transfer"
)

// A random tree goes to the machine, from there to another one, and back, and is the same: by names, content, modes and
// times.
func TestTreesThereAndBack(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		base := t.TempDir()
		for _, dir := range []string{"here", "a", "b", "back"} {
			if err := os.Mkdir(filepath.Join(base, dir), 0o755); err != nil {
				rt.Fatal(err)
			}
		}
		here := filepath.Join(base, "here", "tree")
		plant(rt, here, 0)
		want := look(t, here, "mode")
		local, a, b := transfer.NewLocal(), remote(t, filepath.Join(base, "a")), remote(t, filepath.Join(base, "b"))
		o := transfer.Options{Recursive: true, Preserve: true, Continue: rapid.Bool().Draw(rt, "continue")}
		p := &told{}
		run(t, p, []transfer.Source{{Place: local, Path: here}}, a, ".", o)
		run(t, p, []transfer.Source{{Place: a, Path: "tree"}}, b, "other", o)
		run(t, p, []transfer.Source{{Place: b, Path: filepath.Join(base, "b", "other")}}, local, filepath.Join(base, "back"), o)
		for _, there := range []string{filepath.Join(base, "a", "tree"), filepath.Join(base, "b", "other"), filepath.Join(base, "back", "other")} {
			if got := look(t, there, "mode"); got != want {
				rt.Fatalf("%s is\n%s\nexpected\n%s\ntold was %q", there, got, want, p.ends)
			}
		}
		noParts(t, base)
		a.Close()
		b.Close()
		_ = os.RemoveAll(base)
	})
}
