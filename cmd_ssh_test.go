//go:build !agentonly

package main

import (
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"scrier/wire"
)

// USER@ENVOY is understood as by ssh, and -l beside it says the same or is refused.
func TestLoginAt(t *testing.T) {
	for _, c := range []struct{ arg, login, envoy, user string }{
		{"web1", "", "web1", ""},
		{"web1", "ann", "web1", "ann"},
		{"ann@web1", "", "web1", "ann"},
		{"ann@web1", "ann", "web1", "ann"},
		{"ann@corp@web1", "", "web1", "ann@corp"},
		{"web1", "ann@corp", "web1", "ann@corp"},
		{"ann@corp@web1", "ann@corp", "web1", "ann@corp"},
		{`CORP\ann@web1`, "", "web1", `CORP\ann`},
	} {
		envoy, user, err := loginAt(c.arg, c.login)
		if err != nil || envoy != c.envoy || user != c.user {
			t.Errorf("%s -l %q is %q at %q, %v", c.arg, c.login, user, envoy, err)
		}
	}
	for _, c := range []struct{ arg, login, says string }{
		{"@web1", "", "a part of it is missing"},
		{"ann@", "", "a part of it is missing"},
		{"@", "ann", "a part of it is missing"},
		{"ann@web1", "bob", "leave one of the two out"},
		{"ann@corp@web1", "ann", "leave one of the two out"},
	} {
		_, _, err := loginAt(c.arg, c.login)
		if wire.CodeOf(err) != wire.Usage || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s -l %q: %v", c.arg, c.login, err)
		}
	}
}

// A status that has more bits than this system's is not taken for a success.
func TestPassedOn(t *testing.T) {
	for status, want := range map[int]int{0: 0, 1: 1, 255: 255, 256: 255, 1 << 16: 255, 257: 1} {
		if got := int(passedOn(status)); runtime.GOOS != "windows" && got&0xff != want {
			t.Errorf("%d becomes %d, and not %d", status, got&0xff, want)
		}
	}
}

// Each flag of ssh's works, or is explained; docs/operators.md says the same.
func TestFlagsOfSSH(t *testing.T) {
	out, _ := exec.Command("ssh").CombinedOutput() // its usage, and an error
	if !strings.Contains(string(out), "usage: ssh") {
		t.Fatal("no ssh is installed: ./just parts does it")
	}
	text := document(t, "docs/operators.md")
	_, text, _ = strings.Cut(text, "\n### Options of ssh\n")
	text, _, _ = strings.Cut(text, "\nOf ssh_config")
	flags := map[string]bool{}
	for _, m := range regexp.MustCompile(`\[-(\w+)`).FindAllStringSubmatch(string(out), -1) {
		for _, f := range m[1] {
			flags[string(f)] = true
		}
	}
	if len(flags) < 40 {
		t.Fatalf("only %d flags were found in %s", len(flags), out)
	}
	for f := range flags {
		has := sshCommand().Flags().ShorthandLookup(f) != nil
		if has == (unlikeSSH(f) != "") {
			t.Errorf("-%s: %t, %q", f, has, unlikeSSH(f))
		}
		if !strings.Contains(text, "`-"+f+"`") {
			t.Errorf("the table in docs/operators.md does not have -%s", f)
		}
	}
	c, err := newRoot(), error(nil)
	c.SetArgs([]string{"ssh", "web1", "-p", "22", "true"})
	if err = c.Execute(); wire.CodeOf(err) != wire.Usage || !strings.Contains(wire.HintOf(err), "leave it out") {
		t.Errorf("-p: %v", err)
	}
}

// Flags that forward are understood before anything is opened.
func TestForwardFlags(t *testing.T) {
	for line, want := range map[string]string{
		"web1 -L 1:h:2 -L [::1]:3:h:4 -D 5 -R 0:h:6 -N": "",
		"-A web1 -R 7 cmd":     "",
		"web1 -W h:1 -N -T -n": "",
		"web1 -L 1:h":          "-L 1:h: it is not",
		"web1 -R x":            "-R x: it is not",
		"web1 -D 0":            "-D 0: it is not",
		"web1 -W h":            "-W h: it is not",
		"web1 -W h:1 -D 2":     "-W is one connection",
		"web1 -W h:1 -A":       "-W is one connection",
		"web1 -N cmd":          "-N and -W run nothing",
		"web1 -W h:1 -t":       "-N and -W run nothing",
		"--attach x -L 1:h:2":  "--attach goes on",
		"--attach x --new":     "--attach goes on",
		"web1 -L 1:h:2 -n":     "-n needs a command",
	} {
		var o sshOptions
		c := &cobra.Command{Use: "ssh"}
		o.flags(c)
		got := c.ParseFlags(strings.Fields(line))
		if got == nil {
			_, got = o.parse(c, c.Flags().Args())
		}
		if want == "" && got != nil || want != "" && (wire.CodeOf(got) != wire.Usage || !strings.Contains(got.Error(), want)) {
			t.Errorf("%s: %v", line, got)
		}
	}
}
