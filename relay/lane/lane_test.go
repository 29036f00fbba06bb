package lane

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"testing"
	"time"

	"scrier/wire"
	"scrier/wire/wiretest"
)

func certificate(t *testing.T) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// door listens for lanes, and gives its address.
func door(t *testing.T, lanes *Lanes) string {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{*certificate(t)}, ClientAuth: tls.RequestClientCert, NextProtos: []string{wire.ALPNLane}, MinVersion: tls.VersionTLS13,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				if secure := conn.(*tls.Conn); secure.Handshake() == nil {
					_ = lanes.Serve(secure)
				}
			}()
		}
	}()
	return l.Addr().String()
}

func with(c *tls.Certificate) *tls.Config {
	conf := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{wire.ALPNLane}, MinVersion: tls.VersionTLS13}
	if c != nil {
		conf.Certificates = []tls.Certificate{*c}
	}
	return conf
}

// A lane is had once, with the certificate and the token of its stream, while that lives, and by nobody else.
func TestWhose(t *testing.T) {
	mine, other := certificate(t), certificate(t)
	lanes := new(Lanes)
	addr := door(t, lanes)
	near, far := wiretest.Pair(wire.Peer{}, wire.Peer{Certificates: []*x509.Certificate{mine.Leaf}})
	// near's peer is the relay, far's the agent; the relay holds the end whose Peer is the agent.
	offer := func(token []byte) (agent, relay *wire.Laned) {
		t.Helper()
		a, b := wiretest.Streams()
		agent, relay = wire.NewLaned(a, 0, nil), wire.NewLaned(b, 0, nil)
		lanes.Offer(far, token, relay)
		return agent, relay
	}
	token := func(b byte) []byte { return bytes.Repeat([]byte{b}, wire.LaneToken) }
	dial := func(c *tls.Certificate, token []byte, s *wire.Laned) error {
		return wire.DialLane(t.Context(), with(c), "relay.example.com:443", addr, token, s)
	}
	refused := func(what string, c *tls.Certificate, token []byte, s *wire.Laned) {
		t.Helper()
		if err := dial(c, token, s); wire.CodeOf(err) != wire.NotFound {
			t.Errorf("%s: %v", what, err)
		}
	}
	agent, relay := offer(token(1))
	refused("another token", mine, token(2), agent)
	refused("a short token", mine, []byte{1}, agent)
	refused("no token", mine, nil, agent)
	refused("another's certificate", other, token(1), agent)
	refused("no certificate", nil, token(1), agent)
	// The stream is as it was, and moves now.
	passes(t, agent, relay)
	if err := dial(mine, token(1), agent); err != nil {
		t.Fatal(err)
	}
	passes(t, agent, relay)
	refused("the same once more", mine, token(1), agent)

	agent, relay = offer(token(3))
	offer(token(3)) // who says the same twice gets the first
	relay.Reset(wire.Killed)
	eventually(t, lanes)
	refused("of a stream that is over", mine, token(3), agent)

	offer(token(4))
	offer([]byte("short"))
	lanes.Offer(near, token(5), relay) // that peer has no certificate
	if n := lanes.count(); n != 1 {
		t.Errorf("%d streams wait", n)
	}
	_ = far.Close(wire.None, "")
	eventually(t, lanes)
}

func (l *Lanes) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.by)
}

func eventually(t *testing.T, lanes *Lanes) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); lanes.count() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d streams wait for ever", lanes.count())
		}
	}
}

func passes(t *testing.T, a, b *wire.Laned) {
	t.Helper()
	for range 20 {
		for _, way := range [][2]*wire.Laned{{a, b}, {b, a}} {
			if _, err := way[0].Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			if _, err := way[1].Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Who connects and says what is no token is closed.
func TestHostile(t *testing.T) {
	lanes := new(Lanes)
	addr := door(t, lanes)
	for _, said := range [][]byte{{0x38, 0xff, 0xff, 0xff, 0xff, 0xff}, bytes.Repeat([]byte{0x38}, 1000)} {
		conn, err := tls.Dial("tcp", addr, with(certificate(t)))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write(said) // it may be closed already
		_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Errorf("%x is answered", said)
		} else if e, ok := err.(net.Error); ok && e.Timeout() {
			t.Errorf("%x: %v", said, err)
		}
		conn.Close()
	}
}

// A lane sends the relay's name as its link does: what shares the port with a web site tells them apart by it.
func TestName(t *testing.T) {
	names := make(chan string, 1)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		names <- h.ServerName
		return nil, net.ErrClosed
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = conn.(*tls.Conn).Handshake() // it is to fail
			_ = conn.Close()
		}
	}()
	for relay, want := range map[string]string{"relay.example.com:443": "relay.example.com", "192.0.2.7:443": "scrier"} {
		conf := with(nil)
		conf.ServerName = "scrier" // as certs has it
		if err := wire.DialLane(t.Context(), conf, relay, l.Addr().String(), make([]byte, wire.LaneToken), nil); err == nil {
			t.Error("there is a lane")
		}
		if got := <-names; got != want {
			t.Errorf("to %s: %q", relay, got)
		}
	}
}
