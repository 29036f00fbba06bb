package fleet

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"go.uber.org/goleak"

	"scrier/certs"
	"scrier/relay/audit"
	"scrier/relay/store/bolt"
	"scrier/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 30 * time.Second

// base is a fleet that listens on loopback, for agents and for machines that enrol.
type base struct {
	*Fleet
	t    *testing.T
	ca   *certs.CA
	addr string
	wait sync.WaitGroup

	mu     sync.Mutex
	events []audit.Event
}

func (b *base) Append(_ context.Context, e audit.Event) (audit.Record, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events = append(b.events, e)
	return audit.Record{}, nil
}

func (b *base) AppendEnd(ctx context.Context, e audit.Event) (audit.Record, error) {
	return b.Append(ctx, e)
}

// records are those of a type.
func (b *base) records(kind string) (found []audit.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.events {
		if e.Type == kind {
			found = append(found, e)
		}
	}
	return found
}

func newBase(t *testing.T, edit ...func(*Config)) *base {
	t.Helper()
	dir := t.TempDir()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	kv, err := bolt.Open(bolt.Config{Path: filepath.Join(dir, "state.db"), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	b := &base{t: t}
	if b.ca, err = certs.LoadOrMakeCA(dir, time.Now); err != nil {
		t.Fatal(err)
	}
	c := Config{KV: kv, CA: b.ca, Journal: b, Now: time.Now, Log: log, Name: "test", Lost: func(wire.EnvoyID, error) {}}
	for _, f := range edit {
		f(&c)
	}
	b.Fleet = New(c)
	server := &certs.Server{CA: b.ca, Name: "relay"}
	udp, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	transport := &quic.Transport{Conn: udp} // of its own: a listener alone keeps the socket while connections drain
	l, err := transport.Listen(server.QUIC(), wire.QUICConfig(64))
	if err != nil {
		t.Fatal(err)
	}
	b.addr = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	b.wait.Go(func() {
		for {
			conn, err := l.Accept(ctx)
			if err != nil {
				return
			}
			b.wait.Go(func() { b.serve(ctx, server, conn) })
		}
	})
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(l.Close(), transport.Close(), udp.Close()); err != nil {
			t.Error(err)
		}
		b.wait.Wait()
		if err := kv.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func (b *base) serve(ctx context.Context, server *certs.Server, conn *quic.Conn) {
	link := wire.QUICLink(conn)
	defer link.Close(wire.None, "")
	select {
	case <-conn.HandshakeComplete():
	case <-conn.Context().Done():
		return
	}
	if conn.ConnectionState().TLS.NegotiatedProtocol == wire.ALPNAgent {
		id, expired, err := server.Identify(link.Peer().Certificates)
		if err == nil {
			err = b.Serve(ctx, link, id, expired)
		}
		b.Log.Debug("link ended", "err", err)
		return
	}
	s, err := link.Accept(ctx)
	if err != nil {
		return
	}
	m, err := wire.Expect[wire.Enrol](s)
	if err != nil {
		return
	}
	answer, err := b.Enrol(ctx, "test", m)
	if err != nil {
		b.t.Error(err)
		return
	}
	if err := wire.Send(s, answer); err != nil {
		b.t.Error(err)
	}
	<-conn.Context().Done()
}

// machine is a connected agent that a test plays.
func (b *base) machine() (wire.EnvoyID, wire.Link) {
	b.t.Helper()
	token, _, err := b.MakeToken(b.t.Context(), Order{Name: "web1", TTL: time.Minute})
	if err != nil {
		b.t.Fatal(err)
	}
	key, err := certs.NewKey()
	if err != nil {
		b.t.Fatal(err)
	}
	csr, err := certs.NewRequest(key)
	if err != nil {
		b.t.Fatal(err)
	}
	answer, err := b.Enrol(b.t.Context(), "test", &wire.Enrol{Secret: token.Secret[:], CSR: csr, Facts: wire.Facts{Hostname: "web1"}})
	if err != nil {
		b.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(answer.Chain[0])
	if err != nil {
		b.t.Fatal(err)
	}
	pin := b.ca.Pin()
	conf := certs.Client{ALPN: wire.ALPNAgent, Pin: &pin, Cert: &tls.Certificate{Certificate: answer.Chain, PrivateKey: key, Leaf: leaf}, Now: time.Now}.TLS()
	link, err := wire.Dialer{TLS: conf}.Dial(b.t.Context(), b.addr)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = link.Close(wire.None, "") })
	s, err := link.Open(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	control := wire.NewFramed(s)
	err = errors.Join(s.SetReadDeadline(time.Now().Add(patience)), control.Send(&wire.Hello{Boot: "boot", Time: wire.Millis(time.Now()), Facts: wire.Facts{Hostname: "web1"}}))
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := wire.Expect[wire.Welcome](control); err != nil {
		b.t.Fatal(err)
	}
	return answer.Envoy, link
}

// opens plays one session: the machine does f with the stream behind Open.
func (b *base) opens(id wire.EnvoyID, link wire.Link, open *wire.Open, f func(wire.Stream)) (*Tunnel, error) {
	b.t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s, err := link.Accept(b.t.Context())
		if err == nil {
			_, err = wire.Expect[wire.Open](s)
		}
		if err != nil {
			b.t.Error(err)
			return
		}
		f(s)
	}()
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	tunnel, err := b.Open(ctx, id, open, nil)
	select {
	case <-done:
	case <-ctx.Done():
		b.t.Fatal("the machine still does something")
	}
	return tunnel, err
}

// free is a port of loopback at which nobody listens.
func free(t *testing.T) uint16 {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).AddrPort().Port()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return port
}
