package access

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"

	"scrier/wire"
)

// A network whose logins or enrolments fail has to wait. The first few failures cost nothing, so a
// person with the wrong key sees only the error. After those the network waits up to a minute, which
// limits guessing and what is written to the audit log.
const (
	freeFailures = 10
	siteFailures = 4 * freeFailures // of all networks of an IPv6 /48 together
	forgetAfter  = time.Minute

	// How many networks are remembered at once, those that failed and those that succeeded; the one that
	// was not heard of for longest gives way.
	maxSources = 10_000

	// All failures together. A network that is forgotten too early, among too many others, is limited by
	// this; when it is used up, those wait from whose network nobody has logged in.
	allFailures      = 5 // a second
	allFailuresBurst = 300
)

// attempts counts failures by network ([wire.Network]). All it does takes the same time, however many
// networks there are.
type attempts struct {
	now func() time.Time

	mu     sync.Mutex
	failed *simplelru.LRU[string, failures] // by network and by site
	proved *simplelru.LRU[string, struct{}] // networks from which somebody has logged in
	all    *rate.Limiter

	refused atomic.Uint64
}

type failures struct {
	n     int
	since time.Time
}

func newAttempts(now func() time.Time) *attempts {
	failed, err := simplelru.NewLRU[string, failures](maxSources, nil)
	if err != nil {
		panic(err) // only for a size below 1
	}
	proved, err := simplelru.NewLRU[string, struct{}](maxSources, nil)
	if err != nil {
		panic(err)
	}
	return &attempts{now: now, failed: failed, proved: proved, all: rate.NewLimiter(allFailures, allFailuresBurst)}
}

// Allow says whether a stranger at source may try to log in or to enrol now; [Access.Failed]
// counts against it.
func (a *Access) Allow(source string) error { return a.attempts.allow(source) }

// Failed counts a failed login or enrolment.
func (a *Access) Failed(source string) { a.attempts.fail(source) }

// Succeeded notes a login or enrolment: no stranger is at source.
func (a *Access) Succeeded(source string) { a.attempts.succeed(source) }

func (a *attempts) allow(source string) error {
	network := wire.Network(source)
	site := wire.Site(network)
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	proved := a.proved.Contains(network)
	// A site may hold many customers of one provider, so the failures of some do not count against a network from
	// which somebody has logged in.
	if a.countLocked(network, now).n >= freeFailures || site != network && !proved && a.countLocked(site, now).n >= siteFailures {
		a.refused.Add(1)
		return wire.Errorf(wire.Busy, "too many failures from %s; wait a minute", source)
	}
	if !proved && a.all.TokensAt(now) < 1 {
		a.refused.Add(1)
		return wire.Errorf(wire.Busy, "too many failures from everywhere, and nobody has logged in from %s yet; try again in a minute, or from where somebody has", source)
	}
	return nil
}

// countLocked is what counts of a network's failures by now.
func (a *attempts) countLocked(key string, now time.Time) failures {
	f, ok := a.failed.Get(key)
	if !ok || now.Sub(f.since) >= forgetAfter {
		return failures{since: now}
	}
	return f
}

func (a *attempts) fail(source string) {
	network := wire.Network(source)
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	keys := []string{network}
	if site := wire.Site(network); site != network {
		keys = append(keys, site)
	}
	for _, key := range keys {
		f := a.countLocked(key, now)
		f.n++
		a.failed.Add(key, f)
	}
	a.all.AllowN(now, 1)
}

func (a *attempts) succeed(source string) {
	network := wire.Network(source)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.failed.Remove(network)
	a.proved.Add(network, struct{}{})
}
