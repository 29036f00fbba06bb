package relay

import (
	"context"
	"crypto/x509"
	"net"
	"sync"
	"testing"

	"github.com/quic-go/quic-go"

	"scrier/certs"
	"scrier/wire"
)

// deaf is a socket that sends and hears nothing: its client begins handshakes and ends none.
type deaf struct {
	*net.UDPConn
	closed chan struct{}
	once   sync.Once
}

func (d *deaf) ReadFrom([]byte) (int, net.Addr, error) {
	<-d.closed
	return 0, nil, net.ErrClosed
}

func (d *deaf) Close() error {
	d.once.Do(func() { close(d.closed) })
	return d.UDPConn.Close()
}

// silent begins a handshake with the relay and says no more.
func silent(t *testing.T, r *Relay, c certs.Client) {
	t.Helper()
	addr, err := net.ResolveUDPAddr("udp", r.Addr())
	if err != nil {
		t.Fatal(err)
	}
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	d := &deaf{UDPConn: socket, closed: make(chan struct{})}
	// The wrapper hides the socket's optimised methods, so that ReadFrom above is what is used.
	transport := &quic.Transport{Conn: struct{ net.PacketConn }{d}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if conn, err := transport.Dial(ctx, addr, c.TLS(), wire.QUICConfig(1)); err == nil {
			t.Error("a deaf client finished its handshake")
			_ = conn.CloseWithError(0, "")
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		_ = d.Close()
		_ = transport.Close()
	})
}

// trust is a browser's trust in the relay's CA.
func trust(t *testing.T, r *Relay) *x509.CertPool {
	t.Helper()
	ca, err := x509.ParseCertificate(r.ca.Certificate())
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	return pool
}
