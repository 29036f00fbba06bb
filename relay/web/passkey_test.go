package web

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/descope/virtualwebauthn"
	"golang.org/x/crypto/ssh"

	"scrier/relay/access"
	"scrier/wire"
)

// device is an authenticator with one key.
type device struct {
	*tab
	auth  virtualwebauthn.Authenticator
	cred  virtualwebauthn.Credential
	party virtualwebauthn.RelyingParty // as the device takes it
}

func (b *tab) device(owner access.User) *device {
	return &device{
		tab: b, cred: newCredential(b.t), auth: virtualwebauthn.NewAuthenticatorWithOptions(virtualwebauthn.AuthenticatorOptions{UserHandle: []byte(owner.ID)}),
		party: virtualwebauthn.RelyingParty{ID: "relay.example", Name: "Scrier", Origin: "https://" + relayHost},
	}
}

// newCredential makes a key whose coordinates have no leading zeros: the package writes those
// shorter than a real device does.
func newCredential(t *testing.T) virtualwebauthn.Credential {
	t.Helper()
	for {
		c := virtualwebauthn.NewCredential(virtualwebauthn.KeyTypeEC2)
		key, err := x509.ParsePKCS8PrivateKey(c.Key.Data)
		if err != nil {
			t.Fatal(err)
		}
		point, err := key.(*ecdsa.PrivateKey).PublicKey.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		if point[1] != 0 && point[33] != 0 {
			return c
		}
	}
}

type ceremony struct {
	Flow    string          `json:"flow"`
	Options json.RawMessage `json:"options"`
}

// make answers a request for a new passkey.
func (d *device) make(c ceremony) NewPasskey {
	d.t.Helper()
	options, err := virtualwebauthn.ParseAttestationOptions(string(c.Options))
	if err != nil {
		d.t.Fatal(err)
	}
	return NewPasskey{Flow: c.Flow, Name: "laptop", Credential: json.RawMessage(virtualwebauthn.CreateAttestationResponse(d.party, d.auth, d.cred, *options))}
}

// sign answers a request for a passkey.
func (d *device) sign(c ceremony) PasskeyAnswer {
	d.t.Helper()
	options, err := virtualwebauthn.ParseAssertionOptions(string(c.Options))
	if err != nil {
		d.t.Fatal(err)
	}
	if d.cred.Counter > 0 {
		d.cred.Counter++
	}
	return PasskeyAnswer{Flow: c.Flow, Credential: json.RawMessage(virtualwebauthn.CreateAssertionResponse(d.party, d.auth, d.cred, *options))}
}

func (d *device) register() *http.Response {
	d.t.Helper()
	return d.call("POST", "/self/passkeys/finish", d.make(decode[ceremony](d.t, d.call("POST", "/self/passkeys/begin", struct{}{}))))
}

// signed is call with the passkey's signature under it.
func (d *device) signed(method, path string, in any) *http.Response {
	d.t.Helper()
	return d.with(d.proof(d.tab, method, path, in), method, path, in)
}

// proof signs a request that a browser is to make.
func (d *device) proof(b *tab, method, path string, in any) string {
	d.t.Helper()
	c := decode[access.Challenge](d.t, b.call("POST", "/self/proofs", ChangeRequest{method, "/api/v1" + path, sumOf(d.t, in)}))
	if !c.Passkeys {
		d.t.Error("the challenge does not take passkeys")
	}
	answer := d.sign(decode[ceremony](d.t, b.call("POST", "/self/proofs/"+c.ID+"/passkey", struct{}{})))
	return "passkey " + c.ID + " " + answer.Flow + " " + encode64(answer.Credential)
}

// with is call with a signature under it.
func (b *tab) with(proof, method, path string, in any) *http.Response {
	b.t.Helper()
	req := b.request(method, "/api/v1"+path, jsonOf(b.t, in))
	req.Header.Set(proofHeader, proof)
	return b.do(req)
}

func jsonOf(t *testing.T, in any) string {
	t.Helper()
	if in == nil {
		return ""
	}
	data, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func sumOf(t *testing.T, in any) string {
	t.Helper()
	return fmt.Sprintf("%x", sha256.Sum256([]byte(jsonOf(t, in))))
}

// A passkey signs one change, for its operator, once.
func TestPasskeySignsChanges(t *testing.T) {
	d := newDesk(t)
	dev, _ := d.registered("ann", access.Admin)
	dev.want("sign in", dev.signInByPasskey(), wire.None)
	other, _ := d.registered("bob", access.Admin)
	other.want("sign in", other.signInByPasskey(), wire.None)
	eve := access.User{Username: "eve", Role: access.Viewer, Keys: []string{}, Unproved: []string{}}
	eva := eve
	eva.Username = "eva"
	dev.want("not signed", dev.call("POST", "/users", eve), wire.ProofRequired)
	proof := dev.proof(dev.tab, "POST", "/users", eve)
	dev.want("another body", dev.with(proof, "POST", "/users", eva), wire.ProofRequired)
	dev.want("another operator's passkey", dev.with(other.proof(dev.tab, "POST", "/users", eve), "POST", "/users", eve), wire.ProofRequired)
	dev.want("another operator's signature", dev.with(other.proof(other.tab, "POST", "/users", eve), "POST", "/users", eve), wire.ProofRequired)

	// The answer to one challenge is nothing to another, nor is that to a sign-in.
	one := decode[access.Challenge](t, dev.call("POST", "/self/proofs", ChangeRequest{"POST", "/api/v1/users", sumOf(t, eva)}))
	two := decode[access.Challenge](t, dev.call("POST", "/self/proofs", ChangeRequest{"POST", "/api/v1/users", sumOf(t, eve)}))
	answer := dev.sign(decode[ceremony](t, dev.call("POST", "/self/proofs/"+one.ID+"/passkey", struct{}{})))
	dev.want("another challenge's", dev.with("passkey "+two.ID+" "+answer.Flow+" "+encode64(answer.Credential), "POST", "/users", eve), wire.Unauthenticated)
	three := decode[access.Challenge](t, dev.call("POST", "/self/proofs", ChangeRequest{"POST", "/api/v1/users", sumOf(t, eve)}))
	answer = dev.sign(dev.challenge())
	dev.want("a sign-in's", dev.with("passkey "+three.ID+" "+answer.Flow+" "+encode64(answer.Credential), "POST", "/users", eve), wire.Unauthenticated)
	answer = dev.sign(decode[ceremony](t, dev.call("POST", "/self/proofs/any/passkey", struct{}{})))
	dev.want("a signature signs nobody in", d.tab().call("POST", "/signin/passkey/finish", answer), wire.Unauthenticated)

	old := dev.proof(dev.tab, "POST", "/users", eve)
	d.turn(5 * time.Minute)
	dev.want("too late", dev.with(old, "POST", "/users", eve), wire.ProofRequired)
	fresh := dev.proof(dev.tab, "POST", "/users", eve)
	dev.want("in time", dev.with(fresh, "POST", "/users", eve), wire.None)
	must(t, d.access.Delete(t.Context(), access.Local("root"), "eve"))
	dev.want("twice", dev.with(fresh, "POST", "/users", eve), wire.ProofRequired)
}

func (d *device) challenge() ceremony {
	d.t.Helper()
	return decode[ceremony](d.t, d.call("POST", "/signin/passkey/begin", struct{}{}))
}

func (d *device) signInByPasskey() *http.Response {
	d.t.Helper()
	return d.call("POST", "/signin/passkey/finish", d.sign(d.challenge()))
}

// registered is an operator's device with a passkey, and no cookie any more.
func (d *desk) registered(name string, role access.Role) (*device, access.User) {
	d.t.Helper()
	u := d.operator(name, role)
	b := d.tab()
	b.signIn(u)
	dev := b.device(u)
	dev.cred.Counter = 1
	b.want("register", dev.register(), wire.None)
	b.cookie = ""
	return dev, u
}

// A passkey is registered once and signs in without a name from then on.
func TestPasskeySignsIn(t *testing.T) {
	d := newDesk(t)
	ann := d.operator("ann", access.Compliance)
	b := d.tab()
	b.signIn(ann)
	dev := b.device(ann)
	asked := decode[ceremony](t, b.call("POST", "/self/passkeys/begin", struct{}{}))
	for _, want := range []string{
		`"publicKey"`, `"userVerification":"required"`, `"residentKey":"required"`, `"requireResidentKey":true`, `"attestation":"none"`, `"rp":{"name":"Scrier relay.example","id":"relay.example"}`, `"timeout":120000`,
	} {
		if !strings.Contains(string(asked.Options), want) {
			t.Errorf("the options have no %s: %s", want, asked.Options)
		}
	}
	made := decode[access.Passkey](t, b.call("POST", "/self/passkeys/finish", dev.make(asked)))
	if made.Name != "laptop" || made.RPID != "relay.example" || made.ID == "" || made.Created.IsZero() || !made.Used.IsZero() {
		t.Errorf("%+v", made)
	}
	b.want("the same again, not signed", dev.register(), wire.ProofRequired)
	b.want("the same again", dev.signed("POST", "/self/passkeys/finish", dev.make(decode[ceremony](t, b.call("POST", "/self/passkeys/begin", struct{}{})))), wire.Conflict)
	if again := decode[ceremony](t, b.call("POST", "/self/passkeys/begin", struct{}{})); !strings.Contains(string(again.Options), `"excludeCredentials":[{`) {
		t.Errorf("the one that is there is not excluded: %s", again.Options)
	}
	b.cookie = ""
	login := dev.challenge()
	if strings.Contains(string(login.Options), "allowCredentials") || !strings.Contains(string(login.Options), `"userVerification":"required"`) || !strings.Contains(string(login.Options), `"rpId":"relay.example"`) {
		t.Errorf("%s", login.Options)
	}
	in := decode[SignedIn](t, b.call("POST", "/signin/passkey/finish", dev.sign(login)))
	if in.Username != "ann" || in.Role != access.Compliance {
		t.Errorf("%+v", in)
	}
	b.want("signed in", b.call("GET", "/self", nil), wire.None)
	if all := decode[[]access.SignIn](t, b.call("GET", "/self/signins", nil)); len(all) != 2 || !all[0].Current || all[0].Method != "passkey" {
		t.Errorf("%+v", all)
	}
	if all := decode[[]access.Passkey](t, b.call("GET", "/self/passkeys", nil)); len(all) != 1 || all[0].Used.IsZero() {
		t.Errorf("%+v", all)
	}
	if u := asNow(t, d, ann); u.Passkeys != 1 {
		t.Errorf("%+v", u)
	}
	if u, err := d.access.Update(t.Context(), access.Local("test"), ann.ID, access.User{Role: access.Admin}); err != nil || u.Passkeys != 1 {
		t.Errorf("%+v, %v", u, err)
	}
	b.want("the sign-in from before", b.call("GET", "/self", nil), wire.OperatorChanged)
	b.want("a change leaves the passkey", dev.signInByPasskey(), wire.None)
	// Removed is removed; whoever is signed in stays.
	b.want("remove, not signed", b.call("DELETE", "/self/passkeys/"+made.ID, nil), wire.ProofRequired)
	b.want("the last thing that proves who it is", dev.signed("DELETE", "/self/passkeys/"+made.ID, nil), wire.Conflict)
	spare := b.device(ann)
	second := spare.make(decode[ceremony](t, b.call("POST", "/self/passkeys/begin", struct{}{})))
	b.want("a spare one", b.with(dev.proof(b, "POST", "/self/passkeys/finish", second), "POST", "/self/passkeys/finish", second), wire.None)
	b.want("remove", spare.signed("DELETE", "/self/passkeys/"+made.ID, nil), wire.None)
	b.want("remove twice", spare.signed("DELETE", "/self/passkeys/"+made.ID, nil), wire.NotFound)
	b.want("still signed in", b.call("GET", "/self", nil), wire.None)
	other := d.tab()
	dev.tab = other
	other.want("a removed one", dev.signInByPasskey(), wire.Unauthenticated)
	for kind, n := range map[string]int{"operator.passkey_add": 4, "operator.passkey_remove": 3, "operator.signin": 3, "operator.signin_refused": 1, "operator.passkey_alarm": 0} {
		if got := d.records(kind); len(got) != n { // one that was done, one that was not, which takes two
			t.Errorf("%d records %s, not %d: %+v", len(got), kind, n, got)
		}
	}
}

// H54: what is not exactly the passkey, for this site and this challenge, is refused.
func TestPasskeysThatAreRefused(t *testing.T) {
	for what, c := range map[string]struct {
		edit func(d *device, a *PasskeyAnswer)
		auth func(d *device)
		code wire.Code
	}{
		"another origin":           {auth: func(d *device) { d.party.Origin = "https://evil.example" }},
		"another port":             {auth: func(d *device) { d.party.Origin = "https://relay.example:8444" }},
		"http":                     {auth: func(d *device) { d.party.Origin = "http://" + relayHost }},
		"the origin in upper case": {auth: func(d *device) { d.party.Origin = "https://RELAY.example:8443" }},
		"an origin below":          {auth: func(d *device) { d.party.Origin = "https://x." + relayHost }},
		"another party":            {auth: func(d *device) { d.party.ID = "evil.example" }},
		"a party above":            {auth: func(d *device) { d.party.ID = "example" }},
		"nobody verified":          {auth: func(d *device) { d.auth.Options.UserNotVerified = true }},
		"nobody present":           {auth: func(d *device) { d.auth.Options.UserNotPresent = true }},
		"another user":             {auth: func(d *device) { d.auth.Options.UserHandle = []byte("somebody") }},
		"no user":                  {auth: func(d *device) { d.auth.Options.UserHandle = nil }},
		"now a copied one":         {auth: func(d *device) { d.auth.Options.BackupEligible = true }},
		"the counter the same":     {auth: func(d *device) { d.cred.Counter = 0 }}, // it was 1
		"another key":              {auth: func(d *device) { d.cred.Key = newCredential(d.t).Key }},
		"an unknown credential":    {auth: func(d *device) { d.cred = newCredential(d.t) }},
		"an unknown flow":          {edit: func(_ *device, a *PasskeyAnswer) { a.Flow = strings.Repeat("A", 43) }},
		"no flow":                  {edit: func(_ *device, a *PasskeyAnswer) { a.Flow = "" }},
		"another flow's challenge": {edit: func(d *device, a *PasskeyAnswer) { a.Flow = d.challenge().Flow }},
		"too late":                 {edit: func(d *device, _ *PasskeyAnswer) { d.turn(2 * time.Minute) }},
		"no JSON of a credential":  {edit: func(_ *device, a *PasskeyAnswer) { a.Credential = json.RawMessage(`{}`) }, code: wire.BadRequest},
		"null":                     {edit: func(_ *device, a *PasskeyAnswer) { a.Credential = json.RawMessage(`null`) }, code: wire.BadRequest},
		"by another name of relay": {edit: func(d *device, _ *PasskeyAnswer) { d.host = "localhost:8443" }},
		"by an address":            {edit: func(d *device, _ *PasskeyAnswer) { d.host = "192.0.2.9:8443" }, code: wire.BadRequest},
		"the operator was deleted": {edit: func(d *device, _ *PasskeyAnswer) {
			must(d.t, d.access.Delete(d.t.Context(), access.Local("test"), "ann"))
		}},
		"from another page's frame": {edit: func(_ *device, a *PasskeyAnswer) { a.Credential = crossOrigin(a.Credential) }},
	} {
		t.Run(what, func(t *testing.T) {
			d := newDesk(t)
			dev, _ := d.registered("ann", access.Admin)
			if c.auth != nil {
				c.auth(dev)
			}
			answer := dev.sign(dev.challenge())
			if c.edit != nil {
				c.edit(dev, &answer)
			}
			if c.code == wire.None {
				c.code = wire.Unauthenticated
			}
			dev.want(what, dev.call("POST", "/signin/passkey/finish", answer), c.code)
			if dev.cookie != "" || len(d.records("operator.signin")) != 1 {
				t.Error("somebody was signed in")
			}
			if what != "by an address" && len(d.records("operator.signin_refused")) != 1 {
				t.Errorf("%d refusals in the audit log", len(d.records("operator.signin_refused")))
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// crossOrigin makes the browser's own part of an answer say that a frame asked.
func crossOrigin(credential json.RawMessage) json.RawMessage {
	var whole map[string]any
	_ = json.Unmarshal(credential, &whole)
	response := whole["response"].(map[string]any)
	client := decode64(response["clientDataJSON"].(string))
	response["clientDataJSON"] = encode64([]byte(strings.TrimSuffix(string(client), "}") + `,"crossOrigin":true}`))
	out, _ := json.Marshal(whole)
	return out
}

// A challenge is good for one answer, whatever comes of it.
func TestChallengesAreUsedOnce(t *testing.T) {
	d := newDesk(t)
	dev, ann := d.registered("ann", access.Admin)
	answer := dev.sign(dev.challenge())
	dev.want("once", dev.call("POST", "/signin/passkey/finish", answer), wire.None)
	thief := d.tab()
	thief.want("replayed", thief.call("POST", "/signin/passkey/finish", answer), wire.Unauthenticated)

	b := d.tab()
	b.signIn(ann)
	second := b.device(ann)
	c := decode[ceremony](t, b.call("POST", "/self/passkeys/begin", struct{}{}))
	second.auth.Options.UserNotVerified = true
	finish := func(of *tab, what string, in NewPasskey, code wire.Code) {
		t.Helper()
		of.want(what, of.with(dev.proof(of, "POST", "/self/passkeys/finish", in), "POST", "/self/passkeys/finish", in), code)
	}
	finish(b, "without verification", second.make(c), wire.BadRequest)
	second.auth.Options.UserNotVerified = false
	finish(b, "a second try", second.make(c), wire.Unauthenticated)
	// One operator's challenge is nothing to another, nor one for signing in to registering.
	c = decode[ceremony](t, b.call("POST", "/self/passkeys/begin", struct{}{}))
	eve := d.tab()
	eve.signIn(d.operator("eve", access.Admin))
	eve.want("another's", eve.call("POST", "/self/passkeys/finish", second.make(c)), wire.Unauthenticated)
	c = second.challenge()
	c.Options = decode[ceremony](t, b.call("POST", "/self/passkeys/begin", struct{}{})).Options
	finish(b, "one for signing in", second.make(c), wire.Unauthenticated)
	// They are bounded by source.
	for range 40 {
		if code := codeOf(t, thief.call("POST", "/signin/passkey/begin", struct{}{})).Code; code == wire.Busy {
			dev.source = "198.51.100.1"
			dev.want("from elsewhere", dev.signInByPasskey(), wire.None)
			d.turn(2 * time.Minute)
			thief.want("later", thief.call("POST", "/signin/passkey/begin", struct{}{}), wire.None)
			return
		}
	}
	t.Error("challenges without end")
}

// A counter that goes back means a copy: refused, and written down as an alarm.
func TestCopiedPasskeyIsAnAlarm(t *testing.T) {
	d := newDesk(t)
	dev, _ := d.registered("ann", access.Admin)
	dev.cred.Counter = 10
	dev.want("forward", dev.signInByPasskey(), wire.None)
	dev.cred.Counter = 5
	resp := dev.signInByPasskey()
	if p := codeOf(t, resp); p.Code != wire.Unauthenticated || !strings.Contains(p.Detail, "copy") {
		t.Errorf("%+v", p)
	}
	alarms := d.records("operator.passkey_alarm")
	if len(alarms) != 1 || alarms[0].Operator != "ann" || alarms[0].Fields["counter"] != "6" || alarms[0].Fields["counter_before"] != "11" || alarms[0].Fields["passkey_name"] != "laptop" {
		t.Errorf("%+v", alarms)
	}
	dev.cred.Counter = 20
	dev.want("the one that goes on", dev.signInByPasskey(), wire.None)
}

// Passkeys that count nothing, as most do, are no alarm.
func TestPasskeyWithoutCounter(t *testing.T) {
	d := newDesk(t)
	ann := d.operator("ann", access.Admin)
	b := d.tab()
	b.signIn(ann)
	dev := b.device(ann)
	b.want("register", dev.register(), wire.None)
	for range 3 {
		b.want("sign in", dev.signInByPasskey(), wire.None)
	}
	if alarms := d.records("operator.passkey_alarm"); len(alarms) != 0 {
		t.Errorf("%+v", alarms)
	}
}

// Where the relay has no name there are no passkeys, and it says why.
func TestPasskeysNeedAName(t *testing.T) {
	d := newDesk(t)
	ann := d.operator("ann", access.Admin)
	for host, ok := range map[string]bool{relayHost: true, "localhost:8443": true, "x.wild.example": true, "127.0.0.1:8443": false, "[::1]:8443": false} {
		b := d.tab()
		b.host = host
		b.signIn(ann)
		ways := decode[WaysIn](t, b.call("GET", "/signin", nil))
		about := decode[About](t, b.call("GET", "/relay", nil))
		if ways.Passkeys != ok || about.Passkeys != ok || about.PasskeysWhy != ways.Why || ok != (ways.Why == "") {
			t.Errorf("%s: %+v %+v", host, ways, about)
		}
		for _, path := range []string{"/self/passkeys/begin", "/signin/passkey/begin"} {
			resp := b.call("POST", path, struct{}{})
			if ok {
				b.want(host, resp, wire.None)
			} else if p := codeOf(t, resp); p.Code != wire.BadRequest || !strings.Contains(p.Detail, "no IP addresses") || !strings.Contains(p.Detail, "`hosts` in server.yaml") {
				t.Errorf("%s: %+v", host, p)
			}
		}
	}
}

// An administrator takes an operator's passkeys away, and what they signed in.
func TestPasskeysAreTakenAway(t *testing.T) {
	d := newDesk(t)
	dev, eve := d.registered("eve", access.Viewer)
	other, _ := d.registered("ann", access.Viewer)
	dev.want("before", dev.signInByPasskey(), wire.None)
	other.want("before", other.signInByPasskey(), wire.None)
	boss := d.tab()
	boss.signIn(d.operator("bob", access.Admin))
	dev.want("not one's own to take", dev.call("DELETE", "/users/"+eve.ID+"/passkeys", nil), wire.Forbidden)
	boss.want("nobody's", boss.call("DELETE", "/users/nobody/passkeys", nil), wire.NotFound)
	boss.want("eve's", boss.call("DELETE", "/users/eve/passkeys", nil), wire.None)
	dev.want("what it signed in", dev.call("GET", "/self", nil), wire.SignedOut)
	dev.want("the passkey", dev.signInByPasskey(), wire.Unauthenticated)
	other.want("another's", other.call("GET", "/self", nil), wire.None)
	if u := asNow(t, d, eve); u.Passkeys != 0 || len(d.records("operator.passkeys_remove")) != 1 {
		t.Errorf("%+v, %d records", u, len(d.records("operator.passkeys_remove")))
	}
}

// A key that root makes count does not count for whoever registered a passkey before: an administrator can name
// anybody's key for an operator, and be the first there.
func TestKeyByRootEndsPasskeys(t *testing.T) {
	d := newDesk(t)
	mallory := d.operator("mallory", access.Admin)
	by := access.Operator{ID: mallory.ID, Username: "mallory", Role: access.Admin}
	dev, ann := d.registered("ann", access.Admin)
	keys := access.User{Keys: []string{sshLine(t)}}
	if u, err := d.access.Update(t.Context(), by, ann.ID, keys); err != nil || u.Passkeys != 1 || len(u.Unproved) != 1 {
		t.Fatalf("%+v, %v", u, err)
	}
	dev.want("a key that opens nothing", dev.signInByPasskey(), wire.None)
	if u, err := d.access.Update(t.Context(), access.Local("root"), ann.ID, access.User{Role: access.Admin}); err != nil || u.Passkeys != 1 {
		t.Fatalf("%+v, %v", u, err)
	}
	dev.want("a change of the role", dev.signInByPasskey(), wire.None)
	if u, err := d.access.Update(t.Context(), access.Local("root"), ann.ID, keys); err != nil || u.Passkeys != 0 || len(u.Unproved) != 0 {
		t.Fatalf("%+v, %v", u, err)
	}
	dev.want("the sign-in from before", dev.call("GET", "/self", nil), wire.OperatorChanged)
	dev.want("the passkey", dev.signInByPasskey(), wire.Unauthenticated)
}

// sshLine is a new key in authorized_keys form.
func sshLine(t *testing.T) string {
	t.Helper()
	pub, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}

// late is a body that something happens before.
type late struct {
	io.Reader
	once func()
}

func (l *late) Read(p []byte) (int, error) {
	if l.once != nil {
		l.once()
		l.once = nil
	}
	return l.Reader.Read(p)
}

// Who was changed while their request was on its way is who they are by now.
func TestChangedWhileTheBodyWasOnItsWay(t *testing.T) {
	d := newDesk(t)
	eve := access.User{Username: "eve", Role: access.Admin, Keys: []string{}, Unproved: []string{}}
	for name, change := range map[string]func(){
		"revoked": func() {
			_, err := d.access.Revoke(t.Context(), access.Local("root"), "revoked")
			must(t, err)
		},
		"demoted": func() {
			_, err := d.access.Update(t.Context(), access.Local("root"), "demoted", access.User{Role: access.Viewer})
			must(t, err)
		},
		"out": func() {
			must(t, d.access.SignOutEverywhere(t.Context(), asAdmin(t, d, "out")))
		},
	} {
		dev, _ := d.registered(name, access.Admin)
		dev.want("sign in", dev.signInByPasskey(), wire.None)
		req := dev.request("POST", "/api/v1/users", jsonOf(t, eve))
		req.Header.Set(proofHeader, dev.proof(dev.tab, "POST", "/users", eve))
		req.Body = io.NopCloser(&late{strings.NewReader(jsonOf(t, eve)), change})
		want := wire.SignedOut
		if name == "demoted" {
			want = wire.OperatorChanged
		}
		dev.want(name, dev.do(req), want)
	}
	if _, err := d.access.Create(t.Context(), access.Local("root"), eve); err != nil {
		t.Errorf("somebody made her: %v", err)
	}
}

// The same at the last moment: what is written down holds only if who asked is still who they were.
func TestChangedWhileTheChangeIsWritten(t *testing.T) {
	d := newDesk(t)
	b := d.tab()
	ann := d.operator("ann", access.Admin)
	b.signIn(ann)
	stale, err := d.access.IdentifyBrowser(t.Context(), b.cookie)
	must(t, err)
	b.want("sign out", b.call("POST", "/signout", nil), wire.None)
	eve := access.User{Username: "eve", Role: access.Admin}
	if _, err := d.access.Create(t.Context(), stale, eve); wire.CodeOf(err) != wire.SignedOut {
		t.Error(err)
	}
	stale.SignIn = ""
	if _, err := d.access.Revoke(t.Context(), access.Local("root"), "ann"); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"an operator": second(d.access.Create(t.Context(), stale, eve)),
		"a change":    second(d.access.Update(t.Context(), stale, "ann", access.User{Role: access.Viewer})),
		"a link":      second(d.access.SignInLink(t.Context(), stale, "ann")),
		"an end":      d.access.Delete(t.Context(), stale, "ann"),
	} {
		if wire.CodeOf(err) != wire.OperatorChanged {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// asAdmin is an operator as who asks.
func asAdmin(t *testing.T, d *desk, name string) access.Operator {
	t.Helper()
	users, err := d.access.Users(t.Context())
	must(t, err)
	i := slices.IndexFunc(users, func(u access.User) bool { return u.Username == name })
	return access.Operator{ID: users[i].ID, Username: name, Role: access.Admin}
}
