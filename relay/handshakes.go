package relay

import (
	"container/list"
	"context"
	"errors"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"scrier/wire"
)

// How many handshakes run at the same time. When a whole fleet reconnects at once, the processors can
// finish this many in time; without a bound nearly all of them would time out together.
var maxHandshakes = 2 * runtime.GOMAXPROCS(0) * 32

const (
	// handshakePart is what one network may have of them: a fourth.
	handshakePart = 4

	// patient is how old a handshake is before another may take its place: an honest one is over by then,
	// also over a long way. When the processors are behind it is several times what honest ones took lately:
	// otherwise each would give way just before its end. It is never more than mostPatient.
	patient, mostPatient = time.Second, 2 * time.Second
	times                = 4
	smooth               = 8 // how many of them count
)

// handshakes are the connections that have begun and are not through. When there are too many, the
// oldest give way, so that peers that begin and do not go on keep nobody out.
//
//	begin -> half-open --done--> (served)
//	             |--- its context ends --> (gone)
//	             '--- gave way: closed, and counted until it is gone
//
// Its methods may be called concurrently, and do not block.
type handshakes struct {
	max      int
	now      func() time.Time
	arrivals *rates

	mu   sync.Mutex
	open list.List      // of *handshake, the oldest first
	by   map[string]int // of each network
	left int            // gave way, and are not gone yet

	took time.Duration // by those that showed an identity lately, from the beginning to the end

	refused refusals

	proved *simplelru.LRU[string, time.Time] // when an identity had an arrival given back
}

// handshake is one of them.
type handshake struct {
	of      *handshakes
	addr    string
	network string
	since   time.Time

	// Guarded by of.mu.
	took    time.Duration // until it was done
	at      *list.Element // nil: it does not count any more
	gaveWay bool
	close   func() // ends its connection, once there is one
}

func newHandshakes(max int) *handshakes {
	proved, err := simplelru.NewLRU[string, time.Time](maxRated, nil)
	if err != nil {
		panic(err) // only for a size below 1
	}
	return &handshakes{max: max, now: time.Now, arrivals: newRates(arrivals, arrivalsBurst), by: map[string]int{}, proved: proved}
}

// refusals count the handshakes that came to nothing for want of a place: the first three were not begun.
type refusals struct{ tooFast, tooMany, ofNetwork, gaveWay atomic.Uint64 }

var (
	errTooFast  = errors.New("too many connections a second from one network")
	errTooMany  = errors.New("too many handshakes at once")
	errOneOfAll = errors.New("too many handshakes at once from one network")
)

// begin takes a place for a handshake, or refuses. The place is given back by done, or when ctx ends.
func (h *handshakes) begin(ctx context.Context, addr net.Addr) (*handshake, error) {
	network, now, limits := wire.Network(addr.String()), h.now(), h.arrivals.all(addr.String())
	old := func(o *handshake) bool { return now.Sub(o.since) >= h.patienceLocked() }
	h.mu.Lock()
	defer h.mu.Unlock()
	if fewest(limits, now) < 1 {
		h.refused.tooFast.Add(1)
		return nil, errTooFast
	}
	if h.by[network] >= h.part() {
		if !h.giveWayLocked(func(o *handshake) bool { return o.network == network && old(o) }) {
			h.refused.ofNetwork.Add(1)
			return nil, errOneOfAll
		}
	} else if h.open.Len() >= h.max {
		// Who has no handshake yet goes before who has several, however young these are.
		first := h.by[network] == 0
		if !h.giveWayLocked(func(o *handshake) bool { return old(o) || first && h.by[o.network] > 1 }) {
			h.refused.tooMany.Add(1)
			return nil, errTooMany
		}
	}
	for _, l := range limits { // who was turned away has cost nothing
		l.AllowN(now, 1)
	}
	s := &handshake{of: h, addr: addr.String(), network: network, since: now}
	s.at = h.open.PushBack(s)
	h.by[network]++
	context.AfterFunc(ctx, s.gone)
	return s, nil
}

// part is how many places one network may have.
func (h *handshakes) part() int { return max(h.max/handshakePart, 1) }

// showed says that its peer has shown an identity: the arrival does not count against the peer's network, which
// may have ten thousand machines that come back at once. An identity that comes again and again has no more
// than one given back in a time.
func (s *handshake) showed(identity string) {
	h := s.of
	limits, now := h.arrivals.all(s.addr), h.now()
	h.mu.Lock()
	defer h.mu.Unlock()
	if last, ok := h.proved.Get(identity); ok && now.Sub(last) < givenBackEvery {
		return
	}
	h.proved.Add(identity, now)
	giveBack(limits, now)
	h.took += (min(s.took, mostPatient/times) - h.took) / smooth // one that dawdles counts for no more than it may
}

// patienceLocked is how old a handshake is before another may take its place.
func (h *handshakes) patienceLocked() time.Duration {
	return min(max(times*h.took, patient), mostPatient)
}

// doubts says whether who comes from addr has to prove first that it does: when many handshakes go on,
// and when its network has used up half of what it may. Otherwise somebody far away could use up the rest
// in its name, with packets that only claim to come from there, and so keep a whole fleet out.
func (h *handshakes) doubts(addr net.Addr) bool {
	network, limits := wire.Network(addr.String()), h.arrivals.all(addr.String())
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.busyLocked() || h.by[network] > h.part()/2 || fewest(limits, h.now()) < arrivalsBurst/2
}

// giveWayLocked ends the oldest handshake that may be ended. Those that ended so and are not gone
// are bounded too: a connection whose first packets never came whole cannot be closed before its
// time-out.
func (h *handshakes) giveWayLocked(may func(*handshake) bool) bool {
	if h.left >= h.max {
		return false
	}
	for e := h.open.Front(); e != nil; e = e.Next() {
		o := e.Value.(*handshake)
		if !may(o) {
			continue
		}
		h.removeLocked(o)
		o.gaveWay = true
		h.left++
		h.refused.gaveWay.Add(1)
		if o.close != nil {
			go o.close()
		}
		return true
	}
	return false
}

func (h *handshakes) removeLocked(s *handshake) {
	h.open.Remove(s.at)
	s.at = nil
	take(h.by, s.network)
}

// busy says that so many have begun that peers have less time.
func (h *handshakes) busy() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.busyLocked()
}

func (h *handshakes) busyLocked() bool { return h.open.Len() > h.max/2 }

// count is how many are half-open.
func (h *handshakes) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.open.Len()
}

// closable says how the handshake's connection is ended. If it gave way before, that is now.
func (s *handshake) closable(end func()) {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	s.close = end
	if s.gaveWay {
		go end()
	}
}

// done says that the handshake is through. It is too late if it gave way.
func (s *handshake) done() bool {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	if s.at != nil {
		s.of.removeLocked(s)
		s.took = s.of.now().Sub(s.since)
	}
	return !s.gaveWay
}

// gone is the end of its connection.
func (s *handshake) gone() {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	if s.at != nil {
		s.of.removeLocked(s)
	}
	if s.gaveWay {
		s.of.left--
	}
}
