package access

import (
	"net/netip"
	"sync"
	"time"

	"scrier/wire"
)

// A source whose logins or enrolments fail has to wait. The first few failures cost nothing, so a person
// with the wrong key sees only the error. After those the source waits up to a minute, which limits
// guessing and what is written to the audit log.
const (
	freeFailures = 10
	forgetAfter  = time.Minute
	maxSources   = 10_000 // remembered at once; more would let an attacker take our memory
)

// attempts counts failures by source: an IPv4 address or an IPv6 /64.
type attempts struct {
	now func() time.Time
	mu  sync.Mutex
	by  map[string]failures
}

type failures struct {
	n     int
	since time.Time
}

// Allow says whether a stranger at source may try to log in or to enrol now; [Access.Failed]
// counts against it.
func (a *Access) Allow(source string) error { return a.attempts.allow(source) }

// Failed counts a failed login or enrolment.
func (a *Access) Failed(source string) { a.attempts.failed(source) }

func (a *attempts) allow(source string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	f, ok := a.by[network(source)]
	if !ok || a.now().Sub(f.since) >= forgetAfter || f.n < freeFailures {
		return nil
	}
	return wire.Errorf(wire.Busy, "too many failures from %s; wait a minute", source)
}

func (a *attempts) failed(source string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	if a.by == nil {
		a.by = make(map[string]failures)
	}
	key := network(source)
	f := a.by[key]
	if now.Sub(f.since) >= forgetAfter {
		f = failures{since: now}
	}
	f.n++
	if _, known := a.by[key]; !known && len(a.by) >= maxSources {
		for k, old := range a.by {
			if now.Sub(old.since) >= forgetAfter {
				delete(a.by, k)
			}
		}
		if len(a.by) >= maxSources {
			return
		}
	}
	a.by[key] = f
}

func (a *attempts) succeeded(source string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.by, network(source))
}

func network(source string) string {
	ip, err := netip.ParseAddr(source)
	if err != nil {
		return source
	}
	if ip = ip.Unmap(); ip.Is4() {
		return ip.String()
	}
	p, err := ip.WithZone("").Prefix(64)
	if err != nil {
		return source
	}
	return p.String()
}
