package web

import (
	"encoding/json"
	"net/http"
	"net/netip"

	"github.com/go-chi/chi/v5"

	"scrier/relay/access"
	"scrier/wire"
)

func (a *api) passkeyRoutes() []route {
	return []route{
		{method: "POST", pattern: "/signin/passkey/begin", verb: anyone, what: "Begin to sign in with a passkey", handle: a.beginPasskeySignIn, out: access.Flow{}},
		{method: "POST", pattern: "/signin/passkey/finish", verb: anyone, what: "Sign in with a passkey", raw: a.signsIn(a.finishPasskeySignIn), in: PasskeyAnswer{}, out: SignedIn{}},
		{method: "GET", pattern: "/self/passkeys", verb: access.SeeSelf, what: "List one's own passkeys", handle: a.passkeys, out: []access.Passkey{}},
		{method: "POST", pattern: "/self/passkeys/begin", verb: access.SeeSelf, challenge: true, what: "Begin to register a passkey", handle: a.beginPasskey, out: access.Flow{}},
		{method: "POST", pattern: "/self/passkeys/finish", verb: access.SeeSelf, signed: true, confirms: true, what: "Register a passkey", handle: a.finishPasskey, in: NewPasskey{}, out: access.Passkey{}},
		{method: "DELETE", pattern: "/self/passkeys/{passkey}", verb: access.SeeSelf, signed: true, what: "Remove a passkey of one's own", handle: a.removePasskey},
		{method: "DELETE", pattern: "/users/{user}/passkeys", verb: access.ChangeUsers, signed: true, what: "Remove all passkeys of an operator, and end their sign-ins", handle: a.removePasskeys, door: true},
	}
}

// PasskeyAnswer is the second half of signing in with a passkey.
type PasskeyAnswer struct {
	Flow       string          `json:"flow"`
	Credential json.RawMessage `json:"credential"` // PublicKeyCredential.toJSON of the browser
}

// NewPasskey is the second half of registering one.
type NewPasskey struct {
	Flow       string          `json:"flow"`
	Name       string          `json:"name"`
	Credential json.RawMessage `json:"credential"` // PublicKeyCredential.toJSON of the browser
}

// passkeysAt says whether there can be passkeys where the relay was reached, and if not, why.
func passkeysAt(r *http.Request) (ok bool, why string) {
	b, ok := browserOf(r)
	if !ok {
		return false, "Passkeys are for browsers."
	}
	if _, err := netip.ParseAddr(b.host); err == nil {
		return false, "WebAuthn, which passkeys are, knows no IP addresses. Open the relay by a name instead; names are added to `hosts` in server.yaml."
	}
	return true, ""
}

// passkeySite is where a ceremony takes place.
func passkeySite(r *http.Request) (browser, error) {
	b, ok := browserOf(r)
	if !ok {
		return b, errNoBrowser
	}
	if ok, why := passkeysAt(r); !ok {
		return b, wire.Errorf(wire.BadRequest, "%s", why)
	}
	return b, nil
}

func (a *api) beginPasskeySignIn(r *http.Request, _ access.Operator) (any, error) {
	b, err := passkeySite(r)
	if err != nil {
		return nil, err
	}
	return a.Access.BeginPasskeySignIn(b.Browser, b.site)
}

func (a *api) finishPasskeySignIn(r *http.Request, b browser) (access.SignedIn, error) {
	if _, err := passkeySite(r); err != nil {
		return access.SignedIn{}, err
	}
	req, err := body[PasskeyAnswer](r)
	if err != nil {
		return access.SignedIn{}, err
	}
	return a.Access.FinishPasskeySignIn(r.Context(), b.Browser, b.site, req.Flow, req.Credential)
}

func (a *api) passkeys(r *http.Request, who access.Operator) (any, error) {
	return a.Access.Passkeys(r.Context(), who)
}

func (a *api) beginPasskey(r *http.Request, who access.Operator) (any, error) {
	b, err := passkeySite(r)
	if err != nil {
		return nil, err
	}
	return a.Access.BeginPasskey(r.Context(), who, b.site)
}

func (a *api) finishPasskey(r *http.Request, who access.Operator) (any, error) {
	b, err := passkeySite(r)
	if err != nil {
		return nil, err
	}
	req, err := body[NewPasskey](r)
	if err != nil {
		return nil, err
	}
	return a.Access.FinishPasskey(r.Context(), who, b.site, req.Flow, req.Name, req.Credential)
}

func (a *api) removePasskey(r *http.Request, who access.Operator) (any, error) {
	return nil, a.Access.RemovePasskey(r.Context(), who, chi.URLParam(r, "passkey"))
}

func (a *api) removePasskeys(r *http.Request, who access.Operator) (any, error) {
	return nil, a.Access.RemovePasskeys(r.Context(), who, chi.URLParam(r, "user"))
}
