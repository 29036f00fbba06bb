package relay

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"scrier/certs"
	"scrier/relay/access"
	"scrier/relay/guac/guactest"
	"scrier/relay/store"
	"scrier/wire"
)

// line is a public key as it stands in authorized_keys.
func line(key ssh.PublicKey) string { return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))) }

// problem is the name of the code that a request was refused with.
func problem(status int, answer string) string {
	var p wire.Problem
	if status < 300 || json.Unmarshal([]byte(answer), &p) != nil {
		return fmt.Sprint(status)
	}
	return wire.CodeOf(p.Err()).String()
}

// made makes an operator as by does, and returns the secret of the link in the answer.
func made(t *testing.T, r *Relay, by access.Operator, name string, keys ...ssh.PublicKey) (secret string) {
	t.Helper()
	lines := []string{}
	for _, k := range keys {
		lines = append(lines, line(k))
	}
	body, err := json.Marshal(map[string]any{"username": name, "role": "admin", "keys": lines})
	if err != nil {
		t.Fatal(err)
	}
	return linkOf(t, r, by, "/api/v1/users", string(body))
}

// linkOf is the secret of the link in an answer.
func linkOf(t *testing.T, r *Relay, by access.Operator, path, body string) (secret string) {
	t.Helper()
	status, out := asks(t, r, by, "POST", path, body)
	var answer struct {
		Path string
		Link struct{ Path string }
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil || status != http.StatusOK {
		t.Fatal(status, out, err)
	}
	return strings.TrimPrefix(answer.Path+answer.Link.Path, "/signin#")
}

// arrive signs a browser in by a link.
func arrive(t *testing.T, r *Relay, secret string) access.SignedIn {
	t.Helper()
	in, err := r.access.SignInByLink(t.Context(), access.Browser{Source: "192.0.2.1"}, secret)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// whoNow is who is signed in by now.
func whoNow(t *testing.T, r *Relay, in access.SignedIn) access.Operator {
	t.Helper()
	who, err := r.access.IdentifyBrowser(t.Context(), in.Cookie)
	if err != nil {
		t.Fatal(err)
	}
	return who
}

// claims makes a key count on the page; proof, if any, is a key that counts already.
func claims(t *testing.T, r *Relay, who access.Operator, key, proof ssh.Signer) string {
	t.Helper()
	_, out := asksWith(t, r, who, "POST", "/api/v1/self/keys/begin", "", "")
	var c access.Challenge
	if err := json.Unmarshal([]byte(out), &c); err != nil {
		t.Fatal(out, err)
	}
	body := fmt.Sprintf(`{"challenge":%q,"signature":%q}`, c.ID, signature(t, key, c))
	header := ""
	if proof != nil {
		header = signs(t, r, who, proof, "POST", "/api/v1/self/keys", body)
	}
	return problem(asksWith(t, r, who, "POST", "/api/v1/self/keys", body, header))
}

// shellsOn is an envoy that opens shells, and with which keys it was asked.
func shellsOn(t *testing.T, r *Relay) func() []string {
	t.Helper()
	var keys atomic.Pointer[[]string]
	serve(t, r, "web1", func(e *envoy, open *wire.Open, s wire.Stream) {
		var all []string
		for _, k := range open.Keys {
			pub, err := ssh.ParsePublicKey(k)
			if err != nil {
				t.Error(err)
				return
			}
			all = append(all, ssh.FingerprintSHA256(pub))
		}
		keys.Store(&all)
		e.opened(s)
		e.sshServer(s, open, echo)
	})
	return func() []string {
		if all := keys.Swap(nil); all != nil {
			return *all
		}
		return nil
	}
}

const connect = `{"envoy_id":"web1","protocol":"ssh"}`

// TestForeignKeyOpensNothing: an administrator can name anybody's public key. It opens nothing for them.
func TestForeignKeyOpensNothing(t *testing.T) {
	r := start(t)
	mallory := admin(t, r, "mallory")
	victim, own := newSigner(t), newSigner(t)
	keys := shellsOn(t, r)
	in := arrive(t, r, made(t, r, mallory, "bob", victim.PublicKey()))
	if in.Operator.Doubt != "mallory" {
		t.Fatalf("%+v", in.Operator)
	}
	session := wire.NewSessionID().String()
	for _, c := range []struct{ method, path, body, want string }{
		{"POST", "/api/v1/scrier/connect", connect, "unconfirmed"},
		{"POST", "/api/v1/sessions/" + session + "/attach", `{}`, "unconfirmed"},
		{"POST", "/api/v1/sessions/" + session + "/attach", `{"watch":true}`, "unconfirmed"},
		{"DELETE", "/api/v1/sessions/" + session, "", "unconfirmed"},
		{"POST", "/api/v1/envoys/web1/revoke", "", "unconfirmed"},
		{"POST", "/api/v1/users", `{"username":"eve","role":"admin"}`, "unconfirmed"},
		{"POST", "/api/v1/tokens", `{}`, "unconfirmed"},
		{"POST", "/api/v1/self/confirm", `{}`, "key_unproved"},
		{"POST", "/api/v1/self/links", `{}`, "unconfirmed"}, // a link of their own would be as good as they are
		{"DELETE", "/api/v1/self/passkeys/0123", "", "unconfirmed"},
		{"DELETE", "/api/v1/self/signins", "", "unconfirmed"},
		{"DELETE", "/api/v1/self/signins/0123", "", "unconfirmed"},
		{"GET", "/api/v1/envoys", "", "200"},
		{"GET", "/api/v1/self", "", "200"},
	} {
		if got := problem(asks(t, r, in.Operator, c.method, c.path, c.body)); got != c.want {
			t.Errorf("%s %s: %s, not %s", c.method, c.path, got, c.want)
		}
	}
	if got := claims(t, r, in.Operator, own, nil); got != "200" {
		t.Fatal(got)
	}
	who := whoNow(t, r, in)
	if who.Doubt != "" {
		t.Fatalf("%+v", who)
	}
	if got := problem(asks(t, r, who, "POST", "/api/v1/scrier/connect", connect)); got != "200" {
		t.Fatal(got)
	}
	if got := keys(); len(got) != 1 || got[0] != ssh.FingerprintSHA256(own.PublicKey()) {
		t.Errorf("the envoy was asked with %v", got)
	}
	// Whom the key belongs to does not give it away by a login.
	them := &person{t: t, relay: r, signer: victim}
	for _, username := range []string{"", "bob"} {
		if _, err := them.login(attempt{username: username}); wire.CodeOf(err) != wire.KeyUnproved {
			t.Errorf("a login with the victim's key: %v", err)
		}
	}
}

// TestKeyIsClaimedAtLogin: the first key of an operator counts from their first login on. Whoever came by a link
// before is out.
func TestKeyIsClaimedAtLogin(t *testing.T) {
	r := start(t)
	ann := admin(t, r, "ann")
	key := newSigner(t)
	keys := shellsOn(t, r)
	before := arrive(t, r, made(t, r, ann, "bob", key.PublicKey()))
	unused := linkOf(t, r, ann, "/api/v1/users/bob/links", "")
	bob := &person{t: t, relay: r, signer: key}
	nonce := certs.LoginNonce
	for name, claim := range map[string]func(message []byte) []byte{
		"none":            func([]byte) []byte { return nil },
		"another name":    func(m []byte) []byte { return claimOf(t, r, key, "ann", nonce(m), certs.NamespaceClaim) },
		"another nonce":   func([]byte) []byte { return claimOf(t, r, key, "bob", nonce(nil), certs.NamespaceClaim) },
		"another purpose": func(m []byte) []byte { return claimOf(t, r, key, "bob", nonce(m), certs.NamespaceChange) },
		"another key":     func(m []byte) []byte { return claimOf(t, r, newSigner(t), "bob", nonce(m), certs.NamespaceClaim) },
	} {
		if _, err := bob.login(attempt{claim: claim}); wire.CodeOf(err) != wire.KeyUnproved && wire.CodeOf(err) != wire.Unauthenticated {
			t.Errorf("%s: %v", name, err)
		}
	}
	who := before.Operator
	if _, err := r.access.Keys(t.Context(), who); wire.CodeOf(err) != wire.KeyUnproved {
		t.Fatal(err)
	}
	cert, err := bob.login(attempt{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.access.IdentifyBrowser(t.Context(), before.Cookie); wire.CodeOf(err) != wire.OperatorChanged {
		t.Errorf("a sign-in from before: %v", err)
	}
	if _, err := r.access.SignInByLink(t.Context(), access.Browser{}, unused); wire.CodeOf(err) != wire.LinkInvalid {
		t.Errorf("a link from before: %v", err)
	}
	id, _, err := r.tls.Identify([]*x509.Certificate{cert.Leaf})
	if err != nil {
		t.Fatal(err)
	}
	if who, err = r.access.Identify(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if got := problem(asks(t, r, who, "POST", "/api/v1/scrier/connect", connect)); got != "200" || len(keys()) != 1 {
		t.Fatal(got)
	}
	if _, err := bob.login(attempt{claim: func([]byte) []byte { return nil }}); err != nil {
		t.Errorf("it has to be claimed once: %v", err)
	}
}

// TestClaimOfALoginIsGoodForNothingElse: whoever runs another relay, at which somebody logs in, passes on to them the
// challenge that this relay has made to claim a key on the page.
func TestClaimOfALoginIsGoodForNothingElse(t *testing.T) {
	r := start(t)
	mallory := admin(t, r, "mallory")
	victim := newSigner(t)
	in := arrive(t, r, made(t, r, mallory, "bob", victim.PublicKey()))
	_, out := asksWith(t, r, in.Operator, "POST", "/api/v1/self/keys/begin", "", "")
	var c access.Challenge
	if err := json.Unmarshal([]byte(out), &c); err != nil {
		t.Fatal(out, err)
	}
	once, err := base64.RawURLEncoding.DecodeString(c.Text[strings.LastIndex(c.Text, " ")+1:])
	if err != nil {
		t.Fatal(err)
	}
	message, err := certs.LoginMessage(once, make([]byte, certs.ExporterSize), nil) // on the victim's connection to mallory
	if err != nil {
		t.Fatal(err)
	}
	sig := base64.StdEncoding.EncodeToString(claimOf(t, r, victim, "bob", certs.LoginNonce(message), certs.NamespaceClaim))
	if got := problem(asks(t, r, in.Operator, "POST", "/api/v1/self/keys", fmt.Sprintf(`{"challenge":%q,"signature":%q}`, c.ID, sig))); got != "unauthenticated" {
		t.Error(got)
	}
	if _, err := r.access.Keys(t.Context(), in.Operator); wire.CodeOf(err) != wire.KeyUnproved {
		t.Error(err)
	}
}

// claimOf is the signature by which a key's owner claims it at a login.
func claimOf(t *testing.T, r *Relay, key ssh.Signer, username, nonce string, namespace func(string) string) []byte {
	t.Helper()
	sig, err := certs.SignSSH(nil, key, namespace(r.ca.Cluster()), []byte(certs.ClaimText(username, r.ca.Pin(), nonce)))
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

// TestFurtherKeyNeedsOneThatCounts: an administrator who names a key of their own for somebody gets nothing by
// having it: not by a login, and not on the page.
func TestFurtherKeyNeedsOneThatCounts(t *testing.T) {
	r := start(t)
	mallory := admin(t, r, "mallory")
	ann := newPerson(t, r, "ann", access.Admin)
	theirs := newSigner(t)
	body, err := json.Marshal(map[string]any{"keys": []string{line(ann.signer.PublicKey()), line(theirs.PublicKey())}})
	if err != nil {
		t.Fatal(err)
	}
	if status, out := asks(t, r, mallory, "PUT", "/api/v1/users/ann", string(body)); status != http.StatusOK || !strings.Contains(out, `"unproved":["`+line(theirs.PublicKey())+`"]`) {
		t.Fatal(status, out)
	}
	thief := &person{t: t, relay: r, signer: theirs}
	if _, err := thief.login(attempt{username: "ann"}); wire.CodeOf(err) != wire.KeyUnproved {
		t.Errorf("a login: %v", err)
	}
	in := arrive(t, r, linkOf(t, r, mallory, "/api/v1/users/ann/links", ""))
	for name, proof := range map[string]ssh.Signer{"nothing": nil, "the key itself": theirs, "mallory's": newSigner(t)} {
		if got := claims(t, r, in.Operator, theirs, proof); got != "proof_required" {
			t.Errorf("claimed with %s: %s", name, got)
		}
	}
	if got := problem(asksWith(t, r, in.Operator, "POST", "/api/v1/self/confirm", `{}`, signs(t, r, in.Operator, theirs, "POST", "/api/v1/self/confirm", `{}`))); got != "proof_required" {
		t.Errorf("confirmed with it: %s", got)
	}
	counting, err := r.access.Keys(t.Context(), in.Operator)
	if err != nil || len(counting) != 1 {
		t.Fatal(counting, err)
	}
	if got := claims(t, r, in.Operator, theirs, ann.signer); got != "200" { // ann wants it
		t.Fatal(got)
	}
	if counting, err = r.access.Keys(t.Context(), in.Operator); err != nil || len(counting) != 2 {
		t.Fatal(counting, err)
	}
	if _, err := thief.login(attempt{username: "ann"}); err != nil {
		t.Error(err)
	}
	if got := claims(t, r, whoNow(t, r, in), newPerson(t, r, "cay", access.Viewer).signer, ann.signer); got != "conflict" {
		t.Errorf("another operator's key: %s", got)
	}
}

// TestFirstProofEndsWhatWasOpen: whoever is the first to prove that they are an operator gets nothing of what somebody
// else has opened in that name before.
func TestFirstProofEndsWhatWasOpen(t *testing.T) {
	r, _ := withGuacd(t, guactest.Normal)
	mallory := admin(t, r, "mallory")
	bob := arrive(t, r, made(t, r, access.Local("root"), "bob")).Operator
	d := newDesk(t, r, bob, vnc(), "WebSocket")
	d.until("sync")
	d.Reset(wire.ViewerLost)
	in := arrive(t, r, linkOf(t, r, mallory, "/api/v1/users/bob/links", ""))
	if got := problem(asks(t, r, in.Operator, "POST", "/api/v1/sessions/"+d.id.String()+"/attach", `{}`)); got != "unconfirmed" {
		t.Fatal(got)
	}
	if got := claims(t, r, in.Operator, newSigner(t), nil); got != "200" {
		t.Fatal(got)
	}
	waitFor(t, "the session to end", func() bool { return rows(t, r)[0].State == store.Closed })
	waitFor(t, "it to be out of their reach", func() bool {
		return problem(asks(t, r, whoNow(t, r, in), "POST", "/api/v1/sessions/"+d.id.String()+"/attach", `{}`)) == "not_found"
	})
	if id := (certs.Identity{Role: certs.RoleOperator, ID: bob.ID, Generation: 1}); wire.CodeOf(r.access.Admit(id)) != wire.OperatorChanged {
		t.Error("a login from before counts")
	}
}

// TestNamedKeysStandInNobodysWay: a key that somebody has merely named hinders no login with one that counts.
func TestNamedKeysStandInNobodysWay(t *testing.T) {
	r := start(t)
	mallory := admin(t, r, "mallory")
	ann := newPerson(t, r, "ann", access.Admin)
	second, third := newSigner(t), newSigner(t)
	made(t, r, mallory, "bob", third.PublicKey())
	made(t, r, mallory, "cay", newSigner(t).PublicKey())
	body, err := json.Marshal(map[string]any{"keys": []string{line(second.PublicKey()), line(ann.signer.PublicKey())}})
	if err != nil {
		t.Fatal(err)
	}
	if status, out := asks(t, r, mallory, "PUT", "/api/v1/users/ann", string(body)); status != http.StatusOK {
		t.Fatal(status, out)
	}
	for _, username := range []string{"", "ann"} {
		if _, err := ann.login(attempt{username: username, more: []ssh.PublicKey{third.PublicKey(), second.PublicKey()}}); err != nil {
			t.Errorf("%q: %v", username, err)
		}
	}
	both := &person{t: t, relay: r, signer: second}
	if _, err := both.login(attempt{more: []ssh.PublicKey{third.PublicKey()}}); wire.CodeOf(err) != wire.BadRequest {
		t.Errorf("keys that two operators were given: %v", err)
	}
	if got := problem(asks(t, r, mallory, "POST", "/api/v1/users", `{"username":"`+ann.user.ID+`","role":"viewer"}`)); got != "bad_request" {
		t.Errorf("an operator whose name is another's id: %s", got)
	}
}

// TestLinkByAnother: a link made for somebody else shows its maker what they could see anyway. It ends with what its
// maker is allowed.
func TestLinkByAnother(t *testing.T) {
	r := start(t)
	mallory := admin(t, r, "mallory")
	ann := newPerson(t, r, "ann", access.Admin)
	keys := shellsOn(t, r)
	who := access.Operator{ID: ann.user.ID, Username: "ann", Role: access.Admin, Epoch: 1}
	_, out := asks(t, r, who, "POST", "/api/v1/scrier/connect", connect)
	var opened struct {
		Session string `json:"session_id"`
	}
	if err := json.Unmarshal([]byte(out), &opened); err != nil || opened.Session == "" {
		t.Fatal(out, err)
	}
	keys()
	in := arrive(t, r, linkOf(t, r, mallory, "/api/v1/users/ann/links", ""))
	for path, body := range map[string]string{
		"/api/v1/scrier/connect": connect, "/api/v1/sessions/" + opened.Session + "/attach": `{}`,
	} {
		if got := problem(asks(t, r, in.Operator, "POST", path, body)); got != "unconfirmed" {
			t.Errorf("%s: %s", path, got)
		}
	}
	if keys() != nil {
		t.Error("the envoy was asked")
	}
	if got := problem(asks(t, r, in.Operator, "POST", "/api/v1/self/confirm", `{}`)); got != "204" && got != "200" { // signed with ann's key
		t.Fatal(got)
	}
	if got := problem(asks(t, r, whoNow(t, r, in), "POST", "/api/v1/sessions/"+opened.Session+"/attach", `{}`)); got != "200" {
		t.Errorf("after that: %s", got)
	}

	// By one's own link, and by one of root's, one is who one is.
	if in := arrive(t, r, linkOf(t, r, who, "/api/v1/self/links", "")); in.Operator.Doubt != "" {
		t.Errorf("%+v", in.Operator)
	}
	if in := arrive(t, r, linkOf(t, r, access.Local("root"), "/api/v1/users/ann/links", "")); in.Operator.Doubt != "" {
		t.Errorf("%+v", in.Operator)
	}

	for name, change := range map[string]func(string) error{
		"deleted": func(maker string) error { return r.access.Delete(t.Context(), access.Local("root"), maker) },
		"demoted": func(maker string) error {
			_, err := r.access.Update(t.Context(), access.Local("root"), maker, access.User{Role: access.Viewer})
			return err
		},
	} {
		maker := admin(t, r, name)
		secret := linkOf(t, r, maker, "/api/v1/users/ann/links", "")
		looking := arrive(t, r, linkOf(t, r, maker, "/api/v1/users/ann/links", ""))
		confirmed := arrive(t, r, linkOf(t, r, maker, "/api/v1/users/ann/links", ""))
		if got := problem(asks(t, r, confirmed.Operator, "POST", "/api/v1/self/confirm", `{}`)); got != "204" {
			t.Fatal(got)
		}
		whoNow(t, r, looking)
		if err := change(name); err != nil {
			t.Fatal(err)
		}
		if _, err := r.access.LookAtLink(t.Context(), access.Browser{}, secret); wire.CodeOf(err) != wire.LinkInvalid {
			t.Errorf("%s, looked at: %v", name, err)
		}
		if _, err := r.access.SignInByLink(t.Context(), access.Browser{}, secret); wire.CodeOf(err) != wire.LinkInvalid {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := r.access.IdentifyBrowser(t.Context(), looking.Cookie); wire.CodeOf(err) != wire.SignedOut {
			t.Errorf("%s looks on: %v", name, err)
		}
		if all, err := r.access.SignIns(t.Context(), who, ""); err != nil || slices.ContainsFunc(all, func(s access.SignIn) bool { return s.ID == looking.Operator.SignIn }) {
			t.Error(all, err)
		}
		whoNow(t, r, confirmed) // it is ann's
	}
}

// TestLookAtLink: whom a link signs in can be asked as often as one likes, and does not use it up.
func TestLookAtLink(t *testing.T) {
	r := start(t)
	ann := admin(t, r, "ann")
	secret := made(t, r, ann, "bob")
	for range 3 {
		to, err := r.access.LookAtLink(t.Context(), access.Browser{Source: "192.0.2.1"}, secret)
		if err != nil || to != (access.LinkFor{Username: "bob", Role: access.Admin, By: "ann"}) {
			t.Fatalf("%+v %v", to, err)
		}
	}
	arrive(t, r, secret)
	if _, err := r.access.LookAtLink(t.Context(), access.Browser{Source: "192.0.2.1"}, secret); wire.CodeOf(err) != wire.LinkInvalid {
		t.Error(err)
	}
	var err error
	for range 50 {
		_, err = r.access.LookAtLink(t.Context(), access.Browser{Source: "192.0.2.1"}, "guess")
	}
	if wire.CodeOf(err) != wire.Busy {
		t.Errorf("guessing goes on: %v", err)
	}
}

// TestChangesAreSigned: a login alone, which may be stolen, changes nothing of who may do what.
func TestChangesAreSigned(t *testing.T) {
	var c clock
	r := start(t, c.settings)
	ann := newPerson(t, r, "ann", access.Admin)
	bob := newPerson(t, r, "bob", access.Admin)
	who := access.Operator{ID: ann.user.ID, Username: "ann", Role: access.Admin, Epoch: 1}
	other := access.Operator{ID: bob.user.ID, Username: "bob", Role: access.Admin, Epoch: 1}
	const user = `{"username":"eve","role":"viewer"}`
	changes := []struct{ method, path, body string }{
		{"POST", "/api/v1/users", user},
		{"PUT", "/api/v1/users/bob", `{"role":"viewer"}`},
		{"POST", "/api/v1/users/bob/links", ""},
		{"POST", "/api/v1/users/bob/revoke", ""},
		{"DELETE", "/api/v1/users/bob/passkeys", ""},
		{"DELETE", "/api/v1/users/bob", ""},
		{"POST", "/api/v1/self/links", ""},
		{"POST", "/api/v1/self/passkeys/finish", `{"flow":"","name":"","credential":{}}`},
		{"DELETE", "/api/v1/self/passkeys/0123", ""},
		{"POST", "/api/v1/self/keys", `{"challenge":"","signature":""}`},
		{"POST", "/api/v1/tokens", `{"name":"","ttl":"15m"}`},
	}
	for _, c := range changes {
		if got := problem(asksWith(t, r, who, c.method, c.path, c.body, "")); got != "proof_required" {
			t.Errorf("%s %s, not signed: %s", c.method, c.path, got)
		}
	}
	make := func(by access.Operator, key ssh.Signer, method, path, body string) string {
		return signs(t, r, by, key, method, path, body)
	}
	used := make(who, ann.signer, "POST", "/api/v1/tokens", `{}`)
	if got := problem(asksWith(t, r, who, "POST", "/api/v1/tokens", `{}`, used)); got != "200" {
		t.Fatal(got)
	}
	old := make(who, ann.signer, "POST", "/api/v1/users", user)
	c.turn(5*time.Minute + time.Second)
	for name, proof := range map[string]string{
		"used before": used, "older than 5 minutes": old,
		"of another body":     make(who, ann.signer, "POST", "/api/v1/users", `{"username":"eva","role":"viewer"}`),
		"of another path":     make(who, ann.signer, "POST", "/api/v1/users/", user),
		"of another method":   make(who, ann.signer, "PUT", "/api/v1/users", user),
		"of another operator": make(other, bob.signer, "POST", "/api/v1/users", user),
		"by another's key":    make(who, bob.signer, "POST", "/api/v1/users", user),
		"by nobody's key":     make(who, newSigner(t), "POST", "/api/v1/users", user),
		"nonsense":            "ssh nonsense", "empty": " ",
		"a passkey": "passkey a b c",
	} {
		if got := problem(asksWith(t, r, who, "POST", "/api/v1/users", user, proof)); got != "proof_required" {
			t.Errorf("%s: %s", name, got)
		}
	}
	if users, err := r.access.Users(t.Context()); err != nil || len(users) != 2 {
		t.Errorf("%+v %v", users, err)
	}
	if got := problem(asksWith(t, r, who, "POST", "/api/v1/users", user, make(who, ann.signer, "POST", "/api/v1/users", user))); got != "200" {
		t.Error(got)
	}
	if got := problem(asksWith(t, r, access.Local("root"), "POST", "/api/v1/users", `{"username":"eva","role":"viewer"}`, "")); got != "200" {
		t.Errorf("root of the relay's host: %s", got)
	}
	if _, err := r.access.ChallengeChange(t.Context(), who, access.Site{}, access.Change{Method: "POST", Path: "/api/v1/users'; rm -r ~; '"}); wire.CodeOf(err) != wire.BadRequest {
		t.Errorf("a text that is no word of a shell's: %v", err)
	}
}

// TestStolenLoginPutsNoChallengeOut: whoever has stolen a login may ask for challenges, but the operator's own stays, and
// with it the way to end the theft.
func TestStolenLoginPutsNoChallengeOut(t *testing.T) {
	r := start(t)
	ann := newPerson(t, r, "ann", access.Admin)
	who := access.Operator{ID: ann.user.ID, Username: "ann", Role: access.Admin}
	proof := signs(t, r, who, ann.signer, "POST", "/api/v1/users/ann/revoke", "")
	for range 1000 {
		signs(t, r, who, newSigner(t), "POST", "/api/v1/users/ann/revoke", "")
		if _, err := r.access.ChallengeClaim(t.Context(), who); err != nil {
			t.Fatal(err)
		}
	}
	for range 20 {
		if got := problem(asksWith(t, r, who, "POST", "/api/v1/users/ann/revoke", "", signs(t, r, who, newSigner(t), "POST", "/api/v1/users/ann/revoke", ""))); got != "proof_required" {
			t.Fatal(got)
		}
	}
	// Of many that use it at once, one does.
	var done atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if problem(asksWith(t, r, who, "POST", "/api/v1/users/ann/revoke", "", proof)) == "200" {
				done.Add(1)
			}
		})
	}
	wg.Wait()
	if done.Load() != 1 {
		t.Errorf("%d of 8 were done", done.Load())
	}
}

// TestAllChangesOfRightsAreSigned reads the description, so that a route that comes is not forgotten.
func TestAllChangesOfRightsAreSigned(t *testing.T) {
	r := start(t)
	_, out := asks(t, r, access.Local("root"), "GET", "/api/v1/openapi.json", "")
	var d struct {
		Paths map[string]map[string]struct {
			Verb       access.Verb `json:"x-verb"`
			Parameters []parameter
		}
	}
	if err := json.Unmarshal([]byte(out), &d); err != nil {
		t.Fatal(err)
	}
	n := 0
	for path, methods := range d.Paths {
		for method, op := range methods {
			signed := false
			for _, p := range op.Parameters {
				signed = signed || p.Name == "Scrier-Proof" && p.In == "header"
			}
			own := strings.HasPrefix(path, "/self/") && (strings.Contains(path, "links") || strings.Contains(path, "keys")) && !strings.HasSuffix(path, "/begin")
			rights := method != "get" && (own || op.Verb == access.ChangeUsers || op.Verb == access.MakeTokens)
			if rights && !signed {
				t.Errorf("%s %s changes rights and needs no signature", method, path)
			}
			if rights {
				n++
			}
		}
	}
	if n < 11 {
		t.Errorf("%d routes change rights", n)
	}
}

// TestRevokeAll: after it nothing that a thief could have works.
func TestRevokeAll(t *testing.T) {
	r := start(t)
	shellsOn(t, r)
	ann := newPerson(t, r, "ann", access.Admin)
	who := access.Operator{ID: ann.user.ID, Username: "ann", Role: access.Admin, Epoch: 1}
	cert, err := ann.login(attempt{})
	if err != nil {
		t.Fatal(err)
	}
	link := dial(t, r, wire.ALPNClient, cert)
	in := arrive(t, r, linkOf(t, r, who, "/api/v1/self/links", ""))
	unused := linkOf(t, r, who, "/api/v1/self/links", "")
	if got := problem(asks(t, r, in.Operator, "POST", "/api/v1/scrier/connect", connect)); got != "200" {
		t.Fatal(got)
	}
	if got := problem(asks(t, r, access.Local("root"), "POST", "/api/v1/users/ann/revoke", "")); got != "200" {
		t.Fatal(got)
	}
	waitFor(t, "the link to end", func() bool { return link.Err() != nil })
	waitFor(t, "the session to end", func() bool { return rows(t, r)[0].State == store.Closed })
	if _, err := r.access.IdentifyBrowser(t.Context(), in.Cookie); err == nil {
		t.Error("the sign-in counts")
	}
	if _, err := r.access.SignInByLink(context.Background(), access.Browser{}, unused); wire.CodeOf(err) != wire.LinkInvalid {
		t.Error(err)
	}
	if keys, err := r.access.Passkeys(t.Context(), who); err != nil || len(keys) != 0 {
		t.Error(keys, err)
	}
	if _, err := ann.login(attempt{}); err != nil {
		t.Errorf("the owner's SSH key: %v", err)
	}
}
