package web

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	"golang.org/x/time/rate"
)

// The times of a browser's connection, over TCP and QUIC alike. The servers of HTTP have times of their
// own for a request that is slow; these are for connections on which no request gets whole.
const (
	visitLook = time.Second // how often a connection is looked at

	firstRequest = 30 * time.Second // for the first whole request
	headerWait   = 10 * time.Second // for a stream's headers, when later streams have theirs

	strangerIdle = 30 * time.Second // without a request, of who is not signed in; others have [h3Idle]
	strangerLife = time.Minute      // of a connection on which nobody signs in; twice that if it is never idle
	rest         = 5 * time.Second  // without a request, for the last answer to arrive
)

// How many requests a connection may make; a page makes some thirty when it is opened.
const (
	strangerRequests, strangerBurst = 10, 200   // a second, and at once
	knownRequests, knownBurst       = 100, 1000 // the same of who is signed in
)

// crowd is how many requests of a stranger's may be under way for [headerWait]: a page has fewer, and who
// keeps so many waiting does not take the answers.
const crowd = 48

// MayReceive is what a stranger's connection may receive within a second, in bytes, also when its network has
// sent too much.
const MayReceive = 64 << 10

// VisitTimes are the times of a [Visit], for tests that cannot wait.
type VisitTimes struct{ Look, First, Header, Idle, KnownIdle, Life time.Duration }

// DefaultVisit are the times of every relay.
func DefaultVisit() VisitTimes {
	return VisitTimes{Look: visitLook, First: firstRequest, Header: headerWait, Idle: strangerIdle, KnownIdle: h3Idle, Life: strangerLife}
}

// Visit is one connection of a browser while it is open. It ends a connection that does not do what
// browsers do: make whole requests, and sooner or later sign in.
//
// HTTP/3's server reads a stream's headers without a deadline, and keeps a connection alive while a
// stream is open; it tells nobody of such streams. But the numbers of streams are in order, so a request
// tells of all streams that were opened before it.
//
// Its methods may be called concurrently.
type Visit struct {
	VisitConfig

	mu      sync.Mutex
	timer   *time.Timer
	leave   func()
	known   bool
	seen    uint64 // bytes received at the last look
	born    time.Time
	last    time.Time // a request began or ended
	asked   *rate.Limiter
	running int

	requests int            // that began
	asking   map[int]func() // what a stranger's requests took

	whole   int64     // requests that came whole, and viewers' streams
	highest int64     // streams that must have been opened
	behind  time.Time // since when fewer are whole than were opened; zero: they are not
	crowded time.Time // since when crowd requests are under way; zero: there are fewer
}

// VisitConfig is what a [Visit] works with.
type VisitConfig struct {
	Times VisitTimes
	Leave func() // gives back the stranger's place
	Close func() // ends the connection; it may block
	// Know takes a place among those who have signed in. Known, if not nil, is told of it.
	Know  func(who string) (leave func(), ok bool)
	Known func()
	// MayAsk takes one request of a stranger's from what its network may ask; end is for when it is
	// answered.
	MayAsk func() (end func(), ok bool)
	// Received, if not nil, is how many bytes the connection has received; MayReceive takes some from
	// what its network may send.
	Received   func() uint64
	MayReceive func(n uint64) bool
	// Path, if not nil, is how many packets the connection has sent, and lost, and its shortest round trip.
	Path func() (sent, lost uint64, trip time.Duration)
}

// NewVisit watches a connection until [Visit.End].
func NewVisit(c VisitConfig) *Visit {
	now := time.Now()
	v := &Visit{VisitConfig: c, leave: c.Leave, born: now, last: now, asked: rate.NewLimiter(strangerRequests, strangerBurst), asking: map[int]func(){}}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.timer = time.AfterFunc(c.Times.Look, v.look)
	return v
}

// End is for when the connection has ended. It may be called more than once.
func (v *Visit) End() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.leave == nil {
		return
	}
	v.timer.Stop()
	v.leave()
	v.leave = nil
}

// look ends the connection when it is time.
func (v *Visit) look() {
	v.mu.Lock()
	over := v.overLocked(time.Now())
	if v.leave == nil {
		over = false
	} else if !over {
		v.timer.Reset(v.Times.Look)
	}
	v.mu.Unlock()
	if over {
		v.Close()
	}
}

func (v *Visit) overLocked(now time.Time) bool {
	if v.Received != nil {
		received := v.Received()
		n := received - v.seen
		v.seen = received
		if !v.known && !v.MayReceive(n) && n > MayReceive {
			return true
		}
	}
	if v.whole == 0 {
		return now.Sub(v.born) >= v.Times.First
	}
	if v.known {
		return v.running == 0 && now.Sub(v.last) >= v.Times.KnownIdle
	}
	late := func(since time.Time) bool { return !since.IsZero() && now.Sub(since) >= v.Times.Header }
	return late(v.behind) || late(v.crowded) || now.Sub(v.born) >= 2*v.Times.Life ||
		v.running == 0 && (now.Sub(v.last) >= v.Times.Idle || now.Sub(v.born) >= v.Times.Life && now.Sub(v.last) >= rest)
}

// begin is a request whose headers are there; its stream has a number over QUIC, else it is negative.
// With too many requests the connection ends.
func (v *Visit) begin(stream int64) (end func(), ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	ok = v.asked.Allow()
	var answered func()
	if ok && !v.known {
		answered, ok = v.MayAsk()
	}
	if !ok {
		go v.Close()
		return nil, false
	}
	v.requests++
	n := v.requests
	if answered != nil {
		v.asking[n] = answered
	}
	if v.running++; v.running == crowd {
		v.crowded = time.Now()
	}
	v.cameLocked(stream)
	return func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.answeredLocked(n)
		if v.running--; v.running < crowd {
			v.crowded = time.Time{}
		}
		v.last = time.Now()
	}, true
}

// answeredLocked gives back what a stranger's request took.
func (v *Visit) answeredLocked(n int) {
	if answered, ok := v.asking[n]; ok {
		delete(v.asking, n)
		answered()
	}
}

// came is a stream that is no request: a viewer's over WebTransport.
func (v *Visit) came(stream int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.cameLocked(stream)
}

func (v *Visit) cameLocked(stream int64) {
	v.last = time.Now()
	v.whole++
	v.highest = max(v.highest, stream/4+1) // every fourth number is a browser's (RFC 9000, 2.1)
	switch {
	case v.whole >= v.highest:
		v.behind = time.Time{}
	case v.behind.IsZero():
		v.behind = v.last
	}
}

// Identified is for when somebody has shown who they are: the connection counts among theirs from then on. If
// they have too many, it stays a stranger's, with a stranger's times.
func (v *Visit) Identified(who string) (ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.known || v.leave == nil {
		return true
	}
	leave, ok := v.Know(who)
	if !ok {
		return false
	}
	v.leave()
	v.leave, v.known = leave, true
	for n := range v.asking { // a viewer's request lasts as long as it is there
		v.answeredLocked(n)
	}
	v.asked = rate.NewLimiter(knownRequests, knownBurst)
	if v.Known != nil {
		v.Known()
	}
	return true
}

// IsKnown says whether it counts among somebody's.
func (v *Visit) IsKnown() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.known
}

type visitKey struct{}

// Arrival is where a connection's visit will be: its context is made before anybody knows whether it
// is a browser's.
type Arrival struct {
	mu sync.Mutex
	v  *Visit
}

// WithArrival marks a connection's context.
func WithArrival(ctx context.Context, a *Arrival) context.Context {
	return context.WithValue(ctx, visitKey{}, a)
}

// Began says that the connection is a browser's.
func (a *Arrival) Began(v *Visit) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.v = v
}

// VisitOf is the visit that ctx belongs to, nil if there is none.
func VisitOf(ctx context.Context) *Visit {
	a, ok := ctx.Value(visitKey{}).(*Arrival)
	if !ok {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.v
}

// visited tells a connection's visit of each request.
func visited(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if v := VisitOf(r.Context()); v != nil {
			end, ok := v.begin(streamOf(r))
			if !ok {
				panic(http.ErrAbortHandler)
			}
			defer end()
		}
		next.ServeHTTP(w, r)
	})
}

// streamOf is the number of a request's stream over QUIC, or -4.
func streamOf(r *http.Request) int64 {
	if body, ok := r.Body.(interface{ StreamID() quic.StreamID }); ok {
		return int64(body.StreamID())
	}
	return -4
}
