package access

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"scrier/relay/audit"
	"scrier/relay/store"
	"scrier/wire"
)

// Site is the relay as a browser reached it. A passkey is bound to the name, and WebAuthn knows no
// IP addresses.
type Site struct {
	Name   string // host name without port
	Origin string // https://host:port as the browser writes it
}

// Flow is the first half of a WebAuthn ceremony.
type Flow struct {
	ID      string `json:"flow"`
	Options any    `json:"options"` // {publicKey: …}, for parse…OptionsFromJSON of the browser
}

// Passkey is a passkey as its operator sees it.
type Passkey struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	RPID    string    `json:"rp_id"` // the host name that it is good for
	Created time.Time `json:"created"`
	Used    time.Time `json:"used,omitzero"`
}

// maxPasskeyName is what a list has room for, in bytes.
const maxPasskeyName = 64

// BeginPasskey asks an operator's browser for a new passkey.
func (a *Access) BeginPasskey(ctx context.Context, who Operator, site Site) (Flow, error) {
	user, err := a.passkeyUser(ctx, who, site)
	if err != nil {
		return Flow{}, err
	}
	party, err := party(site)
	if err != nil {
		return Flow{}, err
	}
	var known []protocol.CredentialDescriptor
	for _, c := range user.credentials {
		known = append(known, c.Descriptor())
	}
	options, data, err := party.BeginRegistration(user, webauthn.WithExclusions(known))
	if err != nil {
		return Flow{}, err
	}
	return a.flows.add(flow{operator: who.ID, site: site, source: who.Source, data: *data, expires: a.Now().Add(flowLife)}, options, a.Now())
}

// FinishPasskey registers the passkey that the browser made. credential is its JSON, as
// PublicKeyCredential.toJSON writes it.
func (a *Access) FinishPasskey(ctx context.Context, who Operator, site Site, id, name string, credential json.RawMessage) (Passkey, error) {
	f, err := a.flows.take(id, who.ID, site, a.Now())
	if err != nil {
		return Passkey{}, err
	}
	user, err := a.passkeyUser(ctx, who, site)
	if err != nil {
		return Passkey{}, err
	}
	party, err := party(site)
	if err != nil {
		return Passkey{}, err
	}
	parsed, err := protocol.ParseCredentialCreationResponseBytes(credential)
	if err == nil {
		err = exactOrigin(parsed.Response.CollectedClientData, site)
	}
	var made *webauthn.Credential
	if err == nil {
		made, err = party.CreateCredential(user, f.data, parsed)
	}
	if err != nil {
		return Passkey{}, unacceptable(err, wire.BadRequest)
	}
	row := store.Passkey{
		Credential: made.ID, Operator: who.ID, Name: passkeyName(name), RPID: site.Name, PublicKey: made.PublicKey,
		SignCount: made.Authenticator.SignCount, AAGUID: made.Authenticator.AAGUID, Created: a.Now(),
		BackupEligible: made.Flags.BackupEligible, BackupState: made.Flags.BackupState,
	}
	for _, t := range parsed.Response.Transports {
		if len(row.Transports) < 8 && len(t) <= 32 {
			row.Transports = append(row.Transports, string(t))
		}
	}
	err = a.change(ctx, who, record("operator.passkey_add", who, describePasskey(row)),
		func(tx store.Tx) error {
			o, err := self(tx, who)
			if err == nil {
				err = stillFirst(tx, who, o)
			}
			if err == nil {
				err = store.AddPasskey(tx, row)
			}
			if err == nil {
				err = settle(tx, who, o)
			}
			return err
		})
	if err == nil {
		a.settled(who)
	}
	return passkeyOf(row), err
}

// BeginPasskeySignIn asks a browser for any passkey that it has for this site.
func (a *Access) BeginPasskeySignIn(b Browser, site Site) (Flow, error) {
	if err := a.attempts.allow(b.Source); err != nil {
		return Flow{}, err
	}
	party, err := party(site)
	if err != nil {
		return Flow{}, err
	}
	options, data, err := party.BeginDiscoverableLogin()
	if err != nil {
		return Flow{}, err
	}
	return a.flows.add(flow{site: site, source: b.Source, data: *data, expires: a.Now().Add(flowLife)}, options, a.Now())
}

// FinishPasskeySignIn signs in whoever the passkey belongs to.
func (a *Access) FinishPasskeySignIn(ctx context.Context, b Browser, site Site, id string, credential json.RawMessage) (SignedIn, error) {
	if err := a.attempts.allow(b.Source); err != nil {
		return SignedIn{}, err
	}
	o, key, used, err := a.checkPasskey(ctx, b, site, "", id, credential)
	if err != nil {
		return SignedIn{}, a.signInRefused(ctx, b, "passkey", o.Username, err)
	}
	return a.signIn(ctx, b, attempt{
		method: "passkey",
		claim: func(tx store.Tx, now time.Time) (store.Operator, error) {
			if err := usePasskey(tx, key, used, now); err != nil {
				return store.Operator{}, err
			}
			return store.GetOperator(tx, key.Operator)
		},
		doubt:  func() store.SignInLink { return store.SignInLink{} },
		undo:   func(store.Tx) error { return nil }, // a counter never goes back
		fields: func() map[string]string { return map[string]string{"passkey": key.ID(), "passkey_name": key.Name} },
	})
}

// usePasskey notes that a passkey was used, if it is as it was when that was checked.
func usePasskey(tx store.Tx, key store.Passkey, used *webauthn.Credential, now time.Time) error {
	row, err := store.GetPasskey(tx, key.Operator, key.ID())
	if err != nil {
		return wire.Errorf(wire.Unauthenticated, "the passkey was removed")
	}
	if row.SignCount != key.SignCount {
		return wire.Errorf(wire.Conflict, "the passkey was used twice at once").Advise("try again")
	}
	row.SignCount, row.BackupState, row.Used = used.Authenticator.SignCount, used.Flags.BackupState, now
	return store.UsePasskey(tx, row)
}

// checkPasskey verifies the browser's answer to a challenge that was made for someone; empty: for who signs in. With an
// error the operator may be known, for the audit log.
func (a *Access) checkPasskey(ctx context.Context, b Browser, site Site, whom, id string, credential json.RawMessage) (o store.Operator, key store.Passkey, used *webauthn.Credential, err error) {
	f, err := a.flows.take(id, whom, site, a.Now())
	if err != nil {
		return o, key, nil, err
	}
	party, err := party(site)
	if err != nil {
		return o, key, nil, err
	}
	parsed, err := protocol.ParseCredentialRequestResponseBytes(credential)
	if err != nil {
		return o, key, nil, unacceptable(err, wire.BadRequest)
	}
	err = a.KV.View(ctx, func(tx store.Tx) error {
		if key, err = store.PasskeyByCredential(tx, parsed.RawID); err != nil {
			return err
		}
		o, err = store.GetOperator(tx, key.Operator)
		return err
	})
	if wire.CodeOf(err) == wire.NotFound || err == nil && key.RPID != site.Name {
		err = wire.Errorf(wire.Unauthenticated, "the relay does not know this passkey; it may have been removed")
	}
	if err != nil {
		return o, key, nil, err
	}
	if err := exactOrigin(parsed.Response.CollectedClientData, site); err != nil {
		return o, key, nil, err
	}
	user := &passkeyOwner{id: o.ID, name: o.Username, credentials: []webauthn.Credential{credentialOf(key)}}
	used, err = party.ValidateDiscoverableLogin(func(_, _ []byte) (webauthn.User, error) { return user, nil }, f.data, parsed)
	if err != nil {
		return o, key, nil, unacceptable(err, wire.Unauthenticated)
	}
	if used.Authenticator.CloneWarning {
		fields := describePasskey(key)
		fields["counter"] = strconv.FormatUint(uint64(parsed.Response.AuthenticatorData.Counter), 10)
		fields["counter_before"] = strconv.FormatUint(uint64(key.SignCount), 10)
		_, jerr := a.Journal.AppendOwn(context.WithoutCancel(ctx), audit.Event{Type: "operator.passkey_alarm", Operator: o.Username, Source: b.Source, Fields: fields})
		err := wire.Errorf(wire.Unauthenticated, "the passkey's counter went back, so there may be a copy of it; remove it and register another")
		return o, key, nil, errors.Join(err, jerr)
	}
	return o, key, used, nil
}

// Passkeys lists an operator's own passkeys, the oldest first.
func (a *Access) Passkeys(ctx context.Context, who Operator) ([]Passkey, error) {
	found := []Passkey{}
	err := a.KV.View(ctx, func(tx store.Tx) error {
		o, err := self(tx, who)
		if err != nil {
			return err
		}
		rows, err := store.Passkeys(tx, o.ID)
		slices.SortFunc(rows, func(a, b store.Passkey) int { return a.Created.Compare(b.Created) })
		for _, p := range rows {
			found = append(found, passkeyOf(p))
		}
		return err
	})
	return found, err
}

// RemovePasskey removes one of an operator's own passkeys. Browsers that signed in with it stay
// signed in.
func (a *Access) RemovePasskey(ctx context.Context, who Operator, id string) error {
	var row store.Passkey
	if err := a.KV.View(ctx, func(tx store.Tx) error {
		_, err := self(tx, who)
		if err == nil {
			row, err = store.GetPasskey(tx, who.ID, id)
		}
		return err
	}); err != nil {
		return err
	}
	return a.change(ctx, who, record("operator.passkey_remove", who, describePasskey(row)),
		func(tx store.Tx) error {
			if err := store.DeletePasskey(tx, who.ID, id); err != nil {
				return err
			}
			return notTheLast(tx, who)
		})
}

// notTheLast refuses to take away what last proves who an operator is: whoever came next would be taken for them.
func notTheLast(tx store.Tx, who Operator) error {
	o, err := self(tx, who)
	if err != nil {
		return err
	}
	has, err := credentialsOf(tx, o)
	if err == nil && has.none() {
		err = wire.Errorf(wire.Conflict, "it is the last thing that proves that you are %s", who.Username).Advise("add an SSH key or another passkey first")
	}
	return err
}

// RemovePasskeys removes all passkeys of an operator, and ends what they signed in: somebody else
// may have added one.
func (a *Access) RemovePasskeys(ctx context.Context, by Operator, user string) error {
	var o store.Operator
	look := func(tx store.Tx) (err error) {
		if o, err = find(tx, user); err != nil {
			return err
		}
		return adminLeft(tx, by, o, o, true)
	}
	if err := a.KV.View(ctx, look); err != nil {
		return err
	}
	err := a.change(ctx, by, record("operator.passkeys_remove", by, map[string]string{"username": o.Username, "id": o.ID}), func(tx store.Tx) error {
		if err := look(tx); err != nil {
			return err
		}
		rows, err := store.Passkeys(tx, o.ID)
		if err != nil {
			return err
		}
		for _, p := range rows {
			if err := store.DeletePasskey(tx, o.ID, p.ID()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return a.SignOutEverywhere(ctx, Operator{ID: o.ID, Username: o.Username, Role: Role(o.Role), Source: by.Source})
}

func passkeyOf(p store.Passkey) Passkey {
	return Passkey{ID: p.ID(), Name: p.Name, RPID: p.RPID, Created: p.Created.UTC(), Used: p.Used.UTC()}
}

func passkeyName(s string) string {
	if s = strings.TrimSpace(wire.Printable(s)); len(s) > maxPasskeyName {
		s = strings.ToValidUTF8(s[:maxPasskeyName], "")
	}
	if s == "" {
		return "passkey"
	}
	return s
}

func describePasskey(p store.Passkey) map[string]string {
	return map[string]string{"passkey": p.ID(), "passkey_name": p.Name, "host": p.RPID}
}
