package wire_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
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

func serverTLS(t testing.TB) *tls.Config {
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
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{leaf}, PrivateKey: key}}, NextProtos: []string{"test"},
	}
}

func listenQUIC(t *testing.T) *quic.Listener {
	t.Helper()
	socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	transport := &quic.Transport{Conn: socket}
	t.Cleanup(func() { // not before connections that drain have ended, if the listener did it by itself
		_ = transport.Close()
		_ = socket.Close()
	})
	l, err := transport.Listen(serverTLS(t), wire.QUICConfig(64))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// Who gets here has given a name that can be one; see RelayAddress.
func TestDialUnknownName(t *testing.T) {
	_, err := wire.Dialer{TLS: &tls.Config{}}.Dial(t.Context(), "no..name.invalid:8443")
	e, ok := errors.AsType[*wire.Error](err)
	if !ok || e.Code != wire.RelayUnreachable || !strings.Contains(e.Advice, "DNS") || strings.Contains(e.Advice, "https") {
		t.Errorf("%v, %+v", err, e)
	}
}

// Who dials can tell a relay that is there, and has no place, from one that does not answer.
func TestDialWhoHasNoPlace(t *testing.T) {
	socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	transport := &quic.Transport{Conn: socket, ConnContext: func(context.Context, *quic.ClientInfo) (context.Context, error) {
		return nil, errors.New("no place")
	}}
	l, err := transport.Listen(serverTLS(t), wire.QUICConfig(64))
	if err != nil {
		t.Fatal(err)
	}
	_, err = wire.Dialer{TLS: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"test"}}}.Dial(t.Context(), l.Addr().String())
	if wire.CodeOf(err) != wire.Busy || wire.Forgotten(err) {
		t.Errorf("%v", err)
	}
	if err := errors.Join(l.Close(), transport.Close(), socket.Close()); err != nil {
		t.Error(err)
	}
}

// A link knows from others an end that came because the peer was restarted, and knows nothing of it.
func TestForgotten(t *testing.T) {
	conf, secret := serverTLS(t), quic.StatelessResetKey{1}
	listen := func(addr *net.UDPAddr) (*quic.Listener, *net.UDPConn, func() error) {
		socket, err := net.ListenUDP("udp4", addr)
		if err != nil {
			t.Fatal(err)
		}
		transport := &quic.Transport{Conn: socket, StatelessResetKey: &secret}
		l, err := transport.Listen(conf, wire.QUICConfig(64))
		if err != nil {
			t.Fatal(err)
		}
		return l, socket, func() error { return errors.Join(l.Close(), transport.Close()) }
	}
	l, socket, end := listen(&net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	link, err := wire.Dialer{TLS: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"test"}}}.Dial(t.Context(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Accept(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := socket.Close(); err != nil { // as by kill -9: nobody is told
		t.Fatal(err)
	}
	_ = end()
	_, socket, end = listen(l.Addr().(*net.UDPAddr))
	s, err := link.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for link.Err() == nil && t.Context().Err() == nil {
		_, _ = s.Write(make([]byte, 100))
		time.Sleep(10 * time.Millisecond)
	}
	if !wire.Forgotten(link.Err()) {
		t.Errorf("%v", link.Err())
	}
	_ = link.Close(wire.None, "")
	if wire.Forgotten(wire.Errorf(wire.RelayShutdown, "")) || wire.Forgotten(nil) {
		t.Error("other ends look like it")
	}
	if err := errors.Join(end(), socket.Close()); err != nil {
		t.Error(err)
	}
}
