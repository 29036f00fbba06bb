package access

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"time"

	"scrier/relay/store"
	"scrier/wire"
)

// linkLife is how long a link may wait to be opened.
const linkLife = 15 * time.Minute

// SignInLink lets one browser sign in once.
type SignInLink struct {
	Token   string // belongs behind a #, where no server and no log sees it
	Expires time.Time
}

// SignInLink makes a link for an operator, by username or id. It is returned once; only its hash is
// kept.
func (a *Access) SignInLink(ctx context.Context, by Operator, id string) (SignInLink, error) {
	var row store.Operator
	if err := a.KV.View(ctx, func(tx store.Tx) (err error) {
		if id == by.ID { // find would prefer another operator whose username is this id; there may be such from before
			row, err = store.GetOperator(tx, id)
		} else {
			row, err = find(tx, id)
		}
		return err
	}); err != nil {
		return SignInLink{}, err
	}
	token, hash := newSecret()
	now := a.Now()
	link := store.SignInLink{Hash: hash, Operator: row.ID, Epoch: row.Epoch, CreatedBy: by.Username, Maker: by.ID, Expires: now.Add(linkLife)}
	err := a.change(ctx, by, record("operator.link", by, map[string]string{"username": row.Username, "id": row.ID, "expires": link.Expires.UTC().Format(time.RFC3339)}), func(tx store.Tx) error {
		var err error
		if link.MakerEpoch, err = by.Maker().Now(tx); err != nil { // what an operator made ends with what they are allowed
			return err
		}
		return store.PutSignInLink(tx, link, now)
	})
	return SignInLink{Token: token, Expires: link.Expires}, err
}

// LinkFor is whom a link signs in.
type LinkFor struct {
	Username string `json:"username"`
	Role     Role   `json:"role"`
	By       string `json:"by"` // who made it
}

// LookAtLink says whom a link would sign in, and leaves it. Nobody is to become an operator by a click on a link
// that somebody sent them.
func (a *Access) LookAtLink(ctx context.Context, b Browser, token string) (LinkFor, error) {
	if err := a.attempts.allow(b.Source); err != nil {
		return LinkFor{}, err
	}
	hash, ok := hashSecret(token)
	err := error(&wire.Error{Code: wire.LinkInvalid})
	var l store.SignInLink
	var o store.Operator
	if ok {
		err = a.KV.View(ctx, func(tx store.Tx) (err error) {
			l, o, err = store.GetSignInLink(tx, hash, a.Now())
			return err
		})
	}
	if err != nil {
		return LinkFor{}, a.signInRefused(ctx, b, "link", "", err)
	}
	return LinkFor{Username: o.Username, Role: Role(o.Role), By: l.CreatedBy}, nil
}

// SignInByLink uses up a link. A link that is unknown, used, expired, or older than the operator's
// last change is [wire.LinkInvalid], without saying which.
func (a *Access) SignInByLink(ctx context.Context, b Browser, token string) (SignedIn, error) {
	if err := a.attempts.allow(b.Source); err != nil {
		return SignedIn{}, err
	}
	hash, ok := hashSecret(token)
	if !ok {
		return SignedIn{}, a.signInRefused(ctx, b, "link", "", &wire.Error{Code: wire.LinkInvalid})
	}
	var spent store.SignInLink
	return a.signIn(ctx, b, attempt{
		method: "link",
		claim: func(tx store.Tx, now time.Time) (o store.Operator, err error) {
			spent, o, err = store.RedeemSignInLink(tx, hash, now)
			return o, err
		},
		undo:   func(tx store.Tx) error { return store.PutSignInLink(tx, spent, a.Now()) },
		fields: func() map[string]string { return map[string]string{"link_by": spent.CreatedBy} },
		doubt: func() store.SignInLink {
			if spent.Maker == "" || spent.Maker == spent.Operator { // root of the relay's host, or themselves
				return store.SignInLink{}
			}
			return spent
		},
	})
}

// secretSize is that of links' tokens and of cookies, in bytes.
const secretSize = 32

// newSecret makes a random secret, and the hash by which it is known from then on.
func newSecret() (secret string, hash [32]byte) {
	var raw [secretSize]byte
	rand.Read(raw[:])
	return base64.RawURLEncoding.EncodeToString(raw[:]), sha256.Sum256(raw[:])
}

// hashSecret is the hash of a secret that came from outside; ok is false if it has not the right form.
func hashSecret(secret string) (hash [32]byte, ok bool) {
	if len(secret) != base64.RawURLEncoding.EncodedLen(secretSize) {
		return hash, false
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(secret)
	if err != nil || len(raw) != secretSize {
		return hash, false
	}
	return sha256.Sum256(raw), true
}
