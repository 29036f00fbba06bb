package access

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/crypto/ssh"

	"scrier/certs"
	"scrier/relay/audit"
	"scrier/relay/store"
	"scrier/wire"
)

// User is an operator as the API shows and takes one.
type User struct {
	ID       string   `json:"id"`
	Username string   `json:"username"`
	Role     Role     `json:"role"`
	Keys     []string `json:"keys"` // authorized_keys form
	// SSHPublicKey is the first of Keys. Taken without Keys it stands for this one alone; with them it must be one of them.
	SSHPublicKey string    `json:"ssh_public_key"`
	Unproved     []string  `json:"unproved"` // those of Keys that nobody has claimed yet; they open nothing
	Passkeys     int       `json:"passkeys"`
	Created      time.Time `json:"created,omitzero"`
	Changed      time.Time `json:"changed,omitzero"`
}

var validUsername = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$`) })

// maxUserKeys is how many keys one operator may have: an Open message carries all of them.
const maxUserKeys = 32

// Create makes an operator. A key that another operator has is [wire.Conflict].
func (a *Access) Create(ctx context.Context, by Operator, u User) (User, error) {
	if !validUsername().MatchString(u.Username) {
		return User{}, wire.Errorf(wire.BadRequest, "%q is not a username: 1 to 64 of A–Z a–z 0–9 . _ @ -, beginning with a letter or digit", wire.Printable(u.Username))
	}
	if uuid.Validate(u.Username) == nil {
		return User{}, wire.Errorf(wire.BadRequest, "%s has the form of an operator's id, and would be taken for one", u.Username)
	}
	if _, err := ParseRole(string(u.Role)); err != nil {
		return User{}, err
	}
	keys, _, err := a.keysOf(u, by)
	if err != nil {
		return User{}, err
	}
	now := a.Now()
	row := store.Operator{ID: uuid.NewString(), Username: u.Username, Role: string(u.Role), Keys: keys, Epoch: 1, Created: now, Changed: now}
	err = a.change(ctx, by, record("operator.create", by, describe(row)),
		func(tx store.Tx) error { return store.PutOperator(tx, row) })
	return userOf(row), err
}

// Update changes an operator's role and keys, those that are given; logins and sessions from
// before end. Of an operator for whom root of the relay's host makes a key count, the passkeys go: an administrator
// may have named the key first and then registered a passkey of their own, which must not open what the key opens.
func (a *Access) Update(ctx context.Context, by Operator, id string, u User) (User, error) {
	return a.update(ctx, by, id, u, "operator.update", false)
}

// Revoke ends all that an operator has open or could open anew without a key of theirs: logins, sign-ins, sessions,
// links, passkeys and enrolment tokens.
func (a *Access) Revoke(ctx context.Context, by Operator, id string) (User, error) {
	return a.update(ctx, by, id, User{}, "operator.revoke", true)
}

// UpdateAndRevoke does both in one: who does it to themselves has no login for the second of two requests.
func (a *Access) UpdateAndRevoke(ctx context.Context, by Operator, id string, u User) (User, error) {
	return a.update(ctx, by, id, u, "operator.update", true)
}

func (a *Access) update(ctx context.Context, by Operator, id string, u User, kind string, all bool) (User, error) {
	if u.Role != "" {
		if _, err := ParseRole(string(u.Role)); err != nil {
			return User{}, err
		}
	}
	keys, given, err := a.keysOf(u, by)
	if err != nil {
		return User{}, err
	}
	var row store.Operator
	settles := false // root makes a key count
	edit := func(tx store.Tx) (err error) {
		if row, err = find(tx, id); err != nil {
			return err
		}
		before := row
		if u.Role != "" {
			row.Role = string(u.Role)
		}
		if given {
			settles = by.ID == "" && slices.ContainsFunc(keys, func(k store.Key) bool { return !counts(row, k.Fingerprint) })
			row.Keys = kept(keys, row.Keys)
		}
		row.Epoch++
		row.Changed = a.Now()
		return adminLeft(tx, by, before, row, all)
	}
	if err := a.KV.View(ctx, edit); err != nil {
		return User{}, err
	}
	fields := describe(row)
	if all && kind == "operator.update" {
		fields["revoke_all"] = "true"
	}
	var passkeys []store.Passkey
	err = a.change(ctx, by, record(kind, by, fields),
		func(tx store.Tx) (err error) {
			if err := edit(tx); err != nil {
				return err
			}
			if all {
				if err := revokeAll(tx, row); err != nil {
					return err
				}
			}
			if settles {
				if err := store.DeletePasskeysOf(tx, row.ID); err != nil {
					return err
				}
			}
			if passkeys, err = store.Passkeys(tx, row.ID); err != nil {
				return err
			}
			return store.PutOperator(tx, row)
		})
	if err != nil {
		return User{}, err
	}
	a.Changed(row.ID)
	updated := userOf(row)
	updated.Passkeys = len(passkeys)
	return updated, nil
}

// revokeAll removes what an operator could come in by without a key of theirs, and their tokens.
func revokeAll(tx store.Tx, o store.Operator) error {
	if _, err := store.DeleteSignInsOf(tx, o.ID); err != nil {
		return err
	}
	if _, err := store.DeleteLinksOf(tx, o.ID); err != nil {
		return err
	}
	if err := store.DeletePasskeysOf(tx, o.ID); err != nil {
		return err
	}
	return deleteTokensOf(tx, o)
}

// deleteTokensOf removes the tokens that an operator has made: they must enrol no machine any more.
func deleteTokensOf(tx store.Tx, o store.Operator) error {
	tokens, err := store.Tokens(tx)
	if err != nil {
		return err
	}
	for _, t := range tokens {
		if t.Maker == o.ID || t.Maker == "" && t.CreatedBy == o.Username { // those of an older relay have a name alone
			if err := store.DeleteToken(tx, t.Hash); err != nil {
				return err
			}
		}
	}
	return nil
}

// Delete removes an operator, by username or id; logins and sessions end.
func (a *Access) Delete(ctx context.Context, by Operator, id string) error {
	var row store.Operator
	look := func(tx store.Tx) (err error) {
		if row, err = find(tx, id); err != nil {
			return err
		}
		return adminLeft(tx, by, row, store.Operator{}, false)
	}
	if err := a.KV.View(ctx, look); err != nil {
		return err
	}
	err := a.change(ctx, by, record("operator.delete", by, describe(row)),
		func(tx store.Tx) error {
			if err := look(tx); err != nil {
				return err
			}
			if err := deleteTokensOf(tx, row); err != nil {
				return err
			}
			return store.DeleteOperator(tx, row.ID)
		})
	if err != nil {
		return err
	}
	a.Changed(row.ID)
	return nil
}

// Users lists all operators by username.
func (a *Access) Users(ctx context.Context) ([]User, error) {
	users := []User{}
	err := a.KV.View(ctx, func(tx store.Tx) error {
		rows, err := store.Operators(tx)
		if err != nil {
			return err
		}
		passkeys, err := store.CountPasskeys(tx)
		for _, r := range rows {
			u := userOf(r)
			u.Passkeys = passkeys[r.ID]
			users = append(users, u)
		}
		return err
	})
	return users, err
}

// Keys are the public keys of an operator that count; none is [wire.NoSSHPubkey], or [wire.KeyUnproved].
func (a *Access) Keys(ctx context.Context, who Operator) ([]ssh.PublicKey, error) {
	var keys []ssh.PublicKey
	if who.ID == "" {
		return nil, wire.Errorf(wire.NoSSHPubkey, "%s is not an operator with SSH keys; log in as one", who.Username)
	}
	unproved := 0
	err := a.KV.View(ctx, func(tx store.Tx) error {
		row, err := store.GetOperator(tx, who.ID)
		if err != nil {
			return err
		}
		for _, k := range row.Keys {
			if k.Proved.IsZero() {
				unproved++
				continue
			}
			pub, _, _, _, err := ssh.ParseAuthorizedKey([]byte(k.Authorized))
			if err != nil {
				return err
			}
			keys = append(keys, pub)
		}
		return nil
	})
	if err == nil && len(keys) == 0 && unproved > 0 {
		err = wire.Errorf(wire.KeyUnproved, "nobody has proved yet that the SSH key of %s is theirs", who.Username)
	}
	if err == nil && len(keys) == 0 {
		err = wire.Errorf(wire.NoSSHPubkey, "operator %s has no SSH key", who.Username)
	}
	return keys, err
}

// change writes to the audit log what is about to happen, and then does it, if by is still who they were when they
// asked. If that cannot be written, nothing is done; if the change fails, the audit log says that it failed.
func (a *Access) change(ctx context.Context, by Operator, e audit.Event, f func(store.Tx) error) error {
	write := a.Journal.Append
	switch e.Type {
	case "operator.delete", "operator.revoke", "operator.passkeys_remove": // what takes a right away must also work on a full disk
		write = a.Journal.AppendEnd
	case "operator.signout", "operator.passkey_remove": // and of one's own, in bounds
		write = a.Journal.AppendOwn
	}
	if _, err := write(ctx, e); err != nil {
		return err
	}
	err := a.KV.Update(ctx, func(tx store.Tx) error {
		if err := unchanged(tx, by); err != nil {
			return err
		}
		return f(tx)
	})
	if err != nil {
		e.Code, e.Detail = wire.CodeOf(err).String(), "not done: "+wire.DetailOf(err)
		if _, jerr := a.Journal.Append(context.WithoutCancel(ctx), e); jerr != nil {
			a.Log.Error("audit", "err", jerr)
		}
	}
	return err
}

// unchanged refuses who was changed, deleted or signed out since they were let through: their own key or sign-in must
// not outlive its end by the moment that a request takes.
func unchanged(tx store.Tx, by Operator) error {
	_, err := by.Maker().Now(tx)
	if err != nil || by.SignIn == "" {
		return err
	}
	_, err = store.SignInByID(tx, by.SignIn)
	if wire.CodeOf(err) == wire.NotFound {
		err = &wire.Error{Code: wire.SignedOut}
	}
	return err
}

// record is an event of the audit log: by did it, and has signed it with by.Proof.
func record(kind string, by Operator, fields map[string]string) audit.Event {
	if by.Proof != "" {
		fields["proof"] = by.Proof
	}
	return audit.Event{Type: kind, Operator: by.Username, Source: by.Source, Fields: fields}
}

// find looks an operator up by username or id.
func find(tx store.Tx, id string) (store.Operator, error) {
	o, err := store.OperatorByName(tx, id)
	if wire.CodeOf(err) == wire.NotFound {
		if o, ierr := store.GetOperator(tx, id); ierr == nil {
			return o, nil
		}
	}
	return o, err
}

// kept are new keys, of which those that were there before count if they did.
func kept(keys, before []store.Key) []store.Key {
	keys = slices.Clone(keys)
	for i, k := range keys {
		for _, old := range before {
			if old.Fingerprint == k.Fingerprint {
				keys[i].Added = old.Added
				if keys[i].Proved.IsZero() {
					keys[i].Proved = old.Proved
				}
			}
		}
	}
	return keys
}

// keysOf are the keys that u is to have, if it says so: in Keys, in SSHPublicKey, or in both.
func (a *Access) keysOf(u User, by Operator) (keys []store.Key, given bool, err error) {
	if keys, err = a.parseKeys(u.Keys, by); err != nil || u.SSHPublicKey == "" {
		return keys, u.Keys != nil, err
	}
	one, err := a.parseKeys([]string{u.SSHPublicKey}, by)
	if err != nil || u.Keys == nil {
		return one, true, err
	}
	if !slices.ContainsFunc(keys, func(k store.Key) bool { return k.Fingerprint == one[0].Fingerprint }) {
		return nil, true, wire.Errorf(wire.BadRequest, "ssh_public_key (%s) is not one of keys; give one of the two, or the same key in both", one[0].Fingerprint)
	}
	return keys, true, nil
}

// parseKeys reads public keys, one each, as [certs.ParsePublicKey] does. They count at once if root of the relay's host
// says so, and else when their owner claims them.
func (a *Access) parseKeys(lines []string, by Operator) ([]store.Key, error) {
	var proved time.Time
	if by.ID == "" {
		proved = a.Now()
	}
	if len(lines) > maxUserKeys {
		return nil, wire.Errorf(wire.BadRequest, "%d keys; an operator has at most %d", len(lines), maxUserKeys)
	}
	var out []store.Key
	for i, line := range lines {
		pub, comment, err := certs.ParsePublicKey([]byte(line))
		if err != nil { // the text is not repeated: it may be a secret
			return nil, wire.Errorf(wire.BadRequest, "%s %s", nth(i, len(lines)), wire.DetailOf(err))
		}
		if err := certs.AcceptableKey(pub); err != nil {
			return nil, err
		}
		out = append(out, store.Key{
			Authorized:  strings.TrimSpace(strings.TrimSpace(string(ssh.MarshalAuthorizedKey(pub))) + " " + wire.Printable(short(comment))),
			Fingerprint: ssh.FingerprintSHA256(pub),
			Added:       a.Now(),
			Proved:      proved,
		})
	}
	return out, nil
}

// nth names one key of several.
func nth(i, of int) string {
	if of == 1 {
		return "the SSH key"
	}
	return fmt.Sprintf("SSH key %d", i+1)
}

func short(s string) string {
	if len(s) > 100 {
		return s[:100] + "…"
	}
	return s
}

func userOf(o store.Operator) User {
	u := User{ID: o.ID, Username: o.Username, Role: Role(o.Role), Keys: []string{}, Unproved: []string{}, Created: o.Created.UTC(), Changed: o.Changed.UTC()}
	for _, k := range o.Keys {
		u.Keys = append(u.Keys, k.Authorized)
		if k.Proved.IsZero() {
			u.Unproved = append(u.Unproved, k.Authorized)
		}
	}
	if len(u.Keys) > 0 {
		u.SSHPublicKey = u.Keys[0]
	}
	return u
}

// describe is an operator for the audit log.
func describe(o store.Operator) map[string]string {
	var prints, unproved []string
	for _, k := range o.Keys {
		prints = append(prints, k.Fingerprint)
		if k.Proved.IsZero() {
			unproved = append(unproved, k.Fingerprint)
		}
	}
	fields := map[string]string{"username": o.Username, "id": o.ID, "role": o.Role, "keys": strings.Join(prints, " ")}
	if len(unproved) > 0 {
		fields["unproved"] = strings.Join(unproved, " ")
	}
	return fields
}
