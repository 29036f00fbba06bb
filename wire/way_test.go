package wire_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"scrier/wire"
)

// firewall is what stands between clients and a server. It knows each client by its port, and can let nothing of some
// pass any more, or nothing that is larger than a size.
type firewall struct {
	inside *net.UDPConn
	server *net.UDPAddr
	wait   sync.WaitGroup

	mu      sync.Mutex
	flows   map[string]*net.UDPConn // by client
	blocked map[string]bool
	all     bool
	largest int
}

func newFirewall(t *testing.T, server net.Addr) *firewall {
	t.Helper()
	inside, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	f := &firewall{inside: inside, server: server.(*net.UDPAddr), flows: map[string]*net.UDPConn{}, blocked: map[string]bool{}, largest: 1 << 16}
	f.wait.Go(f.out)
	t.Cleanup(func() {
		_ = inside.Close()
		f.mu.Lock()
		f.all = true
		for _, c := range f.flows {
			_ = c.Close()
		}
		f.mu.Unlock()
		f.wait.Wait()
	})
	return f
}

func (f *firewall) passes(client string, n int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.all && !f.blocked[client] && n <= f.largest
}

// block has it forget everybody that it knows.
func (f *firewall) block() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for client := range f.flows {
		f.blocked[client] = true
	}
}

func (f *firewall) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *firewall) out() {
	buf := make([]byte, 1<<16)
	for {
		n, from, err := f.inside.ReadFromUDP(buf)
		if err != nil {
			return
		}
		if !f.passes(from.String(), n) {
			continue
		}
		f.mu.Lock()
		c := f.flows[from.String()]
		if c == nil {
			if c, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}); err != nil {
				f.mu.Unlock()
				return
			}
			f.flows[from.String()] = c
			f.wait.Go(func() { f.in(c, from) })
		}
		f.mu.Unlock()
		_, _ = c.WriteToUDP(buf[:n], f.server) // a lost packet is a lost packet
	}
}

func (f *firewall) in(c *net.UDPConn, client *net.UDPAddr) {
	buf := make([]byte, 1<<16)
	for {
		n, _, err := c.ReadFromUDP(buf)
		if err != nil {
			return
		}
		if f.passes(client.String(), n) {
			_, _ = f.inside.WriteToUDP(buf[:n], client)
		}
	}
}

// echoed is a link through a firewall to a server that gives back what it gets, and one stream on it.
func echoed(t *testing.T) (*firewall, wire.Link, wire.Stream) {
	t.Helper()
	l := listenQUIC(t)
	f := newFirewall(t, l.Addr())
	serving, stop := context.WithCancel(context.Background())
	served := make(chan struct{})
	go func() {
		defer close(served)
		conn, err := l.Accept(serving)
		if err != nil {
			return
		}
		var wait sync.WaitGroup
		far := wire.QUICLink(conn)
		defer wait.Wait()
		defer func() { _ = far.Close(wire.None, "") }()
		for {
			s, err := far.Accept(serving)
			if err != nil {
				return
			}
			wait.Go(func() { _, _ = io.Copy(s, s) })
		}
	}()
	near, err := wire.Dialer{TLS: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"test"}}}.Dial(t.Context(), f.inside.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = near.Close(wire.None, "")
		stop()
		<-served
		_ = l.Close()
	})
	s, err := near.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	said(t, s, []byte("begin"))
	return f, near, s
}

// said sends b and wants it back.
func said(t *testing.T, s wire.Stream, b []byte) {
	t.Helper()
	sent := make(chan error, 1)
	go func() {
		_, err := s.Write(b)
		sent <- err
	}()
	got := make([]byte, len(b))
	if _, err := io.ReadFull(s, got); err != nil || !bytes.Equal(got, b) {
		t.Fatalf("the echo of %d bytes: %v", len(b), err)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
}

func moved(t *testing.T, l wire.Link) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	return l.(wire.Roamer).Move(ctx)
}

// A firewall that forgets a link loses nothing of it: the link goes on from another port, again and again.
func TestMove(t *testing.T) {
	f, l, s := echoed(t)
	for range 5 {
		f.block()
		if err := moved(t, l); err != nil {
			t.Fatal(err)
		}
		said(t, s, bytes.Repeat([]byte("moved"), 100_000))
	}
	if l.Err() != nil {
		t.Error(l.Err())
	}
}

// While there is no other way either, a link can be tried to move as often as one likes.
func TestMoveLater(t *testing.T) {
	f, l, s := echoed(t)
	f.set(func() { f.all = true })
	for range 20 {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if err := l.(wire.Roamer).Move(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		cancel()
	}
	f.block()
	f.set(func() { f.all = false })
	if err := moved(t, l); err != nil {
		t.Fatal(err)
	}
	said(t, s, []byte("later"))
}

// A link that has sent as much as it may, and heard of none of it, can look for no way. It goes on from another port, with what
// it sends again.
func TestRebind(t *testing.T) {
	f, l, s := echoed(t)
	said(t, s, bytes.Repeat([]byte("warm"), 100_000))
	f.block()
	lot := bytes.Repeat([]byte("more than may be under way"), 100_000)
	wrote := make(chan error, 1)
	go func() {
		_, err := s.Write(lot)
		wrote <- err
	}()
	time.Sleep(50 * time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := l.(wire.Roamer).Move(ctx); err == nil {
		t.Log("it could move")
	}
	if err := l.(wire.Roamer).Rebind(); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(lot))
	if _, err := io.ReadFull(s, got); err != nil || !bytes.Equal(got, lot) {
		t.Fatal(err)
	}
	if err := <-wrote; err != nil {
		t.Fatal(err)
	}
	f.block()
	for range 2 { // the first may be the one that could not be looked for before
		if err := moved(t, l); err != nil {
			t.Fatalf("it does not move any more: %v", err)
		}
	}
	said(t, s, []byte("moved"))
}

// A path that comes to carry what every path must (RFC 8200, 5) is no hole: packets are never longer, and the link stays where it is.
func TestShrunkPath(t *testing.T) {
	f, _, s := echoed(t)
	f.set(func() { f.largest = 9000 })
	said(t, s, bytes.Repeat([]byte("large"), 400_000))
	f.set(func() { f.largest = 1232 }) // of UDP: IP's own headers are not seen here
	said(t, s, bytes.Repeat([]byte("small"), 20_000))
}

// There is an end to the sockets of one link.
func TestMoveTooOften(t *testing.T) {
	_, l, s := echoed(t)
	n := 0
	for ; n < 100; n++ {
		if err := moved(t, l); err != nil {
			break
		}
		said(t, s, []byte("again"))
	}
	if n < 5 || n > 20 {
		t.Errorf("it moved %d times", n)
	}
	said(t, s, []byte("stays"))
}

// A link that ends while it looks for a way ends at once.
func TestMoveEnds(t *testing.T) {
	f, l, _ := echoed(t)
	f.set(func() { f.all = true })
	tried := make(chan error, 1)
	go func() { tried <- moved(t, l) }()
	time.Sleep(20 * time.Millisecond)
	if err := l.Close(wire.None, ""); err != nil {
		t.Error(err)
	}
	if err := <-tried; err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if err := moved(t, l); err == nil {
		t.Error("a link that has ended moves")
	}
}

// Of a server that is gone with its socket the network says so, if it is a Linux that is asked.
func TestRefused(t *testing.T) {
	f, l, s := echoed(t)
	r := l.(wire.Roamer)
	if r.Refused() != 0 {
		t.Fatal("one that is there is taken for gone")
	}
	_ = f.inside.Close()
	for deadline := time.Now().Add(20 * time.Second); r.Refused() < 2 && runtime.GOOS == "linux"; time.Sleep(10 * time.Millisecond) {
		if _, err := s.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(deadline) {
			t.Fatalf("it is told %d times", r.Refused())
		}
	}
}
