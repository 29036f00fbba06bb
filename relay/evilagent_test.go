package relay

import (
	"context"
	"encoding/json"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"scrier/relay/access"
	"scrier/relay/fleet/fleettest"
	"scrier/wire"
)

const (
	someMemory = 32 << 20 // what a heap may differ by for other reasons
	atOnce     = 12       // agents that misbehave at the same time; most of them wait
)

// Agents that do not keep to the protocol, many at once. Each is cut off or bounded; an honest agent's
// session beside them goes on; what they took is given back.
func TestEvilAgents(t *testing.T) {
	r := start(t, func(s *Settings) {
		s.Config.Scrier.AgentTimeout, s.Config.Scrier.MaxSessions = Duration(3*time.Second), 256
	})
	serve(t, r, "good", func(e *envoy, o *wire.Open, s wire.Stream) {
		e.opened(s)
		e.sshServer(s, o, echo)
	})
	ann := newPerson(t, r, "ann", access.Admin)
	honest, err := ann.connect("good")
	if err != nil {
		t.Fatal(err)
	}
	honest.roundTrip(t)
	all := fleettest.Behaviours()
	if len(all) < 15 {
		t.Fatalf("only %d behaviours", len(all))
	}
	before, records := held(t), r.audit.Size()

	// The honest session is used all the time.
	var echoes atomic.Int64
	used, stop := context.WithCancel(t.Context())
	var using sync.WaitGroup
	using.Go(func() {
		for used.Err() == nil {
			honest.roundTrip(t)
			echoes.Add(1)
			time.Sleep(5 * time.Millisecond)
		}
	})
	t.Run("all", func(t *testing.T) {
		var g errgroup.Group
		g.SetLimit(atOnce)
		for i := range all {
			g.Go(func() error {
				t.Run(strings.ReplaceAll(all[i].Name, " ", "_"), func(t *testing.T) { evil(t, r, ann, &all[i]) })
				return nil
			})
		}
		_ = g.Wait() // failures are the tests'
	})
	n := echoes.Load()
	waitFor(t, "the honest session to go on", func() bool { return echoes.Load() > n+3 })
	stop()
	using.Wait()
	honest.types(t, "exit")
	if x := honest.exit(t); x.Code != wire.None || x.Status != 7 {
		t.Errorf("the honest session ended with %+v", x)
	}
	settled(t, r)
	for _, row := range rows(t, r) {
		if len(row.Reason) > 2048 || len(row.Login) > 256 {
			t.Errorf("a row has %d and %d bytes of an agent's", len(row.Reason), len(row.Login))
		}
	}
	if n := int(r.audit.Size() - records); n > 20*len(all) {
		t.Errorf("%d behaviours left %d records", len(all), n)
	}
	var after holding
	ok := func() bool {
		after = held(t)
		return after.goroutines <= before.goroutines && after.files <= before.files && after.heap <= before.heap+someMemory
	}
	for deadline := time.Now().Add(2 * patience); !ok(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("before: %+v, after: %+v\n%s", before, after, stacks[:runtime.Stack(stacks, true)])
		}
	}
}

// evil plays one behaviour, and wants a session on it.
func evil(t *testing.T, r *Relay, p *person, b *fleettest.Behaviour) {
	name := strings.Map(func(c rune) rune {
		if c == ' ' {
			return '-'
		}
		return c
	}, b.Name)
	name = strings.ReplaceAll(name, ",", "")
	m := enrolled(t, r, name[:min(len(name), 60)])
	a := &fleettest.Agent{Roam: func() {}}
	addr := r.Addr()
	road := roadOf(t)
	if b.Roams { // which links over TCP cannot
		n := newRouter(t, addr)
		road, addr, a.Roam = dialQUIC, n.inside.LocalAddr().String(), n.rebind
	}
	a.Dial = func(ctx context.Context) (wire.Link, error) {
		return road(ctx, addr, r.trusting(wire.ALPNAgent, m.cert).TLS())
	}
	ctx, cancel := context.WithCancel(t.Context())
	ready, over := make(chan struct{}), make(chan struct{})
	var once sync.Once
	var end error
	go func() {
		defer close(over)
		end = a.Play(ctx, b, func() { once.Do(func() { close(ready) }) })
	}()
	defer func() {
		cancel()
		<-over
	}()
	if b.Ends {
		select {
		case <-over:
			if end == nil || wire.CodeOf(end) == wire.None {
				t.Errorf("it ended with %v", end)
			}
		case <-time.After(patience + 10*time.Second): // 15 s are the longest that an agent may keep the relay waiting
			t.Error("the relay lets it go on")
		}
	} else {
		select {
		case <-ready:
		case <-over:
			t.Fatalf("it ended with %v", end)
		case <-time.After(patience):
			t.Fatal("the relay does not know it")
		}
	}

	// An operator who wants a session there is told within the agent's time, whatever it does.
	v, err := wants(t, r, p, m.id.String())
	switch code := wire.CodeOf(err); {
	case err == nil:
		t.Errorf("a session was opened: %+v", v.attached)
	case code == wire.Internal, code == wire.None, code == wire.Quarantined, code == wire.Killed:
		t.Errorf("the operator was told %v", err)
	}
	// What it said of itself is shown, and is small.
	e, err := r.fleet.Find(t.Context(), m.id.String())
	if err != nil {
		t.Fatal(err)
	}
	shown, err := json.Marshal(e)
	if err != nil || len(shown) > 16<<10 {
		t.Errorf("it is shown with %d bytes, %v", len(shown), err)
	}
	if !b.Ends && !b.Sessions() {
		select {
		case <-over:
			t.Errorf("it was to be bounded (%s), and ended with %v", b.Bound, end)
		default:
		}
	}
	if n := len(m.row().Boot); n > 64 {
		t.Errorf("%d bytes of a boot id are kept", n)
	}
	if e.Quarantine != nil {
		t.Errorf("it is in quarantine: %+v", e.Quarantine)
	}
}

// wants asks for a session on an envoy.
func wants(t *testing.T, r *Relay, p *person, envoy string) (*viewer, error) {
	t.Helper()
	q := *p
	q.t = t
	return q.connect(envoy)
}
