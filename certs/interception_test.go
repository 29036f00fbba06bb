package certs

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"scrier/wire"
)

// interceptor stands between a client and its relay, with a CA of its own.
type interceptor struct {
	ca  *x509.Certificate
	key any
}

func newInterceptor(t *testing.T, ca x509.Certificate) interceptor {
	t.Helper()
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	ca.SerialNumber, ca.NotAfter, ca.IsCA, ca.BasicConstraintsValid = big.NewInt(1), time.Now().Add(time.Hour), true, true
	der, err := x509.CreateCertificate(rand.Reader, &ca, &ca, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return interceptor{cert, key}
}

// issue makes a certificate as the template says, and the chain with others behind it.
func (i interceptor) issue(t *testing.T, template x509.Certificate, behind ...*x509.Certificate) *tls.Certificate {
	t.Helper()
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(2)
	der, err := x509.CreateCertificate(rand.Reader, &template, i.ca, key.Public(), i.key)
	if err != nil {
		t.Fatal(err)
	}
	chain := [][]byte{der}
	for _, c := range behind {
		chain = append(chain, c.Raw)
	}
	return &tls.Certificate{Certificate: chain, PrivateKey: key}
}

// Whoever intercepts TLS gets no connection, however well it copies the relay's certificate, and its name is told.
func TestInterceptionIsRefused(t *testing.T) {
	ca := newCA(t, time.Now)
	relay := &Server{CA: ca, Name: "relay", Hosts: []string{"relay.example"}}
	real, err := relay.relayCert()
	if err != nil {
		t.Fatal(err)
	}
	corp := newInterceptor(t, x509.Certificate{Subject: pkix.Name{CommonName: "Corp TLS Inspection", Organization: []string{"Corp\x1b[2J"}}})
	// One that has its CA look like a relay's.
	forger := newInterceptor(t, x509.Certificate{Subject: pkix.Name{CommonName: "Corp TLS Inspection"}, URIs: ca.cert.URIs})
	plain := x509.Certificate{Subject: pkix.Name{CommonName: "relay.example"}, DNSNames: []string{"relay.example"}, NotAfter: time.Now().Add(time.Hour)}
	copied := *real.Leaf // subject, names, identity, times and uses, as squid copies them
	long := plain
	long.Subject.CommonName = strings.Repeat("x", 5000)

	const issuer = "Corp TLS Inspection"
	for name, c := range map[string]struct {
		cert        *tls.Certificate
		detail      string
		another     bool // it looks like another relay
		min, max    uint16
		alpn        []string
		withoutTold bool // nothing can be told without a pin: it is a relay like any other
		quic        bool // it intercepts QUIC as well
	}{
		"its own certificate alone":  {cert: corp.issue(t, plain), detail: issuer, quic: true},
		"with its CA":                {cert: corp.issue(t, plain, corp.ca), detail: issuer},
		"a copy alone":               {cert: corp.issue(t, copied), detail: issuer},
		"a copy with its CA":         {cert: corp.issue(t, copied, corp.ca), detail: issuer, quic: true},
		"a copy with the relay's CA": {cert: corp.issue(t, copied, ca.cert), detail: issuer},
		"all of the relay's chain":   {cert: corp.issue(t, copied, real.Leaf, ca.cert), detail: issuer},
		"TLS 1.2":                    {cert: corp.issue(t, plain, corp.ca), detail: issuer, max: tls.VersionTLS12},
		"HTTP alone":                 {cert: corp.issue(t, plain, corp.ca), detail: issuer, alpn: []string{"h2", "http/1.1"}},
		"no ALPN":                    {cert: corp.issue(t, plain, corp.ca), detail: issuer, alpn: []string{}},
		"a long name":                {cert: corp.issue(t, long), detail: issuer},
		"a relay's own":              {cert: forger.issue(t, copied, forger.ca), detail: "fingerprint", another: true, withoutTold: true, quic: true},
	} {
		t.Run(name, func(t *testing.T) {
			conf := &tls.Config{Certificates: []tls.Certificate{*c.cert}, MaxVersion: c.max, NextProtos: []string{wire.ALPNClient}}
			if c.alpn != nil {
				conf.NextProtos = c.alpn
			}
			pin := ca.Pin()
			for _, client := range []Client{
				{ALPN: wire.ALPNClient, Pin: &pin, Now: time.Now},
				{ALPN: wire.ALPNClient, Now: time.Now, Seen: func(*x509.Certificate) error { return errors.New("it was taken for a relay") }},
			} {
				roads := []wire.Transport{wire.OnlyTCP}
				if c.quic {
					roads = append(roads, wire.OnlyQUIC)
				}
				for _, road := range roads {
					err := intercepted(t, client, conf, road)
					if client.Pin == nil && c.withoutTold {
						continue // a person compares the fingerprint
					}
					e, ok := errors.AsType[*wire.Error](err)
					if !ok || e.Code != wire.RelayUntrusted || !strings.Contains(e.Detail, c.detail) || len(e.Detail) > 1000 || wire.Printable(e.Detail) != e.Detail {
						t.Fatalf("%v", err)
					}
					if (e.Advice == "") != c.another {
						t.Errorf("advice %q", e.Advice)
					}
				}
			}
		})
	}
}

// intercepted is how a client's attempt to connect ends, over one road. No byte but of the handshake may be sent.
func intercepted(t *testing.T, client Client, conf *tls.Config, road wire.Transport) error {
	t.Helper()
	dial := func(addr net.Addr) error {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		link, err := wire.Dialer{TLS: client.TLS(), Transport: road}.Dial(ctx, addr.String())
		if err == nil {
			_ = link.Close(wire.None, "")
		}
		return err
	}
	if road == wire.OnlyQUIC {
		l, err := quic.ListenAddr("127.0.0.1:0", conf, wire.QUICConfig(64))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return dial(l.Addr())
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		far, err := l.Accept()
		if err == nil {
			defer far.Close()
			_, err = tls.Server(far, conf).Read(make([]byte, 1))
		}
		done <- err
	}()
	err = dial(l.Addr())
	if <-done == nil {
		t.Error("it got a byte")
	}
	return err
}

// A relay that speaks an older protocol is the relay all the same, and no connection.
func TestRelayOfAnotherVersion(t *testing.T) {
	ca := newCA(t, time.Now)
	real, err := (&Server{CA: ca, Name: "relay"}).relayCert()
	if err != nil {
		t.Fatal(err)
	}
	pin := ca.Pin()
	client := Client{ALPN: wire.ALPNClient, Pin: &pin, Now: time.Now}
	for _, conf := range []*tls.Config{
		{Certificates: []tls.Certificate{*real}, MaxVersion: tls.VersionTLS12, NextProtos: []string{wire.ALPNClient}},
		{Certificates: []tls.Certificate{*real}},
		{Certificates: []tls.Certificate{*real}, NextProtos: []string{"h2", "http/1.1"}},
	} {
		if err := intercepted(t, client, conf, wire.OnlyTCP); wire.CodeOf(err) != wire.VersionMismatch {
			t.Errorf("%v", err)
		}
	}
}
