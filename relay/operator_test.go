package relay

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"golang.org/x/crypto/ssh"

	"scrier/certs"
	"scrier/relay/access"
	"scrier/relay/session"
	"scrier/relay/web"
	"scrier/wire"
)

// person is an operator with a key.
type person struct {
	t      *testing.T
	relay  *Relay
	user   access.User
	signer ssh.Signer
}

func newPerson(t *testing.T, r *Relay, name string, role access.Role) *person {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	user, err := r.access.Create(t.Context(), access.Local("test"), access.User{
		Username: name, Role: role, Keys: []string{string(ssh.MarshalAuthorizedKey(signer.PublicKey()))},
	})
	if err != nil {
		t.Fatal(err)
	}
	signers.Store(user.ID, signer)
	return &person{t: t, relay: r, user: user, signer: signer}
}

// signers are the keys of all persons, by their operators' ids.
var signers sync.Map

// attempt is one login with every part in the test's hands.
type attempt struct {
	namespace string
	edit      func(nonce, exporter, csr []byte) (n, e, c []byte)
	signer    ssh.Signer
	offer     ssh.PublicKey
	more      []ssh.PublicKey // are offered before it
	username  string
	claim     func(message []byte) []byte // the signature for a key that nobody has claimed; nil: an honest one
}

// login runs a login; nil edits make it an honest one.
func (p *person) login(a attempt) (*tls.Certificate, error) {
	p.t.Helper()
	link := dial(p.t, p.relay, wire.ALPNClient, nil)
	s, err := link.Open(p.t.Context())
	if err != nil {
		return nil, err
	}
	if err := s.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	if a.signer == nil {
		a.signer = p.signer
	}
	if a.offer == nil {
		a.offer = p.signer.PublicKey()
	}
	offers := [][]byte{}
	for _, k := range append(slices.Clone(a.more), a.offer) {
		offers = append(offers, k.Marshal())
	}
	if err := wire.Send(s, &wire.Login{Username: a.username, Keys: offers}); err != nil {
		return nil, err
	}
	challenge, err := wire.Expect[wire.Challenge](s)
	if err != nil {
		return nil, err
	}
	key, err := certs.NewKey()
	if err != nil {
		return nil, err
	}
	csr, err := certs.NewRequest(key)
	if err != nil {
		return nil, err
	}
	exporter, err := link.Peer().Export(certs.ExporterLabel, certs.ExporterSize)
	if err != nil {
		return nil, err
	}
	n, e, c := challenge.Nonce, exporter, csr
	if a.edit != nil {
		n, e, c = a.edit(n, e, c)
	}
	message, err := certs.LoginMessage(n, e, c)
	if err != nil {
		return nil, err
	}
	if a.namespace == "" {
		a.namespace = certs.NamespaceLogin(challenge.Cluster)
	}
	sig, err := certs.SignSSH(rand.Reader, a.signer, a.namespace, message)
	if err != nil {
		return nil, err
	}
	proof := &wire.Proof{Signature: sig, CSR: csr}
	switch {
	case a.claim != nil:
		proof.Claim = a.claim(message)
	case challenge.Claim != "":
		proof.Claim = claimOf(p.t, p.relay, a.signer, challenge.Claim, certs.LoginNonce(message), certs.NamespaceClaim)
	}
	if err := wire.Send(s, proof); err != nil {
		return nil, err
	}
	answer, err := wire.Expect[wire.Certified](s)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(answer.Chain[0])
	return &tls.Certificate{Certificate: answer.Chain, PrivateKey: key, Leaf: leaf}, err
}

// H55: a login's signature is good for its nonce, its connection, its key request and its
// purpose, and for nothing else.
func TestLoginProofs(t *testing.T) {
	var c clock
	r := start(t, c.settings)
	ann := newPerson(t, r, "ann", access.Admin)
	bob := newPerson(t, r, "bob", access.Viewer)
	if _, err := ann.login(attempt{}); err != nil {
		t.Fatalf("an honest login: %v", err)
	}
	same := func(n, e, c []byte) ([]byte, []byte, []byte) { return n, e, c }
	for name, a := range map[string]attempt{
		"another namespace":     {namespace: certs.NamespaceKey(r.ca.Cluster())},
		"another cluster":       {namespace: certs.NamespaceLogin("other")},
		"git's namespace":       {namespace: "git"},
		"another nonce":         {edit: func(n, e, c []byte) ([]byte, []byte, []byte) { return make([]byte, 32), e, c }},
		"another connection":    {edit: func(n, e, c []byte) ([]byte, []byte, []byte) { return n, make([]byte, 32), c }},
		"another key's request": {edit: func(n, e, c []byte) ([]byte, []byte, []byte) { return n, e, []byte("csr") }},
		"another signer":        {edit: same, signer: bob.signer},
	} {
		if _, err := ann.login(a); wire.CodeOf(err) != wire.Unauthenticated {
			t.Errorf("%s: %v", name, err)
		}
		c.turn(time.Minute) // so many failures at once would be slowed down
	}
	if _, err := ann.login(attempt{username: "bob"}); wire.CodeOf(err) != wire.NoSSHPubkey {
		t.Errorf("ann's key as bob: %v", err)
	}
	if audited(t, r, "operator.login") != 1 || audited(t, r, "operator.login_refused") != 8 {
		t.Errorf("audit: %d logins, %d refusals", audited(t, r, "operator.login"), audited(t, r, "operator.login_refused"))
	}
}

// Failed logins of one source are slowed down; the table of sources stays bounded.
func TestFailedLoginsAreSlowed(t *testing.T) {
	var c clock
	r := start(t, c.settings)
	ann := newPerson(t, r, "ann", access.Admin)
	for range 20 {
		if _, err := ann.login(attempt{namespace: "wrong"}); wire.CodeOf(err) == wire.Busy {
			c.turn(time.Minute)
			if _, err := ann.login(attempt{}); err != nil {
				t.Errorf("a minute later: %v", err)
			}
			return
		}
	}
	t.Error("twenty failures cost nothing")
}

// H51: whatever changes an operator ends the links and the logins from before.
func TestChangedOperatorIsOut(t *testing.T) {
	for name, change := range map[string]func(p *person) error{
		"role": func(p *person) error {
			_, err := p.relay.access.Update(p.t.Context(), access.Local("test"), p.user.Username, access.User{Role: access.Viewer})
			return err
		},
		"key": func(p *person) error {
			pub, _, err := ed25519.GenerateKey(rand.Reader)
			if err != nil {
				return err
			}
			k, err := ssh.NewPublicKey(pub)
			if err != nil {
				return err
			}
			_, err = p.relay.access.Update(p.t.Context(), access.Local("test"), p.user.ID, access.User{Keys: []string{string(ssh.MarshalAuthorizedKey(k))}})
			return err
		},
		"deleted": func(p *person) error {
			return p.relay.access.Delete(p.t.Context(), access.Local("test"), p.user.Username)
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t)
			ann := newPerson(t, r, "ann", access.Admin)
			cert, err := ann.login(attempt{})
			if err != nil {
				t.Fatal(err)
			}
			link := dial(t, r, wire.ALPNClient, cert)
			if _, err := link.Open(t.Context()); err != nil {
				t.Fatal(err)
			}
			waitFor(t, "the relay to know the link", func() bool {
				r.links.mu.Lock()
				defer r.links.mu.Unlock()
				return len(r.links.by) == 1
			})
			ann.t = t
			if err := change(ann); err != nil {
				t.Fatal(err)
			}
			if code := ended(t, link); code != wire.OperatorChanged {
				t.Errorf("the link ended with %s", code)
			}
			if again, err := tryDial(t, r, wire.ALPNClient, cert); err == nil {
				if code := ended(t, again); code != wire.OperatorChanged {
					t.Errorf("the old certificate: %s", code)
				}
			}
		})
	}
}

// Whoever changes themselves is told that it was done before their link ends.
func TestWhoChangesThemselvesGetsTheAnswer(t *testing.T) {
	for _, c := range []struct{ method, path, body string }{
		{"PUT", "/api/v1/users/ann", `{"role":"viewer"}`},
		{"PUT", "/api/v1/users/ann", `{"role":"viewer","revoke_all":true}`},
		{"POST", "/api/v1/users/ann/revoke", ""},
		{"DELETE", "/api/v1/users/ann", ""},
	} {
		t.Run(c.method, func(t *testing.T) {
			r := start(t)
			newPerson(t, r, "bob", access.Admin) // the last one would be refused
			ann := newPerson(t, r, "ann", access.Admin)
			cert, err := ann.login(attempt{})
			if err != nil {
				t.Fatal(err)
			}
			id, _, err := r.tls.Identify([]*x509.Certificate{cert.Leaf})
			if err != nil {
				t.Fatal(err)
			}
			who, err := r.access.Identify(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			link := dial(t, r, wire.ALPNClient, cert)
			transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				s, err := link.Open(ctx)
				if err != nil {
					return nil, err
				}
				return &wire.NetConn{Stream: s}, wire.Send(s, &wire.Call{})
			}}
			defer transport.CloseIdleConnections()
			req, err := http.NewRequestWithContext(t.Context(), c.method, "http://relay"+c.path, strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("Scrier-Proof", signs(t, r, who, ann.signer, c.method, c.path, c.body))
			resp, err := (&http.Client{Transport: transport, Timeout: patience}).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if body, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode >= 300 {
				t.Errorf("%s, %v: %s", resp.Status, err, body)
			}
			if code := ended(t, link); code != wire.OperatorChanged {
				t.Errorf("the link ended with %s", code)
			}
		})
	}
}

// What each role may do, route by route. A new route fails this test until it is written here:
// that is the point.
var routes = map[string][]access.Role{
	"GET /api/v1/self":                               {access.Admin, access.Opener, access.Viewer, access.Compliance},
	"GET /api/v1/envoys":                             {access.Admin, access.Opener, access.Viewer},
	"GET /api/v1/envoys/{envoy}":                     {access.Admin, access.Opener, access.Viewer},
	"POST /api/v1/envoys/{envoy}/revoke":             {access.Admin},
	"DELETE /api/v1/envoys/{envoy}":                  {access.Admin},
	"POST /api/v1/tokens":                            {access.Admin},
	"GET /api/v1/users":                              {access.Admin},
	"POST /api/v1/users":                             {access.Admin},
	"PUT /api/v1/users/{user}":                       {access.Admin},
	"DELETE /api/v1/users/{user}":                    {access.Admin},
	"DELETE /api/v1/users/{user}/passkeys":           {access.Admin},
	"GET /api/v1/sessions":                           {access.Admin, access.Opener, access.Viewer, access.Compliance},
	"POST /api/v1/scrier/connect":                    {access.Admin, access.Opener},
	"GET /api/v1/sessions/{session}":                 {access.Admin, access.Opener, access.Viewer, access.Compliance},
	"POST /api/v1/sessions/{session}/attach":         {access.Admin, access.Opener, access.Viewer, access.Compliance},
	"GET /api/v1/sessions/{session}/channels":        {access.Admin, access.Opener, access.Viewer, access.Compliance},
	"DELETE /api/v1/sessions/{session}":              {access.Admin, access.Opener},
	"GET /api/v1/sessions/{session}/files":           {access.Admin, access.Opener},
	"DELETE /api/v1/sessions/{session}/files":        {access.Admin, access.Opener},
	"GET /api/v1/sessions/{session}/files/content":   {access.Admin, access.Opener},
	"PUT /api/v1/sessions/{session}/files/content":   {access.Admin, access.Opener},
	"GET /api/v1/sessions/{session}/files/archive":   {access.Admin, access.Opener},
	"GET /api/v1/sessions/{session}/files/upload":    {access.Admin, access.Opener},
	"DELETE /api/v1/sessions/{session}/files/upload": {access.Admin, access.Opener},
	"POST /api/v1/sessions/{session}/files/folder":   {access.Admin, access.Opener},
	"POST /api/v1/sessions/{session}/files/rename":   {access.Admin, access.Opener},
	"GET /api/v1/audit":                              {access.Admin, access.Compliance},
	"GET /api/v1/audit/export":                       {access.Admin, access.Compliance},
	"POST /api/v1/audit/verify":                      {access.Admin, access.Compliance},
	"GET /api/v1/metrics":                            {access.Admin, access.Compliance},
	"GET /api/v1/relay":                              {access.Admin, access.Opener, access.Viewer, access.Compliance},
	"GET /api/v1/start":                              {access.Admin, access.Opener, access.Viewer, access.Compliance},
	"GET /api/v1/events":                             {access.Admin, access.Opener, access.Viewer, access.Compliance},
	"GET /api/v1/openapi.json":                       {access.Admin, access.Opener, access.Viewer, access.Compliance},
	"POST /api/v1/signout":                           {access.Admin, access.Opener, access.Viewer, access.Compliance},
	"GET /api/v1/self/signins":                       {access.Admin, access.Opener, access.Viewer, access.Compliance},
	"DELETE /api/v1/self/signins":                    {access.Admin, access.Opener, access.Viewer, access.Compliance},
	"DELETE /api/v1/self/signins/{signin}":           {access.Admin, access.Opener, access.Viewer, access.Compliance},
	"POST /api/v1/self/links":                        {access.Admin, access.Opener, access.Viewer, access.Compliance},
	"GET /api/v1/self/passkeys":                      {access.Admin, access.Opener, access.Viewer, access.Compliance},
	"POST /api/v1/self/passkeys/begin":               {access.Admin, access.Opener, access.Viewer, access.Compliance},
	"POST /api/v1/self/passkeys/finish":              {access.Admin, access.Opener, access.Viewer, access.Compliance},
	"DELETE /api/v1/self/passkeys/{passkey}":         {access.Admin, access.Opener, access.Viewer, access.Compliance},
	"POST /api/v1/users/{user}/links":                {access.Admin},
	"POST /api/v1/users/{user}/revoke":               {access.Admin},
	"POST /api/v1/self/confirm":                      {access.Admin, access.Opener, access.Viewer, access.Compliance},
	"GET /api/v1/self/keys":                          {access.Admin, access.Opener, access.Viewer, access.Compliance},
	"POST /api/v1/self/keys":                         {access.Admin, access.Opener, access.Viewer, access.Compliance},
	"POST /api/v1/self/keys/begin":                   {access.Admin, access.Opener, access.Viewer, access.Compliance},
	"POST /api/v1/self/proofs":                       {access.Admin, access.Opener, access.Viewer, access.Compliance},
	"POST /api/v1/self/proofs/{proof}/passkey":       {access.Admin, access.Opener, access.Viewer, access.Compliance},
	"GET /api/v1/tokens":                             {access.Admin},
	"DELETE /api/v1/tokens/{token}":                  {access.Admin},
	"POST /api/v1/envoys/{envoy}/release":            {access.Admin},
	"POST /api/v1/envoys/{envoy}/rename":             {access.Admin},
}

// Routes for everybody, also before sign-in, each with the reason.
var publicRoutes = map[string]string{
	"GET /api/v1/signin":                 "the page has to know which ways in to offer",
	"POST /api/v1/signin/link":           "the link is the proof",
	"POST /api/v1/signin/link/look":      "whoever has the link may know whom it signs in",
	"POST /api/v1/signin/passkey/begin":  "gives a challenge and nothing else",
	"POST /api/v1/signin/passkey/finish": "the passkey is the proof",
}

func TestEveryRouteForEveryRole(t *testing.T) {
	r := start(t)
	param := regexp.MustCompile(`\{[^}]*\}`)
	seen := 0
	err := chi.Walk(r.api.(chi.Routes), func(method, route string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		seen++
		if publicRoutes[method+" "+route] != "" {
			// It asks nobody who they are, and tells nobody apart.
			anonymous := ask(t, r, method, route, func(req *http.Request) *http.Request { return req })
			admin := ask(t, r, method, route, func(req *http.Request) *http.Request {
				return req.WithContext(web.WithCaller(req.Context(), callerOf(access.Admin)))
			})
			if anonymous != admin || anonymous == http.StatusUnauthorized || anonymous == http.StatusForbidden {
				t.Errorf("%s %s: status %d without a login, %d as an admin", method, route, anonymous, admin)
			}
			return nil
		}
		allowed, ok := routes[method+" "+route]
		if !ok {
			t.Errorf("%s %s is not in the table of routes", method, route)
		}
		path := param.ReplaceAllString(route, url.PathEscape("nobody"))
		for _, role := range append(access.Roles(), "", "root") {
			status := ask(t, r, method, path, func(req *http.Request) *http.Request {
				return req.WithContext(web.WithCaller(req.Context(), callerOf(role)))
			})
			if may := slices.Contains(allowed, role); may == (status == http.StatusForbidden) {
				t.Errorf("%s %s as %q: status %d", method, route, role, status)
			}
		}
		if status := ask(t, r, method, path, func(req *http.Request) *http.Request { return req }); status != http.StatusUnauthorized {
			t.Errorf("%s %s without a login: status %d", method, route, status)
		}
		return nil
	})
	if err != nil || seen != len(routes)+len(publicRoutes) {
		t.Errorf("%d routes of %d, %v", seen, len(routes)+len(publicRoutes), err)
	}
	// Who opens sessions; over a link that goes over no route.
	for role, want := range map[access.Role]wire.Code{access.Admin: wire.NoSuchEnvoy, access.Opener: wire.NoSuchEnvoy, access.Viewer: wire.Forbidden, access.Compliance: wire.Forbidden} {
		_, err := r.open(t.Context(), access.Operator{Username: "x", Role: role}, &session.Request{Envoy: "nowhere", Kind: wire.KindSSH})
		if wire.CodeOf(err) != want {
			t.Errorf("open a session as %s: %v", role, err)
		}
	}
}

// Who has the role operator works on machines: they end what they have opened, and nobody else's.
func TestOperatorEndsTheirOwn(t *testing.T) {
	r := start(t)
	serve(t, r, "web1", func(e *envoy, open *wire.Open, s wire.Stream) {
		e.opened(s)
		e.sshServer(s, open, echo)
	})
	ann, olga := newPerson(t, r, "ann", access.Opener), newPerson(t, r, "olga", access.Opener)
	sessions := map[*person]string{}
	for _, p := range []*person{ann, olga} {
		v, err := p.connect("web1")
		if err != nil {
			t.Fatal(err)
		}
		sessions[p] = "/sessions/" + v.attached.Session.String()
	}
	as := access.Operator{ID: olga.user.ID, Username: "olga", Role: access.Opener, Epoch: 1}
	gone := "/sessions/" + wire.NewSessionID().String()
	for _, c := range []struct {
		what, path string
		who        access.Operator
		status     int
	}{
		{"somebody else's", sessions[ann], as, http.StatusForbidden},
		{"none", gone, as, http.StatusNotFound},
		{"her own, as a viewer", sessions[olga], access.Operator{ID: as.ID, Username: "olga", Role: access.Viewer, Epoch: 1}, http.StatusForbidden},
		{"her own, by somebody's link", sessions[olga], access.Operator{ID: as.ID, Username: "olga", Role: access.Opener, Epoch: 1, Doubt: "ann"}, http.StatusForbidden},
		{"her own", sessions[olga], as, http.StatusNoContent},
	} {
		if got := callAs(t, r, c.who, "DELETE", c.path, nil).StatusCode; got != c.status {
			t.Errorf("%s: %d, want %d", c.what, got, c.status)
		}
	}
	if got := call(t, r, "DELETE", sessions[ann], nil).StatusCode; got != http.StatusNoContent {
		t.Errorf("an admin: %d", got)
	}
	settled(t, r)
}

func callerOf(role access.Role) web.Caller { return is(access.Operator{Username: "x", Role: role}) }

func is(who access.Operator) web.Caller {
	return func(context.Context) (access.Operator, error) { return who, nil }
}

func ask(t *testing.T, r *Relay, method, path string, as func(*http.Request) *http.Request) int {
	t.Helper()
	w := httptest.NewRecorder()
	r.api.ServeHTTP(w, as(httptest.NewRequest(method, path, strings.NewReader("{}"))))
	resp := w.Result()
	defer resp.Body.Close()
	if resp.StatusCode >= 400 {
		var p wire.Problem
		if err := json.NewDecoder(resp.Body).Decode(&p); err != nil || p.Status != resp.StatusCode || p.Code == wire.None {
			t.Errorf("%s %s: status %d without a problem: %+v, %v", method, path, resp.StatusCode, p, err)
		}
		return resp.StatusCode
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Error(err)
	}
	return resp.StatusCode
}
