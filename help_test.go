//go:build !agentonly

package main

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestHelp asks each command for its help, which must list its exit statuses, and give what each flag takes a name
// for people: neither a type of Go's nor half a sentence.
func TestHelp(t *testing.T) {
	flag := regexp.MustCompile(`(?m)^ +(?:-\w, )?(--[a-z-]+) ?(.*?)   `)
	takes := regexp.MustCompile(`^(|[A-Z:]+|k=v)$`)
	for path := range leaves(newRoot()) {
		root := newRoot()
		var out bytes.Buffer
		root.SetOut(&out)
		root.SetArgs(append(strings.Fields(path)[1:], "--help"))
		if err := root.Execute(); err != nil {
			t.Errorf("%s --help: %v", path, err)
		}
		if !strings.Contains(out.String(), "\nUsage:\n  "+path) {
			t.Errorf("%s --help does not show how to use it:\n%s", path, out.String())
		}
		if strings.Contains(out.String(), "m0s") {
			t.Errorf("%s --help writes a time as Go does:\n%s", path, out.String())
		}
		if strings.Contains(out.String(), "[flags]") {
			t.Errorf("%s --help names no flags where it shows how to use it:\n%s", path, out.String())
		}
		for _, m := range flag.FindAllStringSubmatch(out.String(), -1) {
			if !takes.MatchString(m[2]) {
				t.Errorf("%s --help says that %s takes %q", path, m[1], m[2])
			}
		}
		library := path == "scrier help" || strings.HasPrefix(path, "scrier completion ")
		if !library && !strings.Contains(out.String(), "\nEXIT STATUS\n") {
			t.Errorf("%s --help does not tell the exit statuses:\n%s", path, out.String())
		}
	}
}

// TestPermits wants each command in the story that runs all of them as every role.
func TestPermits(t *testing.T) {
	const file = "stories/script/roles.txtar"
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	missing := leaves(newRoot())
	for line := range strings.Lines(string(data)) {
		f := strings.Split(line, "|")
		if len(f) != 3 || strings.HasPrefix(line, "#") {
			continue
		}
		argv := strings.Join(strings.Fields(f[2]), " ") + " "
		for path := range missing {
			if strings.HasPrefix(argv, path+" ") {
				delete(missing, path)
			}
		}
	}
	for path := range missing {
		t.Errorf("%s is not in the table of %s", path, file)
	}
}

// leaves are the commands that do something, by path.
func leaves(c *cobra.Command) map[string]bool {
	all := map[string]bool{}
	for _, sub := range c.Commands() {
		if sub.HasSubCommands() {
			for path := range leaves(sub) {
				all[path] = true
			}
		} else {
			all[sub.CommandPath()] = true
		}
	}
	return all
}

// TestAbsent: what cobra says of flags that are needed, in plain words.
func TestAbsent(t *testing.T) {
	for told, want := range map[string]string{
		`required flag(s) "relay" not set`:            "--relay is missing",
		`required flag(s) "role", "username" not set`: "--role and --username are missing",
	} {
		if got := absent(told); got != want {
			t.Errorf("%s: %s", told, got)
		}
	}
}

// TestDidYouMean: a short word is like every short command, and names none of them but those that it begins.
func TestDidYouMean(t *testing.T) {
	for _, c := range []struct {
		word  string
		names []string
		want  string
	}{
		{"lsit", []string{"list"}, " (did you mean list?)"},
		{"x", []string{"cp"}, ""},
		{"lo", []string{"login", "logout", "cp"}, " (did you mean login or logout?)"},
		{"zzzz", nil, ""},
	} {
		if got := didYouMean(c.word, c.names); got != c.want {
			t.Errorf("%s: %q", c.word, got)
		}
	}
}
