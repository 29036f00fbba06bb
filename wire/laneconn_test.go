package wire

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"testing"
	"time"
)

// tlsPair gives the two ends of a TLS connection over loopback.
func tlsPair(t *testing.T) (near, far *tls.Conn) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		if c, err := l.Accept(); err == nil && c.(*tls.Conn).Handshake() == nil {
			accepted <- c
		}
	}()
	near, err = tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	far = (<-accepted).(*tls.Conn)
	t.Cleanup(func() { near.NetConn().Close(); far.NetConn().Close() })
	return near, far
}

// A lane on which nothing is written says that it lives, also when its peer takes nothing for a while; that is none of its bytes.
func TestLaneLives(t *testing.T) {
	const beat, silence = 5 * time.Millisecond, 2 * time.Second
	near, far := tlsPair(t)
	a, b := beatingLaneConn(near, beat, silence), beatingLaneConn(far, beat, silence)
	defer a.reset()
	defer b.reset()
	data := bytes.Repeat([]byte("0123456789"), 1<<20)
	wrote := make(chan error, 1)
	go func() { // more than the network holds
		_, err := a.Write(data)
		wrote <- errors.Join(err, a.CloseWrite())
	}()
	time.Sleep(silence + silence/4) // nobody reads
	got := make([]byte, len(data))
	if _, err := io.ReadFull(b, got); err != nil || !bytes.Equal(got, data) {
		t.Fatalf("who takes nothing for a while gets something else: %v", err)
	}
	if _, err := b.Read(got); !errors.Is(err, io.EOF) {
		t.Errorf("the end: %v", err)
	}
	if err := <-wrote; err != nil {
		t.Error(err)
	}
	read := make(chan error, 1)
	go func() {
		_, err := io.ReadFull(a, got[:1])
		read <- err
	}()
	select {
	case err := <-read:
		t.Fatalf("nothing was written, and what is read is %q: %v", got[:1], err)
	case <-time.After(silence + silence/4): // b lives
	}
	if _, err := b.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := <-read; err != nil || got[0] != 'x' {
		t.Errorf("%q: %v", got[:1], err)
	}
}

// A peer that does not even say that it lives is gone.
func TestLaneSilent(t *testing.T) {
	near, _ := tlsPair(t)
	a := beatingLaneConn(near, 5*time.Millisecond, 100*time.Millisecond)
	defer a.reset()
	if _, err := a.Read(make([]byte, 1)); err == nil || timedOut(err) {
		t.Errorf("%v", err)
	}
	if _, err := a.Write([]byte("x")); !errors.Is(err, errLaneSilent) {
		t.Errorf("%v", err)
	}
}
