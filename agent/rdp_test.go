package agent

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"scrier/certs"
	"scrier/sockets"
	"scrier/wire"
)

// rdpCert is a server's certificate and its fingerprint.
func rdpCert(t *testing.T) (tls.Certificate, []byte) {
	t.Helper()
	ca, err := certs.LoadOrMakeCA(t.TempDir(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	key, err := certs.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	chain, err := ca.Issue(certs.Identity{Role: certs.RoleAgent, ID: "rdp", Generation: 1}, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(chain[0])
	return tls.Certificate{Certificate: chain, PrivateKey: key}, sum[:]
}

// confirm is a Connection Confirm with these bytes behind it, in which the lengths fit.
func confirm(neg ...byte) []byte {
	size := tpktHeader + x224Header + len(neg)
	return append([]byte{3, 0, 0, byte(size), byte(size - 5), x224Confirm, 0, 0, 0x12, 0x34, 0}, neg...)
}

func chose(protocol uint32) []byte {
	return confirm(binary.LittleEndian.AppendUint32([]byte{negResponse, 1, 8, 0}, protocol)...)
}

func refused(code uint32) []byte {
	return confirm(binary.LittleEndian.AppendUint32([]byte{negFailure, 0, 8, 0}, code)...)
}

// rdp plays an RDP server: f answers each request, and knows which kinds of security it asks for.
func rdp(t *testing.T, f func(c net.Conn, ask uint32)) (port uint16) {
	t.Helper()
	l, port := listen(t, "tcp4", "127.0.0.1:0")
	served := make(chan struct{})
	go func() {
		defer close(served)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(patience))
				var p [tpktHeader + x224Header + negLength]byte
				if _, err := io.ReadFull(c, p[:]); err != nil {
					return
				}
				// The example of MS-RDPBCGR 4.1.1, without its cookie.
				want := []byte{3, 0, 0, 19, 14, 0xe0, 0, 0, 0, 0, 0, 1, 0, 8, 0, p[15], 0, 0, 0}
				if !bytes.Equal(p[:], want) {
					t.Errorf("request % x", p)
				}
				f(c, binary.LittleEndian.Uint32(p[15:]))
			}()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-served
	})
	return port
}

// desktopLink is an agent's link for sessions of desktops. The servers of these tests listen as root.
func desktopLink(t *testing.T) *agentLink {
	t.Helper()
	return &agentLink{Agent: &Agent{Settings: Settings{Config: DefaultConfig(), Now: time.Now, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}}}
}

func TestProbeRDP(t *testing.T) {
	cert, sum := rdpCert(t)
	handshake := func(c net.Conn) {
		s := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS10})
		if err := s.Handshake(); err != nil {
			t.Errorf("the server: %v", err)
			return
		}
		if n, err := s.Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
			t.Errorf("behind the handshake: %d bytes, %v", n, err)
		}
	}
	// What servers do: with TLS and NLA, with one of them, demanding NLA, with neither.
	both := func(c net.Conn, ask uint32) {
		chosen := uint32(protocolSSL)
		if ask&protocolHybrid != 0 {
			chosen = protocolHybrid
		}
		_, _ = c.Write(chose(chosen))
		handshake(c)
	}
	tlsOnly := func(c net.Conn, ask uint32) { _, _ = c.Write(chose(protocolSSL)); handshake(c) }
	nlaOnly := func(c net.Conn, ask uint32) {
		if ask&protocolHybrid == 0 {
			_, _ = c.Write(refused(5))
			return
		}
		_, _ = c.Write(chose(protocolHybrid))
		handshake(c)
	}
	says := func(b []byte) func(net.Conn, uint32) {
		return func(c net.Conn, _ uint32) { _, _ = c.Write(b) }
	}
	l := desktopLink(t)
	for name, c := range map[string]struct {
		server func(net.Conn, uint32)
		want   wire.Security
		code   wire.Code
		chosen wire.Security
		detail string
	}{
		"both, any":       {both, wire.AnySecurity, wire.None, wire.NLA, ""},
		"both, unsaid":    {both, "", wire.None, wire.NLA, ""},
		"both, nla":       {both, wire.NLA, wire.None, wire.NLA, ""},
		"both, tls":       {both, wire.TLS, wire.None, wire.TLS, ""},
		"tls only, any":   {tlsOnly, wire.AnySecurity, wire.None, wire.TLS, ""},
		"tls only, tls":   {tlsOnly, wire.TLS, wire.None, wire.TLS, ""},
		"nla only, any":   {nlaOnly, wire.AnySecurity, wire.None, wire.NLA, ""},
		"in two pieces":   {func(c net.Conn, _ uint32) { p := chose(1); _, _ = c.Write(p[:9]); _, _ = c.Write(p[9:]); handshake(c) }, "", wire.None, wire.TLS, ""},
		"flags":           {func(c net.Conn, _ uint32) { p := chose(2); p[12] = 0x1f; _, _ = c.Write(p); handshake(c) }, "", wire.None, wire.NLA, ""},
		"tls only, nla":   {says(chose(protocolSSL)), wire.NLA, wire.DesktopSecurity, "", "does not speak NLA"},
		"nla only, tls":   {nlaOnly, wire.TLS, wire.DesktopSecurity, "", "demands NLA"},
		"no choice":       {says(confirm()), "", wire.DesktopSecurity, "", "RDP's own security only"},
		"RDP chosen":      {says(chose(protocolRDP)), "", wire.DesktopSecurity, "", "RDP's own security only"},
		"RDP only":        {says(refused(2)), "", wire.DesktopSecurity, "", "own security only"},
		"no certificate":  {says(refused(3)), "", wire.DesktopSecurity, "", "no certificate"},
		"client's own":    {says(refused(6)), "", wire.DesktopSecurity, "", "client's certificate"},
		"unknown failure": {says(refused(0xffffffff)), "", wire.DesktopSecurity, "", "4294967295"},
		"HYBRID_EX":       {says(chose(8)), "", wire.DesktopSecurity, "", "not asked for"},
		"both at once":    {says(chose(3)), "", wire.DesktopSecurity, "", "not asked for"},
		"nla unasked":     {says(chose(protocolHybrid)), wire.TLS, wire.DesktopSecurity, "", "not asked for"},
		"no TLS":          {says(append(chose(protocolSSL), "hello, this is no TLS"...)), "", wire.DesktopSecurity, "", "TLS handshake"},
		"nothing":         {says(nil), "", wire.DesktopFailed, "", "broke off"},
		"cut":             {says(chose(1)[:15]), "", wire.DesktopFailed, "", "broke off"},
		"cut in TLS":      {says(append(chose(1), 22, 3, 3)), "", wire.DesktopSecurity, "", "TLS handshake"},
		"another service": {says([]byte("SSH-2.0-OpenSSH_9.2\r\n")), "", wire.DesktopFailed, "", "does not speak RDP"},
		"VNC":             {says([]byte("RFB 003.008\n")), "", wire.DesktopFailed, "", "does not speak RDP"},
		"huge length":     {says([]byte{3, 0, 0xff, 0xff, 0xff, 0xd0, 0, 0, 0, 0, 0}), "", wire.DesktopFailed, "", "does not speak RDP"},
		"short length":    {says([]byte{3, 0, 0, 4, 0xff}), "", wire.DesktopFailed, "", "does not speak RDP"},
		"wrong inside":    {says([]byte{3, 0, 0, 11, 7, 0xd0, 0, 0, 0, 0, 0}), "", wire.DesktopFailed, "", "does not speak RDP"},
		"disconnect":      {says([]byte{3, 0, 0, 11, 6, 0x80, 0, 0, 0, 0, 0}), "", wire.DesktopFailed, "", "does not speak RDP"},
		"half a choice":   {says(confirm(2, 0, 8, 0)), "", wire.DesktopFailed, "", "does not speak RDP"},
		"odd length":      {says(confirm(2, 0, 9, 0, 1, 0, 0, 0)), "", wire.DesktopFailed, "", "does not speak RDP"},
		"odd type":        {says(confirm(7, 0, 8, 0, 1, 0, 0, 0)), "", wire.DesktopFailed, "", "does not speak RDP"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := l.askRDP(t.Context(), rdp(t, c.server), c.want)
			if wire.CodeOf(err) != c.code || !strings.Contains(wire.DetailOf(err), c.detail) {
				t.Errorf("%v, want %s: %q", err, c.code, c.detail)
			}
			if got.security != c.chosen || c.code == wire.None && !bytes.Equal(got.certificate, sum) {
				t.Errorf("%+v", got)
			}
		})
	}
}

// A server that says nothing, before TLS or in it, is not waited for long. When the session ends, it is
// not waited for at all.
func TestProbeRDPOfTheSilent(t *testing.T) {
	quiet := func(before []byte) func(net.Conn, uint32) {
		return func(c net.Conn, _ uint32) {
			_, _ = c.Write(before)
			_, _ = io.Copy(io.Discard, c)
		}
	}
	l := desktopLink(t)
	for name, before := range map[string][]byte{"at once": nil, "in TLS": chose(protocolSSL)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := l.askRDP(t.Context(), rdp(t, quiet(before)), "")
			if wire.CodeOf(err) != wire.DesktopFailed || !strings.Contains(wire.DetailOf(err), "did not answer") {
				t.Error(err)
			}
		})
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	port := rdp(t, func(c net.Conn, ask uint32) {
		cancel(wire.Errorf(wire.Cancelled, "over"))
		quiet(nil)(c, ask)
	})
	if _, err := l.askRDP(ctx, port, ""); wire.CodeOf(err) != wire.Cancelled {
		t.Error(err)
	}
}

func FuzzConfirm(f *testing.F) {
	f.Add(chose(1))
	f.Add(refused(5))
	f.Add(confirm())
	f.Add([]byte{3, 0, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		body, err := readConfirm(bytes.NewReader(b))
		if err != nil {
			return
		}
		if len(body) > maxConfirm {
			t.Errorf("%d bytes", len(body))
		}
		if _, err := parseConfirm(body); err != nil && wire.CodeOf(err) == wire.Internal {
			t.Error(err)
		}
	})
}

// xrdp starts the real server with lines of its own in [Globals].
func xrdp(t *testing.T, cert tls.Certificate, globals string) (port uint16) {
	t.Helper()
	program, err := exec.LookPath("xrdp")
	if err != nil {
		t.Fatal("there is no xrdp: apt-get install xrdp")
	}
	l, port := listen(t, "tcp4", "127.0.0.1:0")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	chain, key := pemOf(t, &cert)
	ini := fmt.Sprintf("[Globals]\nini_version=1\nfork=true\nport=tcp://127.0.0.1:%d\ncrypt_level=high\ncertificate=%s\nkey_file=%s\nssl_protocols=TLSv1.2, TLSv1.3\nautorun=\n%s\n"+
		"[Logging]\nLogFile=%s\nLogLevel=DEBUG\nEnableSyslog=false\n[Channels]\n[Xorg]\nname=Xorg\nlib=libxup.so\nusername=ask\npassword=ask\nip=127.0.0.1\nport=-1\ncode=20\n",
		port, certFile, keyFile, globals, filepath.Join(dir, "xrdp.log"))
	for name, data := range map[string][]byte{certFile: chain, keyFile: key, filepath.Join(dir, "xrdp.ini"): []byte(ini)} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(program, "-n", "-c", filepath.Join(dir, "xrdp.ini"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = patience
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(dir, "xrdp.log"))
			t.Logf("xrdp: %s\n%s", out.Bytes(), log)
		}
	})
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if found, err := sockets.Listeners(port); err == nil && len(found) > 0 {
			return port
		}
		if time.Now().After(deadline) {
			t.Fatalf("xrdp does not listen: %s", out.Bytes())
		}
	}
}

func TestProbeRealXRDP(t *testing.T) {
	cert, sum := rdpCert(t)
	l := desktopLink(t)
	port := xrdp(t, cert, "security_layer=negotiate")
	for _, want := range []wire.Security{"", wire.AnySecurity, wire.TLS} {
		got, err := l.askRDP(t.Context(), port, want)
		if err != nil || got.security != wire.TLS || !bytes.Equal(got.certificate, sum) {
			t.Errorf("%q: %+v, %v", want, got, err)
		}
	}
	if _, err := l.askRDP(t.Context(), port, wire.NLA); wire.CodeOf(err) != wire.DesktopSecurity {
		t.Errorf("nla: %v", err)
	}
	weak := xrdp(t, cert, "security_layer=rdp")
	if _, err := l.askRDP(t.Context(), weak, wire.AnySecurity); wire.CodeOf(err) != wire.DesktopSecurity || !strings.Contains(wire.DetailOf(err), "RDP's own") {
		t.Errorf("security_layer=rdp: %v", err)
	}
}
