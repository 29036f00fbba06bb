package relay

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"scrier/certs"
	"scrier/relay/fleet"
	"scrier/wire"
)

// machine is an agent as the relay sees one, played by a test: it can be copied, fall silent or
// lie, which the real one does not do on demand.
type machine struct {
	t     *testing.T
	relay *Relay
	id    wire.EnvoyID
	cert  *tls.Certificate
	boot  string
	via   string // instead of the relay's address: a router between the two
}

// enrolled makes a machine with an identity.
func enrolled(t *testing.T, r *Relay, name string) *machine {
	t.Helper()
	token, _, err := r.fleet.MakeToken(t.Context(), fleet.Order{Name: name, TTL: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	m, err := enrol(t, r, token, nil)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// enrol spends a token; csr may be a hostile request for key.
func enrol(t *testing.T, r *Relay, token certs.Token, csr func(*machine) []byte) (*machine, error) {
	t.Helper()
	key, err := certs.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{t: t, relay: r, boot: "boot-1", cert: &tls.Certificate{PrivateKey: key}}
	request, err := certs.NewRequest(key)
	if err != nil {
		t.Fatal(err)
	}
	if csr != nil {
		request = csr(m)
	}
	s := anonymous(t, r)
	if err := wire.Send(s, &wire.Enrol{Secret: token.Secret[:], CSR: request, Facts: wire.Facts{Hostname: "host"}, Time: wire.Millis(r.Now())}); err != nil {
		return nil, err
	}
	answer, err := wire.Expect[wire.Enrolled](s)
	if err != nil {
		return nil, err
	}
	m.id = answer.Envoy
	m.take(answer.Chain)
	return m, nil
}

// take keeps a new certificate.
func (m *machine) take(chain [][]byte) {
	m.t.Helper()
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		m.t.Fatal(err)
	}
	m.cert = &tls.Certificate{Certificate: chain, PrivateKey: m.cert.PrivateKey, Leaf: leaf}
}

// anonymous is a stream of a connection without a certificate.
func anonymous(t *testing.T, r *Relay) wire.Stream {
	t.Helper()
	s, err := dial(t, r, wire.ALPNClient, nil).Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return s
}

func dial(t *testing.T, r *Relay, alpn string, cert *tls.Certificate) wire.Link {
	t.Helper()
	link, err := tryDial(t, r, alpn, cert)
	if err != nil {
		t.Fatal(err)
	}
	return link
}

func tryDial(t *testing.T, r *Relay, alpn string, cert *tls.Certificate) (wire.Link, error) {
	t.Helper()
	return dialVia(t, r, r.Addr(), alpn, cert)
}

func dialVia(t *testing.T, r *Relay, addr, alpn string, cert *tls.Certificate) (wire.Link, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c := r.trusting(alpn, cert)
	c.Now = r.Now
	link, err := roadOf(t)(ctx, addr, c.TLS())
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = link.Close(wire.None, "") })
	return link, nil
}

// up is a machine's live link.
type up struct {
	link    wire.Link
	control *wire.Framed
	mute    atomic.Bool       // no longer answers pings
	answers chan wire.Message // to renewals
}

// connect says hello and then answers pings, until the link ends.
func (m *machine) connect() (*up, error) {
	m.t.Helper()
	link, err := dialVia(m.t, m.relay, cmp.Or(m.via, m.relay.Addr()), wire.ALPNAgent, m.cert)
	if err != nil {
		return nil, err
	}
	s, err := link.Open(m.t.Context())
	if err != nil {
		return nil, errors.Join(link.Err(), err)
	}
	u := &up{link: link, control: wire.NewFramed(s), answers: make(chan wire.Message, 8)}
	if err := s.SetReadDeadline(time.Now().Add(patience)); err != nil {
		m.t.Fatal(err)
	}
	if err := u.control.Send(&wire.Hello{Boot: m.boot, Time: wire.Millis(m.relay.Now()), Facts: wire.Facts{Hostname: "host"}}); err != nil {
		return nil, errors.Join(link.Err(), err)
	}
	if _, err := wire.Expect[wire.Welcome](u.control); err != nil {
		if link.Err() != nil {
			err = link.Err()
		}
		return nil, err
	}
	if err := s.SetReadDeadline(time.Time{}); err != nil {
		m.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			msg, err := u.control.Receive()
			if err != nil {
				return
			}
			switch msg := msg.(type) {
			case *wire.Ping:
				if !u.mute.Load() && u.control.Send(&wire.Pong{N: msg.N}) != nil {
					return
				}
			case *wire.Renewed, *wire.Refused:
				u.answers <- msg
			}
		}
	}()
	m.t.Cleanup(func() {
		_ = link.Close(wire.None, "")
		<-done
	})
	return u, nil
}

// must is connect that has to succeed.
func (m *machine) must() *up {
	m.t.Helper()
	u, err := m.connect()
	if err != nil {
		m.t.Fatal(err)
	}
	return u
}

// ended waits for a link's end and gives its code.
func ended(t *testing.T, link wire.Link) wire.Code {
	t.Helper()
	select {
	case <-link.Context().Done():
		return wire.CodeOf(link.Err())
	case <-time.After(patience):
		t.Fatal("the link lives on")
		return wire.None
	}
}

// audited counts the audit records of a type.
func audited(t *testing.T, r *Relay, what string) (n int) {
	t.Helper()
	records, err := r.audit.Records(t.Context(), 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, rec := range records {
		if rec.Type == what {
			n++
		}
	}
	return n
}
