package certs

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"scrier/wire"
)

// Public is a source of certificates that browsers trust without the relay's CA: [Files], or
// what certs/acme gets.
type Public interface {
	// Certificate is the one to show now; nil if there is none yet.
	Certificate() *PublicCert
	// Run keeps it fresh until ctx ends.
	Run(ctx context.Context) error
}

// PublicCert is a certificate with names of its own.
type PublicCert struct {
	*tls.Certificate
	// Known says that it was issued under one of the system's root certificates. Browsers demand that
	// for HTTP/3 and WebTransport: there they refuse a certificate of a company's own CA, even if that
	// CA is installed.
	Known bool
}

// NewPublicCert looks whether a certificate leads to one of roots; nil: the system's.
func NewPublicCert(pair *tls.Certificate, roots *x509.CertPool, now time.Time) *PublicCert {
	intermediates := x509.NewCertPool()
	for _, der := range pair.Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			intermediates.AddCert(c)
		}
	}
	_, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates, CurrentTime: now})
	return &PublicCert{Certificate: pair, Known: err == nil}
}

// covers says whether a handshake that asks for host gets this certificate. A handshake cannot name
// an IP address (RFC 6066, 3), so no address is covered.
func (p *PublicCert) covers(host string, now time.Time) bool {
	if p == nil || host == "" || net.ParseIP(strings.Trim(host, "[]")) != nil {
		return false
	}
	return p.Leaf.VerifyHostname(host) == nil && !now.Before(p.Leaf.NotBefore) && now.Before(p.Leaf.NotAfter)
}

const (
	reloadInterval = time.Minute
	maxPEM         = 1 << 20 // bytes of a file; a chain has a few thousand
	expiryWarning  = 7 * 24 * time.Hour
)

// FilesConfig says where the files are.
type FilesConfig struct {
	Cert, Key string         // PEM: the chain, leaf first, and its private key
	Roots     *x509.CertPool // that decide what is known; nil: the system's
	Now       func() time.Time
	Log       *slog.Logger
}

// Files is a certificate in two files, which another program renews.
type Files struct {
	FilesConfig
	cert   atomic.Pointer[PublicCert]
	seen   []byte // what the files held when they were last tried
	warned *PublicCert
}

// LoadFiles reads the certificate and checks that browsers will take it.
func LoadFiles(c FilesConfig) (*Files, error) {
	f := &Files{FilesConfig: c}
	return f, f.load()
}

// Certificate is the last good one.
func (f *Files) Certificate() *PublicCert { return f.cert.Load() }

// Run looks at the files once a minute.
func (f *Files) Run(ctx context.Context) error {
	tick := time.NewTicker(reloadInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			f.reload()
		}
	}
}

// reload uses new files if they are good. If they are not, this is logged once and the old certificate
// stays: a renewal writes two files, and reload may come between the two.
func (f *Files) reload() {
	before := f.cert.Load()
	if err := f.load(); err != nil {
		f.Log.Error("keep the old certificate: the new one is not usable", "code", wire.CodeOf(err), "err", err)
	}
	now := f.cert.Load()
	if now != before {
		f.Log.Info("certificate reloaded", "names", strings.Join(now.Leaf.DNSNames, " "), "ends", now.Leaf.NotAfter.UTC())
	}
	if f.warned != now && f.Now().After(now.Leaf.NotAfter.Add(-expiryWarning)) {
		f.warned = now
		f.Log.Warn("the certificate ends soon", "path", f.Cert, "ends", now.Leaf.NotAfter.UTC())
	}
}

// load reads the files if they have changed since it last read them.
func (f *Files) load() error {
	certPEM, cerr := readPEM("tls.cert", f.Cert)
	keyPEM, kerr := readPEM("tls.key", f.Key)
	err := errors.Join(cerr, kerr)
	seen := slices.Concat(certPEM, []byte{0}, keyPEM)
	if err != nil {
		seen = []byte(err.Error())
	}
	if bytes.Equal(seen, f.seen) {
		return nil
	}
	f.seen = seen
	if err != nil {
		return err
	}
	pair, err := f.parse(certPEM, keyPEM)
	if err != nil {
		return err
	}
	f.cert.Store(NewPublicCert(pair, f.Roots, f.Now()))
	return nil
}

func readPEM(key, path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, &wire.Error{Code: wire.BadConfig, Detail: key + ": " + err.Error(), Err: err}
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxPEM+1))
	if err == nil && len(data) > maxPEM {
		err = fmt.Errorf("read %s: it is longer than %d bytes", path, maxPEM)
	}
	if err != nil {
		return nil, &wire.Error{Code: wire.BadConfig, Detail: key + ": " + err.Error(), Err: err}
	}
	return data, nil
}

func (f *Files) parse(certPEM, keyPEM []byte) (*tls.Certificate, error) {
	chain, err := parseChain(certPEM)
	if err != nil {
		return nil, wire.Errorf(wire.BadConfig, "tls.cert: %s: %w", f.Cert, err)
	}
	for block, rest := pem.Decode(keyPEM); block != nil; block, rest = pem.Decode(rest) {
		if strings.Contains(block.Type, "ENCRYPTED") || block.Headers["DEK-Info"] != "" {
			return nil, wire.Errorf(wire.BadConfig, "tls.key: %s is protected by a passphrase; a relay starts without anybody to type it", f.Key)
		}
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		if strings.Contains(err.Error(), "does not match") {
			return nil, wire.Errorf(wire.BadConfig, "tls.key: %s is not the key of the certificate in %s", f.Key, f.Cert)
		}
		return nil, wire.Errorf(wire.BadConfig, "tls.key: %s holds no private key that is understood: %w", f.Key, err)
	}
	if err := fit(chain, f.Now()); err != nil {
		return nil, wire.Errorf(wire.BadConfig, "tls.cert: %s: %w", f.Cert, err)
	}
	pair.Leaf = chain[0]
	return &pair, nil
}

func parseChain(data []byte) (chain []*x509.Certificate, err error) {
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		chain = append(chain, c)
	}
	if len(chain) == 0 {
		return nil, errors.New("it holds no certificate in PEM")
	}
	return chain, nil
}

// fit says why browsers would refuse a chain, whoever has signed it.
func fit(chain []*x509.Certificate, now time.Time) error {
	leaf := chain[0]
	if now.After(leaf.NotAfter) || now.Before(leaf.NotBefore) {
		return fmt.Errorf("it is valid from %s to %s, and now is %s",
			leaf.NotBefore.Format(time.RFC3339), leaf.NotAfter.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	if len(leaf.DNSNames) == 0 {
		return errors.New("it holds no DNS name (subjectAltName), by which a browser could ask for it")
	}
	if len(leaf.ExtKeyUsage) > 0 && !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageServerAuth) && !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageAny) {
		return errors.New("it is not for servers (extendedKeyUsage without serverAuth)")
	}
	for _, c := range chain {
		switch key := c.PublicKey.(type) {
		case *rsa.PublicKey:
			if key.N.BitLen() < 2048 {
				return fmt.Errorf("%q is weak: RSA with %d bits, browsers want 2048", c.Subject, key.N.BitLen())
			}
		case *ecdsa.PublicKey:
			if key.Curve.Params().BitSize < 256 {
				return fmt.Errorf("%q is weak: ECDSA with %d bits, browsers want 256", c.Subject, key.Curve.Params().BitSize)
			}
		default:
			return fmt.Errorf("%q has a key of a kind that browsers do not take: %s; use ECDSA or RSA", c.Subject, c.PublicKeyAlgorithm)
		}
		weak := []x509.SignatureAlgorithm{x509.MD2WithRSA, x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.ECDSAWithSHA1}
		if slices.Contains(weak, c.SignatureAlgorithm) && !bytes.Equal(c.RawIssuer, c.RawSubject) {
			return fmt.Errorf("%q is weak: it is signed with %s", c.Subject, c.SignatureAlgorithm)
		}
	}
	return nil
}
