package relay

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/acme"

	"scrier/certs"
	"scrier/wire"
)

// acmeCA is a CA that speaks as much of RFC 8555 as one order needs. It believes a challenge when
// the relay's port answers it (RFC 8737), and signatures of requests without looking.
type acmeCA struct {
	*httptest.Server
	t     *testing.T
	cert  *x509.Certificate
	key   crypto.Signer
	relay chan string // where challenges are looked up; the relay's port is known late

	mu       sync.Mutex
	thumb    string // of the account's key
	contact  []string
	proven   bool
	leaf     []byte
	finished int // orders
	refused  error
}

const acmeDomain, acmeToken = "relay.example.com", "a-token-of-the-CA"

func newACMECA(t *testing.T) *acmeCA {
	t.Helper()
	key, err := certs.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ACME test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(90 * 24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	ca := &acmeCA{t: t, cert: cert, key: key, relay: make(chan string, 1)}
	ca.Server = httptest.NewServer(ca)
	t.Cleanup(ca.Close)
	return ca
}

func (ca *acmeCA) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	return pool
}

func (ca *acmeCA) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Replay-Nonce", "nonce")
	var jws struct{ Protected, Payload string }
	if r.Method == http.MethodPost {
		if err := json.NewDecoder(r.Body).Decode(&jws); err != nil {
			ca.t.Error(err)
		}
	}
	ca.mu.Lock()
	defer ca.mu.Unlock()
	status, answer := ca.answer(w.Header(), r.URL.Path, unpack(jws.Protected), unpack(jws.Payload))
	if der, ok := answer.([]byte); ok {
		w.Header().Set("Content-Type", "application/pem-certificate-chain")
		_ = pem.Encode(w, &pem.Block{Type: "CERTIFICATE", Bytes: der})
		_ = pem.Encode(w, &pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw})
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer)
}

func unpack(s string) []byte {
	data, _ := base64.RawURLEncoding.DecodeString(s)
	return data
}

type object = map[string]any

// answer is called with mu held.
func (ca *acmeCA) answer(h http.Header, path string, protected, payload []byte) (int, any) {
	url := func(p string) string { return ca.URL + p }
	order := object{
		"status": "pending", "authorizations": []string{url("/authz")}, "finalize": url("/finalize"),
		"identifiers": []object{{"type": "dns", "value": acmeDomain}},
	}
	if ca.proven {
		order["status"] = "ready"
	}
	challenge := object{"type": "tls-alpn-01", "url": url("/challenge"), "token": acmeToken, "status": "pending"}
	switch path {
	case "/":
		return 200, object{"newNonce": url("/nonce"), "newAccount": url("/account"), "newOrder": url("/order"), "revokeCert": url("/revoke"), "keyChange": url("/key"),
			"meta": object{"termsOfService": url("/terms")}}
	case "/nonce":
		return 200, nil
	case "/account":
		var head struct{ JWK struct{ X, Y string } }
		var req struct {
			Contact              []string
			TermsOfServiceAgreed bool
		}
		if err := errors.Join(json.Unmarshal(protected, &head), json.Unmarshal(payload, &req)); err != nil || !req.TermsOfServiceAgreed {
			ca.t.Errorf("an account: %v, %s", err, payload)
		}
		key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, unpack(head.JWK.X), unpack(head.JWK.Y)))
		if err == nil {
			ca.thumb, err = acme.JWKThumbprint(key)
		}
		if err != nil {
			ca.t.Error(err)
		}
		ca.contact = req.Contact
		h.Set("Location", url("/account/1"))
		return 201, object{"status": "valid"}
	case "/order":
		h.Set("Location", url("/order/1"))
		return 201, order
	case "/order/1":
		return 200, order
	case "/authz":
		status := "pending"
		if ca.proven {
			status = "valid"
		}
		return 200, object{"status": status, "identifier": object{"type": "dns", "value": acmeDomain}, "challenges": []object{challenge}}
	case "/challenge":
		if ca.refused = ca.validate(); ca.refused != nil {
			ca.t.Error(ca.refused)
		}
		ca.proven = ca.refused == nil
		return 200, challenge
	case "/finalize":
		var req struct{ CSR string }
		if err := json.Unmarshal(payload, &req); err != nil {
			ca.t.Error(err)
		}
		if err := ca.issue(unpack(req.CSR)); err != nil {
			ca.t.Error(err)
		}
		ca.finished++
		order["status"], order["certificate"] = "valid", url("/cert")
		h.Set("Location", url("/order/1"))
		return 200, order
	case "/cert":
		return 200, ca.leaf
	}
	return 404, object{"type": "urn:ietf:params:acme:error:malformed"}
}

// validate is RFC 8737, 3: a handshake with the ALPN acme-tls/1, a self-signed certificate for
// this one name, the digest of the key authorization in it.
func (ca *acmeCA) validate() error {
	addr := <-ca.relay
	ca.relay <- addr
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	d := tls.Dialer{Config: &tls.Config{ServerName: acmeDomain, NextProtos: []string{acme.ALPNProto}, InsecureSkipVerify: true}}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("look up the challenge: %w", err)
	}
	defer conn.Close()
	cs := conn.(*tls.Conn).ConnectionState()
	leaf := cs.PeerCertificates[0]
	sum := sha256.Sum256([]byte(acmeToken + "." + ca.thumb))
	want, err := asn1.Marshal(sum[:])
	if err != nil {
		return err
	}
	proof := slices.ContainsFunc(leaf.Extensions, func(e pkix.Extension) bool {
		return e.Id.Equal(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 31}) && e.Critical && slices.Equal(e.Value, want)
	})
	if cs.NegotiatedProtocol != acme.ALPNProto || !slices.Equal(leaf.DNSNames, []string{acmeDomain}) || !proof {
		return fmt.Errorf("the challenge is not answered: ALPN %q, names %q, proof %t", cs.NegotiatedProtocol, leaf.DNSNames, proof)
	}
	return nil
}

func (ca *acmeCA) issue(csr []byte) error {
	req, err := x509.ParseCertificateRequest(csr)
	if err != nil {
		return err
	}
	if !ca.proven || !slices.Equal(req.DNSNames, []string{acmeDomain}) {
		return fmt.Errorf("a request for %q, proven %t", req.DNSNames, ca.proven)
	}
	ca.leaf, err = x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: req.DNSNames,
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(80 * 24 * time.Hour),
	}, ca.cert, req.PublicKey, ca.key)
	return err
}

// A relay with a domain gets its certificate on its own port, and keeps it over a restart; until
// then, and for other names, it shows its own.
func TestACME(t *testing.T) {
	ca := newACMECA(t)
	state := t.TempDir()
	withACME := func(s *Settings) {
		s.StateDir = state
		s.Config.TLS = TLS{ACME: acmeDomain, ACMEEmail: "ann@example.com", ACMEDirectory: ca.URL}
	}
	t.Run("first start", func(t *testing.T) {
		r := start(t, withACME)
		// The CA has not looked yet: the page is there with the relay's certificate.
		resp, err := visit(t, r, trust(t, r))
		if err != nil || resp.Header.Get("Strict-Transport-Security") != "" {
			t.Errorf("before there is a certificate: %v, %v", err, resp)
		}
		ca.relay <- r.Addr()
		waitFor(t, "the certificate", func() bool { return r.tls.Covers(acmeDomain) })
		if resp, err = visit(t, r, ca.roots()); err != nil {
			t.Fatal(err)
		}
		if resp.Header.Get("Strict-Transport-Security") == "" {
			t.Error("no HSTS where the name is proven")
		}
		if resp.Header.Get("Alt-Svc") != "" || len(r.tls.Hashes(acmeDomain)) == 0 {
			t.Error("HTTP/3 is promised with a certificate of a CA that this system does not know")
		}
		// Agents and CLIs see nothing of it.
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		for _, dial := range []func(context.Context, string, *tls.Config) (wire.Link, error){dialQUIC, dialTCP} {
			link, err := dial(ctx, r.Addr(), r.trusting(wire.ALPNClient, nil).TLS())
			if err != nil {
				t.Fatal(err)
			}
			if err := link.Close(wire.None, ""); err != nil {
				t.Error(err)
			}
		}
	})
	ca.mu.Lock()
	if !slices.Equal(ca.contact, []string{"mailto:ann@example.com"}) {
		t.Errorf("the contact is %q", ca.contact)
	}
	ca.mu.Unlock()
	dir := filepath.Join(state, "acme")
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) < 2 {
		t.Fatalf("%d files are kept, %v", len(entries), err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 || strings.Contains(e.Name(), "token") {
			t.Errorf("%s: %v", e.Name(), err)
		}
	}
	t.Run("second start", func(t *testing.T) {
		r := start(t, withACME)
		waitFor(t, "the kept certificate", func() bool { return r.tls.Covers(acmeDomain) })
		if _, err := visit(t, r, ca.roots()); err != nil {
			t.Error(err)
		}
	})
	ca.mu.Lock()
	defer ca.mu.Unlock()
	if ca.finished != 1 {
		t.Errorf("%d certificates were ordered", ca.finished)
	}
}

// A CA that does not answer holds up neither browsers nor the relay's end.
func TestACMEWithoutAnAnswer(t *testing.T) {
	asked, release := make(chan struct{}), make(chan struct{})
	once := sync.OnceFunc(func() { close(asked) })
	silent := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		once()
		<-release
	}))
	t.Cleanup(silent.Close)
	t.Cleanup(func() { close(release) }) // before the server's end, after the relay's
	r := start(t, func(s *Settings) { s.Config.TLS = TLS{ACME: acmeDomain, ACMEDirectory: silent.URL} })
	<-asked
	if _, err := visit(t, r, trust(t, r)); err != nil {
		t.Error(err)
	}
}

// visit asks the relay for its health as a browser that knows it by its domain.
func visit(t *testing.T, r *Relay, roots *x509.CertPool) (*http.Response, error) {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: acmeDomain}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), "GET", "https://"+r.Addr()+"/healthz", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = acmeDomain
	resp, err := (&http.Client{Transport: transport, Timeout: patience}).Do(req)
	if err != nil {
		return nil, err
	}
	return resp, resp.Body.Close()
}
