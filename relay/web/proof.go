package web

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"

	"github.com/go-chi/chi/v5"

	"scrier/relay/access"
	"scrier/wire"
)

// proofHeader carries the signature under a request; see [access.Access.Prove] for its form.
const proofHeader = "Scrier-Proof"

func (a *api) proofRoutes() []route {
	return []route{
		{method: "POST", pattern: "/self/proofs", verb: access.SeeSelf, challenge: true, what: "Ask for a challenge, to sign a request that needs it", handle: a.challengeChange, in: ChangeRequest{}, out: access.Challenge{}, more: "The text is signed with an SSH key, as `ssh-keygen -Y sign -n NAMESPACE` does, and the request is sent with `Scrier-Proof: ssh ID SIGNATURE`, the signature in base64 on one line. With a passkey it is `passkey ID FLOW CREDENTIAL`, the credential's JSON in base64url. A challenge is good once, for 5 minutes."},
		{method: "POST", pattern: "/self/proofs/{proof}/passkey", verb: access.SeeSelf, challenge: true, what: "Begin to sign a request with a passkey", handle: a.challengePasskey, out: access.Flow{}},
		{method: "POST", pattern: "/self/confirm", verb: access.SeeSelf, signed: true, confirms: true, what: "Prove that one is oneself, after a sign-in by a link that another operator made", handle: a.confirm},
		{method: "GET", pattern: "/self/keys", verb: access.SeeSelf, what: "List one's own SSH keys", handle: a.ownKeys, out: []access.Key{}},
		{method: "POST", pattern: "/self/keys/begin", verb: access.SeeSelf, challenge: true, what: "Ask for a challenge, to claim an SSH key", handle: a.challengeClaim, out: access.Challenge{}},
		{method: "POST", pattern: "/self/keys", verb: access.SeeSelf, signed: true, confirms: true, what: "Claim an SSH key with its signature under the challenge; it is registered if it was not", handle: a.claim, in: ClaimRequest{}, out: access.Key{}},
	}
}

// ChangeRequest names the request that is to be signed.
type ChangeRequest struct {
	Method string `json:"method"`
	Path   string `json:"path"`   // from /api/v1 on, with its query
	SHA256 string `json:"sha256"` // of the body, in hex
}

// ClaimRequest is the signature of a key's owner.
type ClaimRequest struct {
	Challenge string `json:"challenge"` // its id
	Signature string `json:"signature"` // as ssh-keygen prints it
}

// signed checks the signature under a request; see [access.Access.Prove].
func (a *api) signed(r *http.Request, who access.Operator, body []byte) (access.Operator, error) {
	b, _ := browserOf(r)
	return a.Access.Prove(r.Context(), who, b.Browser, b.site, access.Change{
		Method: r.Method, Path: r.URL.RequestURI(), Body: sha256.Sum256(body),
	}, r.Header.Get(proofHeader))
}

func (a *api) challengeChange(r *http.Request, who access.Operator) (any, error) {
	req, err := body[ChangeRequest](r)
	if err != nil {
		return nil, err
	}
	c := access.Change{Method: req.Method, Path: req.Path}
	sum, err := hex.DecodeString(req.SHA256)
	if err != nil || len(sum) != len(c.Body) {
		return nil, wire.Errorf(wire.BadRequest, "sha256 is 64 digits in hex")
	}
	copy(c.Body[:], sum)
	b, _ := browserOf(r)
	return a.Access.ChallengeChange(r.Context(), who, b.site, c)
}

func (a *api) challengePasskey(r *http.Request, who access.Operator) (any, error) {
	b, err := passkeySite(r)
	if err != nil {
		return nil, err
	}
	return a.Access.ChallengePasskey(who, b.site, chi.URLParam(r, "proof"))
}

func (a *api) confirm(r *http.Request, who access.Operator) (any, error) {
	return nil, a.Access.Confirm(r.Context(), who)
}

func (a *api) ownKeys(r *http.Request, who access.Operator) (any, error) {
	return a.Access.OwnKeys(r.Context(), who)
}

func (a *api) challengeClaim(r *http.Request, who access.Operator) (any, error) {
	return a.Access.ChallengeClaim(r.Context(), who)
}

func (a *api) claim(r *http.Request, who access.Operator) (any, error) {
	req, err := body[ClaimRequest](r)
	if err != nil {
		return nil, err
	}
	return a.Access.Claim(r.Context(), who, req.Challenge, req.Signature)
}
