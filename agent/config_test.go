package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"scrier/agent/console"
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
		"console: {consent: never, control: false}\n": func(c *Config) {
			c.Console.Consent, c.Console.Control = console.Never, false
		},
		"max_sessions: 1000\n":                        func(c *Config) { c.MaxSessions = 1000 },
		"console:\n  enabled: false\n":                func(c *Config) { c.Console.Enabled = false },
		"desktop: {listeners: [ann, bob.b]}\n":        func(c *Config) { c.Desktop.Listeners = []string{"ann", "bob.b"} },
		"scrier: {allow: {exec: false, raw: true}}\n": func(c *Config) { c.Scrier.Allow.Exec, c.Scrier.Allow.Raw = false, true },
		"scrier: {allow: {shell: false, upload: false, download: false, forward: false, reverse: false, agent_forwarding: true}}\n": func(c *Config) {
			c.Scrier.Allow = Allow{Exec: true, AgentForwarding: true}
		},
		"scrier: {forward: {hosts: [localhost, db1, '2001:db8::1'], ports: [22, 5432]}}\n": func(c *Config) {
			c.Scrier.Forward = Forward{Hosts: []string{"localhost", "db1", "2001:db8::1"}, Ports: []uint16{22, 5432}}
		},
		"scrier: {forward: {hosts: ['*']}}\n": func(c *Config) { c.Scrier.Forward.Hosts = []string{"*"} },
		"scrier: {}\n":                        func(*Config) {},
		"transport: tcp\n":                    func(c *Config) { c.Transport = wire.OnlyTCP },
		"transport: auto\n":                   func(*Config) {},
		"desktop: {}\n":                       func(*Config) {},
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
		"ssh: {mode: sshd}\ntransport: udp\n":          "the transport \"udp\" is not known",
		"ssh: {mode: sshd}\ntransport: [quic]\n":       "[2:12]",
		"ssh: {mode: sshd}\nport: 3\n":                 "[2:1]",
		"ssh:\n  mode: sshd\n  hots: x\n":              "[3:3]",
		"ssh:\n  mode: sshd\n  addr: [1]\n":            "[3:9]",
		"allowed_ports: [22, many]\n":                  "[1:",
		"allowed_ports: [22\n":                         "']', which ends what begins here, is missing",
		"ssh: {mode: sshd\n":                           "'}', which ends what begins here, is missing",
		"allowed_ports: [70000]\n":                     "[1:",
		"ssh: {mode: dropbear}\n":                      "neither sshd nor builtin",
		"keys: everywhere\n":                           "neither home nor dropin",
		"ssh: {addr: 10.0.0.1:22}\n":                   "loopback",
		"ssh: {addr: example.com:22}\n":                "loopback",
		"ssh: {addr: 127.0.0.1}\n":                     "host:port",
		"ssh: {mode: sshd, run_as: ann}\n":             "run_as",
		"ssh: {mode: sshd}\nssh: {mode: x}\n":          "[2:1]",
		"max_sessions: 0\n":                            "between 1 and 1000",
		"max_sessions: 1001\n":                         "between 1 and 1000",
		"proxy: ftp://proxy\n":                         "proxies of HTTP and SOCKS5",
		"proxy: http://ann:hunter2@proxy:0\n":          "not one from 1 to 65535",
		"proxy: [http://ann:hunter2@proxy]\n":          "[1:8]",
		"proxy: http://ann:hun @ter2@proxy\nprox: 1\n": "[2:1]",
		"max_sessions: no # http://ann:hunter2@proxy\nproxy: http://ann:hunter2@proxy\n": "[1:15]",
		"console: {consent: maybe}\n":                                 "neither always nor never",
		"console:\n  enabled: 3\n":                                    "[2:12]",
		"console:\n  enable: true\n":                                  "[2:3]",
		"console: false\n":                                            "[1:10]",
		"scrier:\n  allow: {scp: true}\n":                             "[2:11]",
		"scrier: {allow: {shell: maybe}}\n":                           "[1:25]",
		"scrier: {alow: {shell: true}}\n":                             "[1:10]",
		"scrier: {allow: [shell]}\n":                                  "[1:17]",
		"scrier: {forward: {hosts: db1}}\n":                           "[1:27]",
		"scrier: {forward: {ports: [65536]}}\n":                       "[1:",
		"scrier: {forward: {ports: [0]}}\n":                           "0 is no port",
		"scrier: {forward: {ports: [22, 22]}}\n":                      "22 is there twice",
		"scrier: {forward: {hosts: []}}\n":                            "set scrier.allow.forward to false",
		"scrier: {forward: {hosts: [db1, db1]}}\n":                    "db1 is there twice",
		"scrier: {forward: {hosts: ['']}}\n":                          "is no host",
		"scrier: {forward: {hosts: ['a b']}}\n":                       "is no host",
		"scrier: {forward: {hosts: ['db1:22']}}\n":                    "is no host",
		"scrier: {forward: {hosts: ['[::1]']}}\n":                     "is no host",
		"scrier: {forward: {hosts: [10.0.0.0/8]}}\n":                  "networks are not known",
		"scrier: {forward: {hosts: ['*.example.com']}}\n":             "* stands for any",
		"scrier: {forward: {hosts: [255.255.255.255], ports: [1]}}\n": "is no host",
		"scrier: {forward: {hosts: [" + strings.TrimSuffix(strings.Repeat("h%,", 65), ",") + "]}}\n": "too many",
		"desktop: {listeners: ann}\n":       "[1:22]",
		"desktop: {listener: [ann]}\n":      "[1:11]",
		"desktop: {listeners: ['']}\n":      "not the name of a login",
		"desktop: {listeners: ['-x']}\n":    "not the name of a login",
		"desktop: {listeners: [1000]}\n":    "not the name of a login",
		"desktop: {listeners: ['a:b']}\n":   "not the name of a login",
		"desktop: {listeners: [a, b, a]}\n": "a is there twice",
		"desktop: {listeners: [nobody]}\n":  "cannot be trusted",
	} {
		for i := 0; strings.Contains(text, "%"); i++ {
			text = strings.Replace(text, "%", strconv.Itoa(i), 1)
		}
		_, err := load(text)
		if wire.CodeOf(err) != wire.BadConfig || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v does not say %q", text, err, says)
		}
		if all := fmt.Sprintf("%+v %v", err, errors.Unwrap(err)); strings.Contains(all, "hunter2") || strings.Contains(all, "ter2") {
			t.Errorf("%q: the error has the password: %s", text, all)
		}
	}
	for text, way := range map[string]string{
		"transport: udp\n":      "it is one of auto, quic and tcp; docs/agent.md",
		"proxy: ftp://proxy\n":  "it is http://, https:// or socks5://, then USER:PASSWORD@ if",
		"keys: everywhere\n":    "docs/agent.md says",
		"max_sessions: 1 000\n": "docs/agent.md says",
	} {
		if _, err := load(text); !strings.HasPrefix(wire.HintOf(err), way) || strings.Contains(wire.DetailOf(err), wire.BadRequest.String()) {
			t.Errorf("%q: %v\nhint: %s", text, err, wire.HintOf(err))
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
	off := DefaultConfig()
	off.Console.Enabled = false
	none := Config{Console: all.Console}
	console := func(purpose string) *wire.Console { return &wire.Console{Purpose: purpose} }
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
		{all, wire.Open{Kind: ""}, wire.BadRequest},
		{all, wire.Open{Kind: wire.KindVNC}, wire.None},
		{all, wire.Open{Kind: wire.KindVNC, Port: 5900}, wire.None},
		{all, wire.Open{Kind: wire.KindVNC, Port: 3389}, wire.None},
		{all, wire.Open{Kind: wire.KindVNC, Port: 5901}, wire.PortNotAllowed},
		{all, wire.Open{Kind: wire.KindVNC, Port: 22}, wire.PortNotAllowed}, // that is sshd, which wants a key
		{all, wire.Open{Kind: wire.KindRDP}, wire.None},
		{noSSH, wire.Open{Kind: wire.KindRDP}, wire.None},
		{noSSH, wire.Open{Kind: wire.KindRDP, Port: 5900}, wire.PortNotAllowed},
		{noSSH, wire.Open{Kind: wire.KindVNC}, wire.PortNotAllowed},
		{all, wire.Open{Kind: wire.KindRDP, Security: wire.AnySecurity}, wire.None},
		{all, wire.Open{Kind: wire.KindRDP, Security: wire.NLA}, wire.None},
		{all, wire.Open{Kind: wire.KindRDP, Security: wire.TLS}, wire.None},
		{all, wire.Open{Kind: wire.KindRDP, Security: "rdp"}, wire.BadRequest},
		{few, wire.Open{Kind: wire.KindRDP, Login: "bob"}, wire.None}, // the login does not count: the desktop server asks
		{all, wire.Open{Kind: wire.KindVNC, Console: console("")}, wire.None},
		{none, wire.Open{Kind: wire.KindVNC, Console: console("to help")}, wire.None}, // a screen needs no port
		{all, wire.Open{Kind: wire.KindRDP, Console: console("")}, wire.BadRequest},
		{off, wire.Open{Kind: wire.KindVNC, Console: console("")}, wire.ConsoleOff},
		{off, wire.Open{Kind: wire.KindVNC}, wire.None},
		{all, wire.Open{Kind: wire.KindVNC, Console: console(strings.Repeat("x", wire.MaxPurpose))}, wire.None},
		{all, wire.Open{Kind: wire.KindVNC, Console: console(strings.Repeat("x", wire.MaxPurpose+1))}, wire.BadRequest},
		{all, wire.Open{Kind: wire.KindVNC, Console: console("line\nline")}, wire.BadRequest},
		{all, wire.Open{Kind: wire.KindVNC, Console: console("\u202eevil")}, wire.BadRequest},
		{all, wire.Open{Kind: wire.KindVNC, Console: console("\xff")}, wire.BadRequest},
		{noSSH, wire.Open{Kind: wire.KindSSH}, wire.PortNotAllowed},
		{few, wire.Open{Kind: wire.KindSSH, Login: "bob"}, wire.LoginNotAllowed},
		{few, wire.Open{Kind: wire.KindSSH, Login: "ann"}, wire.None},
		{few, wire.Open{Kind: wire.KindSSH}, wire.None},
		{all, wire.Open{Kind: wire.KindSSH, Needs: []wire.Right{wire.MayRaw}}, wire.ChannelNotAllowed},
		{noSSH, wire.Open{Kind: wire.KindSSH, Needs: []wire.Right{wire.MayExec}}, wire.PortNotAllowed},
	} {
		if err := c.config.allow(&c.open); wire.CodeOf(err) != c.want {
			t.Errorf("%+v: %v, want %s", c.open, err, c.want)
		} else if hint := wire.HintOf(err); c.want == wire.PortNotAllowed && strings.Contains(hint, ".yaml") {
			t.Errorf("%v: the hint names files too: %s", err, hint)
		}
	}
}
