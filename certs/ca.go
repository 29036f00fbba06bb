package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"scrier/wire"
)

// Lifetimes of what the CA issues.
const (
	AgentLife    = 24 * time.Hour
	OperatorLife = 8 * time.Hour
	relayLife    = 90 * 24 * time.Hour // made anew long before, see CA.relayCert
	caLife       = 20 * 365 * 24 * time.Hour

	// backdate lets a machine whose clock is slow accept a fresh certificate.
	backdate = 10 * time.Minute
	// relayBackdate is longer: an agent whose clock is hours behind must still connect, so that
	// the relay can tell it, and its operators, that the clock is wrong.
	relayBackdate = 24 * time.Hour
)

// CA is a relay's certificate authority. Its methods may be called concurrently.
type CA struct {
	cert *x509.Certificate
	key  crypto.Signer
	now  func() time.Time
}

// LoadOrMakeCA reads the CA of a relay's state directory, or makes it if there is nothing of it. A half is
// [wire.BadConfig], and left as it is: agents and operators trust the old key and no new one.
func LoadOrMakeCA(dir string, now func() time.Time) (*CA, error) {
	keyPath, certPath := filepath.Join(dir, "ca.key"), filepath.Join(dir, "ca.crt")
	key, err := LoadKey(keyPath)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(certPath); !errors.Is(err, fs.ErrNotExist) {
			return nil, wire.Errorf(wire.BadConfig, "%s is missing beside %s: put it back from a backup; without it the relay has to be set up anew, with an empty directory", keyPath, certPath)
		}
		return makeCA(keyPath, certPath, now)
	}
	if err != nil {
		return nil, err
	}
	chain, err := LoadChain(certPath)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, wire.Errorf(wire.BadConfig, "%s is missing beside %s: put it back from a backup", certPath, keyPath)
	}
	if err != nil {
		return nil, fmt.Errorf("load the CA: %w", err)
	}
	ca := &CA{cert: chain[0], key: key, now: now}
	if !ca.whole() {
		return nil, wire.Errorf(wire.BadConfig, "%s does not belong to %s", certPath, keyPath)
	}
	if ca.Cluster() == "" {
		return nil, wire.Errorf(wire.BadConfig, "%s is not a Scrier CA", certPath)
	}
	return ca, nil
}

// whole says that the key is that of the certificate.
func (ca *CA) whole() bool {
	pub, ok := ca.cert.PublicKey.(*ecdsa.PublicKey)
	return ok && pub.Equal(ca.key.Public())
}

// MarshalKey is the CA's private key, PKCS #8, for who keeps it elsewhere than in ca.key. It is the greatest secret of a cluster.
func (ca *CA) MarshalKey() ([]byte, error) { return x509.MarshalPKCS8PrivateKey(ca.key) }

// UnmarshalCA makes a CA of a key that [CA.MarshalKey] gave. It refuses a key that is not that of the certificate: what a key is kept
// in proves nothing of who has put it there.
func UnmarshalCA(cert *x509.Certificate, key []byte, now func() time.Time) (*CA, error) {
	k, err := x509.ParsePKCS8PrivateKey(key)
	if err != nil {
		return nil, wire.Errorf(wire.BadConfig, "malformed key of the CA") // the cause may hold some of it
	}
	signer, ok := k.(*ecdsa.PrivateKey)
	ca := &CA{cert: cert, key: signer, now: now}
	if !ok || !ca.whole() || ca.Cluster() == "" {
		return nil, wire.Errorf(wire.BadConfig, "a key that is not that of the CA %s", PinOf(cert))
	}
	return ca, nil
}

func makeCA(keyPath, certPath string, now func() time.Time) (*CA, error) {
	key, err := NewKey()
	if err != nil {
		return nil, err
	}
	var name [6]byte
	rand.Read(name[:])
	cluster := hex.EncodeToString(name[:])
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: "Scrier CA " + cluster},
		URIs:                  []*url.URL{{Scheme: "scrier", Host: cluster}},
		NotBefore:             now().Add(-relayBackdate),
		NotAfter:              now().Add(caLife),
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make the CA: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("make the CA: %w", err)
	}
	// The certificate is written first: after a crash, a key without a certificate would look like a
	// broken CA.
	if err := SaveChain(certPath, [][]byte{der}); err != nil {
		return nil, err
	}
	if err := SaveKey(keyPath, key); err != nil {
		return nil, err
	}
	return &CA{cert: cert, key: key, now: now}, nil
}

// Cluster is the random name that this CA's identities carry.
func (ca *CA) Cluster() string { return clusterOf(ca.cert) }

// clusterOf is the cluster of a CA's certificate; empty: it is not a Scrier CA's.
func clusterOf(ca *x509.Certificate) string {
	if len(ca.URIs) != 1 || ca.URIs[0].Scheme != "scrier" || ca.URIs[0].Path != "" {
		return ""
	}
	return ca.URIs[0].Host
}

// Pin is what agents and operators trust.
func (ca *CA) Pin() Pin { return PinOf(ca.cert) }

// Derive makes a key for another purpose of this relay, the same after every restart.
func (ca *CA) Derive(purpose string) ([32]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(ca.key)
	if err != nil {
		return [32]byte{}, fmt.Errorf("derive a key: %w", err)
	}
	key, err := hkdf.Key(sha256.New, der, nil, "scrier "+purpose, 32)
	if err != nil {
		return [32]byte{}, fmt.Errorf("derive a key: %w", err)
	}
	return [32]byte(key), nil
}

// Certificate is the CA's own, DER.
func (ca *CA) Certificate() []byte { return ca.cert.Raw }

// Issue signs a client certificate for an agent or an operator and returns the chain, leaf
// first.
func (ca *CA) Issue(id Identity, pub crypto.PublicKey) ([][]byte, error) {
	life := OperatorLife
	if id.Role == RoleAgent {
		life = AgentLife
	}
	return ca.issue(id, pub, &x509.Certificate{
		NotBefore:   ca.now().Add(-backdate),
		NotAfter:    ca.now().Add(life),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

func (ca *CA) issueRelay(name string, pub crypto.PublicKey, hosts []string) ([][]byte, error) {
	template := &x509.Certificate{
		NotBefore:   ca.now().Add(-relayBackdate),
		NotAfter:    ca.now().Add(relayLife),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	setHosts(template, hosts) // for browsers; Scrier's own programs look at the identity
	return ca.issue(Identity{Role: RoleRelay, ID: name}, pub, template)
}

func (ca *CA) issue(id Identity, pub crypto.PublicKey, template *x509.Certificate) ([][]byte, error) {
	id.Cluster = ca.Cluster()
	template.SerialNumber = serial()
	template.Subject = pkix.Name{CommonName: string(id.Role) + " " + id.ID}
	template.URIs = []*url.URL{id.uri()}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.BasicConstraintsValid = true
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, pub, ca.key)
	if err != nil {
		return nil, fmt.Errorf("issue %s: %w", id, err)
	}
	return [][]byte{der, ca.cert.Raw}, nil
}

func serial() *big.Int {
	var b [16]byte
	rand.Read(b[:])
	b[0] &= 0x7f
	return new(big.Int).SetBytes(b[:])
}
