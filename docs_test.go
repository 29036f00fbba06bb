//go:build !agentonly

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/spf13/cobra"

	"scrier/agent"
	"scrier/relay"
	"scrier/relay/access"
	"scrier/relay/metrics"
	"scrier/wire"
)

// The documents are held against the program here, so that neither changes alone.

// TestDocsErrors: docs/errors.md has a row for each code, in order, with its number, name and
// meaning.
func TestDocsErrors(t *testing.T) {
	row := regexp.MustCompile("(?m)^\\| (\\d+) \\| `([a-z_]+)` \\| (.*?) \\| (.*) \\|$")
	var got []string
	for _, m := range row.FindAllStringSubmatch(document(t, "docs/errors.md"), -1) {
		got = append(got, m[1]+" "+m[2]+": "+m[3])
		if strings.TrimSpace(m[4]) == "" {
			t.Errorf("docs/errors.md does not say what to do about %s", m[2])
		}
	}
	var want []string
	for _, c := range wire.Codes() {
		if c <= 125 && c.ExitStatus() != int(c) {
			t.Errorf("%s has the number %d and the exit status %d; docs/errors.md says that they are the same", c, c, c.ExitStatus())
		}
		want = append(want, strconv.Itoa(int(c))+" "+c.String()+": "+c.Meaning())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("docs/errors.md differs from wire/code.go (-code +doc):\n%s", diff)
	}
	for _, c := range wire.Classes() {
		line := fmt.Sprintf("\n| %d to %d | %d | `%s` | %s |\n", c.First, c.First+99, c.Status, c.Sysexit, c.Meaning)
		if !strings.Contains(document(t, "docs/errors.md"), line) {
			t.Errorf("docs/errors.md does not have the line%s", line)
		}
	}
}

// TestDocsConfig: each key of server.yaml and agent.yaml has its row; the first example is the
// default, whole; the others are valid.
func TestDocsConfig(t *testing.T) {
	for _, c := range []struct {
		doc  string
		load func(path string) (any, error)
		want any
		also []string // documents with more examples
	}{
		{"docs/relay.md", func(p string) (any, error) { return relay.LoadConfig(p, true) }, relay.DefaultConfig(), []string{"docs/proxies.md"}},
		{"docs/agent.md", func(p string) (any, error) { return agent.LoadConfig(p, true) }, agent.DefaultConfig(), nil},
	} {
		text := document(t, c.doc)
		examples := blocks(text, "yaml")
		for _, name := range c.also {
			examples = append(examples, blocks(document(t, name), "yaml")...)
		}
		if len(examples) == 0 {
			t.Fatalf("%s has no example", c.doc)
		}
		for i, example := range examples {
			path := filepath.Join(t.TempDir(), "example.yaml")
			if err := os.WriteFile(path, []byte(example), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := c.load(path)
			if err != nil {
				t.Errorf("%s, example %d: %v", c.doc, i+1, err)
			}
			if diff := cmp.Diff(c.want, got, cmpopts.EquateEmpty()); i == 0 && diff != "" {
				t.Errorf("the first example of %s is not the default (-default +example):\n%s", c.doc, diff)
			}
		}
		var whole map[string]any
		if err := yaml.Unmarshal([]byte(examples[0]), &whole); err != nil {
			t.Fatal(err)
		}
		written := mapKeys(whole, "")
		for _, key := range configKeys(reflect.TypeOf(c.want), "") {
			if !strings.Contains(text, "\n| `"+key+"` |") {
				t.Errorf("%s has no row for %s", c.doc, key)
			}
			if !slices.Contains(written, key) {
				t.Errorf("the first example of %s does not have %s", c.doc, key)
			}
		}
	}
}

// configKeys are the dotted names of a configuration's values, by their yaml tags.
func configKeys(t reflect.Type, prefix string) (keys []string) {
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if f.Type.Kind() == reflect.Struct {
			keys = append(keys, configKeys(f.Type, prefix+name+".")...)
		} else {
			keys = append(keys, prefix+name)
		}
	}
	return keys
}

func mapKeys(m map[string]any, prefix string) (keys []string) {
	for k, v := range m {
		if sub, ok := v.(map[string]any); ok {
			keys = append(keys, mapKeys(sub, prefix+k+".")...)
		} else {
			keys = append(keys, prefix+k)
		}
	}
	return keys
}

// TestDocsCommands: each command and each flag is in the documents.
func TestDocsCommands(t *testing.T) {
	var all strings.Builder
	for _, name := range documents(t) {
		all.WriteString(document(t, name))
	}
	flag := regexp.MustCompile(`--[a-z][a-z-]+`)
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Name() == "help" || c.Hidden {
			return
		}
		if !c.HasSubCommands() || c.Name() == "completion" {
			if !strings.Contains(all.String(), c.CommandPath()) {
				t.Errorf("no document mentions `%s`", c.CommandPath())
			}
		}
		if c.Name() == "completion" { // what is below is cobra's own
			return
		}
		for _, f := range flag.FindAllString(c.LocalFlags().FlagUsages(), -1) {
			if !regexp.MustCompile(regexp.QuoteMeta(f) + `\b`).MatchString(all.String()) {
				t.Errorf("no document mentions %s of `%s`", f, c.CommandPath())
			}
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(newRoot())
}

// TestDocsCommandLines: each command line in the documents and units is one that the program
// takes.
func TestDocsCommandLines(t *testing.T) {
	seen := 0
	try := func(where, line string, whole bool) {
		seen++
		if err := parses(line, whole); err != nil {
			t.Errorf("%s: `%s`: %v", where, line, err)
		}
	}
	inline := regexp.MustCompile("`(scrier [a-z][^`]*)`")
	for _, name := range documents(t) {
		text := document(t, name)
		for _, line := range shellLines(text) {
			if strings.HasPrefix(line, "scrier ") {
				try(name, line, true)
			}
		}
		for _, m := range inline.FindAllStringSubmatch(text, -1) {
			try(name, m[1], false)
		}
	}
	units, err := filepath.Glob("deploy/*.service")
	if err != nil || len(units) == 0 {
		t.Fatal("no units", err)
	}
	for _, name := range units {
		for line := range strings.Lines(document(t, name)) {
			if program, ok := strings.CutPrefix(line, "ExecStart=/usr/local/bin/"); ok {
				try(name, program, true)
			}
		}
	}
	if seen < 50 {
		t.Errorf("only %d command lines were found", seen)
	}
}

// parses says whether the program would take a command line; whole demands its arguments too.
func parses(line string, whole bool) error {
	line = regexp.MustCompile(`\s*(\||&&|;|>|\s#).*`).ReplaceAllString(line, "")
	var argv []string
	for _, f := range strings.Fields(line)[1:] {
		argv = append(argv, strings.Trim(f, `'"`))
	}
	root := newRoot()
	root.InitDefaultCompletionCmd(argv...)
	c, rest, err := root.Find(argv)
	if err != nil {
		return err
	}
	// "webusers" is an alias, for those who know the old name.
	if called := strings.Join(append([]string{"scrier"}, argv[:len(argv)-len(rest)]...), " "); called != c.CommandPath() {
		return fmt.Errorf("it is called `%s`", c.CommandPath())
	}
	if err := c.ParseFlags(rest); err != nil {
		return err
	}
	if !whole {
		if c.HasSubCommands() && c.Flags().NArg() > 0 {
			return c.ValidateArgs([]string{"", "", "", ""})
		}
		return nil
	}
	if c.HasSubCommands() {
		return c.RunE(c, c.Flags().Args())
	}
	if err := c.ValidateRequiredFlags(); err != nil {
		return err
	}
	return c.ValidateArgs(c.Flags().Args())
}

// TestDocsRoles: the table in docs/operators.md is the one in relay/access.
func TestDocsRoles(t *testing.T) {
	text := document(t, "docs/operators.md")
	head := "| |"
	for _, r := range access.Roles() {
		head += " `" + string(r) + "` |"
	}
	if !strings.Contains(text, head) {
		t.Fatalf("docs/operators.md has no table %s", head)
	}
	for _, v := range []access.Verb{
		access.SeeSelf, access.SeeEnvoys, access.ChangeEnvoys, access.SeeSessions, access.OpenSessions, access.EndOwn, access.KillSessions,
		access.SeeAudit, access.SeeMetrics, access.SeeUsers, access.ChangeUsers, access.MakeTokens, access.WatchSessions,
	} {
		row := "| " + string(v) + " |"
		for _, r := range access.Roles() {
			if (access.Operator{Role: r}).May(v) == nil {
				row += " yes"
			}
			row += " |"
		}
		if !strings.Contains(text, "\n"+row+"\n") {
			t.Errorf("docs/operators.md has no row %s", row)
		}
	}
}

// TestDocsAudit: each type of record is in docs/audit.md.
func TestDocsAudit(t *testing.T) {
	text := document(t, "docs/audit.md")
	kind := regexp.MustCompile(`"((?:relay|operator|envoy|token|session|scrier)\.[a-z_.]+)"`)
	seen := map[string]bool{}
	for _, p := range packages(t) {
		if !matches("scrier/relay/...", p.ImportPath) {
			continue
		}
		for _, f := range p.GoFiles {
			for _, m := range kind.FindAllStringSubmatch(document(t, filepath.Join(p.Dir, f)), -1) {
				seen[m[1]] = true
			}
		}
	}
	for _, key := range configKeys(reflect.TypeFor[relay.Config](), "") {
		for more := true; more; { // of server.yaml's block "scrier", and of the blocks in it, named in errors
			delete(seen, key)
			var at int
			if at = strings.LastIndex(key, "."); at >= 0 {
				key = key[:at]
			}
			more = at >= 0
		}
	}
	if len(seen) < 10 {
		t.Fatalf("only %d types were found", len(seen))
	}
	for name := range seen {
		if !strings.Contains(text, "`"+name+"`") {
			t.Errorf("docs/audit.md does not have %s", name)
		}
	}
}

// TestDocsMetrics: docs/metrics.md has a row for each metric, in order, and names no metric that there is not.
func TestDocsMetrics(t *testing.T) {
	text := document(t, "docs/metrics.md")
	row := regexp.MustCompile("(?m)^\\| `(scrier_\\w+)` \\| (\\w+) \\| (.*?) ?\\| (.*) \\|$")
	var got, want []string
	for _, m := range row.FindAllStringSubmatch(text, -1) {
		got = append(got, m[0])
	}
	known := map[string]bool{}
	for _, m := range metrics.All() {
		labels := ""
		for _, l := range m.Labels {
			labels += "`" + l + "` "
		}
		want = append(want, fmt.Sprintf("| `%s` | %s | %s| %s |", m.Name, m.Kind, labels, m.Help))
		known[m.Name] = true
		if m.Kind == "histogram" {
			known[m.Name+"_bucket"], known[m.Name+"_count"], known[m.Name+"_sum"] = true, true, true
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("docs/metrics.md differs from relay/metrics (-code +doc):\n%s", diff)
	}
	for _, name := range regexp.MustCompile(`\bscrier_[a-z_]+`).FindAllString(text, -1) {
		if !known[name] {
			t.Errorf("docs/metrics.md names %s, which is no metric", name)
		}
	}
}

// TestDocsUnits: an agent whose identity was revoked is not started again.
func TestDocsUnits(t *testing.T) {
	unit := document(t, "deploy/scrier-agent.service")
	_, line, _ := strings.Cut(unit, "\nRestartPreventExitStatus=")
	line, _, _ = strings.Cut(line, "\n")
	for _, c := range []wire.Code{wire.Revoked, wire.BadConfig} {
		if !slices.Contains(strings.Fields(line), strconv.Itoa(c.ExitStatus())) {
			t.Errorf("RestartPreventExitStatus=%s does not have %d (%s)", line, c.ExitStatus(), c)
		}
	}
	dropin := document(t, "deploy/sshd_config.d/scrier.conf")
	for line := range strings.Lines(dropin) {
		if strings.HasPrefix(line, "AuthorizedKeysFile ") && !strings.Contains(document(t, "docs/agent.md"), "\n"+line) {
			t.Errorf("docs/agent.md does not have the line %s", line)
		}
	}
}

// TestDocsLinks: what a document points to is there; ARCHITECTURE.md names each package.
func TestDocsLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]+)\)`)
	for _, name := range documents(t) {
		for _, m := range link.FindAllStringSubmatch(document(t, name), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(name), m[1])); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	text := document(t, "ARCHITECTURE.md")
	for _, p := range packages(t) {
		if dir := strings.TrimPrefix(p.ImportPath, "scrier/"); dir != "scrier" && !strings.Contains(text, "\n"+dir+"/ ") {
			t.Errorf("ARCHITECTURE.md has no line for %s/", dir)
		}
	}
	for _, file := range regexp.MustCompile(`\b[a-z][a-z_]*(?:/[a-z_]+)*\.go\b`).FindAllString(text, -1) {
		if _, err := os.Stat(file); err != nil {
			t.Errorf("ARCHITECTURE.md: %v", err)
		}
	}
}

// documents are all that are for people.
func documents(t *testing.T) []string {
	t.Helper()
	names, err := filepath.Glob("docs/*.md")
	if err != nil || len(names) == 0 {
		t.Fatal("no documents", err)
	}
	return append(names, "README.md", "ARCHITECTURE.md")
}

func document(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

var fence = regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```$")

// blocks are the fenced blocks of one language.
func blocks(text, language string) (out []string) {
	for _, m := range fence.FindAllStringSubmatch(text, -1) {
		if m[1] == language {
			out = append(out, m[2])
		}
	}
	return out
}

// shellLines are what a reader types: all of a block of sh, and what follows a prompt in one of
// console.
func shellLines(text string) (out []string) {
	for _, b := range blocks(text, "sh") {
		out = append(out, strings.Split(strings.TrimSpace(b), "\n")...)
	}
	for _, b := range blocks(text, "console") {
		for line := range strings.Lines(b) {
			for _, prompt := range []string{"$ ", "# "} {
				if typed, ok := strings.CutPrefix(line, prompt); ok {
					out = append(out, strings.TrimSpace(typed))
				}
			}
		}
	}
	return out
}
