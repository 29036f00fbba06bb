package access

import (
	"crypto/subtle"
	"sync"
	"time"

	"github.com/go-webauthn/webauthn/webauthn"

	"scrier/wire"
)

// The bounds of WebAuthn ceremonies that wait for their second half; each is a challenge in
// memory. A person needs some seconds, or a minute to find the key.
const (
	flowLife          = 2 * time.Minute
	maxFlows          = 4096
	maxFlowsPerSource = 32
)

// flow is a challenge that was given out and not answered yet.
type flow struct {
	operator string // id of whoever registers a passkey; empty for signing in
	site     Site
	source   string // network of who asked
	data     webauthn.SessionData
	expires  time.Time
}

// flows are the open challenges. They are kept in memory; after a restart of the relay the browser asks
// for a new one.
type flows struct {
	mu sync.Mutex
	by map[[32]byte]flow
}

// add keeps a challenge, or refuses with [wire.Busy] when there are too many.
func (f *flows) add(w flow, options any, now time.Time) (Flow, error) {
	id, key := newSecret()
	w.source = network(w.source)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.by == nil {
		f.by = map[[32]byte]flow{}
	}
	of := 0
	for k, old := range f.by {
		switch {
		case !now.Before(old.expires):
			delete(f.by, k)
		case old.source == w.source:
			of++
		}
	}
	if len(f.by) >= maxFlows || of >= maxFlowsPerSource {
		return Flow{}, wire.Errorf(wire.Busy, "too many passkeys are being asked for; wait two minutes")
	}
	f.by[key] = w
	return Flow{ID: id, Options: options}, nil
}

// take removes a challenge, as it is good for one answer, right or wrong. The answer must come from the
// operator, and from the site, that the challenge was made for.
func (f *flows) take(id, operator string, site Site, now time.Time) (flow, error) {
	key, _ := hashSecret(id)
	f.mu.Lock()
	w, ok := f.by[key]
	delete(f.by, key)
	f.mu.Unlock()
	if !ok || !now.Before(w.expires) || subtle.ConstantTimeCompare([]byte(w.operator), []byte(operator)) != 1 || w.site != site {
		return flow{}, wire.Errorf(wire.Unauthenticated, "the request for a passkey was answered already, or is older than 2 minutes; try again")
	}
	return w, nil
}
