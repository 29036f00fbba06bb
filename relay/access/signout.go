package access

import (
	"context"
	"slices"
	"time"

	"scrier/relay/audit"
	"scrier/relay/store"
	"scrier/wire"
)

// SignIn is a sign-in as its operator sees it.
type SignIn struct {
	ID      string    `json:"id"`
	Current bool      `json:"current"` // the one that asks
	Created time.Time `json:"created"`
	Seen    time.Time `json:"seen"`    // to the minute
	Expires time.Time `json:"expires"` // unless it is used
	Source  string    `json:"source"`
	Agent   string    `json:"agent"`
	Method  string    `json:"method"` // link, passkey
}

// SignIns lists an operator's sign-ins that count, the newest first; current is the ID of the one
// that asks, if any.
func (a *Access) SignIns(ctx context.Context, who Operator, current string) ([]SignIn, error) {
	found := []SignIn{}
	now := a.Now()
	err := a.KV.View(ctx, func(tx store.Tx) error {
		o, err := self(tx, who)
		if err != nil {
			return err
		}
		rows, err := store.SignIns(tx, o.ID)
		if err != nil {
			return err
		}
		slices.SortFunc(rows, func(a, b store.SignIn) int { return b.Created.Compare(a.Created) })
		for _, s := range rows {
			maker, err := store.Maker{ID: s.Maker, Epoch: s.MakerEpoch}.Still(tx)
			if err != nil {
				return err
			}
			if s.Epoch != o.Epoch || expired(s, now) != nil || !maker {
				continue
			}
			end := s.Seen.Add(signInIdle)
			if last := s.Created.Add(signInLife); last.Before(end) {
				end = last
			}
			found = append(found, SignIn{
				ID: s.ID(), Current: s.ID() == current, Created: s.Created.UTC(), Seen: s.Seen.UTC(), Expires: end.UTC(),
				Source: s.Source, Agent: s.Agent, Method: s.Method,
			})
		}
		return nil
	})
	return found, err
}

// SignOut ends one of an operator's own sign-ins.
func (a *Access) SignOut(ctx context.Context, who Operator, id string) error {
	var s store.SignIn
	look := func(tx store.Tx) (err error) {
		if s, err = store.SignInByID(tx, id); err == nil && (who.ID == "" || s.Operator != who.ID) {
			err = wire.Errorf(wire.NotFound, "there is no such sign-in") // it may be another operator's, which the caller must not learn
		}
		return err
	}
	if err := a.KV.View(ctx, look); err != nil {
		return err
	}
	err := a.change(ctx, who, audit.Event{Type: "operator.signout", Operator: who.Username, Source: who.Source, Fields: map[string]string{"signin": id}},
		func(tx store.Tx) error {
			if err := look(tx); err != nil {
				return err
			}
			return store.DeleteSignIn(tx, s)
		})
	if err == nil {
		a.signedOut(who.ID, id)
	}
	return err
}

// SignOutEverywhere ends all of an operator's own sign-ins, and the links that are still unused, as an
// attacker who had taken over a browser may have made one.
func (a *Access) SignOutEverywhere(ctx context.Context, who Operator) error {
	check := func(tx store.Tx) error {
		_, err := self(tx, who)
		return err
	}
	if err := a.KV.View(ctx, check); err != nil {
		return err
	}
	err := a.change(ctx, who, audit.Event{Type: "operator.signout", Operator: who.Username, Source: who.Source, Fields: map[string]string{"signin": "all"}},
		func(tx store.Tx) error {
			if _, err := store.DeleteSignInsOf(tx, who.ID); err != nil {
				return err
			}
			_, err := store.DeleteLinksOf(tx, who.ID)
			return err
		})
	if err == nil {
		a.signedOut(who.ID, "")
	}
	return err
}

// self is the row of whoever asks about themselves.
func self(tx store.Tx, who Operator) (store.Operator, error) {
	if who.ID == "" {
		return store.Operator{}, wire.Errorf(wire.BadRequest, "%s is not an operator who can sign in", who.Username)
	}
	return store.GetOperator(tx, who.ID)
}

func (a *Access) signedOut(operator, signin string) {
	if a.Config.SignedOut != nil {
		a.Config.SignedOut(operator, signin)
	}
}
