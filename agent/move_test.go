package agent

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"scrier/agent/keys"
	"scrier/certs"
	"scrier/wire"
	"scrier/wire/wiretest"
)

// between is what lies between an agent and a relay that the test plays.
type between struct {
	t    *testing.T
	came chan *peer
	ca   *certs.CA

	mu     sync.Mutex
	udp    bool // passes
	dialed []wire.Dialer
	moves  bool // the relay says that it takes a second link
	counts bool // links over QUIC count what passes

	blackout bool // nothing passes that is new
}

// peer is the relay's end of a link.
type peer struct {
	*between
	link    wire.Link
	control *wire.Framed
	hello   *wire.Hello
	heard   chan wire.Message // but for heartbeats; closed at the end
}

func (n *between) set(udp, moves bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.udp, n.moves = udp, moves
}

func (n *between) ways() []wire.Dialer {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]wire.Dialer{}, n.dialed...)
}

// dial is the agent's way to the relay.
func (n *between) dial(ctx context.Context, w wire.Dialer) (wire.Link, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dialed = append(n.dialed, w)
	if n.blackout {
		return nil, wire.Errorf(wire.RelayUnreachable, "nothing answers")
	}
	road := wire.QUIC
	if !n.udp || w.Transport == wire.OnlyTCP {
		road = wire.TCP
	}
	if road == wire.TCP && w.Transport == wire.OnlyQUIC {
		return nil, wire.Errorf(wire.RelayUnreachable, "UDP got no answer")
	}
	near, far := wiretest.Pair(wire.Peer{Road: road}, wire.Peer{Road: road})
	n.t.Cleanup(func() { _ = far.Close(wire.None, "") })
	go func() {
		s, err := far.Accept(context.Background())
		if err != nil {
			return
		}
		p := &peer{n, far, wire.NewFramed(s), nil, make(chan wire.Message, 64)}
		if p.hello, err = wire.Expect[wire.Hello](p.control); err == nil {
			n.came <- p
		}
	}()
	if n.counts && road == wire.QUIC {
		return &countedLink{Link: near}, nil
	}
	return near, nil
}

// next is the next link that comes, which is welcomed.
func (n *between) next() *peer {
	n.t.Helper()
	select {
	case p := <-n.came:
		n.mu.Lock()
		moves := n.moves
		n.mu.Unlock()
		if err := p.control.Send(&wire.Welcome{Interval: 1, Moves: moves, Pongs: true}); err != nil {
			n.t.Fatal(err)
		}
		go func() {
			defer close(p.heard)
			for {
				m, err := p.control.Receive()
				if err != nil {
					return
				}
				if _, beat := m.(*wire.Heartbeat); !beat {
					p.heard <- m
				}
			}
		}()
		return p
	case <-time.After(patience):
		n.t.Fatal("no link comes")
		return nil
	}
}

// said is the next Move that the agent says here.
func (p *peer) said() *wire.Move {
	p.t.Helper()
	select {
	case m := <-p.heard:
		if move, ok := m.(*wire.Move); ok {
			return move
		}
		p.t.Fatalf("the agent says %T", m)
	case <-time.After(patience):
		p.t.Fatal("the agent says nothing")
	}
	return nil
}

// session opens one, whose server sends back what it gets.
func (p *peer) session(port uint16) wire.Stream {
	p.t.Helper()
	s, err := p.link.Open(p.t.Context())
	if err == nil {
		err = errors.Join(s.SetDeadline(time.Now().Add(patience)),
			wire.Send(s, &wire.Open{Session: wire.NewSessionID(), Kind: wire.KindVNC, Port: port, Timeout: uint32(patience / time.Millisecond)}))
	}
	if err == nil {
		_, err = wire.Expect[wire.Opened](s)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return s
}

func (p *peer) echoes(s wire.Stream, word string) {
	p.t.Helper()
	got := make([]byte, len(word))
	_, err := s.Write([]byte(word))
	if err == nil {
		_, err = io.ReadFull(s, got)
	}
	if err != nil || string(got) != word {
		p.t.Fatalf("the session sends %q back: %v", got, err)
	}
}

// ended waits until the agent has ended the link.
func (p *peer) ended(code wire.Code) {
	p.t.Helper()
	select {
	case <-p.link.Context().Done():
		if got := wire.CodeOf(p.link.Err()); got != code {
			p.t.Errorf("the link ended with %v, want %v", got, code)
		}
	case <-time.After(patience):
		p.t.Fatal("the link goes on")
	}
}

// roaming runs an agent in a network.
func roaming(t *testing.T, udp bool, edit func(*Config)) (*between, *Agent) {
	t.Helper()
	return roamingBy(t, udp, edit, func(*between, *Agent) {})
}

// roamingBy is roaming with an agent that is prepared before it runs.
func roamingBy(t *testing.T, udp bool, edit func(*Config), prepare func(*between, *Agent)) (*between, *Agent) {
	t.Helper()
	ca, err := certs.LoadOrMakeCA(t.TempDir(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	n := &between{t: t, came: make(chan *peer), ca: ca, udp: udp, moves: true}
	config := DefaultConfig()
	config.SSH.Addr = "127.0.0.1:1"
	config.Console.Enabled = false
	edit(&config)
	a := &Agent{Settings: Settings{State: State{t.TempDir()}, Config: config, Now: time.Now, Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))}}
	a.enrolment = enrolment{Relay: "relay.example.com:8443", Pin: ca.Pin().String()}
	a.dials, a.probe, a.networks = n.dial, 20*time.Millisecond, make(chan struct{})
	a.look = 200 * time.Millisecond
	if a.keys, err = keys.New(keys.Config{Agent: wire.NewEnvoyID(), StateDir: t.TempDir(), LockDir: t.TempDir(), Worker: []string{"/bin/false"}}); err != nil {
		t.Fatal(err)
	}
	key, err := certs.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	csr, err := certs.NewRequest(key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.State.replace(key, issue(t, ca, envoy, csr)); err != nil {
		t.Fatal(err)
	}
	prepare(n, a)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(patience):
			t.Error("the agent goes on")
		}
	})
	return n, a
}

func (n *between) eventually(what string, done func() bool) {
	n.t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			n.t.Fatal("never: " + what)
		}
	}
}

// road is where the agent begins with its next link.
func begins(a *Agent) wire.Road {
	road, _ := a.State.roads(a.Now).First(a.enrolment.Relay)
	return road
}

// An agent on TCP tries QUIC until it works, and moves there. Its sessions go on where they are.
func TestMovesToQUIC(t *testing.T) {
	port := echo(t)
	n, a := roaming(t, false, func(c *Config) { c.AllowedPorts, c.MaxSessions = []uint16{port}, 2 })
	first := n.next()
	if first.hello.Move != nil || first.hello.Why != "UDP got no answer" {
		t.Errorf("its greeting is %+v", first.hello)
	}
	n.eventually("it is remembered", func() bool { return begins(a) == wire.TCP })
	one := first.session(port)
	n.eventually("it tries QUIC again and again", func() bool { return len(n.ways()) > 3 })
	for i, w := range n.ways() {
		if want := wire.OnlyQUIC; i > 0 && w.Transport != want {
			t.Errorf("it tries %q", w.Transport)
		}
	}
	n.set(true, true)
	second := n.next()
	if move := first.said(); move.Over || !bytes.Equal(move.ID, second.hello.Move) || len(move.ID) != wire.MoveSize || second.hello.Why != "" {
		t.Errorf("it says %+v and greets with %+v", move, second.hello)
	}
	n.eventually("it is remembered", func() bool { return begins(a) == wire.QUIC })
	two := second.session(port)
	first.echoes(one, "still here")
	second.echoes(two, "here too")
	s, err := second.link.Open(t.Context()) // max_sessions holds for both links together
	if err == nil {
		err = wire.Send(s, &wire.Open{Session: wire.NewSessionID(), Kind: wire.KindVNC, Port: port, Timeout: 1000})
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := wire.Expect[wire.Opened](s); wire.CodeOf(err) != wire.Busy {
		t.Errorf("a third session of two: %v", err)
	}
	tried := len(n.ways())
	time.Sleep(10 * a.linger())
	if err := first.link.Err(); err != nil {
		t.Fatalf("the link of a session ended: %v", err)
	}
	if got := len(n.ways()); got != tried {
		t.Errorf("it goes on looking for a better road than QUIC: %d", got-tried)
	}
	first.echoes(one, "to the end")
	one.Reset(wire.None)
	first.ended(wire.None)
	second.echoes(two, "and on")
}

// When the better link is lost the agent goes on by the one that it still has, tells the relay so, and looks for a better one
// again. When it has none it dials anew, and begins with what worked.
func TestMovesBack(t *testing.T) {
	port := echo(t)
	n, a := roaming(t, false, func(c *Config) { c.AllowedPorts = []uint16{port} })
	first := n.next()
	one := first.session(port)
	n.set(true, true)
	second := n.next()
	id := first.said().ID
	second.session(port)
	n.set(false, true)
	if err := second.link.Close(wire.Internal, "broken"); err != nil {
		t.Fatal(err)
	}
	if move := first.said(); !move.Over || !bytes.Equal(move.ID, id) {
		t.Errorf("it says %+v", move)
	}
	first.echoes(one, "still here")
	first.echoes(first.session(port), "here again")
	n.eventually("it is remembered", func() bool { return begins(a) == wire.TCP })
	n.set(true, true)
	third := n.next()
	if move := first.said(); move.Over || !bytes.Equal(move.ID, third.hello.Move) || bytes.Equal(move.ID, id) {
		t.Errorf("it says %+v", move)
	}
	third.session(port)
	n.set(false, true)
	if err := errors.Join(first.link.Close(wire.Internal, "broken"), third.link.Close(wire.Internal, "broken")); err != nil {
		t.Fatal(err)
	}
	if last := n.next(); last.hello.Move != nil || last.link.Peer().Road != wire.TCP {
		t.Errorf("it comes back with %+v", last.hello)
	}
}

// In another network an agent on TCP tries QUIC soon, however seldom it has come to try, and not more often for more changes.
func TestMovesElsewhere(t *testing.T) {
	n, a := roaming(t, false, func(*Config) {})
	first := n.next()
	for i := 1; i < 7; i++ { // the next wait is 48 times the first one, or more
		n.eventually("it tries QUIC", func() bool { return len(n.ways()) > i })
	}
	n.set(true, true)
	began := time.Now()
	a.networks <- struct{}{}
	second := n.next()
	if took := time.Since(began); took > 24*a.probe {
		t.Errorf("it tries after %s", took)
	}
	if !bytes.Equal(first.said().ID, second.hello.Move) {
		t.Error("it does not move")
	}
	for range 3 { // there is nothing to be done
		a.networks <- struct{}{}
	}
	time.Sleep(5 * a.probe)
	if got := len(n.ways()); got != 8 {
		t.Errorf("it dialed %d times", got)
	}
}

// Where it may not, or cannot, it does not move; nor if the relay does not know how to.
func TestDoesNotMove(t *testing.T) {
	for name, c := range map[string]struct {
		transport wire.Transport
		moves     bool
		road      wire.Road
	}{
		"transport: tcp":  {wire.OnlyTCP, true, wire.TCP},
		"transport: quic": {wire.OnlyQUIC, true, wire.QUIC},
		"an older relay":  {wire.Auto, false, wire.TCP},
	} {
		t.Run(name, func(t *testing.T) {
			n, a := roaming(t, c.road == wire.QUIC, func(conf *Config) { conf.Transport = c.transport })
			n.set(c.road == wire.QUIC, c.moves)
			p := n.next()
			if p.link.Peer().Road != c.road || n.ways()[0].Transport != c.transport {
				t.Errorf("it came by %s: %+v", p.link.Peer().Road, n.ways())
			}
			n.set(true, c.moves)
			time.Sleep(20 * a.probe)
			if got := n.ways(); len(got) != 1 {
				t.Errorf("it dialed %+v", got)
			}
			if c.transport != wire.Auto && begins(a) != wire.QUIC {
				t.Error("what was asked for is remembered as what won")
			}
			if why := p.hello.Why; c.transport == wire.OnlyTCP && why != "transport is set to tcp" {
				t.Errorf("it says %q", why)
			}
		})
	}
}

// A relay that refuses the second link, or does not answer, costs nothing: the first goes on, and it is tried again.
func TestMoveIsRefused(t *testing.T) {
	port := echo(t)
	n, _ := roaming(t, false, func(c *Config) { c.AllowedPorts = []uint16{port} })
	first := n.next()
	one := first.session(port)
	n.set(true, true)
	for range 3 {
		p := <-n.came
		id := first.said().ID
		if err := p.control.Send(&wire.Refused{Code: wire.Busy}); err != nil {
			t.Fatal(err)
		}
		p.ended(wire.Busy)
		if move := first.said(); !move.Over || !bytes.Equal(move.ID, id) {
			t.Errorf("it says %+v", move)
		}
		first.echoes(one, "still here")
	}
	second := n.next()
	second.echoes(second.session(port), "here")
}

// A certificate is renewed or shown to the relay, never both at a time: the relay would take an old one for a copy's.
func TestRenewalOrMove(t *testing.T) {
	n, a := roaming(t, false, func(*Config) {})
	first := n.next()
	near, _ := wiretest.Streams()
	l := &agentLink{Agent: a, control: wire.NewFramed(near)}
	n.eventually("it asks", func() bool { // as the agent's link does
		if err := l.askRenewal(); err != nil {
			t.Fatal(err)
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.asker == l
	})
	tried := len(n.ways())
	n.set(true, true)
	time.Sleep(10 * a.probe)
	if got := len(n.ways()); got > tried+1 { // one was under way
		t.Errorf("it dialed %d times while it renews", got-tried)
	}
	l.giveUp(l)
	l.giveUp(l) // and is not given back twice
	second := n.next()
	if !bytes.Equal(first.said().ID, second.hello.Move) {
		t.Error("it does not move")
	}
	if !a.exchange.TryLock() {
		n.eventually("the exchange is free", a.exchange.TryLock)
	}
	if err := l.askRenewal(); err != nil { // while a link is made
		t.Fatal(err)
	}
	a.mu.Lock()
	asked := a.renewing != nil
	a.mu.Unlock()
	a.exchange.Unlock()
	if asked {
		t.Error("it renews while it makes a link")
	}
}

// An old link's certificate was replaced on another one; what the relay says of a renewal there is not expected.
func TestRenewedOnAnotherLink(t *testing.T) {
	l, relay, ca := linked(t)
	other := &agentLink{Agent: l.Agent, link: l.link, control: l.control}
	if err := l.askRenewal(); err != nil {
		t.Fatal(err)
	}
	ask, err := wire.Expect[wire.Renew](relay)
	if err != nil {
		t.Fatal(err)
	}
	next := &wire.Renewed{Chain: chain(t, ca, ask.CSR)}
	if err := other.renewed(next); wire.CodeOf(err) != wire.Protocol {
		t.Errorf("another link: %v", err)
	}
	if err := l.renewed(next); err != nil {
		t.Error(err)
	}
	if _, err := x509.ParseCertificate(next.Chain[0]); err != nil || !l.exchange.TryLock() {
		t.Errorf("the exchange is not given back, %v", err)
	}
}
