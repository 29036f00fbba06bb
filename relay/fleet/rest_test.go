package fleet

import (
	"context"
	"crypto/x509"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"scrier/wire"
	"scrier/wire/wiretest"
)

// counted is a link of which it is known how much has come.
type counted struct {
	wire.Link
	heard atomic.Uint64
}

func (c *counted) Move(context.Context) error { return net.ErrClosed }
func (c *counted) Rebind() error              { return net.ErrClosed }
func (c *counted) Heard() uint64              { return c.heard.Load() }
func (c *counted) Sent() uint64               { return 0 }
func (c *counted) Passed() uint64             { return 0 }
func (c *counted) Refused() int               { return 0 }

// resting is an agent that has said how long it will say nothing.
type resting struct {
	*base
	id      wire.EnvoyID
	near    wire.Link
	far     *counted
	control *wire.Framed
}

func newResting(t *testing.T, b *base, seconds uint32) *resting {
	t.Helper()
	c := b.enrolledAt("192.0.2.1")
	leaf, err := x509.ParseCertificate(c.chain[0])
	if err != nil {
		t.Fatal(err)
	}
	near, far := wiretest.Pair(wire.Peer{}, wire.Peer{Addr: &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1000}, Certificates: []*x509.Certificate{leaf}})
	r := &resting{base: b, near: near, far: &counted{Link: far}}
	var served sync.WaitGroup
	served.Go(func() { _ = b.Serve(context.Background(), r.far, c.id, false) }) // it ends with the link
	t.Cleanup(func() {
		_ = near.Close(wire.None, "")
		served.Wait()
	})
	s, err := near.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	r.control = wire.NewFramed(s)
	if err := r.control.Send(&wire.Hello{Boot: "boot", Time: wire.Millis(time.Now()), Rest: seconds}); err != nil {
		t.Fatal(err)
	}
	w, err := wire.Expect[wire.Welcome](r.control)
	if err != nil || !w.Rests {
		t.Fatalf("it was welcomed with %+v, %v", w, err)
	}
	if r.id, err = wire.ParseEnvoyID(c.id.ID); err != nil {
		t.Fatal(err)
	}
	return r
}

// link is the relay's.
func (r *resting) link() *agentLink { return r.newest(r.id) }

// quietFor makes it so long since the agent said something.
func (r *resting) quietFor(d time.Duration) {
	l := r.link()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.said, l.seen = time.Now().Add(-d), r.Now().Add(-d)
}

// asks says whether the relay asks now.
func (r *resting) asks() bool {
	var asking sync.WaitGroup
	r.askResting(&asking)
	asking.Wait()
	l := r.link()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.restPing != 0
}

func (r *resting) state(t *testing.T) State {
	t.Helper()
	all, _, err := r.Those(t.Context(), []wire.EnvoyID{r.id})
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	return all[0].State
}

// An agent is asked when the rest is over that it has said, and its answer is a sign of life. While it rests it is not stale.
func TestARestingAgentIsAsked(t *testing.T) {
	heard := make(chan bool, 16)
	b := newBase(t, func(c *Config) { c.Changed = func(_ wire.EnvoyID, seen bool) { heard <- seen } })
	r := newResting(t, b, 60)
	r.quietFor(59 * time.Second)
	if r.asks() {
		t.Fatal("it is asked too early")
	}
	b.findSilent()
	if s := r.state(t); s != Online {
		t.Errorf("it is %s while it rests", s)
	}
	r.quietFor(61 * time.Second)
	if !r.asks() {
		t.Fatal("it is not asked")
	}
	var asking sync.WaitGroup
	b.askResting(&asking)
	asking.Wait()
	m, err := wire.Expect[wire.Ping](r.control)
	if err != nil {
		t.Fatal(err)
	}
	r.quietFor(90 * time.Second)
	b.findSilent()
	if s := r.state(t); s != Stale {
		t.Errorf("it is %s although it does not answer", s)
	}
	for len(heard) > 0 {
		<-heard
	}
	if err := r.control.Send(&wire.Pong{N: m.N}); err != nil {
		t.Fatal(err)
	}
	if seen := <-heard; seen {
		t.Error("that it is back is told as if it had not been away")
	}
	if s := r.state(t); s != Online {
		t.Errorf("it is %s behind its answer", s)
	}
	if r.asks() {
		t.Error("it is asked again at once")
	}
	// It has something to do, and says so.
	if err := r.control.Send(&wire.Heartbeat{Time: wire.Millis(time.Now())}); err != nil {
		t.Fatal(err)
	}
	<-heard
	r.quietFor(39 * time.Second)
	if r.asks() || r.state(t) != Online {
		t.Error("an agent that does not rest is asked, or stale early")
	}
	r.quietFor(41 * time.Second)
	if s := r.state(t); s != Stale {
		t.Errorf("it is %s", s)
	}
}

// What an agent says of its rest is bounded.
func TestRestsAreBounded(t *testing.T) {
	for seconds, want := range map[uint32]time.Duration{0: 0, 1: wire.MinRest, 30: 30 * time.Second, 61: wire.MaxRest, 1<<32 - 1: wire.MaxRest} {
		if got := restOf(seconds); got != want {
			t.Errorf("%d s are a rest of %s, want %s", seconds, got, want)
		}
	}
}

// A link on which nothing comes any more ends when its agent's rest was over long ago, and not because the relay itself stood still.
func TestASilentLinkEnds(t *testing.T) {
	for _, c := range []struct {
		rest uint32
		ends time.Duration
	}{{0, 45 * time.Second}, {60, 90 * time.Second}} {
		b := newBase(t)
		r := newResting(t, b, c.rest)
		l := r.link()
		quiet := func(d time.Duration) {
			l.mu.Lock()
			l.heardAt = time.Now().Add(-d)
			l.mu.Unlock()
			b.findGone()
		}
		b.findGone()
		quiet(c.ends - time.Second)
		if err := r.near.Err(); err != nil {
			t.Fatalf("rest %d: it ended early: %v", c.rest, err)
		}
		b.Fleet.mu.Lock()
		b.looked = time.Now().Add(-time.Minute)
		b.Fleet.mu.Unlock()
		quiet(c.ends + time.Second)
		if err := r.near.Err(); err != nil {
			t.Fatalf("rest %d: it ended as the relay stood still: %v", c.rest, err)
		}
		l.mu.Lock()
		l.heardAt = time.Now().Add(-c.ends - time.Second)
		l.mu.Unlock()
		r.far.heard.Add(1)
		b.findGone()
		if err := r.near.Err(); err != nil {
			t.Fatalf("rest %d: it ended although something came: %v", c.rest, err)
		}
		quiet(c.ends + time.Second)
		select {
		case <-r.near.Context().Done():
		case <-time.After(patience):
			t.Fatal("the link goes on")
		}
		if code := wire.CodeOf(r.near.Err()); code != wire.AgentLost {
			t.Errorf("it ended with %s", code)
		}
	}
}
