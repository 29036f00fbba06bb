package openssh

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"scrier/wire"
)

// setting is a Config in folders of a test's own, and the path of ssh's configuration.
func setting(t *testing.T) (Config, string) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	return Config{Dir: filepath.Join(dir, "my state", "ssh"), Suffix: Suffix, Program: "/opt/my tools/50%/scrier", HostKey: key.PublicKey()}, filepath.Join(dir, "home", ".ssh", "config")
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func put(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// TestInstall: whatever stands in ~/.ssh/config is the same byte by byte behind Install and Remove, and has one line more
// between them.
func TestInstall(t *testing.T) {
	for name, text := range map[string]string{
		"empty": "", "no newline at the end": "Host a\n  User b", "crlf": "Host a\r\n  User b\r\n", "bytes": "# \xff\x00\n\n\nHost *\n",
		"another Include": "Include \"/somewhere/else/*.conf\"\nHost a\n",
	} {
		t.Run(name, func(t *testing.T) {
			c, path := setting(t)
			put(t, path, text, 0o640)
			for i := range 2 {
				changed, err := c.Install(path)
				if err != nil || changed != (i == 0) {
					t.Fatalf("Install: %v, %v", changed, err)
				}
			}
			line, rest, _ := strings.Cut(read(t, path), "\n")
			if want := `Include "` + c.Dir + `/*.conf"`; line != want || rest != text {
				t.Errorf("it begins with %q, and goes on with %q", line, rest)
			}
			info, err := os.Stat(path)
			if err != nil || info.Mode().Perm() != 0o640 {
				t.Errorf("its mode is %v, %v", info.Mode(), err)
			}
			for i := range 2 {
				changed, err := c.Remove(path)
				if err != nil || changed != (i == 0) {
					t.Fatalf("Remove: %v, %v", changed, err)
				}
			}
			if got := read(t, path); got != text {
				t.Errorf("it is %q, and was %q", got, text)
			}
			if left, err := os.ReadDir(c.Dir); err != nil || len(left) > 0 {
				t.Errorf("left over: %v, %v", left, err)
			}
			if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
				t.Errorf("beside it: %v, %v", left, err)
			}
		})
	}
	t.Run("none", func(t *testing.T) {
		c, path := setting(t)
		if changed, err := c.Remove(path); err != nil || changed {
			t.Errorf("Remove: %v, %v", changed, err)
		}
		if changed, err := c.Install(path); err != nil || !changed {
			t.Errorf("Install: %v, %v", changed, err)
		}
		for name, mode := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700, c.Dir: 0o700, c.file(): 0o600, c.knownHostsFile(): 0o600} {
			if info, err := os.Stat(name); err != nil || info.Mode().Perm() != mode {
				t.Errorf("%s: %v, %v", name, info, err)
			}
		}
	})
	t.Run("in a block of somebody else's", func(t *testing.T) { // there it does not count for all hosts
		c, path := setting(t)
		text := "Host a\n" + c.include() + "\n"
		put(t, path, text, 0o600)
		if changed, err := c.Install(path); err != nil || !changed || read(t, path) != c.include()+"\n"+text {
			t.Errorf("Install: %v, %v: %q", changed, err, read(t, path))
		}
	})
	t.Run("two suffixes", func(t *testing.T) {
		c, path := setting(t)
		put(t, path, "Host a\n", 0o600)
		other := c
		other.Suffix = ".lab.scrier"
		for _, c := range []Config{c, other} {
			if _, err := c.Install(path); err != nil {
				t.Fatal(err)
			}
		}
		if n := strings.Count(read(t, path), "Include"); n != 1 {
			t.Errorf("%d lines include them", n)
		}
		if changed, err := c.Remove(path); err != nil || changed {
			t.Errorf("Remove of the first: %v, %v", changed, err)
		}
		if changed, err := other.Remove(path); err != nil || !changed || read(t, path) != "Host a\n" {
			t.Errorf("Remove of the second: %v, %v", changed, err)
		}
	})
}

// TestLinks: behind a symbolic link the file is changed, and the link stays. What cannot be changed safely stays as it is, and
// the error says what to do.
func TestLinks(t *testing.T) {
	c, path := setting(t)
	real := filepath.Join(t.TempDir(), "dotfiles")
	put(t, real, "Host a\n", 0o600)
	put(t, filepath.Join(filepath.Dir(path), "x"), "", 0o600)
	if err := os.Symlink(real, path); err != nil {
		t.Fatal(err)
	}
	if changed, err := c.Install(path); err != nil || !changed {
		t.Errorf("Install: %v, %v", changed, err)
	}
	if to, err := os.Readlink(path); err != nil || to != real {
		t.Errorf("the link leads to %q, %v", to, err)
	}
	if changed, err := c.Remove(path); err != nil || !changed || read(t, real) != "Host a\n" {
		t.Errorf("Remove: %v, %v", changed, err)
	}
	for name, prepare := range map[string]func() error{
		"hard links":        func() error { return os.Link(real, path) },
		"leads nowhere":     func() error { return os.Symlink("/nowhere/at/all", path) },
		"not a regular":     func() error { return os.Mkdir(path, 0o700) },
		"not a regular (2)": func() error { return os.Symlink("/dev/null", path) },
		"read-only":         func() error { return os.WriteFile(path, []byte("Host a\n"), 0o400) },
		"more than":         func() error { return os.WriteFile(path, make([]byte, maxConfig+1), 0o600) },
	} {
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
		if err := prepare(); err != nil {
			t.Fatal(err)
		}
		changed, err := c.Install(path)
		name, _, _ = strings.Cut(name, " (")
		if e, ok := err.(*wire.Error); changed || !ok || e.Code != wire.BadConfig || !strings.Contains(e.Text(), name) || !strings.Contains(e.Advice, "`"+c.include()+"` at its top") {
			t.Errorf("%s: %v, %v", name, changed, err)
		}
	}
	if read(t, real) != "Host a\n" {
		t.Error("the file was changed")
	}
}

// TestTrusted: a folder where others may put files is not one that ssh is told to read.
func TestTrusted(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("files have no modes")
	}
	c, path := setting(t)
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{c.Dir, filepath.Dir(c.Dir)} {
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		for name, f := range map[string]func() error{"install": func() error { _, err := c.Install(path); return err }, "known hosts": c.WriteKnownHosts} {
			if err := f(); wire.CodeOf(err) != wire.BadConfig || !strings.Contains(err.Error(), "chmod 700 "+dir) {
				t.Errorf("%s, %s: %v", dir, name, err)
			}
		}
		if err := os.Chmod(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Lstat(path); err == nil {
		t.Error("it is included")
	}
}

// TestText asks ssh itself what the settings come to.
func TestText(t *testing.T) {
	c, path := setting(t)
	c.Home, c.Relay = "/home/ann/my state", "relay.example.com:8443"
	c.Names = []string{"web1", "db-2.example", "web1", "evil\nHost *\n  ProxyCommand evil", "a b", "*", "!x", "-oProxyCommand=evil", "ü"}
	put(t, path, "Host web2.scrier\n  User deploy\nHost *\n  User me\n  Ciphers aes128-ctr\n  ProxyJump bastion\n  Port 2222\n", 0o600)
	if _, err := c.Install(path); err != nil {
		t.Fatal(err)
	}
	ask := func(args ...string) map[string]string {
		t.Helper()
		out, err := exec.Command("ssh", append([]string{"-G", "-F", path}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		got := map[string]string{}
		for line := range bytes.Lines(out) {
			key, value, _ := strings.Cut(strings.TrimSpace(string(line)), " ")
			got[key] = value
		}
		return got
	}
	got := ask("web1.scrier")
	for key, want := range map[string]string{
		"proxycommand": `env 'SCRIER_HOME=/home/ann/my state' '/opt/my tools/50%%/scrier' proxy --suffix .scrier --relay 'relay.example.com:8443' '%h' %p`,
		"user":         AnyUser, "port": "22", "hostkeyalias": hostKeyAlias, "stricthostkeychecking": "true", "userknownhostsfile": c.knownHostsFile(),
		"globalknownhostsfile": c.knownHostsFile(), "hostkeyalgorithms": "ssh-ed25519", "proxyjump": "",
	} {
		if got[key] != want {
			t.Errorf("%s is %q, want %q", key, got[key], want)
		}
	}
	if got := ask("ann@web1.scrier"); got["user"] != "ann" {
		t.Errorf("the user is %q", got["user"])
	}
	for _, host := range []string{"web1", "scrier", "web1.scrier.example.com", "x'.scrier"} {
		cmd := exec.Command("ssh", "-G", "-F", path, host)
		if out, _ := cmd.Output(); strings.Contains(string(out), "scrier-proxy") { // newer ones refuse the last name
			t.Errorf("%s goes through the proxy", host)
		}
	}
	var listed []string
	for line := range strings.Lines(c.Text()) {
		if name, ok := strings.CutPrefix(line, "Host "); ok && !strings.HasPrefix(name, "*") {
			listed = append(listed, strings.TrimSpace(name))
		}
	}
	if got := strings.Join(listed, " "); got != "db-2.example.scrier web1.scrier" {
		t.Errorf("the names are %q", got)
	}
	// Who is named only behind the line Include.
	for host, want := range map[string]string{"web1.scrier": "me", "web2.scrier": "deploy"} {
		if got := c.User(t.Context(), path, host); got != want {
			t.Errorf("%s: the user is %q, want %q", host, got, want)
		}
	}
	put(t, path, c.include()+"\nHost other\n  User me\n", 0o600)
	if got := c.User(t.Context(), path, "web1.scrier"); got != "" {
		t.Errorf("the user is %q", got)
	}
	put(t, path, "Host *\n  User me\n", 0o600) // ssh was given another configuration
	if got := c.User(t.Context(), path, "web1.scrier"); got != "" {
		t.Errorf("the user is %q", got)
	}
}

// TestUserOfOddNames: ssh is not asked about a name that a shell would take apart, as it may give it to one.
func TestUserOfOddNames(t *testing.T) {
	c, path := setting(t)
	put(t, path, c.include()+"\n", 0o600)
	old := t.TempDir() // a version of ssh that takes every name
	put(t, filepath.Join(old, "ssh"), "#!/bin/sh\necho user asked\n", 0o755)
	t.Setenv("PATH", old+":"+os.Getenv("PATH"))
	if got := c.User(t.Context(), path, "web1.scrier"); got != "asked" {
		t.Fatalf("the user is %q", got)
	}
	for _, host := range []string{"x;reboot.scrier", "$(reboot).scrier", "`reboot`.scrier", "a b.scrier", "a\nb.scrier", "-v", "x'y", ""} {
		if got := c.User(t.Context(), path, host); got != "" {
			t.Errorf("%q was asked about", host)
		}
	}
}

// TestCheck: what would be read in another way is not written.
func TestCheck(t *testing.T) {
	good, _ := setting(t)
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*Config){
		"no dot":    func(c *Config) { c.Suffix = "scrier" },
		"empty":     func(c *Config) { c.Suffix = "" },
		"pattern":   func(c *Config) { c.Suffix = ".*" },
		"a line":    func(c *Config) { c.Suffix = ".a\nb" },
		"capitals":  func(c *Config) { c.Suffix = ".Lab" },
		"path":      func(c *Config) { c.Suffix = ".a/../b" },
		"quote":     func(c *Config) { c.Program = "/a'b/scrier" },
		"glob":      func(c *Config) { c.Dir = "/a[b]/ssh" },
		"token":     func(c *Config) { c.Dir = "/a%d/ssh" },
		"shell":     func(c *Config) { c.Home = "/a$(b)" },
		"new line":  func(c *Config) { c.Relay = "a\nb" },
		"backslash": func(c *Config) { c.Dir = `/a\b` },
	} {
		c := good
		if change(&c); c.Check() == nil {
			t.Errorf("%s: %q is written", name, c.Text())
		}
	}
}

func TestEnvoy(t *testing.T) {
	for _, c := range []struct{ host, suffix, want string }{
		{"web1.scrier", ".scrier", "web1"}, {"web1", ".scrier", "web1"}, {".scrier", ".scrier", ".scrier"}, {"WEB1.Scrier", ".scrier", "WEB1"},
		{"web1.example.com.scrier", ".scrier", "web1.example.com"}, {"web1.scrier", "", "web1.scrier"},
	} {
		if got := Envoy(c.host, c.suffix); got != c.want {
			t.Errorf("Envoy(%q, %q) is %q", c.host, c.suffix, got)
		}
	}
}
