package relay

import (
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"

	"scrier/wire"
)

// How fast the strangers of one network may make the relay work. Each is many times what a company
// needs that comes in through one address on Monday morning.
const (
	// Connections: each costs the relay a signature, which is more than it costs who asks. Who shows an
	// identity has it given back, once in a time: so a fleet behind one address is not kept out by itself.
	arrivals, arrivalsBurst = 50, 250 // a second, and at once
	givenBackEvery          = time.Second

	// Of browsers that have not signed in; the bytes are those of links without a login as well.
	strangerRequests, strangerRequestsBurst = 100, 1000
	strangerBytes, strangerBytesBurst       = 256 << 10, 4 << 20

	// maxRated is how many networks are remembered. One that was forgotten begins with a full burst.
	maxRated = 16_384
)

// rates are limits, one for each network. Its methods may be called concurrently.
type rates struct {
	limit rate.Limit
	burst int

	mu sync.Mutex
	by *simplelru.LRU[string, *rate.Limiter]
}

func newRates(limit rate.Limit, burst int) *rates {
	by, err := simplelru.NewLRU[string, *rate.Limiter](maxRated, nil)
	if err != nil {
		panic(err) // only for a size below 1
	}
	return &rates{limit: limit, burst: burst, by: by}
}

// of is the limit of the network that an address is in.
func (r *rates) of(addr string) *rate.Limiter {
	network := wire.Network(addr)
	r.mu.Lock()
	defer r.mu.Unlock()
	l, ok := r.by.Get(network)
	if !ok {
		l = rate.NewLimiter(r.limit, r.burst)
		r.by.Add(network, l)
	}
	return l
}

// all are the limits that hold for an address: its network's and, of IPv6, that of the whole site around it,
// which has sitePart times as much.
func (r *rates) all(addr string) []*rate.Limiter {
	limits := []*rate.Limiter{r.of(addr)}
	network := wire.Network(addr)
	site := wire.Site(network)
	if site == network {
		return limits
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	l, ok := r.by.Get(site)
	if !ok {
		l = rate.NewLimiter(sitePart*r.limit, sitePart*r.burst)
		r.by.Add(site, l)
	}
	return append(limits, l)
}

// fewest is how many more may come at once by all of these limits.
func fewest(limits []*rate.Limiter, now time.Time) float64 {
	tokens := limits[0].TokensAt(now)
	for _, l := range limits[1:] {
		tokens = min(tokens, l.TokensAt(now))
	}
	return tokens
}

// giveBack makes one undone that was counted against all of these limits.
func giveBack(limits []*rate.Limiter, now time.Time) {
	for _, l := range limits {
		l.AllowN(now, -1) // never above the burst, as that bounds it when it is looked at next
	}
}

// acquainted are the networks from which somebody has shown who they are, the latest. Its methods may
// be called concurrently.
type acquainted struct {
	mu sync.Mutex
	by *simplelru.LRU[string, struct{}]
}

func (a *acquainted) add(addr string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.by == nil {
		by, err := simplelru.NewLRU[string, struct{}](maxRated, nil)
		if err != nil {
			panic(err) // only for a size below 1
		}
		a.by = by
	}
	a.by.Add(wire.Network(addr), struct{}{})
}

func (a *acquainted) has(addr string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.by == nil {
		return false
	}
	_, ok := a.by.Get(wire.Network(addr))
	return ok
}
