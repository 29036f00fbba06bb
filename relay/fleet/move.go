package fleet

import (
	"bytes"
	"slices"
	"sync"

	"scrier/wire"
)

// An agent that is connected over a road that is not the best one, such as TCP where UDP got no answer, tries the better one
// now and then. When it works the agent has two links: new sessions are opened on the newer one, those that are open
// end on theirs, and then the agent ends the older link. That the second link is the same agent's is known by a random ID,
// which the agent says on the link that it has ([wire.Move]) and in the Hello of the new one. Whoever has the certificate alone
// cannot say anything on the first link, and is met like any copy ([Fleet.displace]).

// maxLinks is how many links an agent may have.
const maxLinks = 2

// moves takes what an agent says of a link beside this one.
func (l *agentLink) moves(m *wire.Move, beside *sync.WaitGroup) error {
	if err := checkMove(m.ID); err != nil {
		return err
	}
	if !m.Over {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.announced = m.ID
		return nil
	}
	for _, other := range l.fleet.linksOf(l.id) {
		if other != l && other.agent == l.agent && bytes.Equal(other.move, m.ID) {
			beside.Go(func() { l.fleet.drop(other, wire.Errorf(wire.AgentLost, "the agent has lost this link")) })
		}
	}
	return nil
}

func checkMove(id []byte) error {
	if len(id) != wire.MoveSize {
		return wire.Errorf(wire.Protocol, "the ID of a link has %d bytes, not %d", len(id), wire.MoveSize)
	}
	return nil
}

// expects says whether the agent has said on one of its links that one comes which names move. It has said so once.
func (a *agent) expects(move []byte) bool {
	if len(move) == 0 {
		return false
	}
	links := a.fleet.linksOf(a.id)
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, o := range links {
		if o.agent == a && bytes.Equal(o.announced, move) {
			o.announced = nil
			return true
		}
	}
	return false
}

// take makes l one more link of a; false: a has gone. The caller has Fleet.mu.
func (a *agent) take(l *agentLink) bool {
	if len(a.links) == 0 {
		return false
	}
	from := l.agent // nobody else knows it yet
	a.mu.Lock()
	defer a.mu.Unlock()
	if from.cert.Generation >= a.cert.Generation {
		a.cert = from.cert
	}
	if from.expires.After(a.expires) {
		a.expires = from.expires
	}
	a.facts, a.seen, a.silent = from.facts, from.seen, false
	l.agent = a
	return true
}

// linksOf are the links of an envoy's agent, the newest first.
func (f *Fleet) linksOf(id wire.EnvoyID) []*agentLink {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := f.live[id]
	if a == nil {
		return nil
	}
	links := slices.Clone(a.links)
	slices.Reverse(links)
	return links
}

// newest is the link on which an envoy's sessions are opened; nil: its agent is not connected.
func (f *Fleet) newest(id wire.EnvoyID) *agentLink {
	if links := f.linksOf(id); len(links) > 0 {
		return links[0]
	}
	return nil
}

// left says whether the agent has ended the link itself, in order: as it does with one that has no sessions any more.
func (l *agentLink) left() bool {
	err := l.link.Err()
	return err != nil && wire.CodeOf(err) == wire.None
}
