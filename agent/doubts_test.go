package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What makes no sense is named, and nothing else is.
func TestDoubts(t *testing.T) {
	dir := t.TempDir()
	sshd := filepath.Join(dir, "sshd_config")
	if err := os.WriteFile(sshd, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	doubts := func(text string) string {
		path := filepath.Join(t.TempDir(), "agent.yaml")
		mode := os.FileMode(0o600)
		if strings.Contains(text, "# read by all") {
			mode = 0o644
		}
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "SSHD", "sshd_config: "+sshd)), mode); err != nil {
			t.Fatal(err)
		}
		c, err := LoadConfig(path, true)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		return strings.Join(c.Doubts(t.Context(), path), "\n")
	}
	for _, text := range []string{
		"ssh: {SSHD}\n",
		"ssh: builtin\n",
		"ssh: {mode: builtin, run_as: ann, authorized_keys: /etc/keys/%u}\n",
		"ssh: {SSHD, addr: '127.0.0.1:2222'}\nallowed_ports: [22]\nkeys: dropin\nallowed_logins: [daemon]\n",
		"ssh: {SSHD}\nscrier: {allow: {shell: false, raw: true}, forward: {hosts: [db1, '::1'], ports: [22]}}\n",
		"ssh: {SSHD}\nscrier: {forward: {hosts: ['*'], ports: [443]}}\n",
		"ssh: {SSHD}\nallowed_ports: [3389]\ndesktop: {listeners: [daemon]}\nconsole: {enabled: false}\n",
		"ssh: {SSHD}\nproxy: http://ann:hunter2@proxy:3128\n",
		"ssh: {SSHD}\nproxy: http://proxy:3128 # read by all\n",
	} {
		if got := doubts(text); got != "" {
			t.Errorf("%s: %s", text, got)
		}
	}
	for text, want := range map[string][]string{
		"ssh: {SSHD}\nproxy: http://ann:hunter2@proxy:3128 # read by all\n": {"agent.yaml has mode 0644: others on this machine can read it"},
		"ssh: {SSHD}\nallowed_logins: [root]\n":                             {"allowed_logins: root has no effect, as uid 0 is never served"},
		"ssh: {SSHD}\nallowed_logins: [daemon, daemon]\n":                   {"allowed_logins: daemon is there twice"},
		"ssh: {SSHD}\nallowed_logins: [no-such-login-here]\n":               {"allowed_logins: this machine has no login no-such-login-here now"},
		"ssh: {SSHD}\nallowed_logins: ['1000', 'a b']\n":                    {`"1000" is not the name of a login`, `"a b" is not the name of a login`},
		"ssh: {SSHD}\nallowed_ports: [22, 0, 22, 22]\n":                     {"allowed_ports: 0 is no port", "allowed_ports: 22 is there twice"},
		"ssh: {SSHD}\nallowed_ports: []\n":                                  {"allowed_ports is empty"},
		"ssh: {SSHD, addr: '127.0.0.1:0'}\n":                                {"nothing listens at port 0"},
		"ssh: {SSHD, addr: '127.0.0.1:99999'}\n":                            {`"99999" is no port number`},
		"ssh: {SSHD, addr: '127.0.0.1:2222'}\nallowed_ports: [22, 2222]\n":  {"allowed_ports: 2222 is the SSH server's"},
		"ssh: {SSHD, authorized_keys: /etc/keys}\n":                         {"ssh.authorized_keys has no effect in mode sshd"},
		"ssh: {sshd_config: /nonexistent/sshd_config}\n":                    {"there is no /nonexistent/sshd_config"},
		"ssh: {sshd_config: " + dir + "}\n":                                 {dir + " is a folder"},
		"ssh: {mode: builtin, addr: '127.0.0.1:2222', SSHD}\nkeys: dropin\n": {
			"ssh.addr has no effect", "ssh.sshd_config has no effect", "keys: dropin has no effect"},
		"ssh: {SSHD}\nallowed_ports: [22]\ndesktop: {listeners: [root, no-such-user-here]}\n": {
			"desktop.listeners has no effect", "root need not be there", "no user no-such-user-here"},
		"ssh: {SSHD}\nscrier: {allow: {shell: false, exec: false, upload: false, download: false, forward: false, reverse: false}}\n": {"scrier.allow allows nothing"},
		"ssh: {SSHD}\nscrier: {allow: {forward: false}, forward: {ports: [22]}}\n":                                                    {"scrier.forward has no effect"},
		"ssh: builtin\nscrier: {allow: {raw: true}}\n":                                                                                {"scrier.allow.raw has no effect in mode builtin"},
		"ssh: {SSHD}\nallowed_logins: [daemon]\nscrier: {allow: {raw: true}}\n":                                                       {"allowed_logins does not hold"},
		"ssh: {SSHD}\nscrier: {forward: {hosts: ['0:0::1', '*']}}\n":                                                                  {"usually written ::1", "* is any host"},
		"ssh: {SSHD}\nconsole: {enabled: false, consent: never}\n":                                                                    {"have no effect while console.enabled is false"},
	} {
		got := doubts(text)
		for _, w := range want {
			if !strings.Contains(got, w) {
				t.Errorf("%s: %q does not say %q", text, got, w)
			}
		}
		if n := len(strings.Split(got, "\n")); n != len(want) {
			t.Errorf("%s: %d doubts, not %d: %s", text, n, len(want), got)
		}
	}
}
