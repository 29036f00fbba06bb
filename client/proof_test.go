package client

import (
	"crypto/sha256"
	"strings"
	"testing"

	"scrier/certs"
	"scrier/wire"
)

// A relay gets no signature but one under the change that was asked for, whatever it asks for: any other might be
// worth something at another relay, or elsewhere.
func TestOnlyTheChangeIsSigned(t *testing.T) {
	pin := certs.Pin{1}
	login := Login{Relay: "relay:8443", Known: Known{Username: "ann", Cluster: "c1"}, pin: pin}
	body := sha256.Sum256([]byte(`{}`))
	nonce := certs.LoginNonce(nil)
	text := func(method, path string, body [32]byte, operator, nonce string) string {
		return certs.ChangeText(method, path, body, operator, pin, nonce)
	}
	good := challenge{Text: text("POST", "/api/v1/tokens", body, "ann", nonce), Namespace: certs.NamespaceChange("c1")}
	if err := good.isFor(login, "POST", "/api/v1/tokens", body); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]challenge{
		"another relay":        {Text: good.Text, Namespace: certs.NamespaceChange("c2")},
		"another purpose":      {Text: good.Text, Namespace: "git"},
		"a claim":              {Text: certs.ClaimText("ann", pin, nonce), Namespace: certs.NamespaceClaim("c1")},
		"a claim's text":       {Text: certs.ClaimText("ann", pin, nonce), Namespace: good.Namespace},
		"another method":       {Text: text("DELETE", "/api/v1/tokens", body, "ann", nonce), Namespace: good.Namespace},
		"another path":         {Text: text("POST", "/api/v1/users", body, "ann", nonce), Namespace: good.Namespace},
		"another body":         {Text: text("POST", "/api/v1/tokens", sha256.Sum256(nil), "ann", nonce), Namespace: good.Namespace},
		"another operator":     {Text: text("POST", "/api/v1/tokens", body, "bob", nonce), Namespace: good.Namespace},
		"no nonce":             {Text: text("POST", "/api/v1/tokens", body, "ann", ""), Namespace: good.Namespace},
		"more than a nonce":    {Text: good.Text + "\n" + nonce, Namespace: good.Namespace},
		"a large nonce":        {Text: text("POST", "/api/v1/tokens", body, "ann", strings.Repeat("A", 1000)), Namespace: good.Namespace},
		"another relay's text": {Text: certs.ChangeText("POST", "/api/v1/tokens", body, "ann", certs.Pin{2}, nonce), Namespace: good.Namespace},
		"nothing":              {},
	} {
		if err := c.isFor(login, "POST", "/api/v1/tokens", body); wire.CodeOf(err) != wire.Protocol {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := (challenge{Text: good.Text, Namespace: certs.NamespaceChange("")}).isFor(Login{Known: Known{Username: "ann"}}, "POST", "/api/v1/tokens", body); err == nil {
		t.Error("a relay whose cluster is not known")
	}
}

// Who has said by --username who they are claims the key for no other operator, and is asked otherwise.
func TestClaimIsForWhomThePersonNames(t *testing.T) {
	asked := ""
	r := LoginRequest{Relay: "relay:8443", Claim: func(_, username string) (bool, error) { asked = username; return username == "ann", nil }}
	for _, c := range []struct {
		username, claim string
		want            wire.Code
		asked           string
	}{
		{"", "ann", wire.None, "ann"}, {"", "eve", wire.Cancelled, "eve"}, {"ann", "ann", wire.None, ""}, {"ann", "eve", wire.Protocol, ""},
	} {
		asked, r.Username = "", c.username
		if err := r.claims(c.claim); err != nil && wire.CodeOf(err) != c.want || err == nil && c.want != wire.None || asked != c.asked {
			t.Errorf("%+v: %v, asked %q", c, err, asked)
		}
	}
}
