package client

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"scrier/certs"
	"scrier/wire"
)

// LoginRequest is what [Home.Login] needs.
type LoginRequest struct {
	Relay       string // host:port
	Username    string // empty: whoever the key belongs to
	Fingerprint string // of the relay; empty: the pin that is known, else Confirm
	Keys        SSHKeyConfig
	Transport   wire.Transport
	Now         func() time.Time
	// Confirm shows an unknown relay's fingerprint to the person.
	Confirm func(relay, fingerprint string) (bool, error)
	// Claim asks the person whether they are the operator for whom somebody has registered their key, if Username
	// does not say so. From then on the key counts.
	Claim func(relay, username string) (bool, error)
}

const (
	dialTimeout  = 15 * time.Second
	replyTimeout = 30 * time.Second
	// nonceUse is how old a challenge may be when it is answered. Typing a passphrase may take
	// longer; then the relay is asked for another challenge.
	nonceUse = 30 * time.Second
)

// Login proves that the operator holds a registered SSH key and saves the certificate that the
// relay issues for a new key of this machine.
func (h Home) Login(ctx context.Context, r LoginRequest) (Login, error) {
	var err error
	if r.Relay, err = wire.RelayAddress(r.Relay); err != nil {
		return Login{}, err
	}
	pin, err := h.trust(ctx, r)
	if err != nil {
		return Login{}, err
	}
	offers, err := Candidates(ctx, r.Keys)
	if err != nil {
		return Login{}, err
	}
	var blobs [][]byte
	for _, k := range offers {
		blobs = append(blobs, k.Marshal())
	}
	link, _, err := dial(ctx, r.Relay, certs.Client{ALPN: wire.ALPNClient, Pin: &pin, Now: r.Now}, h.roadsFor(r))
	if err != nil {
		return Login{}, r.untrusted(err)
	}
	defer link.Close(wire.None, "")
	var signer ssh.Signer
	for {
		asked := time.Now()
		s, challenge, err := ask(ctx, link, &wire.Login{Username: r.Username, Keys: blobs})
		if e, ok := errors.AsType[*wire.Error](err); ok && e.Code == wire.NoSSHPubkey {
			return Login{}, e.Advise("offered: %s. Name another key with --ssh-key-file, or have one registered: an admin runs `scrier operators update --username NAME --ssh-key-file FILE.pub`", offered(offers))
		}
		if err != nil {
			return Login{}, err
		}
		key, err := ssh.ParsePublicKey(challenge.Key)
		if err != nil {
			return Login{}, &wire.Error{Code: wire.Protocol, Detail: "malformed challenge", Err: err}
		}
		if signer == nil || string(signer.PublicKey().Marshal()) != string(key.Marshal()) {
			sig, closer, err := SignerFor(ctx, r.Keys, key)
			if err != nil {
				s.Reset(wire.Cancelled)
				return Login{}, err
			}
			defer closer.Close()
			signer = sig
		}
		if c := challenge.Claim; c != "" {
			if err := r.claims(c); err != nil {
				s.Reset(wire.Cancelled)
				return Login{}, err
			}
			r.Username = c // is not asked again if that took too long
		}
		if time.Since(asked) > nonceUse {
			s.Reset(wire.Cancelled)
			continue
		}
		return h.answer(r, pin, link, s, challenge, signer)
	}
}

// untrusted says what to do about a relay that shows another fingerprint: the person has just given the expected one, or
// it was remembered.
func (r LoginRequest) untrusted(err error) error {
	e, ok := errors.AsType[*wire.Error](err)
	if !ok || e.Code != wire.RelayUntrusted || e.Advice != "" {
		return err
	}
	if r.Fingerprint != "" {
		return e.Advise("compare what was given with --fingerprint, and HOST:PORT, with what the relay's administrator says")
	}
	return e.Advise("%s", setUpAnew(r.Relay))
}

// offered names keys, so that the person can tell an admin which they have, or see that one is missing.
func offered(keys []ssh.PublicKey) string {
	const most = 4
	var names []string
	for _, k := range keys[:min(len(keys), most)] {
		names = append(names, ssh.FingerprintSHA256(k))
	}
	if more := len(keys) - most; more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	return strings.Join(names, ", ")
}

// claims says whether the key is to count for the operator whom the relay names: whom the person has named, or
// says to be.
func (r LoginRequest) claims(operator string) error {
	if r.Username != "" && r.Username != operator {
		return wire.Errorf(wire.Protocol, "the relay asked for a claim of the key for %s, and not for %s", wire.Printable(operator), r.Username)
	}
	if r.Username != "" {
		return nil
	}
	ok, err := r.Claim(r.Relay, operator)
	if err == nil && !ok {
		err = wire.Errorf(wire.Cancelled, "the key was not claimed for %s", wire.Printable(operator))
	}
	return err
}

// trust finds the pin to trust at this relay: the one given, the one known, or, at the first
// contact, the one that the person accepts.
func (h Home) trust(ctx context.Context, r LoginRequest) (certs.Pin, error) {
	k, err := h.load()
	if err != nil {
		return certs.Pin{}, err
	}
	old := k.Relays[r.Relay].Pin
	if r.Fingerprint != "" {
		pin, err := certs.ParsePin(r.Fingerprint)
		if err == nil && old != "" && old != pin.String() {
			err = wire.Errorf(wire.RelayUntrusted, "the relay at %s is known here with the fingerprint %s, and not with %s", r.Relay, old, pin).
				Advise("%s", setUpAnew(r.Relay))
		}
		return pin, err
	}
	if old != "" {
		return certs.ParsePin(old)
	}
	var pin certs.Pin
	link, _, err := dial(ctx, r.Relay, certs.Client{ALPN: wire.ALPNClient, Now: r.Now, Seen: func(*x509.Certificate) error { return nil }}, h.roadsFor(r))
	if err != nil {
		return pin, err
	}
	chain := link.Peer().Certificates // of the address that answered; there may be several
	pin = certs.PinOf(chain[len(chain)-1])
	if err := link.Close(wire.None, ""); err != nil {
		return pin, err
	}
	ok, err := r.Confirm(r.Relay, pin.String())
	if err == nil && !ok {
		err = wire.Errorf(wire.RelayUntrusted, "the fingerprint was not accepted, so nothing was saved").
			Advise("ask the relay's administrator for its fingerprint, and whether HOST:PORT is right")
	}
	return pin, err
}

// answer signs the challenge and saves what the relay gives for it.
func (h Home) answer(r LoginRequest, pin certs.Pin, link wire.Link, s wire.Stream, c *wire.Challenge, signer ssh.Signer) (Login, error) {
	defer s.Reset(wire.None)
	key, err := certs.NewKey()
	if err != nil {
		return Login{}, err
	}
	csr, err := certs.NewRequest(key)
	if err != nil {
		return Login{}, err
	}
	exporter, err := link.Peer().Export(certs.ExporterLabel, certs.ExporterSize)
	if err != nil {
		return Login{}, fmt.Errorf("bind the login to its connection: %w", err)
	}
	message, err := certs.LoginMessage(c.Nonce, exporter, csr)
	if err != nil {
		return Login{}, err
	}
	proof := &wire.Proof{CSR: csr}
	if c.Claim != "" {
		text := certs.ClaimText(c.Claim, pin, certs.LoginNonce(message))
		if proof.Claim, err = sign(signer, certs.NamespaceClaim(c.Cluster), []byte(text)); err != nil {
			return Login{}, err
		}
	}
	if proof.Signature, err = sign(signer, certs.NamespaceLogin(c.Cluster), message); err != nil {
		return Login{}, err
	}
	if err := s.SetDeadline(time.Now().Add(replyTimeout)); err != nil {
		return Login{}, err
	}
	if err := wire.Send(s, proof); err != nil {
		return Login{}, err
	}
	cert, err := wire.Expect[wire.Certified](s)
	if err != nil {
		return Login{}, err
	}
	id, err := certs.Issued(pin, cert.Chain)
	if err != nil {
		return Login{}, err
	}
	leaf, err := x509.ParseCertificate(cert.Chain[0])
	if err != nil {
		return Login{}, &wire.Error{Code: wire.Protocol, Detail: "malformed certificate", Err: err}
	}
	if id.Role != certs.RoleOperator || id.Cluster != c.Cluster || !key.PublicKey.Equal(leaf.PublicKey) {
		return Login{}, wire.Errorf(wire.Protocol, "the relay sent a certificate that is not for this login")
	}
	now := r.Now()
	if now.Before(leaf.NotBefore) || !now.Before(leaf.NotAfter) {
		return Login{}, wire.Errorf(wire.ClockSkew, "the relay's clock says %s, this one %s", Stamp(time.UnixMilli(cert.Time)), Stamp(now))
	}
	known1 := Known{Pin: pin.String(), Username: cert.Username, Role: cert.Role, Cluster: c.Cluster, Expires: leaf.NotAfter}
	if r.Keys.KeyFile != "" {
		if known1.KeyFile, err = filepath.Abs(r.Keys.KeyFile); err != nil {
			return Login{}, fmt.Errorf("find %s: %w", r.Keys.KeyFile, err)
		}
	}
	err = h.change(func(k *known) {
		k.Relays[r.Relay] = known1
		k.Current = r.Relay
	})
	if err != nil {
		return Login{}, err
	}
	return Login{Relay: r.Relay, Known: known1}, certs.SavePair(h.pairPath(r.Relay), key, cert.Chain)
}

// ask begins a login and reads the challenge.
func ask(ctx context.Context, link wire.Link, m *wire.Login) (wire.Stream, *wire.Challenge, error) {
	s, err := link.Open(ctx)
	if err != nil {
		return nil, nil, err
	}
	challenge, err := func() (*wire.Challenge, error) {
		if err := s.SetDeadline(time.Now().Add(replyTimeout)); err != nil {
			return nil, err
		}
		if err := wire.Send(s, m); err != nil {
			return nil, err
		}
		return wire.Expect[wire.Challenge](s)
	}()
	if err != nil {
		s.Reset(wire.None)
	}
	return s, challenge, err
}

func sign(signer ssh.Signer, namespace string, message []byte) ([]byte, error) {
	sig, err := certs.SignSSH(nil, signer, namespace, message)
	if err != nil {
		return nil, &wire.Error{Code: wire.KeyUnusable, Detail: "signing with " + ssh.FingerprintSHA256(signer.PublicKey()) + ": " + err.Error(), Err: err}
	}
	return sig, nil
}

// dial connects within a bounded time. why is the reason for a road that is not the best.
func dial(ctx context.Context, relay string, c certs.Client, roads Roads) (link wire.Link, why string, err error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	d := roads.dialer(relay, c)
	link, err = d.Dial(ctx, relay)
	if err == nil {
		roads.won(d, relay, link)
		return link, d.Why(link, relay), nil
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) && wire.CodeOf(err) == wire.Internal {
		err = wire.Errorf(wire.RelayUnreachable, "no answer from %s within %s", relay, dialTimeout)
	}
	return nil, "", err
}
