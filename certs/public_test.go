package certs

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"scrier/wire"
)

// authority is somebody else's CA.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  crypto.Signer
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, key: ecKey(t)}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "Another CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-10 * 365 * 24 * time.Hour), NotAfter: time.Now().Add(10 * 365 * 24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *authority) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// issue writes a certificate and its key as PEM.
func (a *authority) issue(key crypto.Signer, edit func(*x509.Certificate)) (certPEM, keyPEM []byte) {
	a.t.Helper()
	template := &x509.Certificate{
		SerialNumber: serial(), DNSNames: []string{"relay.example.com", "*.apps.example.com"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(60 * 24 * time.Hour),
	}
	if edit != nil {
		edit(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	certPEM = slices.Concat(
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}))
	return certPEM, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
}

func ecKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// files is a place for a pair; write replaces both.
func files(t *testing.T) (c FilesConfig, write func(certPEM, keyPEM []byte)) {
	t.Helper()
	dir := t.TempDir()
	c = FilesConfig{
		Cert: filepath.Join(dir, "fullchain.pem"), Key: filepath.Join(dir, "privkey.pem"),
		Now: time.Now, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	return c, func(certPEM, keyPEM []byte) {
		t.Helper()
		for path, data := range map[string][]byte{c.Cert: certPEM, c.Key: keyPEM} {
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestFilesAreChecked(t *testing.T) {
	a := newAuthority(t)
	cert, key := a.issue(ecKey(t), nil)
	_, other := a.issue(ecKey(t), nil)
	weakKey, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	small, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pair := func(key crypto.Signer, edit func(*x509.Certificate)) [2][]byte {
		c, k := a.issue(key, edit)
		return [2][]byte{c, k}
	}
	for name, c := range map[string]struct {
		pair [2][]byte
		says string // beside the file's name
		file string
	}{
		"no certificate in it": {[2][]byte{key, key}, "holds no certificate", "fullchain.pem"},
		"damaged":              {[2][]byte{[]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), key}, "x509", "fullchain.pem"},
		"no key in it":         {[2][]byte{cert, cert}, "no private key", "privkey.pem"},
		"another's key":        {[2][]byte{cert, other}, "is not the key", "privkey.pem"},
		"a passphrase": {
			[2][]byte{cert, pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("x")})},
			"passphrase", "privkey.pem",
		},
		"over":     {pair(ecKey(t), func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), "valid from", "fullchain.pem"},
		"to come":  {pair(ecKey(t), func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }), "valid from", "fullchain.pem"},
		"no names": {pair(ecKey(t), func(c *x509.Certificate) { c.DNSNames, c.Subject.CommonName = nil, "relay.example.com" }), "no DNS name", "fullchain.pem"},
		"a client's": {
			pair(ecKey(t), func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }),
			"not for servers", "fullchain.pem",
		},
		"weak RSA":   {pair(weakKey, nil), "weak", "fullchain.pem"},
		"weak ECDSA": {pair(small, nil), "weak", "fullchain.pem"},
		"Ed25519":    {pair(edwards, nil), "do not take", "fullchain.pem"},
	} {
		conf, write := files(t)
		write(c.pair[0], c.pair[1])
		_, err := LoadFiles(conf)
		if wire.CodeOf(err) != wire.BadConfig || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), c.file) {
			t.Errorf("%s: %v does not say %q of %s", name, err, c.says, c.file)
		}
	}
	conf, write := files(t)
	_, err = LoadFiles(conf)
	for _, want := range []string{"tls.cert: ", conf.Cert, "tls.key: ", conf.Key} {
		if wire.CodeOf(err) != wire.BadConfig || !strings.Contains(err.Error(), want) {
			t.Errorf("missing files: %v does not say %s", err, want)
		}
	}
	strong, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	write(a.issue(strong, nil))
	if _, err := LoadFiles(conf); err != nil {
		t.Errorf("RSA 2048: %v", err)
	}
}

// SNI decides, and who vouches for the certificate.
func TestSNIChoosesTheCertificate(t *testing.T) {
	a := newAuthority(t)
	for _, known := range []bool{true, false} {
		c, write := files(t)
		c.Roots = x509.NewCertPool()
		if known {
			c.Roots = a.roots()
		}
		write(a.issue(ecKey(t), nil))
		f, err := LoadFiles(c)
		if err != nil {
			t.Fatal(err)
		}
		at := &clock{at: time.Now()}
		s := &Server{CA: newCA(t, at.now), Name: "relay", Hosts: []string{"localhost"}, Public: f}
		if end := s.Expiries()[PublicCertificate]; !end.Equal(f.Certificate().Leaf.NotAfter) {
			t.Errorf("it is said to end at %v", end)
		}
		check := func(host string, covered bool) {
			t.Helper()
			if s.Covers(host) != covered || s.Covers(host+":8443") != covered || s.Known(host) != (covered && known) {
				t.Errorf("%s: covers %t, known %t", host, s.Covers(host), s.Known(host))
			}
			hashes := s.Hashes(host)
			if (len(hashes) == 0) != (covered && known) {
				t.Errorf("%s has the hashes %q", host, hashes)
			}
			tcp, err := handshake(t, s.TCP(), host, "h2", "http/1.1")
			if err != nil {
				t.Fatal(err)
			}
			if public := tcp.PeerCertificates[0].Equal(f.Certificate().Leaf); public != covered {
				t.Errorf("%s over TCP: the configured certificate is shown: %t", host, public)
			}
			h3, err := handshake(t, s.QUIC(), host, wire.ALPNH3)
			if err != nil {
				t.Fatal(err)
			}
			if len(hashes) == 0 && !h3.PeerCertificates[0].Equal(f.Certificate().Leaf) ||
				len(hashes) > 0 && hashOf(h3.PeerCertificates[0]) != hashes[0] {
				t.Errorf("%s over h3: a certificate that the page does not expect", host)
			}
		}
		check("relay.example.com", true)
		check("RELAY.example.com", true)
		check("x.apps.example.com", true)
		check("example.com", false)
		check("relay.example.com.evil.test", false)
		check("localhost", false)
		check("127.0.0.1", false)
		// Agents and CLIs get the relay's own, whatever they ask for.
		cs, err := handshake(t, s.QUIC(), "relay.example.com", wire.ALPNClient)
		if err != nil || cs.PeerCertificates[0].Equal(f.Certificate().Leaf) {
			t.Errorf("a CLI got a browser's certificate, or %v", err)
		}
		at.at = f.Certificate().Leaf.NotAfter // over: no better than the relay's own
		check("relay.example.com", false)
	}
}

func TestFilesAreReloaded(t *testing.T) {
	a := newAuthority(t)
	first, firstKey := a.issue(ecKey(t), nil)
	second, secondKey := a.issue(ecKey(t), nil)
	synctest.Test(t, func(t *testing.T) {
		c, write := files(t)
		c.Now = func() time.Time { return a.cert.NotBefore.Add(10 * 365 * 24 * time.Hour) }
		var log logged
		c.Log = slog.New(slog.NewTextHandler(&log, nil))
		write(first, firstKey)
		f, err := LoadFiles(c)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { done <- f.Run(ctx) }()
		minute := func() {
			time.Sleep(reloadInterval) // of the bubble's clock
			synctest.Wait()
		}
		shows := func(certPEM []byte) bool {
			block, _ := pem.Decode(certPEM)
			return slices.Equal(f.Certificate().Leaf.Raw, block.Bytes)
		}
		minute()
		if !shows(first) || log.String() != "" {
			t.Errorf("nothing changed: %s", log.String())
		}
		write(second, firstKey) // between the two writes of a renewal
		minute()
		minute()
		if !shows(first) || strings.Count(log.String(), "keep the old") != 1 || !strings.Contains(log.String(), "privkey.pem") {
			t.Errorf("a broken pair: %s", log.String())
		}
		write(second, secondKey)
		minute()
		if !shows(second) || !strings.Contains(log.String(), "certificate reloaded") {
			t.Errorf("a new pair: %s", log.String())
		}
		if err := os.Remove(c.Cert); err != nil {
			t.Fatal(err)
		}
		minute()
		minute()
		if !shows(second) || strings.Count(log.String(), "no such file") != 1 {
			t.Errorf("no file: %s", log.String())
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// logged is a log that is read while it is written.
type logged struct {
	mu  sync.Mutex
	buf strings.Builder
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func TestNoTicketsForBrowsers(t *testing.T) {
	s := &Server{CA: newCA(t, time.Now), Name: "relay"}
	h3, err := s.QUIC().GetConfigForClient(&tls.ClientHelloInfo{SupportedProtos: []string{wire.ALPNH3}})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]*tls.Config{"web": s.TCP(), "h3": h3} {
		if !c.SessionTicketsDisabled || c.MinVersion != tls.VersionTLS13 || c.ClientAuth != tls.NoClientCert {
			t.Errorf("%s: tickets, an old TLS version, or a client's certificate", name)
		}
	}
	if want := []string{"h2", "http/1.1"}; !slices.Equal(s.TCP().NextProtos, want) || !slices.Equal(h3.NextProtos, []string{"h3"}) {
		t.Errorf("%q, %q", s.TCP().NextProtos, h3.NextProtos)
	}
}
