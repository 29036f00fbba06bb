package wire_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"scrier/wire"
	"scrier/wire/wiretest"
)

func TestTCPLinks(t *testing.T) {
	for name, known := range map[string]bool{"known": true, "stranger": false} {
		t.Run(name, func(t *testing.T) {
			wiretest.Links(t, func(t *testing.T) (wire.Link, wire.Link) { return tcpLinks(t, known) })
		})
	}
}

// tcpLinks are the two ends of a link over a connection of this machine.
func tcpLinks(t testing.TB, known bool) (wire.Link, wire.Link) {
	t.Helper()
	near, far := tlsPair(t)
	a := wire.TCPLink(near, wire.TCPConfig{MaxStreams: 1 << 10, Known: known})
	b := wire.TCPLink(far, wire.TCPConfig{Server: true, MaxStreams: 64, Known: known})
	t.Cleanup(func() {
		if err := errors.Join(a.Close(wire.None, ""), b.Close(wire.None, "")); err != nil {
			t.Error(err)
		}
	})
	return a, b
}

// What the peer has sent before this side makes its link is there when it does.
func TestTCPLinkThatIsLate(t *testing.T) {
	for range 100 {
		near, far := tlsPair(t)
		a := wire.TCPLink(near, wire.TCPConfig{})
		s, err := a.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Write([]byte("early")); err != nil {
			t.Fatal(err)
		}
		b := wire.TCPLink(far, wire.TCPConfig{Server: true})
		got, err := b.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		p := make([]byte, 5)
		if _, err := io.ReadFull(got, p); err != nil || string(p) != "early" {
			t.Fatalf("%q, %v", p, err)
		}
		if err := errors.Join(a.Close(wire.None, ""), b.Close(wire.None, "")); err != nil {
			t.Error(err)
		}
	}
}

// tlsPair are the two ends of a TLS connection, handshake done.
func tlsPair(t testing.TB) (near, far *tls.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan *tls.Conn, 1)
	go func() {
		defer close(accepted)
		c, err := l.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		s := tls.Server(c, serverTLS(t))
		if err := s.Handshake(); err != nil {
			t.Error(err)
		}
		accepted <- s
	}()
	near, err = tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"test"}})
	if err != nil {
		t.Fatal(err)
	}
	return near, <-accepted
}

// A connection that ends without a word is how a killed process ends.
func TestTCPLinkIsCut(t *testing.T) {
	for name, cut := range map[string]func(net.Conn){
		"end":   func(c net.Conn) { _ = c.(*net.TCPConn).CloseWrite() },
		"reset": func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0); _ = c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			near, far := tlsPair(t)
			l := wire.TCPLink(near, wire.TCPConfig{})
			s, err := l.Open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			read := make(chan error, 1)
			go func() { _, err := s.Read(make([]byte, 1)); read <- err }()
			cut(far.NetConn())
			err = <-read
			if errors.Is(err, io.EOF) {
				t.Errorf("it looks like the ordinary end of a stream: %v", err)
			}
			if !errors.Is(err, l.Err()) || wire.CodeOf(err) != wire.Internal || !wire.Forgotten(err) {
				t.Errorf("%v; %v", err, l.Err())
			}
			if _, err := s.Write([]byte("x")); !errors.Is(err, l.Err()) {
				t.Error(err)
			}
			_, _ = l.Close(wire.None, ""), far.NetConn().Close()
		})
	}
}

// The peer's last word counts, also if this side notices first that nothing can be written any more.
func TestTCPLinkLastWordBehindBrokenWrite(t *testing.T) {
	near, far := tlsPair(t)
	l := wire.TCPLink(near, wire.TCPConfig{})
	s, err := l.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// No more can be written from now on, and what the peer says comes a little later.
	if err := near.NetConn().(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond)
	if _, err := far.Write(frame(kindClose, 0, 3, uint32(wire.Revoked), 'b', 'y', 'e')); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Accept(t.Context()); wire.CodeOf(err) != wire.Revoked || wire.DetailOf(err) != "bye" {
		t.Error(err)
	}
	_, _ = l.Close(wire.None, ""), far.Close()
}
