package keys

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"scrier/agent/account"
	"scrier/agent/keys/keystest"
	"scrier/wire"
)

// TestRealSSHD is a session's key from end to end: found by what sshd -T says, taken by sshd for
// a terminal and nothing else, gone after removal, dead after its expiry.
func TestRealSSHD(t *testing.T) {
	t.Parallel()
	for _, mode := range []Mode{Home, Dropin} {
		h := newHost(t)
		login := "screnv" + string(mode)
		uid, home := keystest.RealUser(t, h.Dir, login)
		run, err := os.MkdirTemp("/run", "scrier-keys-") // StrictModes looks at all folders above
		h.Must(err)
		t.Cleanup(func() { h.Must(os.RemoveAll(run)) })
		h.Must(os.Chmod(run, 0o755))
		dropins := filepath.Join(run, "keys")
		sshd := keystest.StartSSHD(t, h.Dir, "AuthorizedKeysFile .ssh/authorized_keys "+dropins+"/%u")
		key, signer := keystest.NewKey(t)
		file := filepath.Join(home, ".ssh", "authorized_keys")
		h.Must(os.Mkdir(filepath.Dir(file), 0o700))
		h.Must(os.WriteFile(file, []byte(keystest.Text(key)), 0o600))
		h.Must(os.Chown(filepath.Dir(file), uid, uid))
		h.Must(os.Chown(file, uid, uid))
		cfg := h.config()
		cfg.AuthorizedKeysFile, cfg.SSHDConfig, cfg.Mode, cfg.DropinDir, cfg.AllowedLogins = nil, sshd.Config, mode, dropins, []string{login}
		now := time.Now()
		clock := now
		cfg.Now = func() time.Time { return clock }
		k := h.open(cfg)
		k.database = account.System()
		ctx := context.Background()

		install := func() (*Installed, ssh.Signer) {
			t.Helper()
			m, err := k.Find(ctx, Operator{Keys: []ssh.PublicKey{key}}, "")
			h.Must(err)
			eph, s := keystest.NewKey(t)
			in, err := k.Install(ctx, m, wire.NewSessionID(), eph)
			h.Must(err)
			return in, s
		}
		in, s := install()
		h.Must(sshd.Shell(login, s))
		h.Must(sshd.Shell(login, signer)) // the operator's own key, on the line before
		c, err := sshd.Dial(login, ssh.PublicKeys(s))
		h.Must(err)
		if conn, err := c.Dial("tcp", sshd.Addr); err == nil {
			conn.Close()
			t.Error("forwarding works")
		}
		if ok, _, err := c.SendRequest("tcpip-forward", true, ssh.Marshal(struct {
			Addr string
			Port uint32
		}{"127.0.0.1", 0})); ok || err != nil {
			t.Errorf("listening works: %v", err)
		}
		// Removed as soon as authentication is over: the connection goes on, a new one is refused (F8).
		h.Must(in.Remove(ctx))
		session, err := c.NewSession()
		h.Must(err)
		h.Must(session.RequestPty("xterm", 24, 80, nil))
		out, err := session.Output("echo still")
		if err != nil || !strings.Contains(string(out), "still") {
			t.Errorf("%q %v", out, err)
		}
		c.Close()
		if err := sshd.Shell(login, s); err == nil {
			t.Error("the key works after its removal")
		}
		if got := h.Read(file); got != keystest.Text(key) {
			t.Errorf("%q", got)
		}

		// If the key is not removed, sshd itself refuses it once it has expired (H16). The agent's clock
		// is set back, so that the line has only a few seconds to live.
		clock = now.Add(-k.cfg.Lifetime + time.Since(now) + 2*time.Second)
		in, s = install()
		var refused error
		keystest.Eventually(t, "the key expires", func() bool {
			refused = sshd.Shell(login, s)
			return refused != nil
		})
		if early := time.Until(in.rec.Expiry); early > 0 {
			t.Errorf("%s: refused %v before its expiry: %v", mode, early, refused)
		}
		clock = time.Now()
		h.Must(in.Remove(ctx))

		keys, err := k.HostKeys(ctx, sshd.Addr)
		h.Must(err)
		checkHostKeys(t, sshd.Addr, keys)
	}
}

func checkHostKeys(t testing.TB, addr string, keys []ssh.PublicKey) {
	t.Helper()
	var seen ssh.PublicKey
	ssh.Dial("tcp", addr, &ssh.ClientConfig{User: "x", HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
		seen = key
		return errors.New("seen")
	}})
	for _, key := range keys {
		if seen != nil && string(key.Marshal()) == string(seen.Marshal()) {
			return
		}
	}
	t.Errorf("sshd shows a host key that is not among %d", len(keys))
}

// TestHostKeys reads them from private keys, from .pub files, and from sshd itself.
func TestHostKeys(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	ctx := context.Background()
	var lines []string
	for _, kind := range []string{"ed25519", "ecdsa", "rsa"} {
		name := filepath.Join(h.Dir, "host_"+kind)
		keystest.Run(t, "ssh-keygen", "-q", "-t", kind, "-N", "", "-f", name)
		if kind != "ed25519" { // startSSHD names that one
			lines = append(lines, "HostKey "+name)
		}
	}
	sshd := keystest.StartSSHD(t, h.Dir, lines...)
	cfg := h.config()
	cfg.AuthorizedKeysFile, cfg.SSHDConfig = nil, sshd.Config
	k := h.open(cfg)
	fromFiles, err := k.HostKeys(ctx, sshd.Addr)
	h.Must(err)
	if len(fromFiles) != 3 {
		t.Errorf("%d host keys from files", len(fromFiles))
	}
	checkHostKeys(t, sshd.Addr, fromFiles)
	fromSSHD, err := k.scanHostKeys(ctx, sshd.Addr)
	h.Must(err)
	if len(fromSSHD) != 3 {
		t.Errorf("%d host keys from sshd", len(fromSSHD))
	}
	texts := func(keys []ssh.PublicKey) string {
		s := map[string]bool{}
		for _, key := range keys {
			s[keystest.Text(key)] = true
		}
		return fmt.Sprint(s)
	}
	if texts(fromFiles) != texts(fromSSHD) {
		t.Error("files and sshd differ")
	}
	// If the private key can be read, an outdated .pub file does not count; if not, it does.
	name := filepath.Join(h.Dir, "host_ed25519")
	other, _ := keystest.NewKey(t)
	h.Must(os.WriteFile(name+".pub", []byte(keystest.Text(other)+"\n"), 0o644))
	got, err := readHostKey(name)
	if err != nil || keystest.Text(got) == keystest.Text(other) {
		t.Errorf("%v %v", got, err)
	}
	h.Must(os.Remove(name))
	if got, err = readHostKey(name); err != nil || keystest.Text(got) != keystest.Text(other) {
		t.Errorf("%v %v", got, err)
	}
	for _, addr := range []string{"192.0.2.1:22", "localhost:22", "127.0.0.1", ""} {
		_, err := k.scanHostKeys(ctx, addr)
		keystest.WantCode(t, err, wire.BadConfig)
	}
	_, err = k.scanHostKeys(ctx, "127.0.0.1:1")
	keystest.WantCode(t, err, wire.TargetRefused)
	if got, want := wire.DetailOf(err), "no SSH server answers at 127.0.0.1:1: connect: connection refused"; got != want {
		t.Errorf("%q, not %q", got, want)
	}
}

// TestRevokedKeys: what sshd would not take is not found.
func TestRevokedKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	other, _ := keystest.NewKey(t)
	list := filepath.Join(w.Dir, "revoked")
	cfg := w.cfg
	cfg.AuthorizedKeysFile = nil
	cfg.SSHD = w.Script("sshd", "[ $1 = -V ] && { echo OpenSSH_9.2; exit; }\nprintf 'authorizedkeysfile .ssh/authorized_keys\\nrevokedkeys "+list+"\\n'\n")
	k := w.open(cfg)
	try := func(what string, code wire.Code) {
		t.Helper()
		_, err := k.Find(context.Background(), Operator{Keys: []ssh.PublicKey{w.key}}, "")
		if got := wire.CodeOf(err); got != code {
			t.Errorf("%s: %v", what, err)
		}
	}
	try("no list", wire.KeyRestricted)
	for content, code := range map[string]wire.Code{keystest.Text(w.key): wire.KeyRestricted, "# me\n" + keystest.Text(other) + "\n" + keystest.Text(w.key): wire.KeyRestricted, keystest.Text(other): 0, "": 0} {
		w.Must(os.WriteFile(list, []byte(content+"\n"), 0o644))
		try(fmt.Sprintf("list %q", content), code)
	}
	pub := filepath.Join(w.Dir, "pub")
	for key, code := range map[string]wire.Code{keystest.Text(w.key): wire.KeyRestricted, keystest.Text(other): 0} {
		w.Must(os.WriteFile(pub, []byte(key+"\n"), 0o644))
		keystest.Run(t, "ssh-keygen", "-q", "-k", "-f", list, pub)
		try("KRL", code)
	}
}

// TestDaemonForbids: settings of sshd, other than its files, by which it would refuse the operator.
func TestDaemonForbids(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Shadow = "scralice:!:19000:0:99999:7:::\n"
	w.Write()
	for line, code := range map[string]wire.Code{
		"usepam yes": 0, "usepam no": wire.AccountNotLoginable, "usepam yes\\nforcecommand /bin/true": wire.KeyRestricted,
		"usepam yes\\npermittty no": wire.KeyRestricted, "usepam yes\\npubkeyauthentication no": wire.KeyfileUnsupported,
		"usepam yes\\npubkeyacceptedalgorithms rsa-sha2-256": wire.KeyRestricted,
	} {
		cfg := w.cfg
		cfg.AuthorizedKeysFile = nil
		cfg.SSHD = w.Script("sshd", "[ $1 = -V ] && { echo OpenSSH_9.2; exit; }\nprintf 'authorizedkeysfile .ssh/authorized_keys\\n"+line+"\\n'\n")
		_, err := w.open(cfg).Find(context.Background(), Operator{Keys: []ssh.PublicKey{w.key}}, "")
		if got := wire.CodeOf(err); got != code {
			t.Errorf("%s: %v", line, err)
		}
	}
}

// TestVersionsForward: sshd before 7.8 would let a line with permitlisten= in not at all, and one without it listen.
func TestVersionsForward(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for version, code := range map[string]wire.Code{"7.7": wire.KeyRestricted, "7.8": 0, "8.0": 0, "10.0": 0} {
		cfg := w.cfg
		cfg.AuthorizedKeysFile = nil
		cfg.SSHD = w.Script("sshd"+version, "[ $1 = -V ] && { echo OpenSSH_"+version+"; exit; }\necho authorizedkeysfile .ssh/authorized_keys\n")
		k := w.open(cfg)
		for _, r := range []wire.Right{wire.MayForward, wire.MayReverse} {
			_, err := k.Find(context.Background(), Operator{Keys: []ssh.PublicKey{w.key}, Use: Use{Needs: []wire.Right{r}}}, "")
			if wire.CodeOf(err) != code || code != 0 && !strings.Contains(wire.DetailOf(err), "7.8 can") {
				t.Errorf("%s, %s: %v", version, r, err)
			}
		}
		if m, err := k.Find(context.Background(), Operator{Keys: []ssh.PublicKey{w.key}}, ""); err != nil || !m.Grant.Has(wire.MayShell) {
			t.Errorf("%s: %v", version, err)
		}
	}
}

// TestAccountMatrix: where sshd would refuse the account, we say so before.
func TestAccountMatrix(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	sshd := keystest.StartSSHD(t, h.Dir)
	key, signer := keystest.NewKey(t)
	cfg := h.config()
	cfg.AuthorizedKeysFile, cfg.SSHDConfig = nil, sshd.Config
	k := h.open(cfg)
	k.database = account.System()
	odd, plain := h.Script("oddshell", `exec /bin/sh "$@"`+"\n"), h.Script("plainfile", "") // neither is in /etc/shells
	h.Must(os.Chmod(plain, 0o644))
	for i, c := range []struct {
		name string
		in   bool
		more []string
	}{
		{"ordinary", true, nil},
		{"locked", false, []string{"--password", "!"}},
		{"expired", false, []string{"--expiredate", "2020-01-01"}},
		{"nologin", false, []string{"--shell", "/usr/sbin/nologin"}},
		{"not in /etc/shells", true, []string{"--shell", odd}},
		{"no such shell", false, []string{"--shell", "/nonexistent/sh"}},
		{"a shell that is no program", false, []string{"--shell", plain}},
	} {
		login := fmt.Sprintf("scracct%d", i)
		uid, home := keystest.RealUser(t, h.Dir, login, c.more...)
		file := filepath.Join(home, ".ssh", "authorized_keys")
		h.Must(os.Mkdir(filepath.Dir(file), 0o700))
		h.Must(os.WriteFile(file, []byte(keystest.Text(key)+"\n"), 0o600))
		h.Must(os.Chown(filepath.Dir(file), uid, uid))
		h.Must(os.Chown(file, uid, uid))
		real := sshd.Shell(login, signer)
		_, err := k.Find(context.Background(), Operator{Keys: []ssh.PublicKey{key}}, login)
		if (real == nil) != (err == nil) || (err != nil && wire.CodeOf(err) != wire.AccountNotLoginable) || (real == nil) != c.in {
			t.Errorf("%s: sshd %v, we %v", c.name, real, err)
		}
	}
}

// TestOwnUserOnly: an agent that is not root serves the login that it runs as.
func TestOwnUserOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bob := w.User("scrbob")
	w.PutKeys(bob, keystest.Text(w.key)+"\n")
	k := w.open(w.cfg)
	k.root, k.uid = false, uint32(w.u.UID)
	w.Script("getent", `[ "$2" = `+fmt.Sprint(w.u.UID)+` ] && exec grep scralice `+w.Dir+`/passwd
grep "^$2:" `+w.Dir+`/$1 || exit 2
`)
	found, others, err := k.accounts(context.Background(), "")
	if err != nil || len(found) != 1 || found[0].Login != "scralice" || len(others) != 0 {
		t.Errorf("%v %v %v", found, others, err)
	}
	_, _, err = k.accounts(context.Background(), "scrbob")
	keystest.WantCode(t, err, wire.LoginNotAllowed)
	k.cfg.AllowedLogins = []string{"scrbob"}
	_, _, err = k.accounts(context.Background(), "")
	keystest.WantCode(t, err, wire.LoginNotAllowed)
	// If sshd -T fails, such an agent takes sshd's defaults. One that is root refuses.
	k.cfg.AuthorizedKeysFile, k.cfg.SSHD = nil, "/nonexistent/sshd"
	if d, err := k.daemonFor(context.Background(), found[0], k.usual); err != nil || len(d.files) != 2 || d.files[0] != ".ssh/authorized_keys" {
		t.Errorf("%+v %v", d, err)
	}
	k.root = true
	_, err = k.daemonFor(context.Background(), found[0], k.usual)
	keystest.WantCode(t, err, wire.KeyfileUnsupported)
}

// TestAdmit: logins that sshd's AllowUsers and its like refuse are not offered, and named for what they are.
func TestAdmit(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	key, signer := keystest.NewKey(t)
	logins := []string{"scradm0", "scradm1"}
	for i, login := range logins {
		more := []string{"--user-group"}
		if i == 1 {
			more = append(more, "--groups", "games")
		}
		uid, home := keystest.RealUser(t, h.Dir, login, more...)
		file := filepath.Join(home, ".ssh", "authorized_keys")
		h.Must(os.Mkdir(filepath.Dir(file), 0o700))
		h.Must(os.WriteFile(file, []byte(keystest.Text(key)+"\n"), 0o600))
		h.Must(os.Chown(filepath.Dir(file), uid, uid))
		h.Must(os.Chown(file, uid, uid))
	}
	for _, config := range []string{
		"# nothing",
		"AllowUsers scradm0",
		"AllowUsers root scradm0@127.0.0.1 scradm1@192.0.2.0/24",
		"AllowUsers scradm1@127.0.0.0/8",
		"AllowUsers scradm?@*,!127.0.0.1",
		"AllowUsers scradm1@localhost",
		"AllowUsers *\nDenyUsers scradm0",
		"DenyUsers *@127.0.0.1",
		"DenyUsers scradm1@192.0.2.1 nobody",
		"AllowGroups games",
		"AllowGroups scradm0",
		"AllowGroups g?mes scradm*",
		"DenyGroups games",
		"AllowUsers scradm0\nAllowGroups games",
		"AllowUsers nobody\nMatch User scradm1\nAllowUsers scradm1",
		"DenyUsers scradm1\nMatch Address 127.0.0.1\nDenyUsers scradm0",
		"Match Host 127.0.0.1\nDenyUsers scradm0",
		"Match Host localhost\nDenyUsers scradm0",
		"UseDNS yes\nMatch Host localhost\nDenyUsers scradm0",
		"Match Group games\nDenyUsers scradm1",
		"Match LocalAddress 127.0.0.1\nDenyUsers scradm0",
	} {
		sshd := keystest.StartSSHD(t, h.Dir, config)
		cfg := h.config()
		cfg.AuthorizedKeysFile, cfg.SSHDConfig, cfg.AllowedLogins, cfg.Addr = nil, sshd.Config, logins, sshd.Addr
		k := h.open(cfg)
		k.database = account.System()
		var in []string
		for _, login := range logins {
			real := sshd.Shell(login, signer)
			m, err := k.Find(context.Background(), Operator{Keys: []ssh.PublicKey{key}}, login)
			if (real == nil) != (err == nil) || (err != nil && wire.CodeOf(err) != wire.LoginNotAllowed) {
				t.Errorf("%q, %s: sshd %v, we %v", config, login, real, err)
			}
			if real == nil {
				in = append(in, m.Login)
			}
		}
		m, err := k.Find(context.Background(), Operator{Keys: []ssh.PublicKey{key}}, "")
		switch len(in) {
		case 0:
			keystest.WantCode(t, err, wire.LoginNotAllowed)
		case 1:
			if err != nil || m.Login != in[0] {
				t.Errorf("%q: %s %v, not %s", config, m.Login, err, in[0])
			}
		default:
			keystest.WantCode(t, err, wire.AmbiguousLogin)
		}
	}
}

// TestKeyTypes: a session's key is installed if sshd takes its type, and works then; else it is refused before.
func TestKeyTypes(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	const login = "scrtypes"
	uid, home := keystest.RealUser(t, h.Dir, login)
	signer := func(key any, err error) ssh.Signer {
		t.Helper()
		h.Must(err)
		s, err := ssh.NewSignerFromKey(key)
		h.Must(err)
		return s
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	session := map[string]ssh.Signer{
		"ed25519": signer(ed, err),
		"ecdsa":   signer(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)),
		"rsa":     signer(rsa.GenerateKey(rand.Reader, 3072)),
	}
	ways := map[string][]ssh.Signer{} // a relay tries both for RSA
	for kind, key := range session {
		ways[kind] = []ssh.Signer{key}
		if kind == "rsa" {
			ways[kind] = nil
			for _, a := range []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256} {
				one, err := ssh.NewSignerWithAlgorithms(key.(ssh.AlgorithmSigner), []string{a})
				h.Must(err)
				ways[kind] = append(ways[kind], one)
			}
		}
	}
	operator := signer(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	file := filepath.Join(home, ".ssh", "authorized_keys")
	text := keystest.Text(operator.PublicKey()) + "\n"
	h.Must(os.Mkdir(filepath.Dir(file), 0o700))
	h.Must(os.WriteFile(file, []byte(text), 0o600))
	h.Must(os.Chown(filepath.Dir(file), uid, uid))
	h.Must(os.Chown(file, uid, uid))
	for config, want := range map[string]string{
		"# default":                             "ecdsa ed25519 rsa",
		"PubkeyAcceptedAlgorithms -ssh-ed25519": "ecdsa rsa",
		"PubkeyAcceptedAlgorithms ecdsa-sha2-*,rsa-sha2-256,rsa-sha2-512":                                                    "ecdsa rsa",
		"PubkeyAcceptedAlgorithms ecdsa-sha2-nistp384,rsa-sha2-256":                                                          "rsa",
		"PubkeyAcceptedAlgorithms ecdsa-sha2-nistp384,rsa-sha2-512":                                                          "rsa",
		"PubkeyAcceptedAlgorithms ecdsa-sha2-nistp384":                                                                       "",
		"PubkeyAcceptedAlgorithms -ssh-ed25519\nRequiredRSASize 4096":                                                        "ecdsa",
		"PubkeyAcceptedAlgorithms ecdsa-sha2-nistp384\nMatch User " + login + "\nPubkeyAcceptedAlgorithms ecdsa-sha2-nistp*": "ecdsa",
	} {
		sshd := keystest.StartSSHD(t, h.Dir, config)
		cfg := h.config()
		cfg.AuthorizedKeysFile, cfg.SSHDConfig, cfg.AllowedLogins = nil, sshd.Config, []string{login}
		k := h.open(cfg)
		k.database = account.System()
		var taken []string
		for _, kind := range []string{"ecdsa", "ed25519", "rsa"} {
			key := session[kind]
			m, err := k.Find(context.Background(), Operator{Keys: []ssh.PublicKey{operator.PublicKey()}, Session: key.PublicKey()}, "")
			if wire.CodeOf(err) == wire.KeyTypeRefused {
				continue
			}
			h.Must(err)
			in, err := k.Install(context.Background(), m, wire.NewSessionID(), key.PublicKey())
			h.Must(err)
			if err := sshd.Shell(login, ways[kind]...); err != nil {
				t.Errorf("%q, %s: %v", config, kind, err)
			}
			h.Must(in.Remove(context.Background()))
			if got := h.Read(file); got != text {
				t.Fatalf("%q", got)
			}
			taken = append(taken, kind)
		}
		if got := strings.Join(taken, " "); got != want {
			t.Errorf("%q: %s, not %s", config, got, want)
		}
	}
	// What a crash leaves of them goes with a sweep, too.
	cfg := h.config()
	cfg.AllowedLogins = []string{login}
	k := h.open(cfg)
	k.database = account.System()
	for _, key := range session {
		m, err := k.Find(context.Background(), Operator{Keys: []ssh.PublicKey{operator.PublicKey()}}, "")
		h.Must(err)
		in, err := k.Install(context.Background(), m, wire.NewSessionID(), key.PublicKey())
		h.Must(err)
		h.Must(k.journal.drop(in.rec))
	}
	k.cfg.Now = func() time.Time { return time.Now().Add(maxLifetime + time.Second) }
	if swept, err := k.SweepAll(context.Background()); err != nil || swept.Removed != 3 || h.Read(file) != text {
		t.Errorf("%+v %v: %q", swept, err, h.Read(file))
	}
}
