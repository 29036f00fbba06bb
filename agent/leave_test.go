package agent

import (
	"bytes"
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"scrier/wire"
	"scrier/wire/wiretest"
)

// counting is an agent on QUIC whose link counts what the test has pass.
func counting(t *testing.T, port uint16) (*between, *Agent, *countedLink, *peer) {
	t.Helper()
	links := make(chan *countedLink, 8)
	n, a := roamingBy(t, true, func(c *Config) { c.AllowedPorts, c.MaxSessions = []uint16{port}, 2 }, func(n *between, a *Agent) {
		n.counts = true
		a.probe = time.Hour
		dial := a.dials
		a.dials = func(ctx context.Context, d wire.Dialer) (wire.Link, error) {
			l, err := dial(ctx, d)
			if c, ok := l.(*countedLink); ok {
				links <- c
			}
			return l, err
		}
	})
	first := n.next()
	return n, a, <-links, first
}

// passes has packets pass on a link until the test ends.
func passes(t *testing.T, l *countedLink, small bool) {
	stop, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				l.sent.Add(1)
				if small {
					l.heard.Add(1)
				}
			case <-stop:
				return
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-over })
}

// An agent whose UDP has died, and which finds no other way, goes on over TCP. It says so, and remembers it.
func TestLeavesDeadUDP(t *testing.T) {
	port := echo(t)
	n, a, link, first := counting(t, port)
	one := first.session(port)
	first.echoes(one, "one")
	passes(t, link, false)
	second := n.next()
	if second.hello.Move != nil || second.hello.Why != "UDP got no answer" || second.link.Peer().Road != wire.TCP {
		t.Errorf("over %s it greets with %+v", second.link.Peer().Road, second.hello)
	}
	first.ended(wire.Internal)
	second.echoes(second.session(port), "two")
	n.eventually("it is remembered", func() bool { return begins(a) == wire.TCP })
}

// When nothing else answers either, the link stays, and its sessions do: the network may come back.
func TestStaysWhereNothingAnswers(t *testing.T) {
	port := echo(t)
	n, _, link, first := counting(t, port)
	one := first.session(port)
	n.mu.Lock()
	n.blackout = true
	tries := len(n.dialed)
	n.mu.Unlock()
	passes(t, link, false)
	n.eventually("another road is tried", func() bool { return len(n.ways()) > tries })
	if err := first.link.Err(); err != nil {
		t.Fatalf("the link ended: %v", err)
	}
	first.echoes(one, "one")
}

// A path that has come to lose large packets alone is found by pings of that size while data is under way. New sessions come over TCP; those that
// are open stay, for what is short still passes.
func TestLeavesAPathWithoutLargePackets(t *testing.T) {
	port := echo(t)
	n, _, link, first := counting(t, port)
	one := first.session(port)
	passes(t, link, true)
	s, err := first.link.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pings := wire.NewFramed(s)
	for i := range 2 {
		ping, err := wire.Expect[wire.Ping](pings)
		if err != nil || len(ping.Pad) < wire.MaxPad {
			t.Fatalf("it asks with %d bytes, %v", len(ping.Pad), err)
		}
		if i == 0 { // the path is good
			if err := pings.Send(&wire.Pong{N: ping.N}); err != nil {
				t.Fatal(err)
			}
		}
	}
	second := n.next()
	if move := first.said(); move.Over || !bytes.Equal(move.ID, second.hello.Move) || second.hello.Why != "large packets got no answer over UDP" {
		t.Errorf("it says %+v and greets with %+v", move, second.hello)
	}
	second.echoes(second.session(port), "two")
	first.echoes(one, "one")
	if err := first.link.Err(); err != nil {
		t.Errorf("the link of before ended: %v", err)
	}
}

// Sessions do not hang for ever on a link that carries no large packets, when there is another one.
func TestEndsALinkWithoutLargePackets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := wiretest.Pair(wire.Peer{Road: wire.QUIC}, wire.Peer{Road: wire.QUIC})
		link := &countedLink{Link: near}
		l := &agentLink{Agent: &Agent{look: listenEvery, Settings: Settings{Log: slog.New(slog.DiscardHandler)}}, link: link, pongs: true, stranded: make(chan stranded, 1), now: make(chan struct{}, 1)}
		ended := make(chan error, 1)
		go func() { ended <- l.roamBy(t.Context(), link, nil) }()
		l.usage.begin()
		began := time.Now()
		for l.link.Err() == nil && time.Since(began) < 5*time.Minute {
			link.sent.Add(1)
			link.heard.Add(1)
			time.Sleep(time.Second)
			if time.Since(began) == 2*time.Minute {
				if s := <-l.stranded; !s.says {
					t.Errorf("it is stranded as %+v", s)
				}
				l.usage.retire()
			}
		}
		if passed := time.Since(began); passed < 2*time.Minute || passed > 130*time.Second {
			t.Errorf("it ended after %s", passed)
		}
		if err := <-ended; err != errNarrow {
			t.Errorf("it ended with %v", err)
		}
		<-far.Context().Done()
	})
}

// Without data under way nobody is asked, and an answer is enough.
func TestLargePings(t *testing.T) {
	p := &pulse{pings: make(chan uint64, 1)}
	p.opening.Do(func() {})
	lossy := false
	look := func(bytes, heard uint64, since time.Duration, want bool) {
		t.Helper()
		p.since = p.since.Add(-since)
		if got := p.look(bytes, heard, lossy); got != want {
			t.Errorf("%d bytes, %d packets: %t", bytes, heard, got)
		}
	}
	look(largeData-1, 10, 0, false)
	if len(p.pings) != 0 {
		t.Error("it is asked although nothing is under way")
	}
	look(largeData, 11, 0, false)
	look(ownData+largeData, 12, largeWait/2, false)
	look(largeData, 11, largeWait, false) // nothing comes at all, which others look after
	look(largeData, 12, 0, true)
	p.last.Store(<-p.pings)
	look(largeData-1, 13, largeWait, false)
	look(largeData, 14, 0, false)
	p.last.Store(<-p.pings)
	look(ownData+largeData-1, 15, 0, false) // the ping itself
	if len(p.pings) != 0 {
		t.Error("it is asked for its own pings")
	}
	lossy = true // what has much is on a lane
	look(0, 15, lossyEvery-time.Second, false)
	if len(p.pings) != 0 {
		t.Error("it is asked all the time")
	}
	look(0, 15, time.Second, false)
	p.last.Store(<-p.pings)
	lossy = false
	look(ownData+largeData, 16, 0, false)
	p.last.Store(p.asked) // the relay answers what was not sent yet: whoever looks is not held up
	look(ownData+largeData, 17, 0, false)
	if !p.over.Load() {
		t.Error("a relay that answers what was not asked is asked on")
	}
	look(largeData, 20, time.Hour, false)
}
