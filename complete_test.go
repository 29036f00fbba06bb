//go:build !agentonly

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// asProgram in the environment makes the test binary the program itself.
const asProgram = "SCRIER_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		os.Exit(run(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// namer is a relay's admin socket that answers with whatever names, and remembers which envoys it was asked for.
type namer struct {
	state string
	mu    sync.Mutex
	asked []string
	lists int // that were given
}

func (n *namer) given() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.lists
}

func (n *namer) paths() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.asked)
}

// hostile are names that mean something to a shell or a terminal; each would make a file if a shell ran it.
var hostile = []string{
	"$(touch pwned)", "`touch pwned`", "we$(touch pwned)", "we`touch pwned`b", "we;touch pwned", "we|touch pwned", "we&touch pwned&",
	"we\ntouch pwned", "we\rtouch pwned\r", "we\ttouch pwned", "we b", "we'b", `we"b`, `we\b`, "we>pwned", "we\x1b[2Jb", "we\x00b", "we\u202eb",
	"pw$(touch pwned)x1", "pw$(touch pwned)x2", // bash puts what two have in common into the line as it is
	"--relay=evil", "-we", "~we", "we*", "we{a,b}", "we!b", "we#b", "we=b", "we:4",
}

func newNamer(t *testing.T) *namer {
	n := &namer{state: t.TempDir()}
	l, err := net.Listen("unix", filepath.Join(n.state, "admin.sock"))
	if err != nil {
		t.Fatal(err)
	}
	type row map[string]any
	envoys := []row{
		{"id": "11111111-0000-4000-8000-000000000000", "hostname": "web1", "state": "online", "facts": row{"os": "Debian $(touch pwned) `touch pwned`\x1b[2J"}},
		{"id": "22222222-0000-4000-8000-000000000000", "hostname": "web2", "state": "offline"},
		{"id": "33333333-0000-4000-8000-000000000000", "hostname": "old", "state": "revoked"},
		{"id": "44444444-0000-4000-8000-000000000000", "hostname": "twin", "state": "online"},
		{"id": "55555555-0000-4000-8000-000000000000", "hostname": "Twin", "state": "offline"},
		{"id": "66666666-0000-4000-8000-000000000000", "hostname": "shut", "state": "quarantined", "quarantine": row{"why": "x"}},
	}
	for i, name := range hostile {
		envoys = append(envoys, row{"id": fmt.Sprintf("bad%05d-0000-4000-8000-000000000000", i), "hostname": name, "state": "online\n" + name})
	}
	envoys = append(envoys, row{"id": "$(touch pwned)", "hostname": "$(touch pwned)", "state": "online"})
	sessions := []row{
		{"id": "01a20943-d6c6-7e7a-9f1b-f1e52f739cbb", "operator": "ann", "envoy_name": "web1", "kind": "ssh", "state": "active", "own": true, "login": "deploy"},
		{"id": "01a20944-d6c6-7e7a-9f1b-f1e52f739cbb", "operator": "bob", "envoy_name": "web1", "kind": "ssh", "state": "active", "login": "$(touch pwned)"},
	}
	mux := http.NewServeMux()
	answer := func(path string, v any) {
		mux.HandleFunc("GET /api/v1"+path, func(w http.ResponseWriter, r *http.Request) {
			n.mu.Lock()
			n.lists++
			n.mu.Unlock()
			if err := json.NewEncoder(w).Encode(v); err != nil {
				t.Error(err)
			}
		})
	}
	answer("/envoys", envoys)
	answer("/sessions", sessions)
	answer("/users", []row{{"username": "ann", "role": "admin"}, {"username": "$(touch pwned)", "role": "viewer"}})
	answer("/tokens", []row{{"id": "0123456789abcdef", "name": "web9", "created_by": "ann"}})
	mux.HandleFunc("GET /api/v1/envoys/{envoy}", func(w http.ResponseWriter, r *http.Request) {
		n.mu.Lock()
		n.asked = append(n.asked, r.PathValue("envoy"))
		n.mu.Unlock()
		if err := json.NewEncoder(w).Encode(envoys[0]); err != nil {
			t.Error(err)
		}
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { t.Errorf("%s %s", r.Method, r.URL.Path) })
	s := &http.Server{Handler: mux}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = s.Serve(l)
	}()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		<-served
	})
	return n
}

// offered is what the program offers at the end of a command line: the words, and all of the answer.
func offered(t *testing.T, line ...string) (words []string, all string) {
	t.Helper()
	root := newRoot()
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetErr(new(bytes.Buffer))
	root.SetArgs(append([]string{cobra.ShellCompRequestCmd}, line...))
	if err := root.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	for l := range strings.Lines(out.String()) {
		word, _, _ := strings.Cut(strings.TrimSuffix(l, "\n"), "\t")
		if !strings.HasPrefix(word, ":") {
			words = append(words, word)
		}
	}
	return words, out.String()
}

// tries are how often a test presses Tab: on a machine with much else to do the relay may answer too late.
const tries = 20

// What is offered where, and that nothing else than plain words is, whatever a relay says.
func TestCompletion(t *testing.T) {
	t.Setenv("SCRIER_HOME", t.TempDir())
	n := newNamer(t)
	for _, c := range []struct{ line, words string }{
		{"envoys show we", "web1 web2 we:4"},
		{"envoys show web1", "web1"},
		{"envoys show 2222", "22222222-0000-4000-8000-000000000000"},
		{"envoys show ol", "old"},
		{"envoys revoke ol", ""},
		{"envoys release ", "shut"},
		{"envoys rename tw", "twin"},
		{"envoys show web1 ", ""},
		{"envoys rename web1 ", ""},
		{"envoys show --relay x:1 ", ""},
		{"sessions kill 01a20944", "01a20944-d6c6-7e7a-9f1b-f1e52f739cbb"},
		{"token revoke 0", "0123456789abcdef"},
		{"operators update --username ", "ann"},
		{"operators delete --username=a", "ann"},
		{"operators create --username ", ""},
		{"operators update --role ", "admin operator viewer compliance"},
	} {
		args := strings.Split(c.line, " ")
		line := append([]string{args[0], args[1], "--state", n.state}, args[2:]...)
		words, all := offered(t, line...)
		for try := 0; try < tries && len(words) == 0 && c.words != ""; try++ {
			words, all = offered(t, line...)
		}
		if got := strings.Join(words, " "); got != c.words {
			t.Errorf("%s: %q, not %q", c.line, got, c.words)
		}
		if !strings.HasSuffix(all, ":4\n") { // ShellCompDirectiveNoFileComp
			t.Errorf("%s: files are offered: %q", c.line, all)
		}
	}
	words, all := offered(t, "envoys", "show", "--state", n.state, "")
	for try := 0; try < tries && len(words) == 0; try++ {
		words, all = offered(t, "envoys", "show", "--state", n.state, "")
	}
	for i, name := range hostile {
		id := fmt.Sprintf("bad%05d-0000-4000-8000-000000000000", i)
		if name == "we:4" {
			continue
		}
		if slices.Contains(words, name) || !slices.Contains(words, id) {
			t.Errorf("%q is not offered by its id: %q", name, words)
		}
	}
	if !slices.Contains(words, "44444444-0000-4000-8000-000000000000") || !slices.Contains(words, "55555555-0000-4000-8000-000000000000") {
		t.Errorf("two of one name are not offered by their ids: %q", words)
	}
	if odd := regexp.MustCompile(`[^\w\t\n :@/+.,()?-]`).FindString(all); odd != "" {
		t.Errorf("there is a %q in what shells are told:\n%s", odd, all)
	}
}

// Where no relay can be asked, there is nothing, and no word about it.
func TestCompletionWithoutRelay(t *testing.T) {
	home := t.TempDir()
	t.Setenv("SCRIER_HOME", home)
	lines := [][]string{
		{"ssh", ""}, {"ssh", "ann@"}, {"rdp", ""}, {"vnc", ""}, {"ssh", "--attach", ""}, {"ssh", "web1", "-l", ""}, {"envoys", "show", ""},
		{"sessions", "kill", ""}, {"token", "revoke", ""}, {"operators", "link", "--username", ""}, {"relays", "use", ""}, {"login", ""}, {"ssh", "--relay", ""},
		{"envoys", "show", "--state", home, ""},
	}
	try := func(why string) {
		for _, line := range lines {
			if words, all := offered(t, line...); len(words) > 0 || all != ":4\n" {
				t.Errorf("%s: %q: %q", why, line, all)
			}
		}
	}
	try("not logged in")
	if entries, err := os.ReadDir(home); err != nil || len(entries) > 0 {
		t.Errorf("completion has made %v, %v", entries, err)
	}
	if err := os.WriteFile(filepath.Join(home, "relays.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	try("damaged")
}

// For a copy there are envoys with a colon and this machine's files; what is on an envoy is not looked up.
func TestCompletionOfCopies(t *testing.T) {
	t.Setenv("SCRIER_HOME", t.TempDir())
	for line, want := range map[string]string{"": ":0\n", "main": ":0\n", "client/": ":0\n", "web1:": ":4\n", "ann@web1:x": ":4\n"} { // 0: the shell offers files
		if _, all := offered(t, "cp", line); all != want {
			t.Errorf("%q: %q", line, all)
		}
	}
	got := withColon([]offer{{"web1", "online"}, {"we:4", "online"}, {"a/b", ""}, {"ann@web1", ""}})
	if want := []offer{{"web1:", "online"}, {"ann@web1:", ""}}; !slices.Equal(got, want) {
		t.Errorf("offered are %v", got)
	}
}

// The relays that are known are offered without asking any.
func TestCompletionOfRelays(t *testing.T) {
	home := t.TempDir()
	t.Setenv("SCRIER_HOME", home)
	if err := os.Chmod(home, 0o700); err != nil {
		t.Fatal(err)
	}
	file := `{"current": "b.example.com:8443", "relays": {
		"b.example.com:8443": {"username": "ann", "role": "admin"}, "c.example.com:8443": {}, "[2001:db8::1]:8443": {"username": "ann"},
		"$(touch pwned):8443": {"username": "ann"}}}`
	if err := os.WriteFile(filepath.Join(home, "relays.json"), []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{
		"relays use ":                  "[2001:db8::1]:8443 b.example.com:8443",
		"login ":                       "[2001:db8::1]:8443 b.example.com:8443 c.example.com:8443",
		"logout --relay c":             "c.example.com:8443",
		"ssh --relay=b":                "b.example.com:8443",
		"envoys list --relay b":        "b.example.com:8443",
		"agent enroll --relay b":       "b.example.com:8443",
		"relays use b.example.com:84 ": "",
		// Flags of `scrier ssh` stand behind ENVOY too, and no longer behind a command, which may have some of that name.
		"ssh web1 --relay b":     "b.example.com:8443",
		"ssh -t web1 --relay=b":  "b.example.com:8443",
		"ssh web1 -t --relay b":  "b.example.com:8443",
		"ssh web1 --no-s":        "--no-skip --no-stdin",
		"ssh web1 cp --relay b":  "",
		"ssh web1 -t cp --no-s":  "",
		"ssh web1 -- cp --no-s":  "",
		"ssh -- web1 cp --no-s":  "",
		"ssh web1 cp b --relay ": "",
	} {
		if words, _ := offered(t, strings.Split(line, " ")...); strings.Join(words, " ") != want {
			t.Errorf("%s: %q, not %q", line, words, want)
		}
	}
}

// A flag that takes a file, a folder, a relay, a login or a session says so in its description, and offers it; none that
// takes anything else offers files.
func TestCompletionOfFlags(t *testing.T) {
	t.Setenv("SCRIER_HOME", t.TempDir())
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			walk(sub)
		}
		if c.HasSubCommands() || c.DisableFlagParsing {
			return
		}
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if f.NoOptDefVal != "" { // takes nothing
				return
			}
			name, usage := pflag.UnquoteUsage(f)
			files := name == "FILE" || name == "DIR" || name == "PROGRAM"
			_, all := offered(t, append(strings.Fields(c.CommandPath())[1:], "--"+f.Name, "")...)
			if got := strings.HasSuffix(all, ":0\n"); got != files {
				t.Errorf("%s --%s %s (%s) offers files: %v", c.CommandPath(), f.Name, name, usage, got)
			}
		})
	}
	walk(newRoot())
	words, _ := offered(t, "vnc", "--viewer", "")
	if !slices.Contains(words, "none") || !slices.Contains(words, "vncviewer") || slices.Contains(words, "xfreerdp") {
		t.Errorf("viewers: %q", words)
	}
}

// The script for bash is the library's, and each of its mends has found its place.
func TestBashMends(t *testing.T) {
	var b bytes.Buffer
	if err := newRoot().GenBashCompletionV2(&b, true); err != nil {
		t.Fatal(err)
	}
	for _, m := range bashMends {
		if strings.Count(b.String(), m.from) != 1 {
			t.Errorf("the library's script does not have once:\n%s", m.from)
		}
	}
}

// In real shells Tab makes the name that was meant of its beginning, and what names and remarks hold is never run.
func TestCompletionInShells(t *testing.T) {
	const clear = "\x15" // Ctrl-U
	for _, c := range []struct {
		name, shell, args, setup, clear string
	}{
		{"bash", "bash", "--norc --noprofile -i", "source <(scrier completion bash)", clear},
		{"bash, one after the other", "bash", "--norc --noprofile -i", "bind TAB:menu-complete; source <(scrier completion bash)", clear},
		{"bash, bare", "bash", "--norc --noprofile -i", "source <(scrier completion bash --no-descriptions)", clear},
		{"zsh", "zsh", "-f -i", "autoload -U compinit; compinit -u -D; source <(scrier completion zsh)", clear},
		{"fish", "fish", "--no-config -i", "scrier completion fish | source", "\x03" + clear}, // Ctrl-C closes its list
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newNamer(t)
			s := startShell(t, c.shell, strings.Fields(c.args))
			ready := func(after any) {
				s.typed(fmt.Sprintf("printf 'done%%s\n' -%v\n", after)) // the line itself does not show it
				s.shows(fmt.Sprintf("done-%v", after))
			}
			s.typed(c.setup + "\n")
			ready("setup")
			show := "scrier envoys show --state " + n.state + " "
			for i, step := range []struct{ keys, want string }{
				{show + "web2\t\n", "web2"},
				{show + "2222\t\n", "22222222-0000-4000-8000-000000000000"},
				{show + "bad00000\t\n", "bad00000-0000-4000-8000-000000000000"},
				{show + "bad00002\t\n", "bad00002-0000-4000-8000-000000000000"},
				{show + "\t\t", ""}, // the whole list
				{show + "we\t\t\t\t", ""},
				{show + "'we$\t", ""},
				{show + "pw\t\t\n", "pw"},
				{"scrier sessions kill --state " + n.state + " \t\t", ""},
				{"scrier operators link --state " + n.state + " --username \t\t", ""},
				{show + "web1\n", "web1"},
			} {
				before := len(n.paths())
				for try := 0; step.want == ""; try++ {
					lists := n.given()
					s.typed(step.keys)
					// With an open quote there may be nothing to ask for.
					asked := strings.Contains(step.keys, "'") || s.within(5*time.Second, func() bool { return n.given() > lists })
					s.typed(c.clear)
					if asked {
						break
					}
					if try == tries {
						t.Fatalf("step %d: the relay was not asked for a list; the screen:\n%s", i, s.screen())
					}
					ready(fmt.Sprintf("%d-%d", i, try)) // the program had no time to ask
				}
				if step.want != "" {
					s.typed(step.keys)
				}
				for try := 0; step.want != ""; try++ {
					s.until(fmt.Sprintf("step %d: the relay was asked for %q", i, step.want), func() bool { return len(n.paths()) > before })
					got := n.paths()[before]
					if got == step.want {
						break
					}
					if try == tries || !strings.HasPrefix(step.want, got) {
						t.Errorf("%q has asked for %q, not %q", step.keys, got, step.want)
						break
					}
					ready(fmt.Sprintf("%d-%d", i, try)) // it came too late
					before = len(n.paths())
					s.typed(step.keys)
				}
				ready(i)
			}
			if _, err := os.Stat(filepath.Join(s.dir, "pwned")); err == nil {
				t.Errorf("a name was run; the screen:\n%q", s.screen())
			}
		})
	}
}

// A shell with a terminal of its own.
type shell struct {
	t   *testing.T
	dir string
	tty *os.File
	mu  sync.Mutex
	out []byte
}

func startShell(t *testing.T, name string, args []string) *shell {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%v: ./just parts installs it", err)
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := &shell{t: t, dir: t.TempDir()}
	bin := t.TempDir()
	if err := os.Symlink(program, filepath.Join(bin, "scrier")); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, args...)
	cmd.Dir = s.dir
	cmd.Env = []string{
		"PATH=" + bin + ":/usr/bin:/bin", "HOME=" + s.dir, "TERM=xterm", "PS1=$ ", "INPUTRC=/dev/null", "HISTFILE=", "LANG=C.UTF-8",
		asProgram + "=1", "GORACE=atexit_sleep_ms=0", "SCRIER_HOME=" + filepath.Join(s.dir, "scrier"),
	}
	if s.tty, err = pty.StartWithSize(cmd, &pty.Winsize{Cols: 120, Rows: 100}); err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		buf := make([]byte, 4096)
		for {
			n, err := s.tty.Read(buf)
			s.mu.Lock()
			s.out = append(s.out, buf[:n]...)
			s.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = s.tty.Close()
		<-read
	})
	return s
}

func (s *shell) typed(keys string) {
	s.t.Helper()
	if _, err := s.tty.WriteString(keys); err != nil {
		s.t.Fatal(err)
	}
}

func (s *shell) screen() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.out)
}

func (s *shell) shows(text string) {
	s.t.Helper()
	s.until(text, func() bool { return strings.Contains(s.screen(), text) })
}

func (s *shell) until(what string, done func() bool) {
	s.t.Helper()
	if !s.within(60*time.Second, done) {
		s.t.Fatalf("not yet: %s; the screen:\n%s", what, s.screen())
	}
}

// within waits at most that long, and tells whether it is done.
func (s *shell) within(wait time.Duration, done func() bool) bool {
	for end := time.Now().Add(wait); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}
