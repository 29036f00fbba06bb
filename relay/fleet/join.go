package fleet

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"

	"scrier/relay/store"
	"scrier/wire"
)

// turn serialises what is decided about one envoy: which link is its own, which certificate counts, and
// whether it is in quarantine.
type turn struct {
	mu      sync.Mutex
	waiting int // how many have it or wait for it; guarded by Fleet.mu
}

func (f *Fleet) turn(id wire.EnvoyID) (done func()) {
	f.mu.Lock()
	t := f.turns[id]
	if t == nil {
		t = new(turn)
		f.turns[id] = t
	}
	t.waiting++
	f.mu.Unlock()
	t.mu.Lock()
	return func() {
		t.mu.Unlock()
		f.mu.Lock()
		defer f.mu.Unlock()
		if t.waiting--; t.waiting == 0 {
			delete(f.turns, id)
		}
	}
}

// join makes l the link of the envoy's agent, or one more of it, or refuses it.
func (f *Fleet) join(ctx context.Context, l *agentLink) (leave func(), err error) {
	defer f.turn(l.id)()
	before := f.newest(l.id)
	beside, err := f.displace(ctx, l)
	if err != nil {
		return nil, err
	}
	if err := f.use(ctx, l); err != nil {
		return nil, f.unmasked(ctx, l, err)
	}
	hold, err := f.hold(ctx, l)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	if beside == nil || !beside.take(l) {
		f.live[l.id] = l.agent
	}
	l.links = append(slices.Clip(l.links), l)
	f.mu.Unlock()
	if err := f.noteHold(l.agent, hold); err != nil {
		return nil, err
	}
	if err := f.recheck(ctx, l); err != nil {
		return nil, err
	}
	if before != nil {
		f.moved.count(before.link.Peer().Road, l.link.Peer().Road)
	}
	f.changed(l.id, false)
	return func() { f.drop(l, &wire.Error{Code: wire.AgentLost}) }, nil
}

// use notes that l's certificate is used, if that is something new: after a crash it must be known. What else
// changes when an agent comes is told again by who comes back, and is written with what is reported
// ([Fleet.saveDue]): so a fleet that comes back all at once does not wait for the disk. That is soon, if the envoy
// was away for long. The caller has the envoy's turn, so nobody else uses a certificate of its meanwhile.
func (f *Fleet) use(ctx context.Context, l *agentLink) error {
	var news bool
	used := func(tx store.Tx) (store.Envoy, error) {
		e, err := l.row(tx)
		if err != nil {
			return e, err
		}
		before := e
		l.saved = e.LastSeen // it is not in the table yet
		err = e.Use(l.certificate())
		news = e.Generation != before.Generation || e.Source != before.Source || !bytes.Equal(e.Key, before.Key)
		return e, err
	}
	if err := f.KV.View(ctx, func(tx store.Tx) error {
		_, err := used(tx)
		return err
	}); err != nil || !news {
		return err
	}
	err := f.KV.Update(ctx, func(tx store.Tx) error {
		e, err := used(tx)
		if err == nil {
			err = l.describe(&e)
		}
		if err != nil {
			return err
		}
		return store.PutEnvoy(tx, e)
	})
	l.saved = l.seen
	return err
}

// recheck looks at the row after the link is in the table of live links. A revocation writes the row
// first and looks for a link then. So either the revocation finds the link, or recheck finds the
// revocation.
func (f *Fleet) recheck(ctx context.Context, l *agentLink) error {
	err := f.KV.View(ctx, func(tx store.Tx) error {
		_, err := l.row(tx)
		return err
	})
	if err != nil {
		f.dropAll(l.agent, err) // after the transaction, as drop begins one of its own
	}
	return err
}

// displace makes room for l where the envoy has a live link. The agent moves to a better road, was restarted or has
// reconnected, or the machine was copied. It moves if it has said so on the link that it has, and then l is one more link of
// that agent (beside). The machine was copied if the first connection still answers. Then the first stays
// and l is refused, or, if they have different certificates, none of them can be trusted. The boot id
// proves nothing, as every user of a machine can read it. The caller has the envoy's turn.
func (f *Fleet) displace(ctx context.Context, l *agentLink) (beside *agent, err error) {
	if err := l.link.Err(); err != nil { // it may have waited for its turn
		return nil, err
	}
	old := f.agent(l.id)
	if old == nil {
		return nil, f.displaceElsewhere(ctx, l)
	}
	ctx = context.WithoutCancel(ctx) // a copy must not decide by hanging up
	// That a newer certificate was used counts, whatever becomes of l. Else nothing is noted: l may be a copy.
	if err := f.KV.Update(ctx, func(tx store.Tx) error {
		e, err := l.row(tx)
		if err != nil {
			return err
		}
		before := e.Generation
		if err := e.Use(l.certificate()); err != nil || e.Generation == before {
			return err
		}
		return store.PutEnvoy(tx, e)
	}); err != nil {
		return nil, f.unmasked(ctx, l, err)
	}
	links := f.linksOf(l.id)
	if old.expects(l.move) {
		return f.beside(old, links)
	}
	answers := ask(ctx, links)
	switch { // what the agent has said before it answered has arrived by now
	case old.expects(l.move):
		return f.beside(old, links)
	case len(l.move) > 0 && len(answers) == 0: // what it has said may be on its way
		return nil, wire.Errorf(wire.Busy, "the agent's other link does not answer")
	}
	if err := l.link.Err(); err != nil && len(answers) == 0 { // nobody needs the place
		return nil, err
	}
	for _, o := range links {
		if !slices.Contains(answers, o) {
			f.drop(o, wire.Errorf(wire.AgentLost, "the agent connected anew"))
		}
	}
	if len(answers) == 0 {
		return nil, nil
	}
	if first, second := old.certificate(), l.certificate(); first.Generation != second.Generation {
		return nil, f.unmasked(ctx, l, &store.Copied{Why: "two machines are connected, each with a certificate of its own", Counts: second, Other: first})
	}
	old.mu.Lock()
	old.rival = l.source()
	old.mu.Unlock()
	f.duplicate(ctx, l, "two live machines: boot "+wire.Printable(l.boot)+" from "+l.link.Peer().Addr.String()+" refused, boot "+wire.Printable(old.boot)+" from "+answers[0].link.Peer().Addr.String()+" kept")
	f.changed(l.id, false)
	return nil, &wire.Error{Code: wire.DuplicateIdentity}
}

// beside allows an agent that has these links one more.
func (f *Fleet) beside(a *agent, links []*agentLink) (*agent, error) {
	if len(links) >= maxLinks {
		return nil, wire.Errorf(wire.Busy, "the agent has %d links, and no more can be", len(links))
	}
	return a, nil
}

// alone is displace for a link that is not to stay.
func (f *Fleet) alone(ctx context.Context, l *agentLink) error {
	_, err := f.displace(ctx, l)
	return err
}

// ask is those of some links whose agent answers.
func ask(ctx context.Context, links []*agentLink) (answers []*agentLink) {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	var wg sync.WaitGroup
	answered := make([]bool, len(links))
	for i, l := range links {
		wg.Go(func() { answered[i] = l.ping(ctx) == nil })
	}
	wg.Wait()
	for i, l := range links {
		if answered[i] {
			answers = append(answers, l)
		}
	}
	return answers
}

// drop takes a link out of the table, if it is still there, and ends it. With the last link of an agent its sessions end; what
// was on another one breaks by itself.
func (f *Fleet) drop(l *agentLink, why error) {
	f.mu.Lock()
	a := l.agent
	rest := slices.DeleteFunc(slices.Clone(a.links), func(o *agentLink) bool { return o == l })
	mine, last := len(rest) < len(a.links), len(rest) == 0
	a.links = rest
	if mine && last {
		delete(f.live, a.id)
	}
	f.mu.Unlock()
	switch {
	case mine && last:
		f.lost(a, []*agentLink{l}, why)
	case mine:
		l.close(why)
		f.changed(a.id, false)
		f.Log.Info("a link of an agent has ended, which goes on by another", "envoy", a.id, "code", wire.CodeOf(why), "why", why)
	}
}

// dropAll is drop for all links of an agent.
func (f *Fleet) dropAll(a *agent, why error) {
	f.mu.Lock()
	links := a.links
	if a.links = nil; len(links) > 0 {
		delete(f.live, a.id)
	}
	f.mu.Unlock()
	if len(links) > 0 {
		f.lost(a, links, why)
	}
}

// lost ends the links and the sessions of an agent that is not in the table any more, and remembers when it was last seen.
func (f *Fleet) lost(a *agent, links []*agentLink, why error) {
	f.Lost(a.id, why) // before a link is closed, so that the sessions end for why and not for a lost link
	for _, l := range links {
		l.close(why)
	}
	f.leaves(a)
	if err := f.saveGone(a); err != nil && !errors.Is(err, store.ErrLost) { // which is said once, and not for each agent
		f.Log.Error("save the envoy's facts", "envoy", a.id, "err", err)
	}
	f.changed(a.id, false)
	f.Log.Info("agent gone", "envoy", a.id, "code", wire.CodeOf(why), "why", why)
}

func (l *agentLink) close(why error) {
	if err := l.link.Close(wire.CodeOf(why), wire.DetailOf(why)); err != nil {
		l.fleet.Log.Debug("close link", "envoy", l.id, "err", err)
	}
}

// row is the agent's envoy, if it may be served.
func (a *agent) row(tx store.Tx) (store.Envoy, error) {
	e, err := store.GetEnvoy(tx, a.id)
	if errors.Is(err, store.ErrNotFound) {
		return e, &wire.Error{Code: wire.Revoked}
	}
	if err != nil {
		return e, err
	}
	return e, e.Serves()
}
