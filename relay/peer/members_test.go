package peer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"scrier/certs"
	"scrier/relay/fleet"
	"scrier/relay/panics"
	"scrier/relay/store"
	"scrier/wire"
	"scrier/wire/wiretest"
)

// members are relays of one CA, each of which serves its port for the others.
type members struct {
	t  *testing.T
	ca *certs.CA

	mu      sync.Mutex
	removed map[string]bool
	addr    map[string]string
}

func newMembers(t *testing.T) *members {
	t.Helper()
	ca, err := certs.LoadOrMakeCA(t.TempDir(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return &members{t: t, ca: ca, removed: map[string]bool{}, addr: map[string]string{}}
}

func (m *members) admit(name string, _ certs.Pin) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.removed[name] {
		return wire.Errorf(wire.Revoked, "%s is no member any more", name)
	}
	return nil
}

// pair saves a certificate of somebody's.
func (m *members) pair(issue func(pub any) ([][]byte, error)) certs.Member {
	m.t.Helper()
	key, err := certs.NewKey()
	if err != nil {
		m.t.Fatal(err)
	}
	chain, err := issue(key.Public())
	if err != nil {
		m.t.Fatal(err)
	}
	path := filepath.Join(m.t.TempDir(), "pair.pem")
	if err := certs.SavePair(path, key, chain); err != nil {
		m.t.Fatal(err)
	}
	root, err := x509.ParseCertificate(m.ca.Certificate())
	if err != nil {
		m.t.Fatal(err)
	}
	return certs.Member{Pair: path, CA: root, Now: time.Now, Admit: m.admit}
}

func (m *members) member(name string) certs.Member {
	return m.pair(func(pub any) ([][]byte, error) { return m.ca.IssueMember(name, pub, "127.0.0.1") })
}

// relay serves a member's port until the test ends.
func (m *members) relay(name string, here Here) *Peers {
	m.t.Helper()
	me := m.member(name)
	log := slog.New(slog.NewTextHandler(m.t.Output(), nil))
	p := New(Config{Here: here, Panics: &panics.Boundary{Log: log}, Log: log, Dial: func(ctx context.Context, to string) (wire.Link, error) {
		m.mu.Lock()
		addr := m.addr[to]
		m.mu.Unlock()
		return wire.Dialer{TLS: me.Peer(to), Transport: wire.OnlyTCP}.Dial(ctx, addr)
	}})
	conf := (&certs.Server{CA: m.ca, Name: "relay", Members: &me}).TCP()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		m.t.Fatal(err)
	}
	m.mu.Lock()
	m.addr[name] = l.Addr().String()
	m.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			raw, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				conn := tls.Server(raw, conf)
				if conn.HandshakeContext(ctx) != nil || conn.ConnectionState().NegotiatedProtocol != wire.ALPNPeer {
					_ = raw.Close()
					return
				}
				link := wire.TCPLink(conn, wire.TCPConfig{Server: true, MaxStreams: 64, Known: true})
				err := p.Serve(ctx, link, certs.MemberName(link.Peer().Certificates[0]))
				_ = link.Close(wire.CodeOf(err), "")
			})
		}
	})
	m.t.Cleanup(func() {
		cancel()
		if err := errors.Join(p.Close(), l.Close()); err != nil {
			m.t.Error(err)
		}
		serving.Wait()
	})
	return p
}

// Links between relays are those of members: each side has shown that it is the one it is taken for, and who is removed has none.
func TestMembers(t *testing.T) {
	m := newMembers(t)
	agent, _ := wiretest.Pair(wire.Peer{}, wire.Peer{})
	defer agent.Close(wire.None, "")
	a, b := m.relay("a", &machines{}), m.relay("b", &machines{open: echo(agent)})
	tunnel, err := a.Open(t.Context(), holder, &wire.Open{Timeout: 5000}, []byte("hello"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(tunnel, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}

	m.addr["c"] = m.addr["b"]
	if _, err := a.Open(t.Context(), store.Holder{Relay: "c"}, &wire.Open{}, nil); wire.CodeOf(err) != wire.RelayUnreachable {
		t.Errorf("b answers for c: %v", err)
	}
	for what, who := range map[string]*tls.Config{
		"an agent": m.pair(func(pub any) ([][]byte, error) {
			return m.ca.Issue(certs.Identity{Role: certs.RoleAgent, ID: "x"}, pub)
		}).Peer("b"),
		"an operator": m.pair(func(pub any) ([][]byte, error) {
			return m.ca.Issue(certs.Identity{Role: certs.RoleOperator, ID: "x"}, pub)
		}).Peer("b"),
		"nobody": func() *tls.Config {
			c := m.member("x").Peer("b")
			c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &tls.Certificate{}, nil }
			return c
		}(),
	} {
		link, err := wire.Dialer{TLS: who, Transport: wire.OnlyTCP}.Dial(t.Context(), m.addr["b"])
		if err != nil {
			continue
		}
		if s, err := link.Open(t.Context()); err == nil { // over TLS 1.3 the server looks at the certificate last
			if err = wire.Send(s, &wire.PeerAsk{}); err == nil {
				_, err = wire.Receive(s)
			}
			if err == nil {
				t.Errorf("%s was answered", what)
			}
		}
		_ = link.Close(wire.None, "")
	}

	m.mu.Lock()
	m.removed["a"] = true
	m.mu.Unlock()
	b.Keep(func(name string, link wire.Link) bool {
		return m.admit(name, certs.PinOf(link.Peer().Certificates[0])) == nil
	})
	if _, err := tunnel.Read(make([]byte, 1)); wire.CodeOf(tunnel.Why(err)) != wire.AgentLost {
		t.Errorf("a removed relay's session: %v", err)
	}
	if _, err := a.Open(t.Context(), holder, &wire.Open{}, nil); err == nil {
		t.Error("a removed relay opened a session")
	}
}

// A session whose viewer does not read holds up no other one, however many there are: they share links, and a link has one window.
func TestNobodyWaitsForAnother(t *testing.T) {
	m := newMembers(t)
	agent, _ := wiretest.Pair(wire.Peer{}, wire.Peer{})
	defer agent.Close(wire.None, "")
	live := wire.NewSessionID()
	var flooding sync.WaitGroup
	defer flooding.Wait()
	answers := echo(agent)
	m.relay("b", &machines{open: func(ctx context.Context, id wire.EnvoyID, open *wire.Open, early []byte) (*fleet.Tunnel, error) {
		if open.Session == live {
			return answers(ctx, id, open, early)
		}
		near, far := wiretest.Streams()
		flooding.Go(func() {
			for buf := make([]byte, 64<<10); ; {
				if _, err := far.Write(buf); err != nil {
					return
				}
			}
		})
		return fleet.NewTunnel(near, &wire.Opened{}, agent), nil
	}})
	a := m.relay("a", &machines{})
	for range 2 * linkStreams {
		stalled, err := a.Open(t.Context(), holder, &wire.Open{Timeout: 5000}, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer stalled.Reset(wire.None)
	}
	time.Sleep(time.Second) // until their windows are full
	for range 2 {
		tunnel, err := a.Open(t.Context(), holder, &wire.Open{Session: live, Timeout: 5000}, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer tunnel.Reset(wire.None)
		if err := tunnel.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if _, err := tunnel.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(tunnel, make([]byte, 1)); err != nil {
			t.Fatalf("behind those that nobody reads: %v", err)
		}
	}
}
