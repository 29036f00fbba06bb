package access

import (
	"container/list"
	"crypto/subtle"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-webauthn/webauthn/webauthn"

	"scrier/wire"
)

// The bounds of WebAuthn ceremonies that wait for their second half; each is a challenge in
// memory. A person needs some seconds, or a minute to find the key.
const (
	flowLife           = 2 * time.Minute
	maxFlows           = 4096
	maxFlowsPerNetwork = 32
)

// flow is a challenge that was given out and not answered yet.
type flow struct {
	key      [32]byte
	operator string // id of whoever registers a passkey; empty for signing in
	site     Site
	source   string // network of who asked
	data     webauthn.SessionData
	expires  time.Time
}

// flows are the open challenges. They are kept in memory; after a restart of the relay the browser asks
// for a new one.
type flows struct {
	mu   sync.Mutex
	by   map[[32]byte]*list.Element
	open list.List      // of flow, the one that expires first in front
	of   map[string]int // how many are open for each network

	refused atomic.Uint64
}

// add keeps a challenge, or refuses with [wire.Busy] when there are too many.
func (f *flows) add(w flow, options any, now time.Time) (Flow, error) {
	id, key := newSecret()
	w.key, w.source = key, wire.Network(w.source)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.by == nil {
		f.by, f.of = map[[32]byte]*list.Element{}, map[string]int{}
	}
	for e := f.open.Front(); e != nil && !now.Before(e.Value.(flow).expires); e = f.open.Front() {
		f.removeLocked(e)
	}
	if f.open.Len() >= maxFlows || f.of[w.source] >= maxFlowsPerNetwork {
		f.refused.Add(1)
		return Flow{}, wire.Errorf(wire.Busy, "too many passkeys are being asked for; wait two minutes")
	}
	f.by[key] = f.open.PushBack(w)
	f.of[w.source]++
	return Flow{ID: id, Options: options}, nil
}

func (f *flows) removeLocked(e *list.Element) flow {
	w := f.open.Remove(e).(flow)
	delete(f.by, w.key)
	if f.of[w.source]--; f.of[w.source] == 0 {
		delete(f.of, w.source)
	}
	return w
}

// take removes a challenge, as it is good for one answer, right or wrong. The answer must come from the
// operator, and from the site, that the challenge was made for.
func (f *flows) take(id, operator string, site Site, now time.Time) (flow, error) {
	key, _ := hashSecret(id)
	var w flow
	f.mu.Lock()
	e, ok := f.by[key]
	if ok {
		w = f.removeLocked(e)
	}
	f.mu.Unlock()
	if !ok || !now.Before(w.expires) || subtle.ConstantTimeCompare([]byte(w.operator), []byte(operator)) != 1 || w.site != site {
		return flow{}, wire.Errorf(wire.Unauthenticated, "the request for a passkey was answered already, or is older than 2 minutes; try again")
	}
	return w, nil
}
