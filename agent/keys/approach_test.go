package keys

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"scrier/agent/account"
	"scrier/agent/keys/keystest"
	"scrier/wire"
)

// TestOwnAddress: an operator's sessions come from an address of their own where sshd counts by address, and
// only where nothing treats that address otherwise than the usual one. sshd itself is asked.
func TestOwnAddress(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	const login = "scrown"
	uid, home := keystest.RealUser(t, h.Dir, login)
	key, _ := keystest.NewKey(t)
	file := filepath.Join(home, ".ssh", "authorized_keys")
	h.Must(os.Mkdir(filepath.Dir(file), 0o700))
	h.Must(os.WriteFile(file, []byte(keystest.Text(key)+"\n"), 0o600))
	h.Must(os.Chown(filepath.Dir(file), uid, uid))
	h.Must(os.Chown(file, uid, uid))
	const counts = "PerSourceMaxStartups 5\n"
	pam := func(text string) map[string]string { return map[string]string{"pam.d/sshd": text} }
	for _, c := range []struct {
		config string
		etc    map[string]string
		own    bool
	}{
		{"# nothing is counted by address", nil, false},
		{counts, nil, true},
		{counts + "AllowUsers " + login, nil, true},
		{counts + "AllowUsers " + login + "@127.0.0.1", nil, false},
		{counts + "AllowUsers " + login + "@127.0.0.0/8", nil, true},
		{counts + "DenyUsers " + login + "@127.1.0.0/16," + "127.2.0.0/15,127.4.0.0/14,127.8.0.0/13,127.16.0.0/12,127.32.0.0/11,127.64.0.0/10,127.128.0.0/9", nil, false},
		{counts + "DenyUsers *\nMatch Address 127.0.0.1\nDenyUsers nobody", nil, false},
		{counts + "Match Address 127.0.0.1\nPermitTTY yes\nX11Forwarding yes", nil, false},
		{counts + "Match Address 127.0.0.0/8\nX11Forwarding yes", nil, true},
		{counts + "Match Host 127.0.0.1\nX11Forwarding yes", nil, false},
		{counts + "Match User " + login + "\nX11Forwarding yes", nil, true},
		{counts + "UseDNS yes", nil, false},
		{counts, map[string]string{"hosts.allow": "# none\n\n", "hosts.deny": "#\n"}, true},
		{counts, map[string]string{"hosts.allow": "sshd: 127.0.0.1\n"}, false},
		{counts, map[string]string{"hosts.deny": "ALL: PARANOID\n"}, false},
		{counts + "UsePAM yes", pam("auth required pam_unix.so\naccount [default=bad success=ok] pam_nologin.so\n"), true},
		{counts + "UsePAM yes", pam("auth required pam_unix.so\naccount required pam_access.so\n"), false},
		{counts + "UsePAM yes", pam("auth required pam_unix.so\naccount required pam_succeed_if.so rhost = 127.0.0.1\n"), false},
		{counts + "UsePAM yes", nil, false},
	} {
		sshd := keystest.StartSSHD(t, h.Dir, strings.Split(strings.TrimSuffix(c.config, "\n"), "\n")...)
		cfg := h.config()
		cfg.AuthorizedKeysFile, cfg.SSHDConfig, cfg.AllowedLogins, cfg.Addr = nil, sshd.Config, []string{login}, sshd.Addr
		k := h.open(cfg)
		k.database = account.System()
		k.etc = t.TempDir()
		h.Must(os.Mkdir(filepath.Join(k.etc, "pam.d"), 0o755))
		for name, text := range c.etc {
			h.Must(os.WriteFile(filepath.Join(k.etc, name), []byte(text), 0o644))
		}
		ctx := context.Background()
		find := func(operator string) Match {
			t.Helper()
			m, err := k.Find(ctx, Operator{Keys: []ssh.PublicKey{key}, Name: operator}, "")
			h.Must(err)
			return m
		}
		m := find("alice")
		from := m.Approach.From
		if from.IsValid() != c.own || find("alice").Approach.From != from || find("").Approach.From.IsValid() ||
			c.own && (from == find("bob").Approach.From || netip.MustParsePrefix("127.0.0.0/16").Contains(from) || !from.IsLoopback()) {
			t.Errorf("%q, %v: from %v", c.config, c.etc, from)
		}
		if strings.Contains(c.config, "UsePAM yes") {
			continue // sshd asks the machine's own PAM
		}
		eph, signer := keystest.NewKey(t)
		in, err := k.Install(ctx, m, wire.NewSessionID(), eph)
		h.Must(err)
		sshd.From = ""
		if c.own {
			sshd.From = from.String()
		}
		if err := sshd.Shell(login, signer); err != nil {
			t.Errorf("%q, from %v: %v", c.config, from, err)
		}
		h.Must(in.Remove(ctx))
		if got := h.Read(file); got != keystest.Text(key)+"\n" {
			t.Errorf("%q", got)
		}
	}
}

// TestPenalties: what newer versions of sshd say of themselves.
func TestPenalties(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const penalties = "PerSourcePenalties crash:90.000000 authfail:5.000000 max:600.000000 min:15.000000 overflow:permissive\n"
	for text, want := range map[string]string{
		"maxstartups 10:30:100\npersourcemaxstartups none\n":                           "100 MaxStartups 10:30:100, false",
		"MaxStartups 3:100:3\nPerSourceMaxStartups 7\nPerSourcePenalties no\n":         "3 MaxStartups 3:100:3, PerSourceMaxStartups 7, true",
		"MaxStartups 10:30:100\nPerSourceMaxStartups none\n" + penalties:               "100 MaxStartups 10:30:100, PerSourcePenalties, true",
		"persourcepenaltyexemptlist none\n" + strings.ToLower(penalties):               "0 PerSourcePenalties, true",
		"PerSourcePenaltyExemptList 127.0.0.0/8\n" + penalties:                         "0 PerSourcePenalties, false",
		"PerSourcePenaltyExemptList 192.0.2.0/24,127.0.0.1\n" + penalties:              "0 PerSourcePenalties, false",
		"PerSourcePenaltyExemptList 192.0.2.0/24\n" + penalties:                        "0 PerSourcePenalties, true",
		"PerSourcePenaltyExemptList 127.0.0.1\nPerSourceMaxStartups 2\n" + penalties:   "0 PerSourceMaxStartups 2, PerSourcePenalties, true",
		"persourcepenaltyexemptlist 127.0.0.1\nmaxstartups x\npersourcepenalties no\n": "0 MaxStartups x, false",
	} {
		cfg := w.cfg
		cfg.AuthorizedKeysFile = nil
		cfg.SSHD = w.Script("sshd", "[ $1 = -V ] && { echo OpenSSH_9.8; exit; }\ncat <<'E'\nAuthorizedKeysFile .ssh/authorized_keys\n"+text+"E\n")
		k := w.open(cfg)
		k.etc = t.TempDir()
		m, err := k.Find(context.Background(), Operator{Keys: []ssh.PublicKey{w.key}, Name: "alice"}, "")
		w.Must(err)
		if got := fmt.Sprintf("%d %s, %v", m.Approach.Startups, m.Approach.Limits, m.Approach.From.IsValid()); got != want {
			t.Errorf("%q: %s", text, got)
		}
	}
}
