package fleet

import (
	"context"
	"errors"
	"slices"
	"time"

	"scrier/certs"
	"scrier/relay/store"
	"scrier/wire"
)

// renewOnly serves a link that an agent opened just for a new certificate, as its own has expired. An
// agent whose certificate is good says Hello first: so it is looked whether another machine has the
// same.
func (l *agentLink) renewOnly(ctx context.Context, m *wire.Renew, expired bool) error {
	var chain [][]byte
	err := error(wire.Errorf(wire.Protocol, "the certificate has not expired: Hello comes before Renew"))
	if expired {
		waiting, end := l.whileLinked(ctx)
		chain, err = l.renewed(waiting, m, (*Fleet).alone)
		end()
	}
	if err != nil {
		return errors.Join(err, l.refuse(err))
	}
	if err := l.control.Send(&wire.Renewed{Chain: chain}); err != nil {
		return err
	}
	if err := l.control.SetReadDeadline(time.Now().Add(helloTimeout)); err != nil {
		return err
	}
	if _, err := wire.Expect[wire.Kept](l.control); err != nil {
		return err // the new certificate counts when it is used
	}
	err = l.kept(ctx, false)
	wire.Finish(l.control.Stream, helloTimeout)
	return err
}

// wants puts what the agent asks for its certificate behind what waits. first says that nobody serves that yet. It
// may have to wait, for the envoy's turn or for the disk, and listen must not: an agent whose answer to a ping nobody
// reads seems to be gone, and a copy would get its place.
func (l *agentLink) wants(m wire.Message) (first bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.renewals) >= maxRenewals {
		return false, wire.Errorf(wire.Protocol, "more than %d renewals at once", maxRenewals)
	}
	l.renewals = append(l.renewals, m)
	first, l.renewing = !l.renewing, true
	return first, nil
}

// wanted is the first of what waits; nil: nothing, and it is not served any more.
func (l *agentLink) wanted() (m wire.Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.renewals) == 0 {
		l.renewals, l.renewing = nil, false
		return nil
	}
	m, l.renewals = l.renewals[0], l.renewals[1:]
	return m
}

// serveRenewals serves what waits; what fails ends the link.
func (l *agentLink) serveRenewals(ctx context.Context) {
	for m := l.wanted(); m != nil; m = l.wanted() {
		if err := l.guard(func() error { return l.serveRenewal(ctx, m) }); err != nil {
			l.end(err)
			return
		}
	}
}

func (l *agentLink) serveRenewal(ctx context.Context, m wire.Message) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	switch m := m.(type) {
	case *wire.Renew:
		return l.renew(ctx, m)
	case *wire.Spread:
		return l.control.Send(m)
	}
	return l.kept(ctx, true)
}

// renew serves a Renew on the envoy's link.
func (l *agentLink) renew(ctx context.Context, m *wire.Renew) error {
	chain, err := l.renewed(ctx, m, (*Fleet).holds)
	if err != nil {
		return l.control.Send(wire.Refuse(err))
	}
	return l.control.Send(&wire.Renewed{Chain: chain})
}

// renewed is the next generation. The one before counts until the agent says that it has saved the new
// one, or uses it, as the answer with the new one may be lost.
func (l *agentLink) renewed(ctx context.Context, m *wire.Renew, may func(*Fleet, context.Context, *agentLink) error) ([][]byte, error) {
	f := l.fleet
	pub, err := certs.ParseRequest(m.CSR)
	if err != nil {
		return nil, err
	}
	key, err := certs.PinOfKey(pub)
	if err != nil {
		return nil, err
	}
	defer f.turn(l.id)()
	if err := may(f, ctx, l); err != nil {
		return nil, err
	}
	next := store.Certificate{Key: key[:], Source: l.source()}
	err = f.KV.Update(ctx, func(tx store.Tx) error {
		e, err := l.row(tx)
		if err == nil {
			next.Generation, err = e.Renew(l.certificate(), key[:])
		}
		if err != nil {
			return err
		}
		return store.PutEnvoy(tx, e)
	})
	if err != nil {
		return nil, f.unmasked(ctx, l, err)
	}
	// Not before it is durable that this generation was given to this key.
	chain, err := f.CA.Issue(certs.Identity{Role: certs.RoleAgent, ID: l.id.String(), Generation: next.Generation}, pub)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	l.issued, l.expires = next, f.Now().Add(certs.AgentLife)
	l.mu.Unlock()
	f.Log.Info("certificate renewed", "envoy", l.id, "generation", next.Generation)
	return chain, nil
}

// holds says whether l is still one of the envoy's links: what comes late from another decides nothing.
func (f *Fleet) holds(_ context.Context, l *agentLink) error {
	if !slices.Contains(f.linksOf(l.id), l) {
		return &wire.Error{Code: wire.AgentLost}
	}
	return nil
}

// kept makes all certificates before the newest one invalid. live says that l is one of the envoy's links.
func (l *agentLink) kept(ctx context.Context, live bool) error {
	f := l.fleet
	defer f.turn(l.id)()
	if live {
		if err := f.holds(ctx, l); err != nil {
			return err
		}
	}
	l.mu.Lock()
	issued := l.issued
	l.mu.Unlock()
	if issued.Generation == 0 {
		return wire.Errorf(wire.Protocol, "a certificate was kept that was not given")
	}
	issued.Time = f.Now()
	err := f.KV.Update(ctx, func(tx store.Tx) error {
		e, err := l.row(tx)
		if err == nil {
			err = e.Use(issued)
		}
		if err != nil {
			return err
		}
		return store.PutEnvoy(tx, e)
	})
	if err != nil {
		return f.unmasked(ctx, l, err)
	}
	l.mu.Lock()
	l.cert, l.issued = issued, store.Certificate{}
	l.mu.Unlock()
	return nil
}
