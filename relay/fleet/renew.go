package fleet

import (
	"context"
	"errors"
	"time"

	"scrier/certs"
	"scrier/relay/store"
	"scrier/wire"
)

// renewOnly serves a link that an agent opened just for a new certificate, as its own has expired. An
// agent whose certificate is good says Hello first: so it is looked whether another machine has the
// same.
func (a *agent) renewOnly(ctx context.Context, m *wire.Renew, expired bool) error {
	var chain [][]byte
	err := error(wire.Errorf(wire.Protocol, "the certificate has not expired: Hello comes before Renew"))
	if expired {
		waiting, end := a.whileLinked(ctx)
		chain, err = a.renewed(waiting, m, (*Fleet).displace)
		end()
	}
	if err != nil {
		return errors.Join(err, a.refuse(err))
	}
	if err := a.control.Send(&wire.Renewed{Chain: chain}); err != nil {
		return err
	}
	if err := a.control.SetReadDeadline(time.Now().Add(helloTimeout)); err != nil {
		return err
	}
	if _, err := wire.Expect[wire.Kept](a.control); err != nil {
		return err // the new certificate counts when it is used
	}
	err = a.kept(ctx, false)
	wire.Finish(a.control.Stream, helloTimeout)
	return err
}

// wants puts what the agent asks for its certificate behind what waits. first says that nobody serves that yet. It
// may have to wait, for the envoy's turn or for the disk, and listen must not: an agent whose answer to a ping nobody
// reads seems to be gone, and a copy would get its place.
func (a *agent) wants(m wire.Message) (first bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.renewals) >= maxRenewals {
		return false, wire.Errorf(wire.Protocol, "more than %d renewals at once", maxRenewals)
	}
	a.renewals = append(a.renewals, m)
	first, a.renewing = !a.renewing, true
	return first, nil
}

// wanted is the first of what waits; nil: nothing, and it is not served any more.
func (a *agent) wanted() (m wire.Message) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.renewals) == 0 {
		a.renewals, a.renewing = nil, false
		return nil
	}
	m, a.renewals = a.renewals[0], a.renewals[1:]
	return m
}

// serveRenewals serves what waits; what fails ends the link.
func (a *agent) serveRenewals(ctx context.Context) {
	for m := a.wanted(); m != nil; m = a.wanted() {
		if err := a.guard(func() error { return a.serveRenewal(ctx, m) }); err != nil {
			a.end(err)
			return
		}
	}
}

func (a *agent) serveRenewal(ctx context.Context, m wire.Message) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	switch m := m.(type) {
	case *wire.Renew:
		return a.renew(ctx, m)
	case *wire.Spread:
		return a.control.Send(m)
	}
	return a.kept(ctx, true)
}

// renew serves a Renew on the envoy's link.
func (a *agent) renew(ctx context.Context, m *wire.Renew) error {
	chain, err := a.renewed(ctx, m, (*Fleet).holds)
	if err != nil {
		return a.control.Send(wire.Refuse(err))
	}
	return a.control.Send(&wire.Renewed{Chain: chain})
}

// renewed is the next generation. The one before counts until the agent says that it has saved the new
// one, or uses it, as the answer with the new one may be lost.
func (a *agent) renewed(ctx context.Context, m *wire.Renew, may func(*Fleet, context.Context, *agent) error) ([][]byte, error) {
	f := a.fleet
	pub, err := certs.ParseRequest(m.CSR)
	if err != nil {
		return nil, err
	}
	key, err := certs.PinOfKey(pub)
	if err != nil {
		return nil, err
	}
	defer f.turn(a.id)()
	if err := may(f, ctx, a); err != nil {
		return nil, err
	}
	next := store.Certificate{Key: key[:], Source: a.source()}
	err = f.KV.Update(ctx, func(tx store.Tx) error {
		e, err := a.row(tx)
		if err == nil {
			next.Generation, err = e.Renew(a.certificate(), key[:])
		}
		if err != nil {
			return err
		}
		return store.PutEnvoy(tx, e)
	})
	if err != nil {
		return nil, f.unmasked(ctx, a, err)
	}
	// Not before it is durable that this generation was given to this key.
	chain, err := f.CA.Issue(certs.Identity{Role: certs.RoleAgent, ID: a.id.String(), Generation: next.Generation}, pub)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	a.issued, a.expires = next, f.Now().Add(certs.AgentLife)
	a.mu.Unlock()
	f.Log.Info("certificate renewed", "envoy", a.id, "generation", next.Generation)
	return chain, nil
}

// holds says whether a is still the envoy's link: what comes late from another decides nothing.
func (f *Fleet) holds(_ context.Context, a *agent) error {
	if f.agent(a.id) != a {
		return &wire.Error{Code: wire.AgentLost}
	}
	return nil
}

// kept makes all certificates before the newest one invalid. live says that a is the envoy's link.
func (a *agent) kept(ctx context.Context, live bool) error {
	f := a.fleet
	defer f.turn(a.id)()
	if live {
		if err := f.holds(ctx, a); err != nil {
			return err
		}
	}
	a.mu.Lock()
	issued := a.issued
	a.mu.Unlock()
	if issued.Generation == 0 {
		return wire.Errorf(wire.Protocol, "a certificate was kept that was not given")
	}
	issued.Time = f.Now()
	err := f.KV.Update(ctx, func(tx store.Tx) error {
		e, err := a.row(tx)
		if err == nil {
			err = e.Use(issued)
		}
		if err != nil {
			return err
		}
		return store.PutEnvoy(tx, e)
	})
	if err != nil {
		return f.unmasked(ctx, a, err)
	}
	a.mu.Lock()
	a.cert, a.issued = issued, store.Certificate{}
	a.mu.Unlock()
	return nil
}
