package fleet

import (
	"context"
	"crypto/x509"
	"errors"
	"maps"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"scrier/relay/store"
	"scrier/wire"
	"scrier/wire/wiretest"
)

// held is what a process has in use: bytes of heap and stacks, and goroutines.
type held struct{ bytes, goroutines int64 }

func holds() held {
	for range 4 { // each takes back half of a stack at most
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return held{int64(m.HeapAlloc + m.StackInuse), int64(runtime.NumGoroutine())}
}

// A relay may have ten thousand agents, and nearly all of them do nothing but say from time to time that they are
// there. What QUIC and TLS take for each is not counted here.
func TestAnIdleAgentIsSmall(t *testing.T) {
	const (
		agents     = 300
		bytes      = 40 << 10 // of each, both ends of its link; the race detector makes stacks larger
		goroutines = 2
	)
	var heard atomic.Int64
	b := newBase(t, func(c *Config) {
		c.Changed = func(_ wire.EnvoyID, seen bool) {
			if seen {
				heard.Add(1)
			}
		}
	})
	var all []*caller
	var leaves []*x509.Certificate
	for range agents {
		c := b.enrolledAt("192.0.2.1")
		leaf, err := x509.ParseCertificate(c.chain[0])
		if err != nil {
			t.Fatal(err)
		}
		all, leaves = append(all, c), append(leaves, leaf)
	}
	before := holds()
	var links []wire.Link
	var served sync.WaitGroup
	defer func() {
		for _, l := range links {
			if err := l.Close(wire.None, ""); err != nil {
				t.Error(err)
			}
		}
		served.Wait()
	}()
	for i, c := range all {
		near, far := wiretest.Pair(wire.Peer{}, wire.Peer{Addr: &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1000}, Certificates: leaves[i : i+1]})
		links = append(links, near)
		served.Go(func() { _ = b.Serve(context.Background(), far, c.id, false) }) // it ends with the link
		s, err := near.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := wire.Send(s, &wire.Hello{Boot: "boot", Time: wire.Millis(time.Now()), Facts: wire.Facts{Hostname: "web1"}}); err != nil {
			t.Fatal(err)
		}
		if _, err := wire.Expect[wire.Welcome](s); err != nil {
			t.Fatal(err)
		}
		if err := wire.Send(s, &wire.Heartbeat{Time: wire.Millis(time.Now()), Facts: wire.Facts{Hostname: "web1", Users: []string{"ann"}}}); err != nil {
			t.Fatal(err)
		}
	}
	for late := time.Now().Add(patience); heard.Load() < agents; time.Sleep(time.Millisecond) {
		if time.Now().After(late) {
			t.Fatalf("%d heartbeats of %d were heard", heard.Load(), agents)
		}
	}
	var now held
	for late := time.Now().Add(patience); ; time.Sleep(time.Millisecond) { // what served the greeting is about to end
		now = holds()
		if now.goroutines-before.goroutines <= goroutines*agents || time.Now().After(late) {
			break
		}
	}
	if n := now.goroutines - before.goroutines; n > goroutines*agents {
		t.Errorf("%d agents have %d goroutines, more than %d each", agents, n, goroutines)
	}
	each := (now.bytes - before.bytes) / agents
	t.Logf("each agent takes %d bytes", each)
	if each > bytes {
		t.Errorf("each agent takes %d bytes, more than %d", each, bytes)
	}
}

// A link ends when the certificate is over that was not renewed.
func TestNotRenewedInTime(t *testing.T) {
	var later atomic.Int64
	b := newBase(t, func(c *Config) {
		c.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	})
	c := b.enrolledAt("192.0.2.1")
	leaf, err := x509.ParseCertificate(c.chain[0])
	if err != nil {
		t.Fatal(err)
	}
	id, answers := c.welcomed()
	link := b.newest(id).link
	later.Store(int64(time.Until(leaf.NotAfter) - time.Hour))
	b.findExpired()
	if err := link.Context().Err(); err != nil {
		t.Fatalf("it ended an hour early: %v", link.Err())
	}
	later.Store(int64(time.Until(leaf.NotAfter) + time.Minute))
	b.findExpired()
	select {
	case <-link.Context().Done():
	case <-time.After(patience):
		t.Fatal("the link lives on")
	}
	if code := wire.CodeOf(link.Err()); code != wire.Expired {
		t.Errorf("it ended with %s", code)
	}
	for range answers { // up to its end
	}
}

// What an agent reports is not written each time, but from time to time, and of many agents not all at once.
func TestReportsAreSavedFromTimeToTime(t *testing.T) {
	var later atomic.Int64
	b := newBase(t, func(c *Config) {
		c.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	})
	const agents = 3
	for range agents {
		_, answers := b.enrolledAt("192.0.2.1").connect()
		if m, ok := (<-answers).(*wire.Welcome); !ok {
			t.Fatalf("it was answered with %T", m)
		}
	}
	written := func() (n int) {
		t.Helper()
		b.Fleet.mu.Lock()
		live := slices.Collect(maps.Values(b.live))
		b.Fleet.mu.Unlock()
		for _, a := range live { // a report that nothing else writes
			a.mu.Lock()
			a.facts.Load++
			a.mu.Unlock()
		}
		if err := b.saveDue(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, a := range live {
			var facts wire.Facts
			row, _ := b.envoy(a.id.String())
			if err := wire.Unmarshal(row.Facts, &facts); err != nil {
				t.Fatal(err)
			}
			if facts.Load != 0 {
				n++
			}
		}
		return n
	}
	if n := written(); n != 0 {
		t.Errorf("%d of %d are written although they came just now", n, agents)
	}
	later.Store(int64(saveEvery))
	if n := written(); n != agents {
		t.Errorf("%d of %d are written after %s", n, agents, saveEvery)
	}
	for _, a := range b.live {
		if a.saved.Before(b.Now().Add(-saveEvery / 2)) {
			t.Error("it is due again at once")
		}
	}
}

// failing is a KV that writes nothing while full is set, and does not come back from a write while hangs is locked.
type failing struct {
	store.KV
	full    atomic.Bool
	hangs   sync.Mutex
	waiting atomic.Int64 // writes that wait for it
}

func (k *failing) Update(ctx context.Context, f func(store.Tx) error) error {
	k.waiting.Add(1)
	k.hangs.Lock()
	defer k.hangs.Unlock()
	k.waiting.Add(-1)
	if k.full.Load() {
		return errors.New("no space left on device")
	}
	return k.KV.Update(ctx, f)
}

// What could not be written is tried again the next time, and not only when it is due anew.
func TestWhatCouldNotBeSavedIsDueAgain(t *testing.T) {
	var later atomic.Int64
	var disk failing
	b := newBase(t, func(c *Config) {
		c.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
		disk.KV = c.KV
		c.KV = &disk
	})
	c := b.enrolledAt("192.0.2.1")
	id, _ := c.welcomed()
	later.Store(int64(2 * saveEvery))
	reported := b.Now()
	a := b.agent(id)
	a.mu.Lock()
	a.seen = reported
	a.mu.Unlock()
	disk.full.Store(true)
	if err := b.saveDue(t.Context()); err == nil {
		t.Fatal("a full disk is no error")
	}
	disk.full.Store(false)
	if err := b.saveDue(t.Context()); err != nil {
		t.Fatal(err)
	}
	if row, _ := b.envoy(c.id.ID); row.LastSeen.Before(reported.Truncate(time.Millisecond)) {
		t.Errorf("it was last seen at %s, and reported at %s", row.LastSeen, reported)
	}
}

// A certificate that is over ends its link also while the disk hangs.
func TestExpiryDoesNotWaitForTheDisk(t *testing.T) {
	var later atomic.Int64
	var disk failing
	b := newBase(t, func(c *Config) {
		c.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
		disk.KV = c.KV
		c.KV = &disk
	})
	c := b.enrolledAt("192.0.2.1")
	id, answers := c.welcomed()
	link := b.newest(id).link
	disk.hangs.Lock()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	later.Store(int64(2 * saveEvery)) // so that there is something to be written
	for late := time.Now().Add(patience); disk.waiting.Load() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(late) {
			t.Fatal("nothing is written")
		}
	}
	later.Store(int64(10 * 365 * 24 * time.Hour))
	select {
	case <-link.Context().Done():
	case <-time.After(patience):
		t.Error("the link lives on")
	}
	if code := wire.CodeOf(link.Err()); code != wire.Expired {
		t.Errorf("it ended with %s", code)
	}
	disk.hangs.Unlock()
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	for range answers { // up to its end
	}
}

// An envoy that was away for long is written soon after it came back: else a crash would leave it as last seen
// before it went.
func TestWhoWasAwayForLongIsSavedSoon(t *testing.T) {
	var later atomic.Int64
	b := newBase(t, func(c *Config) {
		c.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	})
	c := b.enrolledAt("192.0.2.1")
	later.Store(int64(2 * time.Hour))
	back := b.Now()
	_, answers := c.connect()
	if m, ok := (<-answers).(*wire.Welcome); !ok {
		t.Fatalf("it was answered with %T", m)
	}
	if err := b.saveDue(t.Context()); err != nil {
		t.Fatal(err)
	}
	if row, _ := b.envoy(c.id.ID); row.LastSeen.Before(back) {
		t.Errorf("a crash leaves it as last seen %s before it came back", back.Sub(row.LastSeen).Round(time.Second))
	}
}

// slowToClose is a link that is closed late by who closes it first, if somebody else wants to.
type slowToClose struct {
	wire.Link
	calls  atomic.Int64
	second chan struct{}
}

func (l *slowToClose) Close(code wire.Code, detail string) error {
	switch l.calls.Add(1) {
	case 1:
		select {
		case <-l.second:
		case <-time.After(time.Second):
		}
	case 2:
		defer close(l.second)
	}
	return l.Link.Close(code, detail)
}

// An agent whose link has ended for something that it said learns that, and not that it was lost.
func TestWhoBreaksTheProtocolLearnsThat(t *testing.T) {
	b := newBase(t)
	c := b.enrolledAt("192.0.2.1")
	leaf, err := x509.ParseCertificate(c.chain[0])
	if err != nil {
		t.Fatal(err)
	}
	near, far := wiretest.Pair(wire.Peer{}, wire.Peer{Addr: &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1000}, Certificates: []*x509.Certificate{leaf}})
	served := make(chan error, 1)
	go func() {
		served <- b.Serve(context.Background(), &slowToClose{Link: far, second: make(chan struct{})}, c.id, false)
	}()
	s, err := near.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := wire.Send(s, &wire.Hello{Boot: "boot", Time: wire.Millis(time.Now())}); err != nil {
		t.Fatal(err)
	}
	if _, err := wire.Expect[wire.Welcome](s); err != nil {
		t.Fatal(err)
	}
	if err := wire.Send(s, &wire.Welcome{}); err != nil {
		t.Fatal(err)
	}
	if err := <-served; wire.CodeOf(err) != wire.Protocol {
		t.Errorf("the relay ends with %v", err)
	}
	<-near.Context().Done()
	if err := near.Err(); wire.CodeOf(err) != wire.Protocol {
		t.Errorf("the agent is told %v", err)
	}
}
