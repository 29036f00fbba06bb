package keys

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"scrier/agent/account"
	"scrier/agent/keys/keystest"
	"scrier/wire"
)

// rights is what a key gives at a real sshd. Of the environment it holds what is not set, as environment=
// may be there to take something away.
func rights(sshd *keystest.SSHD, login string, signer ssh.Signer) (all []string) {
	c, err := sshd.Dial(login, ssh.PublicKeys(signer))
	if err != nil {
		return nil
	}
	defer c.Close()
	run := func(terminal bool) (string, bool) {
		s, err := c.NewSession()
		if err != nil {
			return "", false
		}
		defer s.Close()
		if terminal && s.RequestPty("xterm", 24, 80, nil) != nil {
			return "", false
		}
		out, err := s.Output("echo scrier-$((40+2))-${LIMITED-none}")
		return string(out), err == nil && strings.Contains(string(out), "scrier-42-")
	}
	if out, ok := run(true); ok {
		all = append(all, "terminal")
		if strings.Contains(out, "-none") {
			all = append(all, "no LIMITED")
		}
	}
	if _, ok := run(false); ok {
		all = append(all, "command")
	}
	if conn, err := c.Dial("tcp", sshd.Addr); err == nil {
		conn.Close()
		all = append(all, "connect")
	}
	if ok, _, err := c.SendRequest("tcpip-forward", true, ssh.Marshal(struct {
		Addr string
		Port uint32
	}{"127.0.0.1", 0})); ok && err == nil {
		all = append(all, "listen")
	}
	if ch, requests, err := c.OpenChannel("tun@openssh.com", ssh.Marshal(struct{ Mode, Unit uint32 }{1, 0x7fffffff})); err == nil {
		go ssh.DiscardRequests(requests)
		ch.Close()
		all = append(all, "tunnel")
	}
	for request, payload := range map[string][]byte{
		"auth-agent-req@openssh.com": nil,
		"x11-req": ssh.Marshal(struct {
			Single         bool
			Protocol, Data string
			Screen         uint32
		}{false, "MIT-MAGIC-COOKIE-1", strings.Repeat("0", 32), 0}),
	} {
		s, err := c.NewSession()
		if err != nil {
			continue
		}
		if ok, err := s.SendRequest(request, true, payload); ok && err == nil {
			all = append(all, request)
		}
		s.Close()
	}
	return all
}

// TestNoMoreThanTheLine: for each option of authorized_keys, a session gives no more than ssh with that
// key would give from where the operator is, or it is refused (H19).
func TestNoMoreThanTheLine(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	const login = "scroptions"
	uid, home := keystest.RealUser(t, h.Dir, login)
	file := filepath.Join(home, ".ssh", "authorized_keys")
	h.Must(os.Mkdir(filepath.Dir(file), 0o700))
	h.Must(os.Chown(filepath.Dir(file), uid, uid))
	open := func(lines ...string) (*keystest.SSHD, *Keys) {
		sshd := keystest.StartSSHD(t, h.Dir, append(lines, "AllowTcpForwarding yes", "AllowAgentForwarding yes", "X11Forwarding yes", "PermitTunnel yes")...)
		cfg := h.config()
		cfg.StateDir = filepath.Join(h.Dir, filepath.Base(sshd.Config)+"-state")
		cfg.AuthorizedKeysFile, cfg.SSHDConfig, cfg.AllowedLogins = nil, sshd.Config, []string{login}
		k := h.open(cfg)
		k.database = account.System()
		return sshd, k
	}
	plainSSHD, plain := open()
	settingSSHD, setting := open("PermitUserEnvironment yes")
	someSSHD, some := open("PermitUserEnvironment LANG,LC_*")
	strictSSHD, strict := open("PubkeyAuthOptions verify-required")

	key, signer := keystest.NewKey(t)
	touched, touchedSigner := keystest.SecurityKey(t, keystest.Touched)
	verified, verifiedSigner := keystest.SecurityKey(t, keystest.Touched|keystest.Verified)
	untouched, untouchedSigner := keystest.SecurityKey(t, 0)
	type owner struct {
		key    ssh.PublicKey
		signer ssh.Signer
	}
	type server struct {
		sshd *keystest.SSHD
		keys *Keys
	}
	own, touches := owner{key, signer}, owner{touched, touchedSigner}
	def := server{plainSSHD, plain}
	soon := time.Now().Add(time.Hour).Format("20060102150405")
	const refused, granted = "refused", ""
	for _, c := range []struct {
		options string
		want    string // granted, refused, or what the refusal says besides
		from    string // the operator's address
		who     owner
		at      server
	}{
		{options: ""},
		{options: "agent-forwarding"},
		{options: "cert-authority", want: "cert-authority"},
		{options: `command="/bin/true"`, want: "command="},
		{options: `command="echo scrier-42-"`, want: "command="},
		{options: `environment="LIMITED=1"`}, // sshd does not set it
		{options: `environment="LIMITED=1"`, want: "environment=", at: server{settingSSHD, setting}},
		{options: `environment="LIMITED=1"`, want: "environment=", at: server{someSSHD, some}},
		{options: `expiry-time="` + soon + `"`},
		{options: `expiry-time="20200101"`, want: "expiry-time"},
		{options: `from="127.3.0.0/16"`, from: "127.3.4.5"},
		{options: `from="127.3.*"`, from: "127.3.4.5"},
		{options: `from="127.3.0.0/16"`, from: "127.4.4.5", want: "from="},
		{options: `from="127.0.0.1,::1"`, from: "127.3.4.5", want: "from="},
		{options: `from="*,!127.3.0.0/16"`, from: "127.3.4.5", want: "from="},
		{options: `from="*,!127.3.4.?"`, from: "127.3.4.5", want: "from="},
		{options: `from="*,!127.4.0.0/16"`, from: "127.3.4.5"},
		{options: `from="*,!evil.example.com"`, from: "127.3.4.5", want: "from="},
		{options: `from="localhost"`, from: "127.0.0.1", want: "from="},
		{options: "no-agent-forwarding"},
		{options: "no-port-forwarding"},
		{options: "no-pty", want: "no-pty"},
		{options: "no-user-rc"},
		{options: "no-X11-forwarding"},
		{options: "no-touch-required", who: owner{untouched, untouchedSigner}},
		{options: `permitlisten="localhost:8080"`},
		{options: `permitopen="192.0.2.1:80"`},
		{options: "port-forwarding"},
		{options: `principals="root"`, want: "principals="},
		{options: `cert-authority,principals="root"`, want: "cert-authority"},
		{options: "pty"},
		{options: "no-pty,pty"},
		{options: "restrict", want: "restrict without pty"},
		{options: "restrict,pty"},
		{options: "restrict,port-forwarding", want: "restrict without pty"},
		{options: `tunnel="0"`},
		{options: "user-rc"},
		{options: "verify-required", want: "verify-required"},
		{options: "verify-required", want: "verify-required", who: owner{verified, verifiedSigner}},
		{options: "verify-required", want: "verify-required", who: touches}, // at the login to the relay
		{options: "X11-forwarding"},
		{options: "", who: touches},
		{options: "", want: "verify-required", who: owner{verified, verifiedSigner}, at: server{strictSSHD, strict}},
		{options: "", at: server{strictSSHD, strict}}, // sshd itself verifies owners of sk- keys alone
		{options: "frobnicate", want: refused},
	} {
		if c.who.key == nil {
			c.who = own
		}
		if c.at.sshd == nil {
			c.at = def
		}
		if c.from == "" {
			c.from = "127.0.0.1"
		}
		name := fmt.Sprintf("%q from %s", c.options, c.from)
		h.Must(os.WriteFile(file, []byte(strings.TrimLeft("\n"+c.options+" ", " ")+keystest.Text(c.who.key)+"\n"), 0o600))
		h.Must(os.Chown(file, uid, uid))
		c.at.sshd.From = c.from
		plainly := rights(c.at.sshd, login, c.who.signer)
		m, err := c.at.keys.Find(context.Background(), Operator{Keys: []ssh.PublicKey{c.who.key}, Source: netip.MustParseAddr(c.from)}, "")
		if c.want != granted {
			keystest.WantCode(t, err, wire.KeyRestricted)
			if at := fmt.Sprintf("line 2 of %s: ", file); !strings.Contains(wire.DetailOf(err), at) || c.want != refused && !strings.Contains(wire.DetailOf(err), c.want) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		eph, session := keystest.NewKey(t)
		in, err := c.at.keys.Install(context.Background(), m, wire.NewSessionID(), eph)
		h.Must(err)
		c.at.sshd.From = "127.0.0.1" // where the agent is
		got := rights(c.at.sshd, login, session)
		h.Must(in.Remove(context.Background()))
		if !slices.Contains(got, "terminal") {
			t.Errorf("%s: a session gives %v", name, got)
		}
		for _, r := range got {
			if !slices.Contains(plainly, r) {
				t.Errorf("%s: a session gives %v, ssh %v", name, got, plainly)
			}
		}
	}
	// The looks at sshd see what there is to see.
	h.Must(os.WriteFile(file, []byte(`environment="LIMITED=1" `+keystest.Text(key)+"\n"), 0o600))
	for sshd, want := range map[*keystest.SSHD][]string{
		plainSSHD: {"terminal", "no LIMITED", "command", "connect", "listen", "auth-agent-req@openssh.com"}, settingSSHD: {"terminal", "command"},
	} {
		got := rights(sshd, login, signer)
		for _, r := range want {
			if !slices.Contains(got, r) {
				t.Errorf("a plain line gives %v, and not %q", got, r)
			}
		}
		if sshd == settingSSHD && slices.Contains(got, "no LIMITED") {
			t.Error("sshd sets no environment")
		}
	}
}
