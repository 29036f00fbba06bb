package relay

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// hands are handshakes whose time a test moves.
type hands struct {
	*handshakes
	t  *testing.T
	mu sync.Mutex
	at time.Time
}

func newHands(t *testing.T, max int) *hands {
	h := &hands{handshakes: newHandshakes(max), t: t, at: time.Unix(1_700_000_000, 0)}
	h.now = func() time.Time {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.at
	}
	return h
}

func (h *hands) pass(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.at = h.at.Add(d)
}

// from begins a handshake; end is the end of its connection, ended whether the relay has closed it.
func (h *hands) from(ip string) (s *handshake, end func(), ended *atomic.Bool, err error) {
	ctx, cancel := context.WithCancel(h.t.Context())
	s, err = h.begin(ctx, &net.UDPAddr{IP: net.ParseIP(ip), Port: 1})
	ended = new(atomic.Bool)
	if err != nil {
		cancel()
		return nil, nil, nil, err
	}
	s.closable(func() { ended.Store(true); cancel() })
	return s, cancel, ended, nil
}

func (h *hands) must(ip string) (*handshake, func(), *atomic.Bool) {
	h.t.Helper()
	s, end, ended, err := h.from(ip)
	if err != nil {
		h.t.Fatal(err)
	}
	return s, end, ended
}

// One network has a fourth of the handshakes, whatever its addresses; and two that do not go on
// keep nobody out.
func TestHandshakesOfOneNetwork(t *testing.T) {
	const most = 16
	h := newHands(t, most)
	for i := range most / handshakePart {
		h.must(fmt.Sprintf("2001:db8::%x", i+1))
		h.must("192.0.2.1")
	}
	for _, ip := range []string{"192.0.2.1", "2001:db8::ffff"} {
		if _, _, _, err := h.from(ip); err == nil {
			t.Errorf("%s got more than its part", ip)
		}
	}
	if n := h.refused.ofNetwork.Load(); n != 2 {
		t.Errorf("%d were counted as more than a network's part", n)
	}
	if s, _, _ := h.must("198.51.100.1"); !s.done() {
		t.Error("an honest handshake did not get through")
	}
}

// Of a network's own handshakes the oldest gives way, once an honest one would have been over: so who
// shares its address with somebody hostile gets in too.
func TestTheOldestOfANetworkGivesWay(t *testing.T) {
	h := newHands(t, 16)
	first, _, ended := h.must("192.0.2.1")
	for range 3 {
		h.must("192.0.2.1")
	}
	if _, _, _, err := h.from("192.0.2.1"); err == nil {
		t.Error("a handshake gave way that may be honest")
	}
	h.pass(patient)
	if s, _, _ := h.must("192.0.2.1"); !s.done() {
		t.Error("the new one did not get through")
	}
	waitFor(t, "the oldest to be closed", ended.Load)
	if first.done() {
		t.Error("it went on all the same")
	}
	if n := h.refused.gaveWay.Load(); n != 1 {
		t.Errorf("%d are counted that gave way", n)
	}
}

// When honest handshakes take long, as the processors are behind, none gives way just before its end; and who
// does not go on still gives way before long, whoever says that it takes so long.
func TestSlowHandshakesDoNotGiveWay(t *testing.T) {
	h := newHands(t, 16)
	slow := func(times int, each time.Duration) {
		for i := range times {
			s, end, _ := h.must("198.51.100.1")
			h.pass(each)
			s.done()
			s.showed(fmt.Sprint(each, i))
			end()
		}
	}
	full := func() {
		t.Helper()
		for range 4 {
			h.must("192.0.2.1")
		}
	}
	refused := func() bool {
		_, _, _, err := h.from("192.0.2.1")
		return err != nil
	}
	slow(50, 700*time.Millisecond)
	full()
	h.pass(patient)
	if !refused() {
		t.Error("a handshake gave way that is as old as others before their end")
	}
	h.pass(2 * patient)
	if refused() {
		t.Error("one that does not go on keeps its place")
	}
	slow(50, time.Hour)
	full()
	h.pass(mostPatient)
	if refused() {
		t.Error("one that does not go on keeps its place, as others take an hour")
	}
	slow(100, 10*time.Millisecond)
	full()
	h.pass(patient)
	if refused() {
		t.Error("the processors are not behind any more")
	}
}

// One machine that dawdles with each of its handshakes does not make all others wait for strangers' that do not go on.
func TestOneThatDawdlesDoesNotMakePatient(t *testing.T) {
	h := newHands(t, 16)
	one := func(identity string, each time.Duration) {
		s, end, _ := h.must("198.51.100.1")
		h.pass(each)
		s.done()
		s.showed(identity)
		end()
	}
	for i := range 30 {
		for j := range 4 {
			one(fmt.Sprint("honest", i, j), 20*time.Millisecond)
		}
		one("dawdler", 5*time.Second)
	}
	for range 4 {
		h.must("192.0.2.1")
	}
	h.pass(patient)
	if _, _, _, err := h.from("192.0.2.1"); err != nil {
		t.Errorf("one that does not go on keeps its place: %v", err)
	}
}

// When all places are taken, the oldest gives way to a network that has none.
func TestTheOldestOfAllGivesWay(t *testing.T) {
	const most = 16
	h := newHands(t, most)
	_, _, ended := h.must("192.0.2.0")
	for i := 1; i < most; i++ {
		h.must(fmt.Sprintf("192.0.2.%d", i/2)) // two of each
	}
	if s, _, _ := h.must("198.51.100.1"); !s.done() {
		t.Error("the new one did not get through")
	}
	waitFor(t, "the oldest to be closed", ended.Load)
}

// What gave way and cannot be closed yet is bounded as well, and is forgotten when it is gone.
func TestWhatGaveWayIsBounded(t *testing.T) {
	const most = 8
	h := newHands(t, most)
	var ends []context.CancelFunc
	begun := 0
	for i := range 10 * most {
		ctx, cancel := context.WithCancel(t.Context())
		if _, err := h.begin(ctx, &net.UDPAddr{IP: net.IPv4(192, 0, 2, byte(i))}); err == nil {
			begun++
		}
		ends = append(ends, cancel)
		h.pass(patient)
	}
	if begun != 2*most {
		t.Errorf("%d connections are there, room is for %d", begun, 2*most)
	}
	for _, end := range ends {
		end()
	}
	waitFor(t, "all to be gone", func() bool {
		h.handshakes.mu.Lock()
		defer h.handshakes.mu.Unlock()
		return h.left == 0 && h.open.Len() == 0 && len(h.by) == 0
	})
}

// The bound holds when all come at once, too: as many get in as there are places, and not one more.
func TestHandshakesAreBoundedInAStorm(t *testing.T) {
	const most = 64
	h := newHands(t, most)
	var admitted atomic.Int64
	var wg sync.WaitGroup
	ctx, end := context.WithCancel(t.Context())
	for host := range byte(16) {
		wg.Go(func() {
			for range most {
				if _, err := h.begin(ctx, &net.UDPAddr{IP: net.IPv4(192, 0, 2, host), Port: 1}); err == nil {
					admitted.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if n := h.count(); n > most || int(admitted.Load()) > 2*most {
		t.Errorf("%d are half-open of %d that were admitted; there is room for %d", n, admitted.Load(), most)
	}
	end()
	waitFor(t, "the places to come back", func() bool { return h.count() == 0 })
}

// A network cannot begin any number of connections, also if each is over at once.
func TestArrivalsAreBounded(t *testing.T) {
	h := newHands(t, 16)
	begun := 0
	for range 2 * arrivalsBurst {
		if s, end, _, err := h.from("192.0.2.1"); err == nil {
			begun++
			s.done()
			end()
		}
	}
	if begun != arrivalsBurst {
		t.Errorf("%d connections were begun at once, want %d", begun, arrivalsBurst)
	}
	if n := h.refused.tooFast.Load(); n != arrivalsBurst {
		t.Errorf("%d were counted as too fast", n)
	}
	if _, _, _, err := h.from("198.51.100.1"); err != nil {
		t.Errorf("another network: %v", err)
	}
	h.pass(time.Second)
	if _, _, _, err := h.from("192.0.2.1"); err != nil {
		t.Errorf("a second later: %v", err)
	}
}

// A fleet behind one address is not kept out by the rate at which strangers may come; who cannot show an
// identity, or shows the same one again and again, is.
func TestAFleetBehindOneAddressComesBack(t *testing.T) {
	h := newHands(t, 16)
	for i := range 20 * arrivalsBurst {
		s, end, _ := h.must("192.0.2.1")
		s.done()
		s.showed(fmt.Sprint("envoy ", i))
		end()
	}
	begun := 0
	for range 2 * arrivalsBurst {
		if s, end, _, err := h.from("192.0.2.1"); err == nil {
			begun++
			s.done()
			s.showed("one")
			end()
		}
	}
	if most := arrivalsBurst + 1; begun != most {
		t.Errorf("one identity came %d times at once, at most %d", begun, most)
	}
	h.pass(time.Hour)
	s, end, _ := h.must("192.0.2.1")
	s.done()
	h.pass(time.Hour)
	s.showed("two")
	end()
	begun = 0
	for range 2 * arrivalsBurst {
		if s, end, _, err := h.from("192.0.2.1"); err == nil {
			begun++
			s.done()
			end()
		}
	}
	if begun > arrivalsBurst {
		t.Errorf("what was given back made %d of %d connections at once", begun, arrivalsBurst)
	}
}

// A site of IPv6 has 65,536 networks, and all of them together may begin four times what one may.
func TestArrivalsOfASiteAreBounded(t *testing.T) {
	h := newHands(t, 16)
	begun := 0
	for i := range 2 * sitePart * arrivalsBurst {
		if s, end, _, err := h.from(fmt.Sprintf("2001:db8:0:%x::1", i%(2*sitePart))); err == nil {
			begun++
			s.done()
			end()
		}
	}
	if begun != sitePart*arrivalsBurst {
		t.Errorf("%d connections were begun at once, want %d", begun, sitePart*arrivalsBurst)
	}
	if _, _, _, err := h.from("2001:db8:1::1"); err != nil {
		t.Errorf("another site: %v", err)
	}
}

// Who is turned away for want of a place has not used up a connection: otherwise a fleet that comes back
// all at once would keep itself out.
func TestWhoIsTurnedAwayCostsNothing(t *testing.T) {
	h := newHands(t, 16)
	var ends []func()
	for range 2 * arrivalsBurst {
		if _, end, _, err := h.from("192.0.2.1"); err == nil {
			ends = append(ends, end)
		}
	}
	for _, end := range ends {
		end()
	}
	waitFor(t, "the places to come back", func() bool { return h.count() == 0 })
	for range arrivalsBurst - len(ends) {
		s, end, _ := h.must("192.0.2.1")
		s.done()
		end()
	}
}

// Somebody who only claims to be at an address uses up half of what it may have; then it has to be proved.
func TestForgedArrivalsKeepNobodyOut(t *testing.T) {
	const most = 64
	victim := &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1}
	forged := func(h *hands, over bool) (n int) {
		for ; !h.doubts(victim); n++ {
			if n > arrivalsBurst {
				t.Fatal("nothing has to be proved")
			}
			s, end, _ := h.must("192.0.2.1")
			if over {
				s.done()
				end()
			}
		}
		return n
	}
	t.Run("places", func(t *testing.T) {
		h := newHands(t, most)
		forged(h, false)
		if h.busy() {
			t.Error("one network makes the relay hurry")
		}
		if s, _, _ := h.must("192.0.2.1"); !s.done() {
			t.Error("who is there did not get in")
		}
	})
	t.Run("rate", func(t *testing.T) {
		h := newHands(t, most)
		forged(h, true)
		for range arrivalsBurst / 4 {
			s, end, _ := h.must("192.0.2.1")
			s.done()
			end()
		}
		if h.doubts(&net.UDPAddr{IP: net.IPv4(198, 51, 100, 1), Port: 1}) {
			t.Error("another network has to prove something")
		}
		h.pass(arrivalsBurst / arrivals * time.Second)
		if h.doubts(victim) {
			t.Error("it is not forgotten")
		}
	})
}

// Whatever strangers of some networks begin, and however long honest handshakes took before, a network that has
// none gets one at once: so they keep no fleet out.
func TestStrangersKeepNoFleetOut(t *testing.T) {
	const most = 32
	rapid.Check(t, func(r *rapid.T) {
		strangers := rapid.IntRange(1, most/2).Draw(r, "strangers")
		before := time.Duration(rapid.Int64Range(0, int64(2*mostPatient)).Draw(r, "before"))
		type step struct {
			from int // a stranger's network; 0: the fleet
			wait time.Duration
		}
		steps := rapid.SliceOfN(rapid.Custom(func(r *rapid.T) step {
			return step{rapid.IntRange(0, strangers).Draw(r, "from"), time.Duration(rapid.Int64Range(0, int64(patient)).Draw(r, "wait"))}
		}), 1, 100).Draw(r, "steps")
		synctest.Test(t, func(t *testing.T) {
			h := newHands(t, most)
			h.took = before
			var ends []func()
			begin := func(ip string) *handshake {
				s, end, _, err := h.from(ip)
				if err != nil {
					return nil
				}
				ends = append(ends, end)
				synctest.Wait() // what gave way is gone
				return s
			}
			for range most { // as many as they get
				for n := range strangers {
					begin(fmt.Sprint("198.51.100.", n+1))
				}
			}
			for i, s := range steps {
				h.pass(s.wait)
				if s.from > 0 {
					begin(fmt.Sprint("198.51.100.", s.from))
					continue
				}
				s := begin("192.0.2.1")
				if s == nil || !s.done() {
					r.Fatalf("step %d: the fleet was kept out", i)
				}
				s.showed(fmt.Sprint("envoy ", i))
			}
			for _, end := range ends {
				end()
			}
			synctest.Wait()
		})
	})
}
