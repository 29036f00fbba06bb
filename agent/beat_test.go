package agent

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"scrier/roads"
	"scrier/wire"
	"scrier/wire/wiretest"
)

// countedLink is a link that counts as one over QUIC does.
type countedLink struct {
	wire.Link
	heard, sent atomic.Uint64
}

func (c *countedLink) Move(context.Context) error { return errors.ErrUnsupported }
func (c *countedLink) Rebind() error              { return errors.ErrUnsupported }
func (c *countedLink) Heard() uint64              { return c.heard.Load() }
func (c *countedLink) Sent() uint64               { return c.sent.Load() }
func (c *countedLink) Passed() uint64             { return c.heard.Load() + 1500*c.sent.Load() }
func (c *countedLink) Refused() int               { return 0 }

// natRelay is a relay that asks whoever rests, behind a NAT.
type natRelay struct {
	way     *countedLink
	control *wire.Framed
	forgets time.Duration // after which the NAT lets nothing in; 0: never
	dead    atomic.Bool   // nothing passes

	rest       atomic.Int64 // the agent's word, a duration
	heartbeats atomic.Int64
	late       atomic.Int64 // questions that did not pass
}

func (n *natRelay) rests() time.Duration { return time.Duration(n.rest.Load()) }

// run plays the relay until the link ends.
func (n *natRelay) run() {
	messages := make(chan wire.Message)
	go func() {
		defer close(messages)
		for {
			m, err := n.control.Receive()
			if err != nil {
				return
			}
			messages <- m
		}
	}()
	said, waits := time.Now(), false
	ask := func() {
		n.way.heard.Add(1)
		_ = n.control.Send(&wire.Ping{N: 1}) // the link has ended
		waits = false
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case m, ok := <-messages:
			if !ok {
				return
			}
			n.way.sent.Add(1)
			if n.dead.Load() {
				continue
			}
			n.way.heard.Add(1) // it is acknowledged
			if h, ok := m.(*wire.Heartbeat); ok {
				n.heartbeats.Add(1)
				n.rest.Store(int64(time.Duration(h.Rest) * time.Second))
			}
			said = time.Now()
			if waits { // it is sent again, and the NAT lets it in
				ask()
			}
		case <-tick.C:
			switch quiet := time.Since(said); {
			case waits, n.rests() == 0, quiet < n.rests():
			case n.dead.Load():
			case n.forgets > 0 && quiet >= n.forgets:
				waits = true
				n.late.Add(1)
			default:
				ask()
				said = time.Now()
			}
		}
	}
}

// atRest has an agent say how it is for a while.
func atRest(t *testing.T, forgets time.Duration, during func(n *natRelay, l *agentLink)) *natRelay {
	t.Helper()
	near, far := wiretest.Pair(wire.Peer{Road: wire.QUIC}, wire.Peer{Road: wire.QUIC})
	s, err := near.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	o, err := far.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	config := DefaultConfig()
	config.SSH.Addr = "127.0.0.1:1"
	config.Console.Enabled = false
	a := &Agent{Settings: Settings{State: State{t.TempDir()}, Config: config, Now: time.Now, Log: slog.New(slog.DiscardHandler)}}
	a.enrolment.Relay = "relay.example.com:8443"
	l := &agentLink{Agent: a, link: &countedLink{Link: near}, control: wire.NewFramed(s), interval: 15 * time.Second, rests: true,
		now: make(chan struct{}, 1), asked: make(chan uint64, 1)}
	l.rhythm = l.knownRhythm()
	l.first = l.tell(t.Context())
	n := &natRelay{way: l.link.(*countedLink), control: wire.NewFramed(o), forgets: forgets}
	n.rest.Store(int64(l.rhythm.rest))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{}, 3)
	go func() { n.run(); ended <- struct{}{} }()
	go func() { _ = l.beat(ctx); ended <- struct{}{} }()
	go func() { _ = l.listen(); ended <- struct{}{} }()
	during(n, l)
	cancel()
	_ = near.Close(wire.None, "")
	for range 3 {
		<-ended
	}
	return n
}

// An idle agent behind a network that holds is asked once a minute soon, and says nothing else. It remembers that.
func TestAnIdleAgentRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := atRest(t, 0, func(n *natRelay, l *agentLink) {
			time.Sleep(5 * time.Minute)
			if n.rests() != time.Minute {
				t.Errorf("it rests for %s after five minutes", n.rests())
			}
			if r := l.State.roads(l.Now).Rest(l.enrolment.Relay); r != (roads.Rest{Held: time.Minute}) {
				t.Errorf("%+v is remembered", r)
			}
			sent, beats := n.way.Sent(), n.heartbeats.Load()
			time.Sleep(20 * time.Minute)
			said := n.way.Sent() - sent
			// The facts' own interval is among them, as the load and the disk of this machine may differ.
			if own := uint64(n.heartbeats.Load() - beats); said-own > 20 || said-own < 17 {
				t.Errorf("it has sent %d packets beside %d heartbeats within 20 minutes", said-own, own)
			}
		})
		if n.late.Load() != 0 {
			t.Errorf("%d questions did not pass", n.late.Load())
		}
	})
}

// Behind a NAT that forgets, the rest settles below what failed: from then on each question passes.
func TestRestsSettleBehindANAT(t *testing.T) {
	for _, forgets := range []time.Duration{8 * time.Second, 30 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			atRest(t, forgets, func(n *natRelay, l *agentLink) {
				time.Sleep(5 * time.Minute)
				if n.rests() >= forgets || n.rests() < wire.MinRest {
					t.Errorf("it rests for %s, and the NAT forgets after %s", n.rests(), forgets)
				}
				know := l.State.roads(l.Now).Rest(l.enrolment.Relay)
				if know.Failed < forgets || n.rests() > max(wire.MinRest, know.Failed/2) || n.late.Load() == 0 {
					t.Errorf("it rests for %s and remembers %+v; %d questions did not pass", n.rests(), know, n.late.Load())
				}
				late := n.late.Load()
				time.Sleep(10 * time.Minute)
				if n.late.Load() != late {
					t.Errorf("the NAT has forgotten it %d times more", n.late.Load()-late)
				}
			})
		})
	}
}

// An agent with sessions says that it does not rest, and how it is at each interval; when they are over, it rests again.
func TestAnAgentWithSessionsDoesNotRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		atRest(t, 0, func(n *natRelay, l *agentLink) {
			time.Sleep(5 * time.Minute)
			l.usage.begin()
			time.Sleep(20 * time.Second)
			if n.rests() != 0 {
				t.Errorf("it rests for %s with a session", n.rests())
			}
			before := n.heartbeats.Load()
			time.Sleep(time.Minute)
			if got := n.heartbeats.Load() - before; got != 4 {
				t.Errorf("it has said %d times within a minute how it is", got)
			}
			l.usage.end()
			time.Sleep(20 * time.Second)
			if n.rests() != time.Minute {
				t.Errorf("it rests for %s when the session is over", n.rests())
			}
		})
	})
}

// Where the network forgets early, an agent with sessions says something in time.
func TestSessionsAreNotForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		atRest(t, 10*time.Second, func(n *natRelay, l *agentLink) {
			time.Sleep(3 * time.Minute)
			l.usage.begin()
			time.Sleep(10 * time.Second)
			before := n.heartbeats.Load()
			time.Sleep(42 * time.Second)
			if got := n.heartbeats.Load() - before; got < 5 {
				t.Errorf("it has said %d times within 42 s how it is", got)
			}
		})
	})
}

// A network that carries nothing for a while has not forgotten anything: nothing is learnt from that.
func TestADeadWayTeachesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		atRest(t, 0, func(n *natRelay, l *agentLink) {
			time.Sleep(5 * time.Minute)
			n.dead.Store(true)
			time.Sleep(3 * time.Minute)
			n.dead.Store(false)
			time.Sleep(3 * time.Minute)
			if r := l.State.roads(l.Now).Rest(l.enrolment.Relay); r.Failed != 0 || n.rests() != time.Minute {
				t.Errorf("it rests for %s and remembers %+v", n.rests(), r)
			}
		})
	})
}

// What somebody looks for in a list is told at once; what always moves is not.
func TestFactsThatDiffer(t *testing.T) {
	was := wire.Facts{Hostname: "web1", Uptime: 100, Load: 20, Offset: 3, Users: []string{}}
	for name, c := range map[string]struct {
		edit func(*wire.Facts)
		want bool
	}{
		"nothing":           {func(*wire.Facts) {}, false},
		"time":              {func(f *wire.Facts) { f.Uptime, f.Offset = 200, 5 }, false},
		"a little load":     {func(f *wire.Facts) { f.Load = 60 }, false},
		"much load":         {func(f *wire.Facts) { f.Load = 120 }, true},
		"nobody, otherwise": {func(f *wire.Facts) { f.Users = nil }, false},
		"somebody":          {func(f *wire.Facts) { f.Users = []string{"ann"} }, true},
		"the disk":          {func(f *wire.Facts) { f.Disk = 1 }, true},
		"the screen":        {func(f *wire.Facts) { f.Console = "ann" }, true},
		"a server":          {func(f *wire.Facts) { f.SSH = true }, true},
	} {
		now := was
		c.edit(&now)
		if got := differ(was, now); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
