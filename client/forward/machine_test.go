package forward

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"scrier/client"
	"scrier/wire"
	"scrier/wire/wiretest"
)

// patience is the deadline of every wait in these tests.
const patience = 30 * time.Second

// machine is a relay with a session on this very machine: what a channel asks for is done here.
type machine struct {
	t       *testing.T
	near    wire.Link
	id      wire.SessionID
	session *client.Session
	ctx     context.Context
	wg      sync.WaitGroup
	refuse  func(*wire.Channel) error // nil, or what it returns: the channel opens

	mu      sync.Mutex
	arrived map[uint32]net.Conn
	last    uint32
	asked   []wire.Channel
	agents  *net.UnixListener // what arrives here is for the operator's ssh-agent
}

func newMachine(t *testing.T) *machine {
	near, far := wiretest.Pair(wire.Peer{}, wire.Peer{})
	m := &machine{t: t, near: near, id: wire.NewSessionID(), arrived: map[uint32]net.Conn{}}
	ctx, cancel := context.WithCancel(context.Background())
	m.ctx = ctx
	m.wg.Go(func() {
		for {
			s, err := far.Accept(context.Background())
			if err != nil {
				return
			}
			m.wg.Go(func() { m.serve(s) })
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = near.Close(wire.None, "")
		m.wg.Wait()
	})
	var err error
	if m.session, err = client.Over(near).Open(t.Context(), client.SessionRequest{Envoy: "web1"}); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *machine) serve(s wire.Stream) {
	c, err := wire.Expect[wire.Connect](s)
	if err != nil {
		return
	}
	ch := c.Channel
	m.mu.Lock()
	m.asked = append(m.asked, *ch)
	m.mu.Unlock()
	a := &wire.Attached{Session: m.id, Envoy: "web1", Login: "ann", Kind: wire.KindSSH, Channel: true, Part: 1}
	no := func(err error) {
		_ = wire.Send(s, wire.Refuse(err))
		wire.Finish(s, time.Second)
	}
	if m.refuse != nil {
		if err := m.refuse(ch); err != nil {
			no(err)
			return
		}
	}
	switch ch.Kind {
	case wire.Hold:
		_ = wire.Send(s, a)
		_, _ = io.Copy(io.Discard, s)
		_ = wire.Send(s, &wire.Exit{})
		_ = s.CloseWrite()
	case wire.DialTCP, wire.DialUnix:
		network, at := "tcp", net.JoinHostPort(ch.Host, strconv.Itoa(int(ch.Port)))
		if ch.Kind == wire.DialUnix {
			network, at = "unix", ch.Host
		}
		conn, err := net.Dial(network, at)
		if err != nil {
			no(wire.Errorf(wire.ForwardFailed, "connect failed: Connection refused"))
			return
		}
		_ = wire.Send(s, a)
		_, _, _ = wire.Splice(m.ctx, s, wire.Conn(conn.(wire.HalfCloser)))
		_ = conn.Close()
	case wire.ListenTCP, wire.ListenUnix, wire.ForwardAgent:
		m.listen(s, ch, a, no)
	case wire.Accept:
		m.mu.Lock()
		conn := m.arrived[ch.Number]
		delete(m.arrived, ch.Number)
		m.mu.Unlock()
		if conn == nil {
			no(&wire.Error{Code: wire.NotFound})
			return
		}
		_ = wire.Send(s, a)
		_, _, _ = wire.Splice(m.ctx, s, wire.Conn(conn.(wire.HalfCloser)))
		_ = conn.Close()
	}
}

func (m *machine) listen(s wire.Stream, ch *wire.Channel, a *wire.Attached, no func(error)) {
	var l net.Listener
	var err error
	switch ch.Kind {
	case wire.ListenTCP:
		if l, err = net.Listen("tcp", net.JoinHostPort(ch.Host, strconv.Itoa(int(ch.Port)))); err == nil {
			a.Port = uint16(l.Addr().(*net.TCPAddr).Port)
		}
	case wire.ListenUnix:
		l, err = net.Listen("unix", ch.Host)
	default:
		l = m.agents
	}
	if err != nil {
		no(wire.Errorf(wire.ForwardFailed, "the machine does not listen there"))
		return
	}
	f := wire.NewFramed(s)
	_ = f.Send(a)
	m.wg.Go(func() {
		_, _ = f.Receive() // its end
		_ = l.Close()
	})
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		m.mu.Lock()
		m.last++
		n := m.last
		m.arrived[n] = conn
		m.mu.Unlock()
		_ = f.Send(&wire.Arrived{Number: n})
	}
}

// heard is what a person is told.
type heard struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (h *heard) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.b.Write(p)
}

func (h *heard) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.b.String()
}

// wait waits for words.
func (h *heard) wait(t *testing.T, words string) {
	t.Helper()
	for end := time.Now().Add(patience); !strings.Contains(h.String(), words); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%q is not in %q", words, h.String())
		}
	}
}

// start forwards over a machine's session.
func (m *machine) start(c Config) (*Forwards, *heard) {
	m.t.Helper()
	h := &heard{}
	c.Messages = h
	f, err := New(m.t.Context(), c)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(f.Close)
	if err := f.Start(m.t.Context(), m.session); err != nil {
		m.t.Fatal(err)
	}
	return f, h
}

// server serves each connection to a port of loopback, or to a socket.
func server(t *testing.T, network, at string, serve func(net.Conn)) net.Addr {
	t.Helper()
	l, err := net.Listen(network, at)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				serve(c)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	return l.Addr()
}

// freePort is a port at which nothing listens now.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

func local(t *testing.T, text string) Spec {
	t.Helper()
	return parsed(t, ParseLocal, text)
}

func parsed(t *testing.T, parse func(string) (Spec, error), text string) Spec {
	t.Helper()
	s, err := parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func dialTCP(t *testing.T, at string) net.Conn {
	t.Helper()
	return dialAny(t, "tcp", at)
}

func dialAny(t *testing.T, network, at string) net.Conn {
	t.Helper()
	c, err := net.DialTimeout(network, at, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c
}

// wantEnd demands that a connection ends without a byte.
func wantEnd(t *testing.T, c net.Conn) {
	t.Helper()
	n, err := c.Read(make([]byte, 1))
	if n != 0 || err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("read %d, %v", n, err)
	}
}
