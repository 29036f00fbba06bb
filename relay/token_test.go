package relay

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"scrier/certs"
	"scrier/relay/access"
	"scrier/relay/audit"
	"scrier/relay/fleet"
	"scrier/relay/store"
	"scrier/relay/web"
	"scrier/wire"
)

// makes is a token that an operator makes by the API.
func makes(t *testing.T, r *Relay, who access.Operator, name string) (certs.Token, string) {
	t.Helper()
	body, err := json.Marshal(web.TokenRequest{Name: name, TTL: "168h"})
	if err != nil {
		t.Fatal(err)
	}
	status, out := asks(t, r, who, "POST", "/api/v1/tokens", string(body))
	var made web.Token
	if err := json.Unmarshal([]byte(out), &made); err != nil || status != 200 {
		t.Fatal(status, out, err)
	}
	token, err := certs.ParseToken(made.Token)
	if err != nil {
		t.Fatal(err)
	}
	return token, made.ID
}

// listed are the tokens of the list, by id.
func listed(t *testing.T, r *Relay) map[string]fleet.Token {
	t.Helper()
	all, err := r.fleet.Tokens(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]fleet.Token{}
	for _, v := range all {
		out[v.ID] = v
	}
	return out
}

// A token is good for as long as its maker could make it.
func TestTokenEndsWithTheRight(t *testing.T) {
	root := access.Local("root")
	for name, c := range map[string]struct {
		change        func(t *testing.T, r *Relay, p *person)
		void, changed bool
		gone          bool // not listed either
	}{
		"nothing changes": {func(*testing.T, *Relay, *person) {}, false, false, false},
		"the maker is no admin any more": {func(t *testing.T, r *Relay, p *person) {
			if _, err := r.access.Update(t.Context(), root, "mallory", access.User{Role: access.Viewer}); err != nil {
				t.Fatal(err)
			}
		}, true, true, false},
		"the maker gets another key": {func(t *testing.T, r *Relay, p *person) {
			keys := append(slices.Clone(p.user.Keys), string(ssh.MarshalAuthorizedKey(newSigner(t).PublicKey())))
			if _, err := r.access.Update(t.Context(), root, "mallory", access.User{Keys: keys}); err != nil {
				t.Fatal(err)
			}
		}, false, true, false},
		"the maker was no admin for a while": {func(t *testing.T, r *Relay, p *person) {
			for _, role := range []access.Role{access.Compliance, access.Admin} {
				if _, err := r.access.Update(t.Context(), root, "mallory", access.User{Role: role}); err != nil {
					t.Fatal(err)
				}
			}
		}, false, true, false},
		"the maker is revoked": {func(t *testing.T, r *Relay, p *person) { // a thief may have made it
			if _, err := r.access.Revoke(t.Context(), root, "mallory"); err != nil {
				t.Fatal(err)
			}
		}, true, false, true},
		"the maker is deleted": {func(t *testing.T, r *Relay, p *person) {
			if err := r.access.Delete(t.Context(), root, "mallory"); err != nil {
				t.Fatal(err)
			}
		}, true, false, true},
		"the maker is deleted, and another gets the name": {func(t *testing.T, r *Relay, p *person) {
			row := operatorRow(t, r, p.user.ID)
			if err := r.kv.Update(t.Context(), func(tx store.Tx) error { // the tokens stay
				if err := store.DeleteOperator(tx, row.ID); err != nil {
					return err
				}
				row.ID = "another"
				return store.PutOperator(tx, row)
			}); err != nil {
				t.Fatal(err)
			}
		}, true, false, false},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			r := start(t)
			p := newPerson(t, r, "mallory", access.Admin)
			token, id := makes(t, r, access.Operator{ID: p.user.ID, Username: "mallory", Role: access.Admin}, "web1")
			c.change(t, r, p)
			v, ok := listed(t, r)[id]
			if ok == c.gone || !c.gone && (v.Void != "") != c.void || v.Changed != c.changed {
				t.Errorf("the list shows %+v, %t", v, ok)
			}
			_, err := enrol(t, r, token, nil)
			if want := map[bool]wire.Code{false: wire.None, true: wire.TokenInvalid}[c.void]; wire.CodeOf(err) != want {
				t.Fatalf("enrolled with %v, want %s", err, want)
			}
			if wire.DetailOf(err) != "" {
				t.Errorf("the machine was told %q", wire.DetailOf(err))
			}
			if c.void && audited(t, r, "envoy.enrol_refused") != 1 {
				t.Error("the refusal is not in the audit log")
			}
			if !c.void || c.gone {
				return
			}
			records, err := r.audit.Records(t.Context(), 0, 1000)
			if err != nil {
				t.Fatal(err)
			}
			last := records[len(records)-1]
			if last.Fields["token"] != id || last.Fields["token_by"] != "mallory" || !strings.Contains(last.Detail, "the operator who made the token") {
				t.Errorf("the record is %+v", last)
			}
		})
	}
}

func operatorRow(t *testing.T, r *Relay, id string) (o store.Operator) {
	t.Helper()
	if err := r.kv.View(t.Context(), func(tx store.Tx) (err error) {
		o, err = store.GetOperator(tx, id)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return o
}

// A row from before tokens knew their maker's id has the name.
func TestTokenFromBefore(t *testing.T) {
	r := start(t)
	newPerson(t, r, "ann", access.Admin)
	newPerson(t, r, "vic", access.Viewer)
	for by, want := range map[string]wire.Code{"local:root": wire.None, "ann": wire.None, "vic": wire.TokenInvalid, "nobody": wire.TokenInvalid} {
		token := certs.NewToken(r.ca.Pin())
		row := store.Token{Hash: token.Hash(), CreatedBy: by, Created: time.Now(), Expires: time.Now().Add(time.Hour)}
		if err := r.kv.Update(t.Context(), func(tx store.Tx) error { return store.PutToken(tx, row) }); err != nil {
			t.Fatal(err)
		}
		if _, err := enrol(t, r, token, nil); wire.CodeOf(err) != want {
			t.Errorf("made by %s: %v", by, err)
		}
	}
}

// A token is listed without itself, and taken back by its id.
func TestTokensAreTakenBack(t *testing.T) {
	var c clock
	r := start(t, c.settings)
	ann := admin(t, r, "ann")
	token, id := makes(t, r, ann, "web1")
	other, otherID := makes(t, r, access.Local("root"), "")
	status, out := asks(t, r, ann, "GET", "/api/v1/tokens", "")
	if status != 200 || strings.Contains(out, "scrier_join") || strings.Contains(out, token.String()) || !strings.Contains(out, id) {
		t.Errorf("%d %s", status, out)
	}
	if v := listed(t, r)[id]; v.Name != "web1" || v.CreatedBy != "ann" || v.Void != "" || v.Changed || !v.Expires.After(v.Created) {
		t.Errorf("%+v", v)
	}
	if status, out := asks(t, r, ann, "DELETE", "/api/v1/tokens/"+token.String(), ""); status != 404 || strings.Contains(out, token.String()) {
		t.Errorf("by the token itself: %d %s", status, out)
	}
	if status, out := asks(t, r, ann, "DELETE", "/api/v1/tokens/"+id, ""); status != 204 {
		t.Errorf("%d %s", status, out)
	}
	if status, _ := asks(t, r, ann, "DELETE", "/api/v1/tokens/"+id, ""); status != 404 {
		t.Errorf("twice: %d", status)
	}
	if _, err := enrol(t, r, token, nil); wire.CodeOf(err) != wire.TokenInvalid {
		t.Errorf("enrolled with %v", err)
	}
	if n := audited(t, r, "token.revoke"); n != 1 {
		t.Errorf("%d records", n)
	}
	if _, err := enrol(t, r, other, nil); err != nil {
		t.Error(err)
	}
	if err := r.fleet.RevokeToken(t.Context(), audit.Event{}, otherID); wire.CodeOf(err) != wire.NotFound {
		t.Errorf("a token that was used: %v", err)
	}
	_, id = makes(t, r, ann, "late")
	c.turn(7 * 24 * time.Hour)
	if all := listed(t, r); len(all) != 0 {
		t.Errorf("%+v", all)
	}
	if err := r.fleet.RevokeToken(t.Context(), audit.Event{}, id); wire.CodeOf(err) != wire.NotFound {
		t.Errorf("a token that has expired: %v", err)
	}
}
