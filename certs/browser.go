package certs

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"
)

const (
	// browserLife is the whole validity of a certificate that browsers know by its hash; W3C
	// WebTransport allows 14 days (serverCertificateHashes), a day is left for rounding.
	browserLife = 13 * 24 * time.Hour
	// browserBackdate lets a browser whose clock is slow connect.
	browserBackdate = 24 * time.Hour
	// browserAhead is how long the hash of the next certificate is given out before that certificate
	// is shown. It is far longer than a page needs from asking for the hashes to connecting.
	browserAhead = time.Hour
)

// browserCerts are the certificates of HTTP/3 for browsers that do not know the relay's CA: ECDSA
// P-256, 13 days. The page gets their hashes over TCP, whose certificate the user accepted. Keys
// stay in memory. The zero value is ready.
//
//	half of its life over          browserAhead later, or when the old one ends
//	current ──────────────▶ current, next ──────────────▶ next is current
//	   ▲ the clock was set back to before it was made: a new one at once
type browserCerts struct {
	mu            sync.Mutex
	current, next *browserCert
}

type browserCert struct {
	tls  *tls.Certificate
	made time.Time
	hash string
}

// get is the certificate to show, and those to expect.
func (b *browserCerts) get(ca *CA, hosts []string) (show *tls.Certificate, hashes []string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := ca.now()
	if b.next != nil && !b.next.usable(now) {
		b.next = nil
	}
	if b.next != nil && (!b.current.usable(now) || now.After(b.next.made.Add(browserAhead))) {
		b.current, b.next = b.next, nil
	}
	switch {
	case b.current == nil || !b.current.usable(now):
		if b.current, err = makeBrowserCert(ca, hosts); err != nil {
			return nil, nil, err
		}
	case b.next == nil && now.After(b.current.tls.Leaf.NotBefore.Add(browserLife/2)):
		if b.next, err = makeBrowserCert(ca, hosts); err != nil {
			return nil, nil, err
		}
	}
	hashes = []string{b.current.hash}
	if b.next != nil {
		hashes = append(hashes, b.next.hash)
	}
	return b.current.tls, hashes, nil
}

// usable says whether browsers with a right clock accept it. A certificate that was made in the future
// shows that the clock was wrong then, or is wrong now. An hour is tolerated, for clocks that are being
// set.
func (c *browserCert) usable(now time.Time) bool {
	return now.After(c.made.Add(-time.Hour)) && now.Before(c.tls.Leaf.NotAfter)
}

func makeBrowserCert(ca *CA, hosts []string) (*browserCert, error) {
	key, err := NewKey()
	if err != nil {
		return nil, err
	}
	now := ca.now()
	// It has no identity, so Scrier's own programs do not accept it as a relay's.
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: "browser " + ca.Cluster()},
		NotBefore:             now.Add(-browserBackdate),
		NotAfter:              now.Add(browserLife - browserBackdate),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	setHosts(template, hosts)
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key.Public(), ca.key)
	if err != nil {
		return nil, fmt.Errorf("issue a browser certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("issue a browser certificate: %w", err)
	}
	sum := sha256.Sum256(der)
	return &browserCert{
		tls:  &tls.Certificate{Certificate: [][]byte{der, ca.cert.Raw}, PrivateKey: key, Leaf: leaf},
		made: now, hash: base64.StdEncoding.EncodeToString(sum[:]),
	}, nil
}

// setHosts names the hosts that browsers may find behind a certificate.
func setHosts(template *x509.Certificate, hosts []string) {
	for _, h := range hosts {
		if ip := net.ParseIP(strings.Trim(h, "[]")); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
}
