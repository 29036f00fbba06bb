package relay

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"scrier/certs"
	"scrier/wire"
)

// patience is how long a test waits for something to become true; it measures nothing.
const patience = 20 * time.Second

// start runs a relay with throw-away state until the test ends.
func start(t *testing.T, edit ...func(*Settings)) *Relay {
	t.Helper()
	r := loaded(t, edit...)
	run(t, r)
	return r
}

// loaded is a relay that does not run yet: the test may still change its parts.
func loaded(t *testing.T, edit ...func(*Settings)) *Relay {
	t.Helper()
	s := Settings{StateDir: t.TempDir(), Config: DefaultConfig(), Now: time.Now, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	s.Config.Listen = "127.0.0.1:0"
	for _, e := range edit {
		e(&s)
	}
	r, err := Open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// run has a relay run until the test ends.
func run(t *testing.T, r *Relay) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("the relay ended with %v", err)
			}
		case <-time.After(patience):
			t.Error("the relay does not end")
		}
	})
}

func (r *Relay) trusting(alpn string, cert *tls.Certificate) certs.Client {
	pin := r.ca.Pin()
	return certs.Client{ALPN: alpn, Pin: &pin, Cert: cert, Now: time.Now}
}

// An accept loop that waits for one connection's handshake lets one bad client wedge the relay:
// clients that send the first packet and then nothing must hold up nobody.
func TestAcceptLoopWaitsForNobody(t *testing.T) {
	r := start(t)
	const clients = 12 // of one network; of more, proof of their address would be wanted
	for range clients {
		silent(t, r, r.trusting(wire.ALPNClient, nil))
	}
	// The slots show that the relay has taken all of them and waits for each.
	waitFor(t, "the silent clients' handshakes to begin", func() bool { return r.listener.handshakes.count() >= clients })

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	link, err := dialQUIC(ctx, r.Addr(), r.trusting(wire.ALPNClient, nil).TLS())
	if err != nil {
		t.Fatalf("an honest client behind %d silent ones: %v", clients, err)
	}
	defer link.Close(wire.None, "")
	s, err := link.Open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Reset(wire.None)
	if err := wire.Send(s, &wire.Login{}); err != nil {
		t.Fatal(err)
	}
	if _, err := wire.Expect[wire.Challenge](s); wire.CodeOf(err) != wire.BadRequest {
		t.Fatalf("an honest client behind %d silent ones: %v", clients, err)
	}
	// It was served beside them and not after they had timed out.
	if n := r.listener.handshakes.count(); n < clients {
		t.Errorf("%d of %d silent clients are left: the honest one had to wait", n, clients)
	}
}

// The same for TCP: a client that connects and says nothing does not keep others out.
func TestTCPServesWhileOthersAreSilent(t *testing.T) {
	r := start(t)
	for range 20 {
		conn, err := net.Dial("tcp", r.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	pool := trust(t, r)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}, Timeout: patience}
	defer client.CloseIdleConnections()
	resp, err := client.Get("https://" + r.Addr() + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.TLS.Version != tls.VersionTLS13 {
		t.Errorf("status %s, TLS %x", resp.Status, resp.TLS.Version)
	}
}

func TestNoTicketsNo0RTT(t *testing.T) {
	r := start(t)
	for _, alpn := range []string{wire.ALPNAgent, wire.ALPNClient} {
		conf, err := r.tls.QUIC().GetConfigForClient(&tls.ClientHelloInfo{SupportedProtos: []string{alpn}})
		if err != nil {
			t.Fatal(err)
		}
		if !conf.SessionTicketsDisabled || conf.MinVersion != tls.VersionTLS13 {
			t.Errorf("%s: tickets or an old TLS version", alpn)
		}
	}
	// The second connection of a client that would resume must not be resumed.
	cache := tls.NewLRUClientSessionCache(4)
	for range 2 {
		conf := r.trusting(wire.ALPNClient, nil).TLS()
		conf.SessionTicketsDisabled, conf.ClientSessionCache = false, cache
		verify, verified := conf.VerifyConnection, false
		conf.VerifyConnection = func(cs tls.ConnectionState) error {
			verified = true
			if cs.DidResume {
				t.Error("the connection was resumed")
			}
			return verify(cs)
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		link, err := dialQUIC(ctx, r.Addr(), conf)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		if !verified {
			t.Error("VerifyConnection was not called")
		}
		if err := link.Close(wire.None, ""); err != nil {
			t.Error(err)
		}
	}
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited for %s in vain", what)
		}
	}
}
