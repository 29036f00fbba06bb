package relay

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"scrier/certs"
	"scrier/wire"
	"scrier/wire/wiretest"
)

// silentTCP begins connections over TCP from an address all the time, and says nothing on them, until the test ends.
func silentTCP(t *testing.T, addr string, from ...net.IP) {
	t.Helper()
	done := make(chan struct{})
	var wg sync.WaitGroup
	t.Cleanup(func() {
		close(done)
		wg.Wait()
	})
	for i := range maxHandshakes {
		wg.Go(func() {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: from[i%len(from)]}}
			for {
				conn, err := d.Dial("tcp", addr)
				if err == nil {
					go func() {
						<-done
						_ = conn.Close()
					}()
					_, _ = conn.Read(make([]byte, 1)) // until the relay ends it
					_ = conn.Close()
				}
				select {
				case <-done:
					return
				case <-time.After(20 * time.Millisecond):
				}
			}
		})
	}
}

// healthz asks a relay whether it is well, from an address, on a connection of its own.
func healthz(t *testing.T, addr string, from net.IP, conf *tls.Config) error {
	t.Helper()
	client := &http.Client{Timeout: patience, Transport: &http.Transport{
		TLSClientConfig: conf, DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: from}}).DialContext,
	}}
	defer client.CloseIdleConnections()
	resp, err := client.Get("https://" + addr + "/healthz")
	if err == nil {
		err = resp.Body.Close()
	}
	return err
}

// Two addresses that connect over TCP and say nothing keep nobody out, neither over TCP nor over QUIC.
func TestSilentTCPKeepsNobodyOut(t *testing.T) {
	r := start(t)
	silentTCP(t, r.Addr(), net.IPv4(127, 0, 0, 2), net.IPv4(127, 0, 0, 3))
	waitFor(t, "the two to have what they can", func() bool {
		return r.listener.handshakes.count() >= 2*(maxHandshakes/handshakePart)
	})
	conf := &tls.Config{RootCAs: trust(t, r)}
	for range 20 {
		if err := healthz(t, r.Addr(), net.IPv4(127, 0, 0, 1), conf.Clone()); err != nil {
			t.Fatalf("an honest browser beside them: %v", err)
		}
	}
	link, err := tryDial(t, r, wire.ALPNClient, nil)
	if err != nil {
		t.Fatalf("an honest client over QUIC: %v", err)
	}
	_ = link.Close(wire.None, "")
}

// A handshake takes no more bytes than an honest one has.
func TestLongHello(t *testing.T) {
	r := start(t)
	ours, theirs := net.Pipe() // which keeps nothing: what was written was read
	defer ours.Close()
	done := make(chan bool, 1)
	go func() {
		_, _, ok := r.listener.greet(t.Context(), addressed{theirs}, r.tls.TCP())
		done <- ok
	}()
	sent := 0
	record := append([]byte{22, 3, 1, 0x10, 0}, make([]byte, 0x1000)...) // one record of many of the same message
	copy(record[5:], []byte{1, 0, 0xff, 0xff})                           // a ClientHello of 64 KiB
	for n, err := 0, error(nil); err == nil; sent += n {
		if n, err = ours.Write(record); sent > 2*helloBytes {
			break
		}
		record = append([]byte{22, 3, 1, 0x10, 0}, make([]byte, 0x1000)...)
	}
	if sent > helloBytes+len(record) {
		t.Errorf("%d bytes were taken", sent)
		_ = ours.Close()
	}
	if <-done {
		t.Error("the handshake succeeded")
	}
}

// addressed is a connection from an address of its own.
type addressed struct{ net.Conn }

func (addressed) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1} }

// links are those that a relay accepts over TCP and does nothing with.
func tcpLinks(t *testing.T, r *Relay) <-chan arrived {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	links, done := make(chan arrived), make(chan struct{})
	go func() {
		defer close(done)
		if err := r.listener.acceptTCP(ctx, r.tls.TCP(), func(a arrived) {
			select {
			case links <- a:
				<-ctx.Done()
			case <-ctx.Done():
			}
			_ = a.link.Close(wire.None, "")
		}, r.serveLane); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return links
}

// opens wants that a peer may open so many streams at once, and no more.
func opens(t *testing.T, who string, link wire.Link, want int) {
	t.Helper()
	open := func(within time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		s, err := link.Open(ctx)
		if err == nil {
			_, err = s.Write([]byte{1})
		}
		return err
	}
	for n := range want {
		if err := open(patience); err != nil {
			t.Fatalf("%s opens %d streams, not %d: %v", who, n, want, err)
		}
	}
	if open(300*time.Millisecond) == nil {
		t.Errorf("%s opens more than %d streams", who, want)
	}
}

// A stranger may have 16 streams over TCP, as over QUIC, until somebody of the network has shown who they are; who
// shows a certificate has 64.
func TestStreamsOverTCP(t *testing.T) {
	r := loaded(t)
	links := tcpLinks(t, r)
	arrives := func(cert *tls.Certificate, alpn string) (wire.Link, arrived) {
		t.Helper()
		link := make(chan wire.Link, 1)
		go func() {
			defer close(link)
			l, err := dialTCP(t.Context(), r.Addr(), r.trusting(alpn, cert).TLS())
			if err != nil {
				t.Error(err)
				return
			}
			link <- l
		}()
		a := <-links
		near := <-link
		if near == nil {
			t.FailNow()
		}
		t.Cleanup(func() { _ = near.Close(wire.None, "") })
		return near, a
	}
	stranger, _ := arrives(nil, wire.ALPNClient)
	opens(t, "a stranger", stranger, strangerStreams)
	key, err := certs.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	chain, err := r.ca.Issue(certs.Identity{Role: certs.RoleAgent, ID: "id", Generation: 1}, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	agent, a := arrives(&tls.Certificate{Certificate: chain, PrivateKey: key}, wire.ALPNAgent)
	opens(t, "an agent", agent, peerStreams)
	if p := a.link.Peer(); p.Road != wire.TCP || len(p.Certificates) != 1 || p.Addr.String() != a.addr.String() {
		t.Errorf("it is %+v", p)
	}
	a.acquaint("id")
	other, _ := arrives(nil, wire.ALPNClient)
	opens(t, "a stranger beside somebody who is known", other, peerStreams)
}

// A stranger that sends all it can is read slowly, and holds up no machine of its network.
func TestStrangersOverTCPAreHeldBack(t *testing.T) {
	r := loaded(t)
	r.listener.bytes = newRates(1, 64<<10) // a byte a second
	run(t, r)
	m := enrolled(t, r, "web1")
	stranger, err := dialTCP(t.Context(), r.Addr(), r.trusting(wire.ALPNClient, nil).TLS())
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close(wire.None, "")
	s, err := stranger.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		// A frame of the largest size, of a type that may be ignored: 16 small ones, and the relay resets the stream.
		frame := append([]byte{0x40, 0x7f, 0x80, 0x00, 0xff, 0xff}, make([]byte, 0xffff)...)
		for {
			if _, err := s.Write(frame); err != nil {
				return
			}
		}
	}()
	defer func() { <-done }()
	defer s.Reset(wire.None)
	waitFor(t, "it to have sent what it may", func() bool { return r.listener.bytes.of(r.Addr()).Tokens() < 0 })
	link, err := dialTCP(t.Context(), r.Addr(), r.trusting(wire.ALPNAgent, m.cert).TLS())
	if err != nil {
		t.Fatalf("a machine beside it: %v", err)
	}
	defer link.Close(wire.None, "")
	control, err := link.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := control.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	f := wire.NewFramed(control)
	if err := f.Send(&wire.Hello{Boot: "boot", Time: wire.Millis(r.Now()), Facts: wire.Facts{Hostname: "host"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := wire.Expect[wire.Welcome](f); err != nil {
		t.Errorf("a machine beside it: %v", err)
	}
}

// Machines that come back at the same time are not kept out by each other over TCP either; strangers are.
func TestAFleetComesBackOverTCP(t *testing.T) {
	r := start(t)
	var fleet []*machine
	for i := range 5 {
		fleet = append(fleet, enrolled(t, r, fmt.Sprintf("web%d", i)))
	}
	arrivals := r.listener.handshakes.arrivals.of("127.0.0.1")
	arrivals.SetLimit(1e-6)
	arrivals.SetBurst(2)
	for _, m := range fleet {
		link, err := dialTCP(t.Context(), r.Addr(), r.trusting(wire.ALPNAgent, m.cert).TLS())
		if err != nil {
			t.Fatal(err)
		}
		defer link.Close(wire.None, "")
		waitFor(t, "the relay to know it", func() bool { return arrivals.Tokens() > 1.9 })
	}
	for range 2 {
		link, err := dialTCP(t.Context(), r.Addr(), r.trusting(wire.ALPNClient, nil).TLS())
		if err != nil {
			t.Fatal(err)
		}
		defer link.Close(wire.None, "")
	}
	if link, err := dialTCP(t.Context(), r.Addr(), r.trusting(wire.ALPNClient, nil).TLS()); err == nil {
		_ = link.Close(wire.None, "")
		t.Error("a third stranger at once got in")
	}
}

// A lane whose stream is not said yet holds no relay up that is to stop.
func TestSilentLaneEndsWithTheRelay(t *testing.T) {
	r := loaded(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	m := enrolled(t, r, "web1")
	conn, err := tls.Dial("tcp", r.Addr(), r.trusting(wire.ALPNLane, m.cert).TLS())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	time.Sleep(100 * time.Millisecond) // the relay waits for the token
	began := time.Now()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("it stopped after %s", took)
	}
}

// Who shows a certificate, be it one that counts no more, and does not say for which stream it comes has few connections.
func TestLanesThatSayNothing(t *testing.T) {
	r := loaded(t)
	tcpLinks(t, r)
	r.newLanes.each = 3
	key, err := certs.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	chain, err := r.ca.Issue(certs.Identity{Role: certs.RoleAgent, ID: "id", Generation: 1}, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	dial := func() *tls.Conn {
		t.Helper()
		conn, err := tls.Dial("tcp", r.Addr(), r.trusting(wire.ALPNLane, &tls.Certificate{Certificate: chain, PrivateKey: key}).TLS())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	for range 3 {
		dial()
	}
	waitFor(t, "them to be counted", func() bool { return r.newLanes.taken() == 3 })
	more := dial()
	if err := more.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := more.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("one more: %v", err)
	}
}

// Who brings a lane to its stream has shown an identity, as who brings a link: it does not count against its network.
func TestLanesDoNotCountAsArrivals(t *testing.T) {
	r := loaded(t)
	r.listener.handshakes.arrivals = newRates(1e-9, 100)
	tcpLinks(t, r)
	key, err := certs.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	chain, err := r.ca.Issue(certs.Identity{Role: certs.RoleAgent, ID: "id", Generation: 1}, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		t.Fatal(err)
	}
	link, _ := wiretest.Pair(wire.Peer{Certificates: []*x509.Certificate{leaf}}, wire.Peer{})
	defer link.Close(wire.None, "")
	a, b := wiretest.Streams()
	near, far := wire.NewLaned(a, 0, nil), wire.NewLaned(b, 0, nil)
	defer near.Reset(wire.None)
	defer far.Reset(wire.None)
	token := make([]byte, wire.LaneToken)
	r.lanes.Offer(link, token, far)
	left := func() float64 { return fewest(r.listener.handshakes.arrivals.all("127.0.0.1:1"), time.Now()) }
	conf := r.trusting(wire.ALPNLane, &tls.Certificate{Certificate: chain, PrivateKey: key}).TLS()
	for _, want := range []float64{100, 99} { // a token that was used is worth nothing
		_ = wire.DialLane(t.Context(), conf, r.Addr(), r.Addr(), token, near)
		waitFor(t, "the lane to be served", func() bool {
			return r.listener.handshakes.count() == 0 && r.newLanes.taken() == 0 && math.Round(left()) == want
		})
	}
}
