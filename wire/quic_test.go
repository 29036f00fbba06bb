package wire_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"scrier/wire"
	"scrier/wire/wiretest"
)

func TestQUICLinks(t *testing.T) {
	wiretest.Links(t, func(t *testing.T) (wire.Link, wire.Link) {
		l := listenQUIC(t)
		accepted := make(chan wire.Link, 1)
		go func() {
			conn, err := l.Accept(t.Context())
			if err != nil {
				t.Error(err)
			}
			accepted <- wire.QUICLink(conn)
		}()
		near, err := wire.Dialer{TLS: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"test"}}}.Dial(t.Context(), l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		far := <-accepted
		t.Cleanup(func() {
			if err := errors.Join(near.Close(wire.None, ""), far.Close(wire.None, ""), l.Close()); err != nil {
				t.Error(err)
			}
		})
		return near, far
	})
}

func listenQUIC(t *testing.T) *quic.Listener {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour)}
	leaf, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	l, err := quic.ListenAddr("127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{leaf}, PrivateKey: key}}, NextProtos: []string{"test"},
	}, wire.QUICConfig(64))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// Who gets here has given a name that can be one; see client.RelayAddress.
func TestDialUnknownName(t *testing.T) {
	_, err := wire.Dialer{TLS: &tls.Config{}}.Dial(t.Context(), "no..name.invalid:8443")
	e, ok := errors.AsType[*wire.Error](err)
	if !ok || e.Code != wire.RelayUnreachable || !strings.Contains(e.Advice, "DNS") || strings.Contains(e.Advice, "https") {
		t.Errorf("%v, %+v", err, e)
	}
}
