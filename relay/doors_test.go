package relay

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"scrier/relay/access"
	"scrier/relay/kind"
	"scrier/relay/session"
	"scrier/wire"
)

// stalling answers a Retry and nothing else, so its handshakes are begun and never ended, from an
// address that is proven.
type stalling struct{ net.PacketConn }

func (s stalling) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		n, a, err := s.PacketConn.ReadFrom(p)
		if err != nil || n > 0 && p[0]&0xf0 == 0xf0 { // a long header of type Retry (RFC 9000, 17.2.5)
			return n, a, err
		}
	}
}

// Two addresses that begin handshakes and finish none keep out nobody.
func TestStalledHandshakesKeepNobodyOut(t *testing.T) {
	r := start(t)
	addr, err := net.ResolveUDPAddr("udp", r.Addr())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	conf := r.trusting(wire.ALPNClient, nil).TLS()
	for i := range maxHandshakes {
		wg.Go(func() {
			socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, byte(2+i%2))})
			if err != nil {
				t.Error(err)
				return
			}
			defer socket.Close()
			transport := &quic.Transport{Conn: stalling{socket}}
			defer transport.Close()
			for ctx.Err() == nil {
				if conn, err := transport.Dial(ctx, addr, conf, wire.QUICConfig(1)); err == nil {
					_ = conn.CloseWithError(0, "") // Retry was not asked for
				}
				again, stop := context.WithTimeout(ctx, 20*time.Millisecond)
				<-again.Done()
				stop()
			}
		})
	}
	waitFor(t, "the two to have what they can", func() bool {
		return r.listener.handshakes.count() >= 2*(maxHandshakes/handshakePart)
	})
	for range 20 {
		link, err := tryDial(t, r, wire.ALPNClient, nil)
		if err != nil {
			t.Fatalf("an honest client beside them: %v", err)
		}
		_ = link.Close(wire.None, "")
	}
}

// forging cannot read what is sent to it, as somebody who lies about their address cannot. It notes a Retry.
type forging struct {
	net.PacketConn
	retried *atomic.Int64
}

func (f forging) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		n, a, err := f.PacketConn.ReadFrom(p)
		if err != nil {
			return n, a, err
		}
		if n > 0 && p[0]&0xf0 == 0xf0 {
			f.retried.Add(1)
		}
	}
}

// H37: packets with a forged sender do not use up what the sender's network may have: soon it has to be
// proved who comes from there, and who does gets in.
func TestForgedSendersKeepNobodyOut(t *testing.T) {
	r := start(t)
	addr, err := net.ResolveUDPAddr("udp", r.Addr())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	var retried atomic.Int64
	conf := r.trusting(wire.ALPNClient, nil).TLS()
	dial := func(by func(net.PacketConn) net.PacketConn) error {
		socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 3)})
		if err != nil {
			t.Error(err)
			return nil
		}
		defer socket.Close()
		transport := &quic.Transport{Conn: by(socket)}
		defer transport.Close()
		conn, err := transport.Dial(ctx, addr, conf, wire.QUICConfig(1))
		if err == nil {
			err = conn.CloseWithError(0, "")
		}
		return err
	}
	for range maxHandshakes / handshakePart {
		wg.Go(func() {
			for ctx.Err() == nil {
				_ = dial(func(c net.PacketConn) net.PacketConn { return forging{c, &retried} })
			}
		})
	}
	waitFor(t, "somebody to have to prove their address", func() bool { return retried.Load() > 0 })
	if n, most := r.listener.handshakes.count(), maxHandshakes/handshakePart; n >= most {
		t.Errorf("%d of %d places were taken by nobody", n, most)
	}
	if err := dial(func(c net.PacketConn) net.PacketConn { return c }); err != nil {
		t.Errorf("who is there did not get in: %v", err)
	}
}

// Who has logged in, or is a machine, has so many links and no more.
func TestLinksOfOneIdentityAreBounded(t *testing.T) {
	r := start(t)
	for _, c := range []*crowd{&r.operatorLinks, &r.envoyLinks} {
		c.mu.Lock()
		c.each = 3
		c.mu.Unlock()
	}
	ann, bob := newPerson(t, r, "ann", access.Viewer), newPerson(t, r, "bob", access.Viewer)
	certs := map[*person]*tls.Certificate{}
	for _, p := range []*person{ann, bob} {
		cert, err := p.login(attempt{})
		if err != nil {
			t.Fatal(err)
		}
		certs[p] = cert
	}
	var links []wire.Link
	for range 3 {
		links = append(links, dial(t, r, wire.ALPNClient, certs[ann]))
	}
	waitFor(t, "the links to be counted", func() bool { return r.operatorLinks.taken() == 3 })
	if code := ended(t, dial(t, r, wire.ALPNClient, certs[ann])); code != wire.Busy {
		t.Errorf("a fourth link ended with %s", code)
	}
	other := dial(t, r, wire.ALPNClient, certs[bob])
	waitFor(t, "another operator's link", func() bool { return r.operatorLinks.taken() == 4 })
	if other.Err() != nil {
		t.Error(other.Err())
	}
	_ = links[0].Close(wire.None, "")
	waitFor(t, "the place to come back", func() bool { return r.operatorLinks.taken() == 3 })

	m := enrolled(t, r, "web1")
	for range 3 {
		dial(t, r, wire.ALPNAgent, m.cert)
	}
	waitFor(t, "the machine's links to be counted", func() bool { return r.envoyLinks.taken() == 3 })
	if code := ended(t, dial(t, r, wire.ALPNAgent, m.cert)); code != wire.Busy {
		t.Errorf("a machine's fourth link ended with %s", code)
	}
}

// A viewer, who may change nothing of others, cannot fill the audit log either: by no call, and by no
// stream.
func TestOperatorCannotFillTheLog(t *testing.T) {
	at := time.Now()
	r := start(t, func(s *Settings) { s.Now = func() time.Time { return at } })
	for _, c := range []struct {
		name, method, path string
		most               uint64
	}{
		{"vic", "POST", "/api/v1/self/links", 10}, {"val", "DELETE", "/api/v1/self/signins", 10}, {"van", "POST", "/api/v1/scrier/connect", 100},
	} {
		p := newPerson(t, r, c.name, access.Viewer)
		who := access.Operator{ID: p.user.ID, Username: c.name, Role: access.Viewer}
		before, refused := r.audit.Size(), 0
		for range 300 {
			if status, _ := asks(t, r, who, c.method, c.path, ""); status == http.StatusTooManyRequests {
				refused++
			}
		}
		if n := r.audit.Size() - before; n > c.most || refused == 0 {
			t.Errorf("%s %s wrote %d records, at most %d should be; %d were refused", c.method, c.path, n, c.most, refused)
		}
	}
	p := newPerson(t, r, "ann", access.Admin)
	var err error
	for n := 0; n < 300 && err == nil; n++ {
		_, err = p.login(attempt{})
	}
	if wire.CodeOf(err) != wire.Busy {
		t.Errorf("one login too many: %v", err)
	}
}

// Whoever has stolen a sign-in, or came by a link, keeps the operator from nothing by asking all the time.
func TestTheftKeepsNobodyOut(t *testing.T) {
	at := time.Now()
	r := start(t, func(s *Settings) { s.Now = func() time.Time { return at } })
	p := newPerson(t, r, "ann", access.Admin)
	who := access.Operator{ID: p.user.ID, Username: "ann", Role: access.Admin}
	mallory := admin(t, r, "mallory")
	own := arrive(t, r, linkOf(t, r, who, "/api/v1/self/links", "")).Operator
	link := linkOf(t, r, who, "/api/v1/self/links", "")
	for name, thief := range map[string]access.Operator{
		"a sign-in": arrive(t, r, linkOf(t, r, who, "/api/v1/self/links", "")).Operator,
		"a link":    arrive(t, r, linkOf(t, r, mallory, "/api/v1/users/ann/links", "")).Operator,
		"a login":   who,
	} {
		got := ""
		for n := 0; n < 300 && got != "busy"; n++ {
			got = problem(asksWith(t, r, thief, "DELETE", "/api/v1/self/signins/0123", "", ""))
		}
		if got != "busy" {
			t.Errorf("%s: %s", name, got)
		}
	}
	if got := problem(asksWith(t, r, own, "DELETE", "/api/v1/self/signins/0123", "", "")); got != "not_found" {
		t.Errorf("another sign-in: %s", got)
	}
	if _, err := p.login(attempt{}); err != nil {
		t.Errorf("a login: %v", err)
	}
	arrive(t, r, link)
	if got := problem(asks(t, r, own, "POST", "/api/v1/users/ann/revoke", "")); got != "200" {
		t.Errorf("the end of it: %s", got)
	}
}

// mistaken is a kind of session with a mistake in it.
type mistaken struct{ kind.Kind }

func (mistaken) Open(context.Context, *session.Channel, *session.Request) (session.Shown, error) {
	var none *session.Channel
	return session.Shown{Login: none.Envoy().String()}, nil
}

// A mistake of ours ends what it happened in, with a code, and gives its slot back.
func TestAPanicEndsOneRequest(t *testing.T) {
	r := start(t, func(s *Settings) { s.Config.Scrier.MaxSessions = 1 })
	right := r.kind[wire.KindSSH]
	r.kind[wire.KindVNC] = mistaken{right}
	servedBy(t, r, echo)
	ann := newPerson(t, r, "ann", access.Admin)
	for range 3 { // there is one slot
		if _, _, err := native(t, ann, &wire.Connect{Envoy: "web1", Kind: wire.KindVNC}); wire.CodeOf(err) != wire.Internal {
			t.Fatalf("a stream's panic became %v", err)
		}
	}
	who := access.Operator{ID: ann.user.ID, Username: "ann", Role: access.Admin, Epoch: 1}
	if status, out := asks(t, r, who, "POST", "/api/v1/scrier/connect", `{"envoy_id":"web1","protocol":"vnc","port":22}`); status != http.StatusInternalServerError {
		t.Errorf("a call's panic became %d %s", status, out)
	}
	if n := r.panics.Count(); n != 4 {
		t.Errorf("%d panics are counted", n)
	}
	settled(t, r)
	v, err := ann.connect("web1")
	if err != nil {
		t.Fatalf("the next session: %v", err)
	}
	_ = v
}

// A CLI that asks and does not read, whatever its windows say, is not waited for.
func TestWhoDoesNotReadIsNotWaitedFor(t *testing.T) {
	r := start(t)
	before := runtime.NumGoroutine()
	addr, err := net.ResolveUDPAddr("udp", r.Addr())
	if err != nil {
		t.Fatal(err)
	}
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	transport := &quic.Transport{Conn: socket}
	defer transport.Close()
	conf := wire.QUICConfig(1)
	conf.InitialStreamReceiveWindow, conf.MaxStreamReceiveWindow = 1, 1
	conn, err := transport.Dial(t.Context(), addr, r.trusting(wire.ALPNClient, nil).TLS(), conf)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseWithError(0, "")
	var reset atomic.Int32
	for range anonymousStreams {
		s, err := conn.OpenStreamSync(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := wire.Send(s, &wire.Login{}); err != nil {
			t.Fatal(err)
		}
		context.AfterFunc(s.Context(), func() { reset.Add(1) })
	}
	waitFor(t, "the streams to be given up", func() bool { return reset.Load() == anonymousStreams })
	_ = conn.CloseWithError(0, "")
	waitFor(t, "all of it to be gone", func() bool { return runtime.NumGoroutine() <= before+20 })
}
