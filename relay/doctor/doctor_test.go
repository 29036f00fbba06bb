package doctor

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"scrier/certs"
	"scrier/relay"
	"scrier/relay/guac/guactest"
	"scrier/sockets"
	"scrier/wire"
)

var update = flag.Bool("update", false, "write the golden files")

// patience is what a check may take on a busy machine, where it has to succeed.
const patience = 30 * time.Second

// place is a machine to look at: settings that find nothing wrong but what a test puts there.
type place struct {
	t *testing.T
	Settings
}

func newPlace(t *testing.T) *place {
	t.Helper()
	p := &place{t, Settings{
		State: filepath.Join(t.TempDir(), "state"), Now: time.Now, Wait: patience,
		Synced: func() (bool, error) { return true, nil },
	}}
	if err := os.Mkdir(p.State, 0o700); err != nil {
		t.Fatal(err)
	}
	p.listening()
	return p
}

// file puts a file into the state directory.
func (p *place) file(name, text string, mode os.FileMode) string {
	p.t.Helper()
	path := filepath.Join(p.State, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		p.t.Fatal(err)
	}
	return path
}

// listening says who listens at every port.
func (p *place) listening(addrs ...string) {
	p.Listeners = func(uint16) (all []sockets.Listener, err error) {
		for _, a := range addrs {
			all = append(all, sockets.Listener{Addr: netip.MustParseAddr(a)})
		}
		return all, nil
	}
}

// start runs a relay on the place's state directory, and makes server.yaml say where.
func (p *place) start(more string, edit ...func(*relay.Config)) {
	p.t.Helper()
	conf := relay.DefaultConfig()
	conf.Listen = "127.0.0.1:0"
	for _, e := range edit {
		e(&conf)
	}
	r, err := relay.Open(p.t.Context(), relay.Settings{StateDir: p.State, Config: conf, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	p.t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			p.t.Error(err)
		}
	})
	p.file("server.yaml", "listen: "+r.Addr()+"\n"+more, 0o600)
}

// want looks for one finding.
func (p *place) want(r Report, group, what string, status Status, detail string) {
	p.t.Helper()
	for _, f := range r.Checks {
		if f.Group == group && strings.Contains(f.What, what) {
			if f.Status != status || !strings.Contains(f.Detail, detail) {
				p.t.Errorf("%s, %s: %s %q, want %s %q", group, f.What, f.Status, f.Detail, status, detail)
			}
			if (f.Status == Warn || f.Status == Fail) && f.Hint == "" {
				p.t.Errorf("%s, %s: no hint", group, f.What)
			}
			return
		}
	}
	p.t.Errorf("there is no %s, %s in %+v", group, what, r.Checks)
}

// A relay that takes this machine for a proxy, as one runs on it, is examined all the same.
func TestBehindAProxy(t *testing.T) {
	p := newPlace(t)
	p.start("proxy_protocol: {from: [127.0.0.1]}\n", func(c *relay.Config) { c.ProxyProtocol.From = []string{"127.0.0.1"} })
	p.want(Run(t.Context(), p.Settings), "port", "TCP 127.0.0.1:", OK, "with the right fingerprint")
	p.want(Run(t.Context(), p.Settings), "clock", "relay", OK, "agrees")
}

// A relay that was started with --listen says where it listens; server.yaml does not.
func TestListenFlag(t *testing.T) {
	p := newPlace(t)
	p.start("")
	p.file("server.yaml", "listen: 127.0.0.1:1\n", 0o600)
	r := Run(t.Context(), p.Settings)
	p.want(r, "port", "address", Warn, ", and not on 127.0.0.1:1 of its configuration: --listen")
	hint := func(r Report) string {
		return r.Checks[slices.IndexFunc(r.Checks, func(f Finding) bool { return f.What == "address" })].Hint
	}
	if got := hint(r); !strings.Contains(got, "set listen in server.yaml") {
		t.Errorf("listen is on loopback in server.yaml too: %s", got)
	}
	p.want(r, "port", "UDP 127.0.0.1:", OK, "with the right fingerprint")
	p.want(r, "port", "TCP 127.0.0.1:", OK, "with the right fingerprint")
	p.file("server.yaml", "listen: :1\n", 0o600)
	if got := hint(Run(t.Context(), p.Settings)); !strings.Contains(got, "without --listen") {
		t.Errorf("server.yaml has what the hint asks for: %s", got)
	}
}

// What makes no sense in the relay's configuration and in the agent's is said, with the file.
func TestDoubts(t *testing.T) {
	p := newPlace(t)
	p.file("server.yaml", "scrier: {allowed_ports: [22, 22]}\n", 0o600)
	r := Run(t.Context(), p.Settings)
	if r.Checks[1].Status != Warn || !strings.Contains(r.Checks[1].Detail, "22 is there twice") || r.Checks[1].Hint == "" || r.Checks[1].Group != "configuration" {
		t.Errorf("%+v", r.Checks[1])
	}
	p.Agent = t.TempDir()
	path := filepath.Join(p.Agent, "agent.yaml")
	for _, c := range []struct {
		err    error
		doubts []string
		status Status
		detail string
	}{
		{nil, nil, OK, "there is none, so the defaults hold"},
		{errors.New("[1:1] no"), nil, Fail, "[1:1] no"},
		{fs.ErrPermission, nil, Skip, "cannot be read by this user"},
	} {
		p.AgentConfig = func(context.Context) (string, []string, error) { return path, c.doubts, c.err }
		p.want(Run(t.Context(), p.Settings), "agent", "agent.yaml", c.status, c.detail)
	}
	p.AgentConfig = func(context.Context) (string, []string, error) { return path, []string{"this and that"}, nil }
	r = Run(t.Context(), p.Settings)
	if last := r.Checks[len(r.Checks)-1]; last.Status != Warn || last.Detail != "this and that" || last.Group != "agent" {
		t.Errorf("%+v", last)
	}
}

func TestSameAddress(t *testing.T) {
	for _, c := range []struct {
		bound, listen string
		same          bool
	}{
		{"[::]:8443", ":8443", true},
		{"[::]:8443", "0.0.0.0:8443", true},
		{"0.0.0.0:8443", "[::]:8443", true},
		{"[::]:443", ":https", true},
		{"[::]:8443", ":8444", false},
		{"[::]:40000", ":0", true},
		{"127.0.0.1:8443", ":8443", false},
		{"127.0.0.1:8443", "127.0.0.1:8443", true},
		{"127.0.0.1:8443", "localhost:8443", true},
		{"127.0.0.1:8443", "127.0.0.2:8443", false},
		{"[::]:8443", "127.0.0.1:8443", false},
		{"[::1]:8443", "[0:0::1]:8443", true},
	} {
		if got := same(c.bound, c.listen); got != c.same {
			t.Errorf("%s, %s: %v", c.bound, c.listen, got)
		}
	}
}

func TestHealthyRelay(t *testing.T) {
	p := newPlace(t)
	g := guactest.Start(t, guactest.Version16)
	p.start("scrier: {guacd_addr: '" + g.Addr() + "'}\n")
	p.listening("127.0.0.1")
	r := Run(t.Context(), p.Settings)
	for _, f := range r.Checks {
		if f.Status == Fail {
			t.Errorf("failed: %+v", f)
		}
	}
	p.want(r, "configuration", "server.yaml", OK, p.State)
	p.want(r, "state directory", "permissions", OK, "0700")
	p.want(r, "state directory", "audit log", OK, "")
	p.want(r, "relay", "admin socket", OK, wire.Version())
	p.want(r, "port", "address", Warn, "no other machine")
	p.want(r, "port", "UDP", OK, "right fingerprint")
	p.want(r, "port", "TCP", OK, "right fingerprint")
	p.want(r, "certificates", "authority", OK, "good until")
	p.want(r, "certificates", "relay", OK, "good until")
	p.want(r, "certificates", "browser", OK, "made anew")
	p.want(r, "certificates", "tls", OK, "none is configured")
	p.want(r, "clock", "synchronised", OK, "")
	p.want(r, "clock", "relay's clock", OK, "agrees")
	p.want(r, "guacd", "rdp", OK, "parameters")
	p.want(r, "guacd", "vnc", OK, "parameters")
	p.want(r, "guacd", "version", OK, "1.6.0 or newer")
	p.want(r, "guacd", "reach", OK, "loopback only")
	p.want(r, "guacd", "proxy_hostname", OK, "127.0.0.1")

	// From elsewhere, with and without a known fingerprint, and with that of another relay.
	conf, err := relay.LoadConfig(filepath.Join(p.State, "server.yaml"), true)
	if err != nil {
		t.Fatal(err)
	}
	far := newPlace(t)
	far.State, far.Relay = filepath.Join(far.State, "none"), conf.Listen
	r = Run(t.Context(), far.Settings)
	far.want(r, "port", "UDP", OK, "not compared")
	far.want(r, "state directory", "directory", Skip, "no relay on this machine")
	far.want(r, "certificates", "browser", OK, "good until")
	if r.Failed > 0 {
		t.Errorf("from elsewhere: %+v", r.Checks)
	}
	far.Pin = new(certs.Pin)
	r = Run(t.Context(), far.Settings)
	far.want(r, "port", "UDP", Fail, "fingerprint")
	far.want(r, "port", "TCP", Fail, "fingerprint")

	// A clock that is wrong.
	p.Now = func() time.Time { return time.Now().Add(20 * time.Second) }
	p.want(Run(t.Context(), p.Settings), "clock", "relay's clock", Warn, "says 2")
	p.Now = func() time.Time { return time.Now().Add(5 * time.Minute) }
	p.want(Run(t.Context(), p.Settings), "clock", "relay's clock", Fail, "says 2")
	p.Now = func() time.Time { return time.Now().AddDate(0, 0, 20) }
	p.want(Run(t.Context(), p.Settings), "certificates", "browser", Fail, "was good until")
	p.Now = func() time.Time { return time.Now().AddDate(0, 0, 80) }
	p.want(Run(t.Context(), p.Settings), "certificates", "relay", Warn, "days from now")
	p.Now = func() time.Time { return time.Now().AddDate(30, 0, 0) }
	p.want(Run(t.Context(), p.Settings), "certificates", "authority", Fail, "was good until")
}

func TestRelayIsDown(t *testing.T) {
	p := newPlace(t)
	silent, err := net.ListenPacket("udp", "127.0.0.1:0") // takes what comes and answers nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	p.file("server.yaml", "listen: "+silent.LocalAddr().String()+"\nscrier: {guacd_addr: ''}\n", 0o600)
	p.Wait = time.Second // of the one check that nobody answers
	r := Run(t.Context(), p.Settings)
	p.want(r, "relay", "admin socket", Fail, "no relay answers")
	p.want(r, "port", "UDP", Fail, "no answer")
	p.want(r, "port", "TCP", Fail, "refused")
	p.want(r, "certificates", "authority", Warn, "ca.crt")
	p.want(r, "certificates", "browser", Skip, "")
	p.want(r, "clock", "relay's clock", Skip, "")
	p.want(r, "guacd", "guacd_addr", Skip, "empty")
	if r.Failed != 3 {
		t.Errorf("%d failed: %+v", r.Failed, r.Checks)
	}
}

func TestAnAgentsDirectory(t *testing.T) {
	p := newPlace(t)
	p.file("enrolment.json", "{}", 0o600)
	p.file("agent.pem", "", 0o600)
	r := Run(t.Context(), p.Settings)
	p.want(r, "state directory", "directory", Fail, "is the state of an agent, and not of a relay")
	if r.Failed != 1 || r.Skipped != 2 {
		t.Errorf("%+v", r)
	}
}

func TestAnAgentsMachine(t *testing.T) {
	p := newPlace(t)
	p.State = filepath.Join(p.State, "none")
	r := Run(t.Context(), p.Settings)
	p.want(r, "state directory", "directory", Fail, "no relay on this machine")
	p.Agent = "/var/lib/scrier-agent"
	r = Run(t.Context(), p.Settings)
	p.want(r, "state directory", "directory", Skip, "an agent's state is in /var/lib/scrier-agent")
	if r.Failed > 0 || r.Skipped != 3 {
		t.Errorf("%+v", r)
	}
}

func TestConfiguration(t *testing.T) {
	p := newPlace(t)
	if f := (&examiner{Settings: p.Settings, here: true}).configuration(); f[0].Status != OK || !strings.Contains(f[0].Detail, "defaults") {
		t.Errorf("without one: %+v", f)
	}
	p.file("server.yaml", "scrier:\n  guacd: x\n", 0o600)
	r := Run(t.Context(), p.Settings)
	p.want(r, "configuration", "server.yaml", Fail, "[2:3]")
	if strings.Contains(r.Checks[0].Detail, "\n") {
		t.Errorf("more than a line: %q", r.Checks[0].Detail)
	}
	p.Config = "/nonexistent/server.yaml"
	p.want(Run(t.Context(), p.Settings), "configuration", "server.yaml", Fail, "/nonexistent/server.yaml")
}

func TestState(t *testing.T) {
	look := func(p *place) Report {
		e := &examiner{Settings: p.Settings, here: true}
		return Report{Checks: e.state(t.Context())}
	}
	p := newPlace(t)
	p.want(look(p), "state directory", "permissions", OK, "0700")
	p.want(look(p), "state directory", "audit log", Skip, "none yet")
	p.want(look(p), "state directory", "files", Skip, "first start")
	for mode, status := range map[os.FileMode]Status{0o750: Warn, 0o777: Fail, 0o720: Fail} {
		if err := os.Chmod(p.State, mode); err != nil {
			t.Fatal(err)
		}
		p.want(look(p), "state directory", "permissions", status, fmt.Sprintf("%04o", mode))
	}
	if err := os.Chmod(p.State, 0o700); err != nil {
		t.Fatal(err)
	}
	p.file("audit.db", "x", 0o600)
	p.want(look(p), "state directory", "audit log", Fail, "head")
	p.want(look(p), "state directory", "files", Fail, "ca.key and state.db")
	p.want(look(p), "state directory", "files", Fail, "are missing")
	p.file("audit.db.head", "", 0o600)
	p.want(look(p), "state directory", "audit log", Fail, "EOF")
	p.file("audit.db.head", "x", 0o600)
	p.want(look(p), "state directory", "audit log", OK, "")
	key := p.file("ca.key", "x", 0o640)
	p.want(look(p), "state directory", "permissions", Fail, "ca.key is 0640")
	p.file("ca.key", "x", 0o600)
	p.file("state.db", "x", 0o600)
	p.file("audit.key", "x", 0o600)
	p.want(look(p), "state directory", "files", Fail, "ca.crt")
	p.file("ca.crt", "x", 0o644)
	p.want(look(p), "state directory", "files", OK, "")
	if err := os.Remove(filepath.Join(p.State, "audit.db")); err != nil {
		t.Fatal(err)
	}
	p.want(look(p), "state directory", "files", Fail, "audit.db is missing")
	p.want(look(p), "state directory", "audit log", Skip, "it is gone")
	p.file("audit.db", "x", 0o600)
	p.file("server.yaml", "", 0o644)
	p.want(look(p), "state directory", "permissions", OK, "")
	p.file("server.yaml", "", 0o664)
	p.want(look(p), "state directory", "permissions", Fail, "server.yaml is 0664")
	p.file("server.yaml", "", 0o600)
	if os.Getuid() != 0 {
		t.Fatal("only root can give files away")
	}
	if err := os.Chown(key, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	p.want(look(p), "state directory", "permissions", Fail, "belongs to uid 65534")

	for _, c := range []struct {
		free, files, freeFiles uint64
		want                   Status
	}{
		{100 << 30, 1e6, 1e5, OK}, {100 << 30, 0, 0, OK}, {500 << 20, 0, 0, Warn}, {10 << 20, 0, 0, Fail},
		{100 << 30, 1e6, 500, Warn}, {100 << 30, 1e6, 0, Fail},
	} {
		if got := spaceStatus(c.free, c.files, c.freeFiles); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
	p.State = "/proc/self/nothing/of/this"
	if f := (&examiner{Settings: p.Settings}).space(); f.Status != Warn {
		t.Errorf("%+v", f)
	}
}

func TestGuacd(t *testing.T) {
	look := func(p *place, addr string) Report {
		e := &examiner{Settings: p.Settings, here: true, conf: relay.DefaultConfig()}
		e.conf.Scrier.GuacdAddr = relay.Addrs{addr}
		return Report{Checks: e.guacd(t.Context())}
	}
	t.Run("old", func(t *testing.T) {
		p := newPlace(t)
		r := look(p, guactest.Start(t, guactest.Version13).Addr())
		p.want(r, "guacd", "version", Warn, "it speaks 1.3.0")
		p.want(r, "guacd", "rdp", OK, "76 parameters")
		p.want(r, "guacd", "reach", Skip, "namespace")
	})
	t.Run("hangs", func(t *testing.T) {
		p := newPlace(t)
		p.Wait = 200 * time.Millisecond
		r := look(p, guactest.Start(t, guactest.Silent).Addr())
		p.want(r, "guacd", "rdp", Fail, "no handshake")
		p.want(r, "guacd", "vnc", Fail, "no handshake")
	})
	t.Run("is not guacd", func(t *testing.T) {
		p := newPlace(t)
		p.want(look(p, guactest.Start(t, guactest.ClosesAfterSelect).Addr()), "guacd", "vnc", Fail, "no handshake: it closed")
		p.want(look(p, guactest.Start(t, guactest.ErrorForArgs).Addr()), "guacd", "rdp", Fail, "it answered with")
		p.want(look(p, guactest.Start(t, guactest.OddVersion).Addr()), "guacd", "version", Warn, "not known")
	})
	t.Run("is down", func(t *testing.T) {
		p := newPlace(t)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		p.want(look(p, l.Addr().String()), "guacd", l.Addr().String(), Fail, "nothing answers")
	})
	t.Run("new", func(t *testing.T) {
		p := newPlace(t)
		r := look(p, guactest.Start(t, guactest.Version16).Addr())
		p.want(r, "guacd", "version", OK, "1.6.0 or newer")
		for _, f := range r.Checks {
			if strings.HasSuffix(f.What, "version") && !(strings.Contains(f.Hint, "does not notice when an RDP server breaks off") && strings.Contains(f.Hint, "1.6.1")) {
				t.Errorf("its faults are not told: %+v", f)
			}
		}
	})
	t.Run("is open to the network", func(t *testing.T) {
		p := newPlace(t)
		g := guactest.Start(t, guactest.Version16)
		p.listening("127.0.0.1", "0.0.0.0")
		p.want(look(p, g.Addr()), "guacd", "reach", Warn, "0.0.0.0")
		p.Listeners = func(uint16) ([]sockets.Listener, error) { return nil, errors.New("no") }
		p.want(look(p, g.Addr()), "guacd", "reach", Skip, "cannot be told")
	})
	t.Run("proxy_hostname", func(t *testing.T) {
		p := newPlace(t)
		e := &examiner{Settings: p.Settings, conf: relay.DefaultConfig()}
		e.conf.Scrier.ProxyHostname = "192.0.2.1"
		if f := e.callback(t.Context()); f.Status != Fail || !strings.Contains(f.Detail, "no address of this host") {
			t.Errorf("%+v", f)
		}
	})
	new, old := []string{"hostname", "disable-gfx"}, []string{"hostname"}
	for _, c := range []struct {
		rdp, vnc asked
		want     Status
	}{
		{asked{"VERSION_1_5_0", new}, asked{"VERSION_1_5_0", old}, OK},
		{asked{"VERSION_1_5_0", old}, asked{"VERSION_1_5_0", old}, Warn},
		{asked{}, asked{"VERSION_1_5_0", old}, Warn},
		{asked{}, asked{"VERSION_1_10_0", old}, OK},
		{asked{"VERSION_2_0_0", old}, asked{}, OK},
		{asked{"VERSION_1_3_0", old}, asked{"VERSION_1_3_0", old}, Warn},
		{asked{"", old}, asked{"", old}, Warn},
		{asked{"VERSION_99999_0_0", old}, asked{}, Warn},
	} {
		if f := versionFinding("x", c.rdp, c.vnc); f.Status != c.want {
			t.Errorf("%+v: %+v", c, f)
		}
	}
	if f := (&examiner{}).exposed("192.0.2.1:4822"); f[0].Status != Warn {
		t.Errorf("%+v", f)
	}
}

// issue makes a certificate by a CA of its own, and its files.
func issue(t *testing.T, ends time.Time, names ...string) (cert, key string, roots *x509.CertPool) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, DNSNames: names,
		NotBefore: time.Now().AddDate(0, -2, 0), NotAfter: ends,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	err = errors.Join(
		os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600),
		os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots = x509.NewCertPool()
	roots.AddCert(leaf)
	return cert, key, roots
}

func TestPublicCertificate(t *testing.T) {
	for _, c := range []struct {
		name   string
		ends   time.Time
		hosts  []string
		known  bool
		status Status
		detail string
	}{
		{"good", time.Now().AddDate(0, 2, 0), []string{"relay.example.com", "*.example.com"}, true, OK, "relay.example.com: good until"},
		{"expired", time.Now().AddDate(0, 0, -1), nil, true, Fail, "now is"},
		{"soon", time.Now().AddDate(0, 0, 10), nil, true, Warn, "days from now"},
		{"another name", time.Now().AddDate(0, 2, 0), []string{"other.example.com"}, true, Warn, "does not have other.example.com"},
		{"another CA", time.Now().AddDate(0, 2, 0), nil, false, Warn, "do not vouch"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlace(t)
			cert, key, roots := issue(t, c.ends, "relay.example.com")
			if p.Roots = roots; !c.known {
				p.Roots = x509.NewCertPool()
			}
			e := &examiner{Settings: p.Settings, here: true, conf: relay.DefaultConfig()}
			e.conf.TLS, e.conf.Hosts = relay.TLS{Cert: cert, Key: key}, c.hosts
			p.want(Report{Checks: e.certificates(t.Context())}, "certificates", "tls.cert", c.status, c.detail)
		})
	}
}

// A relay that has no certificate of ACME yet shows its own.
func TestACME(t *testing.T) {
	p := newPlace(t)
	p.start("tls: {acme: relay.example.com}\n")
	p.want(Run(t.Context(), p.Settings), "certificates", "tls.acme", Warn, "shows its own")
}

func TestClock(t *testing.T) {
	p := newPlace(t)
	p.State = filepath.Join(p.State, "none")
	for _, c := range []struct {
		synced bool
		err    error
		want   Status
	}{{true, nil, OK}, {false, nil, Warn}, {false, errors.New("no"), Skip}} {
		p.Synced = func() (bool, error) { return c.synced, c.err }
		p.want(Run(t.Context(), p.Settings), "clock", "synchronised", c.want, "kernel")
	}
	if _, err := synced(); err != nil {
		t.Errorf("ask the kernel: %v", err)
	}
}

// What a report looks like, in both forms. -update writes the files anew.
func TestReport(t *testing.T) {
	r := Report{Version: "devel", Checks: []Finding{
		{"configuration", "server.yaml", OK, "/var/lib/scrier-relay/server.yaml", ""},
		{"guacd", "127.0.0.1:4822 version", Warn, "1.3.0 has known security holes", "run 1.6.0"},
		{"guacd", "127.0.0.1:4822 vnc", Fail, "no handshake: \x1b[31mevil\n", "is it guacd?"},
		{"guacd", "proxy_hostname", Skip, "über", ""},
	}}.count()
	var text, again bytes.Buffer
	if err := r.Print(&text); err != nil {
		t.Fatal(err)
	}
	e := json.NewEncoder(&again)
	e.SetIndent("", "  ")
	if err := e.Encode(r); err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string][]byte{"report.txt": text.Bytes(), "report.json": again.Bytes()} {
		path := filepath.Join("testdata", name)
		if *update {
			if err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(path, got, 0o644)); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	d := json.NewDecoder(&again)
	d.DisallowUnknownFields()
	var back Report
	if err := d.Decode(&back); err != nil || cmp.Diff(r, back) != "" {
		t.Errorf("the JSON says something else: %v %s", err, cmp.Diff(r, back))
	}
}

// A guacd as distributions have it.
func TestRealGuacd(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := free.Addr().String()
	free.Close()
	_, port, _ := net.SplitHostPort(addr)
	cmd := exec.Command("guacd", "-f", "-b", "127.0.0.1", "-l", port)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	p := newPlace(t)
	p.Listeners = sockets.Listeners
	e := &examiner{Settings: p.Settings, here: true, conf: relay.DefaultConfig()}
	e.conf.Scrier.GuacdAddr = relay.Addrs{addr}
	var r Report
	for end := time.Now().Add(patience); time.Now().Before(end) && len(r.Checks) < 5; time.Sleep(20 * time.Millisecond) {
		r = Report{Checks: e.guacd(t.Context())}
	}
	p.want(r, "guacd", "rdp", OK, "parameters")
	p.want(r, "guacd", "vnc", OK, "parameters")
	p.want(r, "guacd", "version", Warn, "it speaks 1.3.0")
	p.want(r, "guacd", "reach", OK, "loopback only")
}
