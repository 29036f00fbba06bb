package relay

import (
	"bytes"
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go"

	"scrier/relay/access"
	"scrier/wire"
	"scrier/wire/wiretest"
)

// pinged sends a Ping on a stream of its own.
func pinged(t *testing.T, link wire.Link, m *wire.Ping) (*wire.Framed, wire.Message) {
	t.Helper()
	s, err := link.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	f := wire.NewFramed(s)
	if err := f.Send(m); err != nil {
		t.Fatal(err)
	}
	answer, err := f.Receive()
	if err != nil {
		t.Fatal(err)
	}
	return f, answer
}

// A program may ask whether its link lives, with as large a packet as it likes, as often as it likes, and nothing else there.
func TestPulse(t *testing.T) {
	r := start(t)
	p := newPerson(t, r, "alice", access.Viewer)
	cert, err := p.login(attempt{})
	if err != nil {
		t.Fatal(err)
	}
	link := dial(t, r, wire.ALPNClient, cert)
	f, m := pinged(t, link, &wire.Ping{N: 1, Pad: bytes.Repeat([]byte("x"), 100)})
	for n, size := range []int{100, 0, wire.MaxPad, wire.MaxPad} {
		pong, ok := m.(*wire.Pong)
		if !ok || pong.N != uint64(n)+1 || len(pong.Pad) != size || bytes.Contains(pong.Pad, []byte("x")) {
			t.Fatalf("the answer is %T of %d bytes", m, size)
		}
		if err := f.Send(&wire.Ping{N: uint64(n) + 2, Pad: make([]byte, []int{0, 1600, 5000, 1}[n])}); err != nil {
			t.Fatal(err)
		}
		if m, err = f.Receive(); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Send(&wire.EOF{}); err != nil {
		t.Fatal(err)
	}
	if m, err := f.Receive(); err != nil || m.(*wire.Refused).Code != wire.Protocol {
		t.Errorf("%+v, %v", m, err)
	}
	if link.Err() != nil {
		t.Error(link.Err())
	}
	if _, m := pinged(t, dial(t, r, wire.ALPNClient, nil), &wire.Ping{N: 1}); m.(*wire.Refused).Code != wire.Unauthenticated {
		t.Errorf("without a login: %+v", m)
	}
}

// A program that is gone with its socket is noticed long before its link is over by itself.
func TestPulseOfTheDead(t *testing.T) {
	r := start(t)
	p := newPerson(t, r, "alice", access.Viewer)
	cert, err := p.login(attempt{})
	if err != nil {
		t.Fatal(err)
	}
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	addr, err := net.ResolveUDPAddr("udp", r.Addr())
	if err != nil {
		t.Fatal(err)
	}
	transport := &quic.Transport{Conn: socket}
	c := r.trusting(wire.ALPNClient, cert)
	c.Now = r.Now
	conn, err := transport.Dial(t.Context(), addr, c.TLS(), wire.QUICConfig(1))
	if err != nil {
		t.Fatal(err)
	}
	if _, m := pinged(t, wire.QUICLink(conn), &wire.Ping{N: 1}); m.(*wire.Pong).N != 1 {
		t.Fatalf("%+v", m)
	}
	held := func() int {
		r.operatorLinks.mu.Lock()
		defer r.operatorLinks.mu.Unlock()
		return r.operatorLinks.by[p.user.ID]
	}
	if held() != 1 {
		t.Fatalf("%d links", held())
	}
	_ = socket.Close() // without a word to the relay
	_ = transport.Close()
	waitFor(t, "the end of the link", func() bool { return held() == 0 })
}

// What the network says is a hint: who pings again is not gone.
func TestPulseOfTheLiving(t *testing.T) {
	r := start(t)
	p := newPerson(t, r, "alice", access.Viewer)
	cert, err := p.login(attempt{})
	if err != nil {
		t.Fatal(err)
	}
	f, _ := pinged(t, dial(t, r, wire.ALPNClient, cert), &wire.Ping{N: 1})
	pings := make(chan struct{}, 1)
	pings <- struct{}{}
	if new(client).silent(context.Background(), f, func() int { return 1000 }, pings, nil) {
		t.Error("it is taken for one that is gone")
	}
}

// What the network says is news of a program's end only while it is there: behind a black-out it speaks of a socket that a living one has
// left, and that one has still to find its way.
func TestPulseBehindABlackout(t *testing.T) {
	for dark, gone := range map[time.Duration]bool{0: true, pulseNews - time.Second: true, pulseNews + time.Second: false, 20 * time.Second: false} {
		synctest.Test(t, func(t *testing.T) {
			s, far := wiretest.Streams()
			defer far.Reset(wire.None)
			began, pings := time.Now(), make(chan struct{}, 1)
			count := func() int {
				if time.Since(began) < dark {
					return 0
				}
				return 1000
			}
			time.AfterFunc(dark+pulseAgain+2*pulseLook, func() { pings <- struct{}{} })
			if got := new(client).silent(t.Context(), wire.NewFramed(s), count, pings, nil); got != gone {
				t.Errorf("dark for %s: gone: %t", dark, got)
			}
		})
	}
}
