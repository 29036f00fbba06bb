package agent

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"scrier/certs"
	"scrier/roads"
	"scrier/wire"
)

// State is an agent's directory: who it is and whom it trusts. Mode 0700, files 0600.
type State struct{ Dir string }

// enrolment is what the machine got when it was enrolled, in addition to the certificate. It never
// changes.
type enrolment struct {
	Relay   string       `json:"relay"` // host:port
	Envoy   wire.EnvoyID `json:"envoy"`
	Cluster string       `json:"cluster"`
	Pin     string       `json:"pin"` // the CA that is trusted
}

func (s State) pairPath() string      { return filepath.Join(s.Dir, "agent.pem") } // key and certificate
func (s State) enrolmentPath() string { return filepath.Join(s.Dir, "enrolment.json") }

// ConfigPath is where agent.yaml is unless it was named.
func (s State) ConfigPath() string { return filepath.Join(s.Dir, "agent.yaml") }

func (s State) hostKeyPath() string { return filepath.Join(s.Dir, "ssh_host_ed25519_key") }

// roads is the memory of which road to the relay worked.
func (s State) roads(now func() time.Time) roads.Memory {
	return roads.Memory{Path: filepath.Join(s.Dir, "roads.json"), Now: now}
}

// check says what in the directory somebody else on this machine could have read or written.
func (s State) check() error {
	err := errors.Join(unlessMissing(certs.CheckTrusted(s.Dir)), unlessMissing(certs.CheckTrusted(s.ConfigPath())))
	for _, path := range []string{s.enrolmentPath(), s.pairPath()} {
		err = errors.Join(err, unlessMissing(certs.CheckPrivate(path)))
	}
	return err
}

func unlessMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// lock keeps a second agent off this directory for as long as the process lives.
func (s State) lock() (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(s.Dir, "agent.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", s.Dir, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(wire.Errorf(wire.StateInUse, "an agent is running on %s", s.Dir), f.Close())
	}
	return f, nil
}

// load reads the enrolment.
func (s State) load() (enrolment, error) {
	var e enrolment
	data, err := os.ReadFile(s.enrolmentPath())
	if errors.Is(err, fs.ErrNotExist) {
		return e, wire.Errorf(wire.Unauthenticated, "this machine is not enrolled (no %s)", s.enrolmentPath()).
			Advise("run `scrier agent enroll --relay HOST:PORT` first, with the same --state")
	}
	if err != nil {
		return e, fmt.Errorf("load enrolment: %w", err)
	}
	if err := json.Unmarshal(data, &e); err != nil {
		return e, s.damaged(s.enrolmentPath(), err)
	}
	if _, err := os.Lstat(s.pairPath()); errors.Is(err, fs.ErrNotExist) {
		return e, wire.Errorf(wire.BadConfig, "%s is missing beside %s", s.pairPath(), s.enrolmentPath()).
			Advise("put it back from a backup; or remove the other too, and enrol this machine anew")
	}
	if e.Relay == "" || e.Envoy == (wire.EnvoyID{}) || e.Pin == "" {
		return e, s.damaged(s.enrolmentPath(), errors.New("it names no relay or no envoy"))
	}
	return e, nil
}

// damaged says that a file of the enrolment cannot be used.
func (s State) damaged(path string, err error) error {
	return wire.Errorf(wire.BadConfig, "%s is damaged: %w", path, err).
		Advise("put it back from a backup; or remove %s and %s, and enrol this machine anew", s.enrolmentPath(), s.pairPath())
}

// certificate reads the current certificate and its key.
func (s State) certificate() (*tls.Certificate, error) {
	pair, err := certs.LoadPair(s.pairPath())
	if err != nil {
		return nil, fmt.Errorf("load the agent's identity: %w", err)
	}
	return pair, nil
}

// replace saves a chain that was checked (see [certs.Issued]), with its key. One file holds both, and one
// rename puts it in place: after a crash there is the old pair or the new one, never a mixture.
func (s State) replace(key crypto.Signer, chain [][]byte) (*x509.Certificate, error) {
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return nil, &wire.Error{Code: wire.Protocol, Detail: "malformed certificate", Err: err}
	}
	if pub, ok := leaf.PublicKey.(*ecdsa.PublicKey); !ok || !pub.Equal(key.Public()) {
		return nil, wire.Errorf(wire.Protocol, "the certificate is not for the key that was asked for")
	}
	return leaf, certs.SavePair(s.pairPath(), key, chain)
}
