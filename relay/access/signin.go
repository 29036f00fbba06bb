package access

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"scrier/relay/audit"
	"scrier/relay/store"
	"scrier/wire"
)

// A web sign-in lasts from the moment at which a browser spent a link or showed a passkey, until
//
//   - it was not used for signInIdle, or is as old as signInLife,
//   - it is signed out, here or from another browser ([Access.SignOut]),
//   - the same browser signs in again,
//   - the operator's role or keys change, or the operator is deleted: each sign-in is bound to the
//     operator's epoch,
//   - the same happens to who made the link that it began with, and the operator has not proved since that it is they
//     who came.
//
// Only the browser knows the cookie; the relay keeps its hash.
const (
	signInIdle = 30 * time.Minute
	signInLife = 12 * time.Hour
	seenEvery  = time.Minute      // how often use is written down; each write is one to the disk
	sweepEvery = 10 * time.Minute // how often expired rows are removed, when somebody signs in
	maxAgent   = 200              // bytes of a browser's name for itself
)

// Browser is where somebody signs in.
type Browser struct {
	Source string // address
	Agent  string // User-Agent, as it came
	Cookie string // the one it has already, if any: that sign-in ends
}

// SignedIn is what a browser gets.
type SignedIn struct {
	Operator Operator
	Cookie   string
}

// attempt is one way to sign in. claim takes, in the transaction that writes the sign-in, what
// proves who it is; undo gives it back when the sign-in cannot be written down.
type attempt struct {
	method string
	claim  func(tx store.Tx, now time.Time) (store.Operator, error)
	undo   func(tx store.Tx) error
	fields func() map[string]string // for the audit log, after claim
	doubt  func() store.SignInLink  // the link, if who made it may be who came, else zero; after claim
}

// signIn makes a sign-in. It is in the audit log before the browser learns the cookie.
func (a *Access) signIn(ctx context.Context, b Browser, t attempt) (SignedIn, error) {
	now := a.Now()
	cookie, hash := newSecret()
	sweep := a.sweeps.due(now)
	var o store.Operator
	var row, former store.SignIn
	counted := false // a transaction may be tried again
	err := a.KV.Update(ctx, func(tx store.Tx) (err error) {
		if o, err = t.claim(tx, now); err != nil {
			return err
		}
		if !counted {
			if err := a.pace.arrive(o.ID); err != nil {
				return err
			}
			counted = true
		}
		former = store.SignIn{}
		if old, ok := hashSecret(b.Cookie); ok {
			if former, err = store.GetSignIn(tx, old); err != nil && wire.CodeOf(err) != wire.NotFound {
				return err
			}
			if err == nil {
				if err := store.DeleteSignIn(tx, former); err != nil {
					return err
				}
			}
		}
		if sweep {
			if _, err := store.DeleteSignInsWhere(tx, func(s store.SignIn) bool { return expired(s, now) != nil }); err != nil {
				return err
			}
		}
		link := t.doubt()
		row = store.SignIn{
			Hash: hash, Operator: o.ID, Epoch: o.Epoch, Created: now, Seen: now,
			Source: b.Source, Agent: agent(b.Agent), Method: t.method,
			Doubt: link.CreatedBy, Maker: link.Maker, MakerEpoch: link.MakerEpoch,
		}
		return store.PutSignIn(tx, row)
	})
	if err != nil {
		return SignedIn{}, a.signInRefused(ctx, b, t.method, o.Username, err)
	}
	if former.Operator != "" {
		a.signedOut(former.Operator, former.ID())
	}
	fields := map[string]string{"method": t.method, "signin": row.ID()}
	if former.Operator == o.ID {
		fields["instead_of"] = former.ID()
	}
	maps.Copy(fields, t.fields())
	if _, err := a.Journal.Append(ctx, audit.Event{Type: "operator.signin", Operator: o.Username, Source: b.Source, Fields: fields}); err != nil {
		uerr := a.KV.Update(context.WithoutCancel(ctx), func(tx store.Tx) error {
			return errors.Join(store.DeleteSignIn(tx, row), t.undo(tx))
		})
		return SignedIn{}, errors.Join(err, uerr)
	}
	a.attempts.succeed(b.Source)
	return SignedIn{Cookie: cookie, Operator: Operator{
		ID: o.ID, Username: o.Username, Role: Role(o.Role), Source: b.Source, SignIn: row.ID(), Doubt: row.Doubt, Epoch: o.Epoch,
	}}, nil
}

// signInRefused writes a failed sign-in down and counts it against its source.
func (a *Access) signInRefused(ctx context.Context, b Browser, method, username string, err error) error {
	a.attempts.fail(b.Source)
	_, jerr := a.Journal.Append(context.WithoutCancel(ctx), audit.Event{
		Type: "operator.signin_refused", Operator: username, Source: b.Source,
		Code: wire.CodeOf(err).String(), Detail: wire.DetailOf(err), Fields: map[string]string{"method": method},
	})
	return errors.Join(err, jerr)
}

// SignInID is the public name of the sign-in with this cookie; it says nothing about whether there
// is one.
func SignInID(cookie string) string {
	hash, ok := hashSecret(cookie)
	if !ok {
		return ""
	}
	return store.SignInID(hash)
}

// IdentifyBrowser finds the operator whose browser has this cookie. It does not count as use of the
// sign-in: see [Access.Touch].
func (a *Access) IdentifyBrowser(ctx context.Context, cookie string) (Operator, error) {
	hash, ok := hashSecret(cookie)
	if !ok {
		return Operator{}, wire.Errorf(wire.Unauthenticated, "you are not signed in")
	}
	s, o, err := a.live(ctx, func(tx store.Tx) (store.SignIn, error) { return store.GetSignIn(tx, hash) })
	if err != nil {
		return Operator{}, err
	}
	return Operator{ID: o.ID, Username: o.Username, Role: Role(o.Role), SignIn: s.ID(), Doubt: s.Doubt, Epoch: o.Epoch}, nil
}

// Touch notes that a sign-in is in use, so that it does not end for idleness, and says whether it
// still counts. It is for requests, and for viewers whose operator types: call it for every few
// seconds of that, not for every key.
func (a *Access) Touch(ctx context.Context, id string) error {
	s, _, err := a.live(ctx, func(tx store.Tx) (store.SignIn, error) { return store.SignInByID(tx, id) })
	if err != nil {
		return err
	}
	now := a.Now()
	if now.Sub(s.Seen) < seenEvery {
		return nil
	}
	if err := a.KV.Update(ctx, func(tx store.Tx) error { return store.SeeSignIn(tx, s.Hash, now) }); err != nil {
		a.Log.Warn("note that a sign-in is in use", "err", err) // the sign-in is still valid
	}
	return nil
}

// Counts says whether a sign-in is still valid. It does not count as use of the sign-in.
func (a *Access) Counts(ctx context.Context, id string) error {
	_, _, err := a.live(ctx, func(tx store.Tx) (store.SignIn, error) { return store.SignInByID(tx, id) })
	return err
}

// live finds a sign-in that counts, and its operator.
func (a *Access) live(ctx context.Context, look func(store.Tx) (store.SignIn, error)) (s store.SignIn, o store.Operator, err error) {
	maker := false
	err = a.KV.View(ctx, func(tx store.Tx) (err error) {
		if s, err = look(tx); err != nil {
			return err
		}
		if o, err = store.GetOperator(tx, s.Operator); err != nil {
			return err
		}
		maker, err = store.Maker{ID: s.Maker, Epoch: s.MakerEpoch}.Still(tx)
		return err
	})
	switch {
	case wire.CodeOf(err) == wire.NotFound:
		return s, o, &wire.Error{Code: wire.SignedOut}
	case err != nil:
		return s, o, err
	}
	if err := expired(s, a.Now()); err != nil {
		return s, o, err
	}
	if s.Epoch != o.Epoch {
		return s, o, &wire.Error{Code: wire.OperatorChanged}
	}
	if !maker {
		return s, o, wire.Errorf(wire.SignedOut, "%s, who made the link, may no longer do so", s.Doubt)
	}
	return s, o, nil
}

// expired says why a sign-in counts no more, if it is for its age.
func expired(s store.SignIn, now time.Time) error {
	switch {
	case !now.Before(s.Created.Add(signInLife)):
		return wire.Errorf(wire.SignedOut, "a sign-in lasts 12 hours")
	case !now.Before(s.Seen.Add(signInIdle)):
		return wire.Errorf(wire.SignedOut, "nothing was done for 30 minutes")
	}
	return nil
}

// agent is what a browser calls itself, as far as it can be shown.
func agent(s string) string {
	if len(s) > maxAgent {
		s = s[:maxAgent]
	}
	if s = wire.Printable(s); len(s) > maxAgent { // escapes are longer than what they stand for
		s = s[:maxAgent]
	}
	return wire.Printable(s)
}

// sweeps is when expired rows were last removed.
type sweeps struct {
	mu   sync.Mutex
	last time.Time
}

// due says whether it is time to sweep. If it is, the caller must do so: the next time is set.
func (s *sweeps) due(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.last) < sweepEvery {
		return false
	}
	s.last = now
	return true
}
