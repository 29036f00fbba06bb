package fleet

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"scrier/certs"
	"scrier/relay/audit"
	"scrier/relay/store"
	"scrier/wire"
)

// Token limits.
const (
	DefaultTokenTTL = 15 * time.Minute
	maxTokenTTL     = 7 * 24 * time.Hour
)

// Order asks for an enrolment token.
type Order struct {
	By    audit.Event // who asks, for the audit log
	Maker string      // the operator's id; empty: the administrator of the relay's host
	Name  string      // the envoy's, if it is given
	TTL   time.Duration
	// Replace removes the envoy that has the name now when the token is used.
	Replace bool
}

// Token is an enrolment token that was not used yet. The token itself is shown once and kept nowhere.
type Token struct {
	ID        string    `json:"id"` // public: it enrols nothing
	Name      string    `json:"name,omitempty"`
	CreatedBy string    `json:"created_by"`
	Created   time.Time `json:"created"`
	Expires   time.Time `json:"expires"`
	// Changed says that its maker's role or keys have changed since. The token is good all the same while
	// its maker may make tokens.
	Changed bool   `json:"maker_changed"`
	Void    string `json:"void,omitempty"` // why it is no good any more; empty: it is good
	// Replaces is the envoy that is removed when the token is used.
	Replaces *wire.EnvoyID `json:"replaces,omitempty"`
}

// MakeToken makes an enrolment token. What it returns first is the secret.
func (f *Fleet) MakeToken(ctx context.Context, o Order) (certs.Token, Token, error) {
	fail := func(err error) (certs.Token, Token, error) { return certs.Token{}, Token{}, err }
	if o.TTL <= 0 || o.TTL > maxTokenTTL {
		return fail(wire.Errorf(wire.BadRequest, "a token is good for more than 0 seconds and at most %d days", maxTokenTTL/(24*time.Hour)))
	}
	if o.Name != "" {
		if err := checkName(o.Name); err != nil {
			return fail(err)
		}
	}
	token := certs.NewToken(f.CA.Pin())
	now := f.Now()
	row := store.Token{Hash: token.Hash(), Name: o.Name, CreatedBy: o.By.Operator, Maker: o.Maker, Created: now, Expires: now.Add(o.TTL)}
	o.By.Type, o.By.EnvoyName = "token.create", o.Name
	o.By.Fields = with(o.By, map[string]string{"id": row.ID(), "expires": row.Expires.UTC().Format(time.RFC3339)})
	if o.Replace {
		old, err := f.replaced(ctx, o.Name)
		if err != nil {
			return fail(err)
		}
		row.Replaces, o.By.Fields["replaces"] = old, old.String()
	}
	if _, err := f.Journal.Append(ctx, o.By); err != nil {
		return fail(err)
	}
	err := f.KV.Update(ctx, func(tx store.Tx) error {
		if _, err := store.DeleteExpiredTokens(tx, now); err != nil {
			return err
		}
		if o.Maker != "" {
			maker, err := store.GetOperator(tx, o.Maker)
			if err != nil {
				return err
			}
			row.Epoch = maker.Epoch
		}
		return store.PutToken(tx, row)
	})
	if err != nil {
		f.notDone(ctx, o.By, err)
		return fail(err)
	}
	return token, tokenOf(row), nil
}

// with adds to what an event says of who asks, such as what they have signed with.
func with(by audit.Event, fields map[string]string) map[string]string {
	maps.Copy(fields, by.Fields)
	return fields
}

// replaced is the one envoy that has a name.
func (f *Fleet) replaced(ctx context.Context, name string) (id wire.EnvoyID, err error) {
	if name == "" {
		return id, wire.Errorf(wire.BadRequest, "replace goes with a name: that of the envoy whose place the machine takes")
	}
	all, err := f.views(ctx, func(tx store.Tx) ([]store.Envoy, error) {
		all, err := store.EnvoysNamed(tx, name, maxLike)
		return slices.DeleteFunc(all, func(e store.Envoy) bool { return !e.Revoked.IsZero() }), err
	})
	switch {
	case err != nil:
		return id, err
	case len(all) == 0:
		return id, wire.Errorf(wire.NoSuchEnvoy, "no envoy is called %q", name).
			Advise("see `scrier envoys list`; for a machine that is new leave --replace out")
	case len(all) > 1:
		return id, wire.Errorf(wire.AmbiguousEnvoy, "%q fits %s", name, names(all))
	}
	return all[0].ID, nil
}

func tokenOf(t store.Token) Token {
	v := Token{ID: t.ID(), Name: t.Name, CreatedBy: t.CreatedBy, Created: t.Created, Expires: t.Expires}
	if t.Replaces != (wire.EnvoyID{}) {
		v.Replaces = &t.Replaces
	}
	return v
}

// void is the error of a token whose maker has lost the right to make one.
type void struct {
	token store.Token
	why   string
}

func (v *void) Error() string { return v.why }

// stands says whether a token's maker could make it now. A token is a right that was passed on: it ends
// with the right. What else of the maker changed, keys for example, does not matter.
func (f *Fleet) stands(tx store.Tx, t store.Token) error {
	maker, err := makerOf(tx, t)
	why := ""
	switch {
	case errors.Is(err, store.ErrNotFound):
		why = "the operator who made the token does not exist any more"
	case err != nil:
		return err
	case maker != nil && !f.MakesTokens(maker.Role):
		why = "the operator who made the token may not make tokens any more"
	default:
		return nil
	}
	return &wire.Error{Code: wire.TokenInvalid, Err: &void{t, why}}
}

// makerOf is the operator who made a token; nil: the administrator of the relay's host. A row from
// before has the username alone.
func makerOf(tx store.Tx, t store.Token) (*store.Operator, error) {
	var maker store.Operator
	var err error
	switch {
	case t.Maker != "":
		maker, err = store.GetOperator(tx, t.Maker)
	case t.CreatedBy == "" || strings.HasPrefix(t.CreatedBy, "local:"):
		return nil, nil
	default:
		maker, err = store.OperatorByName(tx, t.CreatedBy)
	}
	return &maker, err
}

// Tokens lists the tokens that have not expired, the newest first.
func (f *Fleet) Tokens(ctx context.Context) ([]Token, error) {
	out := []Token{}
	now := f.Now()
	err := f.KV.View(ctx, func(tx store.Tx) error {
		rows, err := store.Tokens(tx)
		if err != nil {
			return err
		}
		for _, t := range rows {
			if !now.Before(t.Expires) {
				continue
			}
			v := tokenOf(t)
			err := f.stands(tx, t)
			if bad, ok := errors.AsType[*void](err); ok {
				v.Void = bad.why
			} else if err != nil {
				return err
			}
			if maker, err := makerOf(tx, t); err == nil && maker != nil && t.Maker != "" {
				v.Changed = maker.Epoch != t.Epoch
			}
			out = append(out, v)
		}
		return nil
	})
	slices.SortFunc(out, func(a, b Token) int { return b.Created.Compare(a.Created) })
	return out, err
}

// RevokeToken takes a token back, by its public id.
func (f *Fleet) RevokeToken(ctx context.Context, by audit.Event, id string) error {
	var t store.Token
	look := func(tx store.Tx) (err error) {
		t, err = store.TokenByID(tx, id, f.Now())
		return err
	}
	if err := f.KV.View(ctx, look); err != nil {
		return err
	}
	by.Type, by.EnvoyName = "token.revoke", t.Name
	by.Fields = with(by, map[string]string{"id": t.ID(), "token_by": t.CreatedBy})
	if _, err := f.Journal.AppendEnd(ctx, by); err != nil {
		return err
	}
	err := f.KV.Update(ctx, func(tx store.Tx) error {
		if err := look(tx); err != nil { // a machine used it meanwhile
			return err
		}
		return store.DeleteToken(tx, t.Hash)
	})
	if err != nil {
		f.notDone(ctx, by, err)
	}
	return err
}
