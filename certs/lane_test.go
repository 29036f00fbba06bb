package certs

import (
	"context"
	"crypto/tls"
	"net"
	"testing"
	"time"

	"scrier/wire"
	"scrier/wire/wiretest"
)

// Agents and operators get lanes from a relay by the configurations that all three really have, and nobody else does.
func TestLanes(t *testing.T) {
	ca := newCA(t, time.Now)
	s, pin := &Server{CA: ca, Name: "relay"}, ca.Pin()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	token := make([]byte, wire.LaneToken)
	lane := func(c Client) error {
		a, b := wiretest.Streams()
		near, far := wire.NewLaned(a, 0, nil), wire.NewLaned(b, 0, nil)
		defer near.Reset(wire.None)
		go func() {
			raw, err := l.Accept()
			if err != nil {
				return
			}
			conn := tls.Server(raw, s.TCP())
			if conn.HandshakeContext(t.Context()) != nil {
				_ = raw.Close()
				return
			}
			_ = wire.AcceptLane(conn, func([]byte) (context.Context, *wire.Laned) { return t.Context(), far })
		}()
		return wire.DialLane(t.Context(), c.TLS(), l.Addr().String(), l.Addr().String(), token, near)
	}
	own := func(ca *CA, role Role) *tls.Certificate {
		key, err := NewKey()
		if err != nil {
			t.Fatal(err)
		}
		chain, err := ca.Issue(Identity{Role: role, ID: "id", Generation: 1}, key.Public())
		if err != nil {
			t.Fatal(err)
		}
		return &tls.Certificate{Certificate: chain, PrivateKey: key}
	}
	other := newCA(t, time.Now)
	otherPin := other.Pin()
	for name, c := range map[string]struct {
		Client
		in bool
	}{
		"an agent":      {Client{Pin: &pin, Cert: own(ca, RoleAgent)}, true},
		"an operator":   {Client{Pin: &pin, Cert: own(ca, RoleOperator)}, true},
		"nobody":        {Client{Pin: &pin}, false},
		"another CA's":  {Client{Pin: &pin, Cert: own(other, RoleAgent)}, false},
		"another relay": {Client{Pin: &otherPin, Cert: own(ca, RoleAgent)}, false},
	} {
		c.Now, c.ALPN = time.Now, wire.ALPNLane
		if err := lane(c.Client); (err == nil) != c.in {
			t.Errorf("%s: %v", name, err)
		}
	}
}
