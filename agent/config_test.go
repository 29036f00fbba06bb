package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"scrier/agent/keys"
	"scrier/wire"
)

func TestLoadConfig(t *testing.T) {
	load := func(text string) (Config, error) {
		path := filepath.Join(t.TempDir(), "agent.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return LoadConfig(path, true)
	}
	for text, edit := range map[string]func(*Config){
		"":                                    func(*Config) {},
		"# nothing\n":                         func(*Config) {},
		"ssh: builtin\n":                      func(c *Config) { c.SSH.Mode = Builtin },
		"ssh: {mode: builtin, run_as: ann}\n": func(c *Config) { c.SSH.Mode, c.SSH.RunAs = Builtin, "ann" },
		"ssh: {addr: '[::1]:2222'}\n":         func(c *Config) { c.SSH.Addr = "[::1]:2222" },
		"ssh: {mode: sshd, addr: 127.0.0.1:22, sshd_config: /etc/ssh/sshd_config}\nallowed_ports: [22]\nkeys: dropin\nallowed_logins: [ann, bob]\n": func(c *Config) {
			c.AllowedPorts, c.Keys, c.AllowedLogins = []uint16{22}, keys.Dropin, []string{"ann", "bob"}
		},
	} {
		want := DefaultConfig()
		edit(&want)
		if got, err := load(text); err != nil || !cmp.Equal(got, want) {
			t.Errorf("%q: %v\n%s", text, err, cmp.Diff(want, got))
		}
	}
	for text, says := range map[string]string{
		"ssh: {mode: sshd}\nport: 3\n":        "[2:1]",
		"ssh:\n  mode: sshd\n  hots: x\n":     "[3:3]",
		"ssh:\n  mode: sshd\n  addr: [1]\n":   "[3:9]",
		"allowed_ports: [22, many]\n":         "[1:",
		"allowed_ports: [70000]\n":            "[1:",
		"ssh: {mode: dropbear}\n":             "neither sshd nor builtin",
		"keys: everywhere\n":                  "neither home nor dropin",
		"ssh: {addr: 10.0.0.1:22}\n":          "loopback",
		"ssh: {addr: example.com:22}\n":       "loopback",
		"ssh: {addr: 127.0.0.1}\n":            "host:port",
		"ssh: {mode: sshd, run_as: ann}\n":    "run_as",
		"ssh: {mode: sshd}\nssh: {mode: x}\n": "[2:1]",
	} {
		if _, err := load(text); wire.CodeOf(err) != wire.BadConfig || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v does not say %q", text, err, says)
		}
	}
	if _, err := LoadConfig(filepath.Join(t.TempDir(), "none"), true); wire.CodeOf(err) != wire.BadConfig {
		t.Errorf("a file that was named and is not there: %v", err)
	}
	if _, err := LoadConfig(filepath.Join(t.TempDir(), "none"), false); err != nil {
		t.Errorf("no file: %v", err)
	}
}

func FuzzLoadConfig(f *testing.F) {
	f.Add("ssh: builtin\n")
	f.Add("ssh: {mode: sshd, addr: 127.0.0.1:22}\nallowed_ports: [22]\n")
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(t.TempDir(), "agent.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := LoadConfig(path, true)
		if err != nil && wire.CodeOf(err) != wire.BadConfig {
			t.Errorf("%v is no configuration error", err)
		}
		if err == nil && c.Check() != nil {
			t.Error("accepted what is not valid")
		}
	})
}

func TestPolicy(t *testing.T) {
	all := DefaultConfig()
	noSSH := DefaultConfig()
	noSSH.AllowedPorts = []uint16{3389}
	few := DefaultConfig()
	few.AllowedLogins = []string{"ann"}
	for _, c := range []struct {
		config Config
		open   wire.Open
		want   wire.Code
	}{
		{all, wire.Open{Kind: wire.KindSSH}, wire.None},
		{all, wire.Open{Kind: wire.KindSSH, Port: 22, Login: "bob"}, wire.None},
		{all, wire.Open{Kind: wire.KindSSH, Port: 23}, wire.PortNotAllowed},
		{all, wire.Open{Kind: "exec"}, wire.BadRequest},
		{all, wire.Open{Kind: wire.KindVNC, Port: 5900}, wire.BadRequest},
		{noSSH, wire.Open{Kind: wire.KindSSH}, wire.PortNotAllowed},
		{few, wire.Open{Kind: wire.KindSSH, Login: "bob"}, wire.LoginNotAllowed},
		{few, wire.Open{Kind: wire.KindSSH, Login: "ann"}, wire.None},
		{few, wire.Open{Kind: wire.KindSSH}, wire.None},
	} {
		if err := c.config.allow(&c.open); wire.CodeOf(err) != c.want {
			t.Errorf("%+v: %v, want %s", c.open, err, c.want)
		}
	}
}
