package certs

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"testing"
	"time"

	"scrier/wire"
)

// selfSigned is a desktop server's certificate: of RSA, of nobody, and long over.
func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ask := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Unix(1e9, 0), NotAfter: time.Unix(1.1e9, 0)}
	der, err := x509.CreateCertificate(rand.Reader, ask, ask, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// Whatever a server on this machine speaks, its certificate is told, be it good or not.
func TestProbe(t *testing.T) {
	cert := selfSigned(t)
	for name, conf := range map[string]*tls.Config{
		"TLS 1.3": {MinVersion: tls.VersionTLS13},
		"TLS 1.2": {MaxVersion: tls.VersionTLS12},
		"TLS 1.0": {MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10},
		"TLS 1.0 without forward secrecy": {
			MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10, CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA},
		},
		"triple DES":          {MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA}},
		"a certificate asked": {ClientAuth: tls.RequestClientCert},
	} {
		near, far := net.Pipe()
		conf.Certificates = []tls.Certificate{cert}
		served := make(chan error, 1)
		go func() {
			s := tls.Server(far, conf)
			err := s.Handshake()
			if err == nil {
				if _, rerr := s.Read(make([]byte, 1)); !errors.Is(rerr, io.EOF) {
					err = errors.Join(errors.New("not an orderly end"), rerr)
				}
			}
			served <- err
		}()
		leaf, err := Probe(t.Context(), near)
		if want := sha256.Sum256(cert.Certificate[0]); err != nil || !bytes.Equal(Fingerprint(leaf), want[:]) {
			t.Errorf("%s: %v", name, err)
		}
		if err := <-served; err != nil {
			t.Errorf("%s: the server: %v", name, err)
		}
		if err := errors.Join(near.Close(), far.Close()); err != nil {
			t.Error(err)
		}
	}
}

func TestProbeOfNoTLS(t *testing.T) {
	for name, f := range map[string]func(net.Conn){
		"junk":      func(c net.Conn) { _, _ = c.Write(bytes.Repeat([]byte("junk"), 100)) },
		"an alert":  func(c net.Conn) { _, _ = c.Write([]byte{21, 3, 1, 0, 2, 2, 40}) },
		"huge":      func(c net.Conn) { _, _ = c.Write([]byte{22, 3, 3, 0xff, 0xff, 2, 0xff, 0xff, 0xff}) },
		"an end":    func(net.Conn) {},
		"a silence": nil,
	} {
		near, far := net.Pipe()
		done := make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			defer close(done)
			_, _ = io.ReadFull(far, make([]byte, 5+4))
			go io.Copy(io.Discard, far)
			if f == nil {
				cancel()
				return
			}
			f(far)
			_ = far.Close()
		}()
		if leaf, err := Probe(ctx, near); wire.CodeOf(err) != wire.DesktopSecurity {
			t.Errorf("%s: %v, %v", name, leaf, err)
		}
		<-done
		cancel()
		_, _ = near.Close(), far.Close()
	}
}
