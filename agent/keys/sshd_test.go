package keys

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"scrier/agent/account"
	"scrier/agent/keys/keystest"
	"scrier/agent/keys/worker"
	"scrier/wire"
)

func TestExpand(t *testing.T) {
	t.Parallel()
	a := account.Account{Login: "alice", UID: 1001, Home: "/home/alice"}
	for pattern, want := range map[string]string{
		".ssh/authorized_keys":    "/home/alice/.ssh/authorized_keys",
		"%h/.ssh/keys":            "/home/alice/.ssh/keys",
		"/etc/ssh/keys/%u":        "/etc/ssh/keys/alice",
		"/etc/ssh//keys/./%U":     "/etc/ssh/keys/1001",
		"100%%/%u":                "/home/alice/100%/alice",
		"/etc/%k":                 "",
		"/etc/%":                  "",
		"../bob/.ssh/keys":        "",
		"%h/../../etc/shadow":     "",
		"/etc/keys/":              "",
		"a\nb":                    "",
		strings.Repeat("a", 4096): "",
	} {
		if got, err := expand(pattern, a); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q %v", pattern, got, err)
		}
	}
	for pattern, want := range map[string]bool{"/etc/keys": true, "/etc/keys%%": true, "/etc/%u": false, "keys": false, "%h/keys": false} {
		if shared(pattern) != want {
			t.Errorf("shared %q", pattern)
		}
	}
}

func FuzzDaemon(f *testing.F) {
	f.Add([]byte("authorizedkeysfile .ssh/authorized_keys .ssh/authorized_keys2\nstrictmodes yes\nhostkey /etc/ssh/k\n"))
	f.Add([]byte("authorizedkeysfile none\nusepam no\nforcecommand none\npermittty no\nrequiredrsasize 2048\n"))
	f.Add([]byte("pubkeyacceptedalgorithms ssh-rsa,x\nauthorizedkeysfile %h/%u/%U/%%\nrevokedkeys /x y\n"))
	a := account.Account{Login: "alice", UID: 1001, Home: "/home/alice"}
	f.Fuzz(func(t *testing.T, out []byte) {
		d, err := parseDaemon(out)
		if err != nil {
			return
		}
		if len(d.files) > worker.MaxPaths || len(d.hostKeys) > 32 {
			t.Fatalf("%d files, %d host keys", len(d.files), len(d.hostKeys))
		}
		for _, pattern := range d.files {
			file, err := expand(pattern, a)
			if err == nil && (!filepath.IsAbs(file) || filepath.Clean(file) != file || strings.ContainsAny(file, "\x00\n")) {
				t.Fatalf("%q becomes %q", pattern, file)
			}
		}
		if again, err := parseDaemon(append(bytes.Clone(out), "\nunknown word\n"...)); err != nil || !slices.Equal(again.files, d.files) {
			t.Fatalf("an unknown keyword matters: %v %v", again, err)
		}
	})
}

// TestConfigs asks a real sshd about its configuration, for many configurations (H25).
func TestConfigs(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		t.Fatal(err)
	}
	u := account.Account{Login: "root", UID: 4242, Home: "/home/root"} // sshd -T looks the name up
	included := filepath.Join(h.Dir, "included.conf")
	hostKey := filepath.Join(h.Dir, "hk")
	keystest.Run(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", hostKey)
	for _, c := range []struct {
		name, config string
		files        []string
		code         wire.Code
		matches      bool
	}{
		{"default", "", []string{"/home/root/.ssh/authorized_keys", "/home/root/.ssh/authorized_keys2"}, 0, false},
		{"one", "AuthorizedKeysFile .ssh/keys", []string{"/home/root/.ssh/keys"}, 0, false},
		{"by name", "AuthorizedKeysFile /etc/ssh/keys/%u", []string{"/etc/ssh/keys/root"}, 0, false},
		{"by number", "AuthorizedKeysFile /etc/ssh/keys/%U", []string{"/etc/ssh/keys/4242"}, 0, false},
		{"by home", "AuthorizedKeysFile %h/k", []string{"/home/root/k"}, 0, false},
		{"percent", "AuthorizedKeysFile .ssh/100%%", []string{"/home/root/.ssh/100%"}, 0, false},
		{"two", "AuthorizedKeysFile .ssh/a /etc/keys/%u/b", []string{"/home/root/.ssh/a", "/etc/keys/root/b"}, 0, false},
		{"twice the same", "AuthorizedKeysFile .ssh/a %h/.ssh/a", []string{"/home/root/.ssh/a"}, 0, false},
		{"none", "AuthorizedKeysFile none", nil, wire.KeyfileUnsupported, false},
		{"command only", "AuthorizedKeysFile none\nAuthorizedKeysCommand /bin/true\nAuthorizedKeysCommandUser nobody", nil, 0, false},
		{"command without a user", "AuthorizedKeysFile none", nil, wire.KeyfileUnsupported, false},
		{"command beside", "AuthorizedKeysCommand /bin/true\nAuthorizedKeysCommandUser nobody\nAuthorizedKeysFile .ssh/a", []string{"/home/root/.ssh/a"}, 0, false},
		{"shared", "AuthorizedKeysFile /etc/ssh/authorized_keys", nil, wire.KeyfileShared, false},
		{"shared beside", "AuthorizedKeysFile .ssh/a /etc/ssh/authorized_keys", nil, wire.KeyfileShared, false},
		{"no public keys", "PubkeyAuthentication no", nil, wire.KeyfileUnsupported, false},
		{"no ed25519", "PubkeyAcceptedAlgorithms ecdsa-sha2-nistp256", []string{"/home/root/.ssh/authorized_keys", "/home/root/.ssh/authorized_keys2"}, 0, false},
		{"match", "AuthorizedKeysFile .ssh/a\nMatch User root\nAuthorizedKeysFile .ssh/b", []string{"/home/root/.ssh/b"}, 0, true},
		{"match another", "AuthorizedKeysFile .ssh/a\nMatch User nobody\nAuthorizedKeysFile .ssh/b", []string{"/home/root/.ssh/a"}, 0, true},
		{"match in an include", "Include " + included, []string{"/home/root/.ssh/c"}, 0, true},
		{"match by address", "AuthorizedKeysFile .ssh/a\nMatch Address 127.0.0.0/8\nAuthorizedKeysFile .ssh/b", []string{"/home/root/.ssh/b"}, 0, true},
		{"unknown token", "AuthorizedKeysFile .ssh/%q", nil, wire.KeyfileUnsupported, false},
		{"broken", "Nonsense yes", nil, wire.KeyfileUnsupported, false},
	} {
		h.Must(os.WriteFile(included, []byte("match all\nAuthorizedKeysFile .ssh/c\n"), 0o644))
		config := filepath.Join(h.Dir, "sshd_config")
		h.Must(os.WriteFile(config, []byte("HostKey "+hostKey+"\n"+c.config+"\n"), 0o644))
		cfg := h.config()
		cfg.AuthorizedKeysFile, cfg.SSHDConfig = nil, config
		k := h.open(cfg)
		can := &candidate{Account: u}
		err := k.configure(context.Background(), can)
		if (err == nil) != (c.code == 0) || (err != nil && err.Code != c.code) || (err == nil && !slices.Equal(can.files, c.files)) {
			t.Errorf("%s: %q %v", c.name, can.files, err)
		}
		if _, matches := k.configState("/usr/sbin/sshd"); matches != c.matches {
			t.Errorf("%s: matches %v", c.name, matches)
		}
	}
}

// One answer serves all logins until a file of the configuration changes.
func TestDaemonCache(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	config := filepath.Join(h.Dir, "sshd_config")
	put := func(text string) {
		t.Helper()
		h.Must(os.WriteFile(config, []byte(text), 0o644))
	}
	put("# first\n")
	count := filepath.Join(h.Dir, "count")
	cfg := h.config()
	cfg.AuthorizedKeysFile, cfg.SSHDConfig = nil, config
	cfg.SSHD = h.Script("sshd", `case $1 in -V) echo OpenSSH_9.2p1 >&2; exit 0;; esac
echo x >>`+count+`; echo "authorizedkeysfile $(grep -c . `+config+`)/%u"
`)
	k := h.open(cfg)
	ask := func(login string) string {
		t.Helper()
		d, err := k.daemonFor(context.Background(), account.Account{Login: login, UID: 7}, k.usual)
		h.Must(err)
		return d.files[0]
	}
	asked := func() int { return strings.Count(h.Read(count), "x") }
	for range 3 {
		ask("a")
		ask("b")
	}
	if asked() != 1 {
		t.Fatalf("asked %d times", asked())
	}
	put("# second\nx\n")
	if got := ask("a"); got != "2/%u" || asked() != 2 {
		t.Fatalf("%s, asked %d times", got, asked())
	}
	put("Match User a\nx\nx\n")
	for range 3 {
		ask("a")
		ask("b")
	}
	if asked() != 4 {
		t.Fatalf("asked %d times with a Match block", asked())
	}
}

func TestSSHDVersions(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	for banner, want := range map[string]string{
		"OpenSSH_9.2p1 Debian-2, OpenSSL 3": "utc",
		"OpenSSH_10.0p2":                    "utc",
		"OpenSSH_9.1":                       "utc",
		"unknown option -- V\nOpenSSH_9.0p1, x\nusage: sshd": "local",
		"OpenSSH_7.7": "local",
		"OpenSSH_7.6": "refused",
		"OpenSSH_6.6": "refused",
		"dropbear":    "refused",
	} {
		cfg := h.config()
		cfg.AuthorizedKeysFile = nil
		cfg.SSHD = h.Script("sshd", "case $1 in -V) cat >&2 <<'E'\n"+banner+"\nE\nexit 1;; esac\necho authorizedkeysfile a\n")
		k := h.open(cfg)
		d, err := k.daemonFor(context.Background(), account.Account{Login: "a", UID: 7}, k.usual)
		got := "local"
		if d.utc {
			got = "utc"
		}
		if err != nil {
			keystest.WantCode(t, err, wire.KeyfileUnsupported)
			got = "refused"
		}
		if got != want {
			t.Errorf("%q: %s, want %s", banner, got, want)
		}
	}
}
