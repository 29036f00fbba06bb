package relay

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"

	"scrier/relay/access"
	"scrier/relay/web"
	"scrier/wire"
)

// call asks the API as the host's administrator.
func call(t *testing.T, r *Relay, method, path string, in any) *http.Response {
	t.Helper()
	return callAs(t, r, access.Local("test"), method, path, in)
}

func callAs(t *testing.T, r *Relay, who access.Operator, method, path string, in any) *http.Response {
	t.Helper()
	var b bytes.Buffer
	if in != nil {
		if err := json.NewEncoder(&b).Encode(in); err != nil {
			t.Fatal(err)
		}
	}
	req := httptest.NewRequest(method, "/api/v1"+path, &b)
	w := httptest.NewRecorder()
	r.api.ServeHTTP(w, req.WithContext(web.WithCaller(req.Context(), is(who))))
	return w.Result()
}

// answer is the JSON of a call that has to succeed.
func answer[T any](t *testing.T, resp *http.Response) (v T) {
	t.Helper()
	if resp.StatusCode >= 300 {
		var p wire.Problem
		err := json.NewDecoder(resp.Body).Decode(&p)
		t.Fatalf("status %d: %+v, %v", resp.StatusCode, p, err)
	}
	if err := json.NewDecoder(resp.Body).Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

func described(t *testing.T, r *Relay) *description {
	t.Helper()
	d := answer[description](t, call(t, r, "GET", "/openapi.json", nil))
	return &d
}

var placeholder = regexp.MustCompile(`\{([^}]+)\}`)

// The description has the routes that there are, and no others; each is whole.
func TestDescriptionIsTheRoutes(t *testing.T) {
	r := start(t)
	d := described(t, r)
	if d.OpenAPI != "3.1.0" {
		t.Errorf("OpenAPI %q", d.OpenAPI)
	}
	served, ids := map[string]bool{}, map[string]bool{}
	err := chi.Walk(r.api.(chi.Routes), func(method, route string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		served[strings.ToLower(method)+" "+strings.TrimPrefix(route, "/api/v1")] = true
		return nil
	})
	if err != nil || len(served) < 15 {
		t.Fatal(len(served), err)
	}
	for path, methods := range d.Paths {
		for method, op := range methods {
			name := method + " " + path
			if !served[name] {
				t.Errorf("%s is described and not served", name)
			}
			delete(served, name)
			if op.OperationID == "" || ids[op.OperationID] {
				t.Errorf("%s: operation id %q", name, op.OperationID)
			}
			ids[op.OperationID] = true
			var want, got []string
			for _, m := range placeholder.FindAllStringSubmatch(path, -1) {
				want = append(want, m[1])
			}
			for _, p := range op.Parameters {
				if p.In == "path" {
					got = append(got, p.Name)
				}
			}
			if !slices.Equal(want, got) {
				t.Errorf("%s: the path's parameters are %v", name, got)
			}
			if op.Responses["default"].Ref != "#/components/responses/Problem" {
				t.Errorf("%s: no word about errors", name)
			}
			full := strings.ToUpper(method) + " /api/v1" + path
			var roles []string
			for _, role := range routes[full] {
				roles = append(roles, string(role))
			}
			if op.Roles != nil && !slices.Equal(roles, op.Roles) {
				t.Errorf("%s is for %v, says the description", name, op.Roles)
			}
		}
	}
	for name := range served {
		t.Errorf("%s is served and not described", name)
	}
}

// A parameter that a route does not have, or twice, is refused by the name of those that it has; so is a method that
// a path does not have.
func TestQueriesAndMethodsAreHeldToTheDescription(t *testing.T) {
	r := start(t)
	refused := func(method, path string, status int, words ...string) http.Header {
		t.Helper()
		resp := call(t, r, method, path, nil)
		var p wire.Problem
		if err := json.NewDecoder(resp.Body).Decode(&p); err != nil || p.Status != resp.StatusCode {
			t.Errorf("%s %s: status %d, %+v, %v", method, path, resp.StatusCode, p, err)
		}
		if resp.StatusCode != status || p.Code != wire.BadRequest || resp.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s %s: status %d, %+v", method, path, resp.StatusCode, p)
		}
		for _, w := range words {
			if !strings.Contains(p.Detail, w) {
				t.Errorf("%s %s: %q does not say %q", method, path, p.Detail, w)
			}
		}
		return resp.Header
	}
	asked, paths := 0, described(t, r).Paths
	for pattern, has := range paths {
		path := placeholder.ReplaceAllString(pattern, "x")
		for method, op := range has {
			method = strings.ToUpper(method)
			known := "it takes none"
			for _, p := range op.Parameters {
				if p.In == "query" {
					known = p.Name
					if asked++; p.Schema.Type == "array" { // it may be given more than once
						continue
					}
					refused(method, path+"?"+p.Name+"=1&"+p.Name+"=1", 400, p.Name+" is given 2 times")
				}
			}
			refused(method, path+"?operater=ann", 400, method+" "+pattern+` has no parameter "operater"`, known)
			refused(method, path+"?%zz", 400, "not well formed")
		}
		var allowed []string // also by a pattern that the path fits as well
		for other, has := range paths {
			if other == pattern || regexp.MustCompile("^"+placeholder.ReplaceAllString(other, "[^/]+")+"$").MatchString(path) {
				for method := range has {
					allowed = append(allowed, strings.ToUpper(method))
				}
			}
		}
		slices.Sort(allowed)
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"} {
			if slices.Contains(allowed, method) {
				continue
			}
			got := strings.Split(refused(method, path, 405, method+" does not go with /api/v1"+path).Get("Allow"), ", ")
			slices.Sort(got)
			if !slices.Equal(got, allowed) {
				t.Errorf("%s: %v are allowed, and not %v", path, got, allowed)
			}
		}
	}
	if asked < 5 {
		t.Errorf("%d parameters are described", asked)
	}
	refused("GET", "/envoys?after=638d3cb9-4804-4402-8d4a-410fcf2cd37e", 400, "after goes with limit")
	refused("GET", "/envoys/web1?strict=yes", 400, `strict is true or false, and not "yes"`)
	refused("GET", "/sessions?all=yes", 400, `all is true or false, and not "yes"`)
}

// What is wrong with a request's JSON is said in JSON's words.
func TestMalformedRequests(t *testing.T) {
	r := start(t)
	for body, want := range map[string]string{
		``:                       "the request has no JSON",
		`{"name": "web1"`:        "the request's JSON breaks off",
		`{"name": "web1"} {}`:    "the request goes on behind its JSON",
		`{"nme": "web1"}`:        `there is no field "nme"`,
		`{"name": 1}`:            "name is number, and should be a string",
		`{"replace": "yes"}`:     "replace is string, and should be true or false",
		`[]`:                     "the request is array, and should be an object",
		`name=web1`:              "the request is no JSON: invalid character",
		`{"ttl": "a fortnight"}`: `ttl "a fortnight" is not a duration like 15m or 24h`,
		`{"name": "a b"}`:        `"a b" is not a name`,
	} {
		req := httptest.NewRequest("POST", "/api/v1/tokens", strings.NewReader(body))
		w := httptest.NewRecorder()
		r.api.ServeHTTP(w, req.WithContext(web.WithCaller(req.Context(), is(access.Local("test")))))
		var p wire.Problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || p.Code != wire.BadRequest || !strings.Contains(p.Detail, want) {
			t.Errorf("%s: %+v, %v", body, p, err)
		}
	}
}

// elsewhere puts a relay into a zone of its own.
func elsewhere(s *Settings) {
	zone := time.FixedZone("", 5*60*60+30*60)
	s.Now = func() time.Time { return time.Now().In(zone) }
}

// What the routes answer is what the description says, to the field.
func TestAnswersAreAsDescribed(t *testing.T) {
	r := start(t, elsewhere)
	d := described(t, r)
	serve(t, r, "web1", func(e *envoy, open *wire.Open, s wire.Stream) {
		e.opened(s)
		e.sshServer(s, open, echo)
	})
	enrolled(t, r, "web2")
	if err := twice(t, enrolled(t, r, "web4")); wire.CodeOf(err) != wire.DuplicateIdentity {
		t.Fatal(err)
	}
	token := answer[web.Token](t, call(t, r, "POST", "/tokens", map[string]string{"name": "web5"})).ID
	ann := newPerson(t, r, "ann", access.Admin)
	v, err := ann.connect("web1")
	if err != nil {
		t.Fatal(err)
	}
	key := strings.TrimSpace(ann.user.Keys[0])
	if err := ann.relay.access.Delete(t.Context(), access.Local("test"), "nobody"); wire.CodeOf(err) != wire.NotFound {
		t.Error(err)
	}
	for _, c := range []struct {
		method, route, path string
		in                  any
		status              int
	}{
		{"GET", "/relay", "", nil, 200},
		{"GET", "/self", "", nil, 200},
		{"GET", "/start", "", nil, 200},
		{"GET", "/envoys", "", nil, 200},
		{"GET", "/envoys", "?limit=1", nil, 200},
		{"GET", "/envoys/{envoy}", "web1", nil, 200},
		{"GET", "/envoys/{envoy}", "nowhere", nil, 404},
		{"POST", "/tokens", "", map[string]string{"name": "web3", "ttl": "1h"}, 200},
		{"POST", "/tokens", "", map[string]string{"ttl": "long"}, 400},
		{"GET", "/tokens", "", nil, 200},
		{"DELETE", "/tokens/{token}", token, nil, 204},
		{"DELETE", "/tokens/{token}", token, nil, 404},
		{"GET", "/users", "", nil, 200},
		{"PUT", "/users/{user}", "nobody", map[string]string{"role": "viewer"}, 404},
		{"GET", "/sessions", "", nil, 200},
		{"GET", "/sessions", "?all=true", nil, 200},
		{"DELETE", "/sessions/{session}", v.attached.Session.String(), nil, 204},
		{"GET", "/audit", "", nil, 200},
		{"GET", "/audit", "?limit=2&q=web1", nil, 200},
		{"GET", "/audit", "?limit=0", nil, 400},
		{"POST", "/audit/verify", "", nil, 200},
		{"POST", "/users", "", map[string]any{"username": "bob", "role": "viewer", "keys": []string{}}, 200},
		{"POST", "/users", "", map[string]any{"username": "eve", "role": "viewer", "keys": []string{key}}, 409},
		{"PUT", "/users/{user}", "bob", map[string]string{"role": "compliance"}, 200},
		{"DELETE", "/users/{user}", "bob", nil, 204},
		{"POST", "/envoys/{envoy}/release", "web2", map[string]string{}, 409},
		{"GET", "/envoys/{envoy}", "web4", nil, 200}, // in quarantine
		{"POST", "/envoys/{envoy}/release", "web4", map[string]string{"since": "2026-11-23T16:46:16Z"}, 409},
		{"POST", "/envoys/{envoy}/release", "web4", map[string]string{}, 200},
		{"POST", "/envoys/{envoy}/revoke", "web2", nil, 200},
		{"DELETE", "/envoys/{envoy}", "web2", nil, 200},
		{"GET", "/openapi.json", "", nil, 200},
	} {
		path := placeholder.ReplaceAllString(c.route, url.PathEscape(c.path))
		if path == c.route {
			path += c.path
		}
		op := d.Paths[c.route][strings.ToLower(c.method)]
		d.takes(t, c.method+" "+path, op, c.in)
		d.holds(t, c.method+" "+path, op, call(t, r, c.method, path, c.in), c.status)
	}
	_ = v.exit(t)
	settled(t, r)
}

// The same for what only browsers ask, and for sessions of an operator.
func TestAnswersToBrowsersAreAsDescribed(t *testing.T) {
	r := start(t, elsewhere)
	d := described(t, r)
	e := serve(t, r, "web1", func(e *envoy, open *wire.Open, s wire.Stream) {
		e.opened(s)
		e.sshServer(s, open, echo)
	})
	ann := newPerson(t, r, "ann", access.Admin)
	who := access.Operator{ID: ann.user.ID, Username: "ann", Role: access.Admin, Epoch: 1}
	link := answer[web.Link](t, call(t, r, "POST", "/users/ann/links", nil))
	browser := web.Browser(r.api, web.BrowserConfig{Access: r.access, Log: r.Log})
	var cookies []*http.Cookie
	proof := ""
	ask := func(method, path string, in any) *http.Response {
		t.Helper()
		body, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		req := httptest.NewRequest(method, "https://localhost:8443/api/v1"+path, bytes.NewReader(body))
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Origin", "https://localhost:8443")
		if proof != "" {
			req.Header.Set("Scrier-Proof", proof)
		}
		for _, c := range cookies {
			req.AddCookie(c)
		}
		w := httptest.NewRecorder()
		browser.ServeHTTP(w, req)
		if set := w.Result().Cookies(); len(set) > 0 {
			cookies = set
		}
		return w.Result()
	}
	_, token, _ := strings.Cut(link.Path, "#")
	nothing := struct{}{}
	var session string
	for _, c := range []struct {
		method, route, path string
		in                  any
		status              int
	}{
		{"GET", "/signin", "", nil, 200},
		{"GET", "/self", "", nil, 401},
		{"POST", "/signin/link", "", map[string]string{"token": "wrong"}, 410},
		{"POST", "/signin/link/look", "", map[string]string{"token": token}, 200},
		{"POST", "/signin/link", "", map[string]string{"token": token}, 200},
		{"GET", "/self", "", nil, 200},
		{"GET", "/start", "", nil, 200},
		{"GET", "/relay", "", nil, 200},
		{"GET", "/self/signins", "", nil, 200},
		{"POST", "/self/passkeys/begin", "", nothing, 200},
		{"POST", "/signin/passkey/begin", "", nothing, 200},
		{"GET", "/self/keys", "", nil, 200},
		{"POST", "/self/keys/begin", "", nothing, 200},
		{"POST", "/self/proofs", "", map[string]string{"method": "POST", "path": "/api/v1/self/links", "sha256": strings.Repeat("0", 64)}, 200},
		{"POST", "/self/proofs/{proof}/passkey", "any", nothing, 200},
		{"POST", "/self/confirm", "", nothing, 204},
		{"POST", "/self/links", "", nothing, 200},
		{"POST", "/users/{user}/links", "ann", nothing, 200},
		{"POST", "/scrier/connect", "", map[string]any{"envoy_id": e.id.String(), "kind": "ssh", "cols": 80, "rows": 24}, 200},
		{"POST", "/sessions/{session}/attach", "", map[string]bool{"watch": false}, 200},
		{"GET", "/sessions", "", nil, 200},
		{"DELETE", "/sessions/{session}", "", nil, 204},
		{"DELETE", "/self/signins/{signin}", "none", nil, 404},
		{"POST", "/signout", "", nothing, 204},
	} {
		if strings.Contains(c.route, "{session}") {
			c.path = session
		}
		path := placeholder.ReplaceAllString(c.route, url.PathEscape(c.path))
		proof = ""
		resp := ask(c.method, path, c.in)
		if op := d.Paths[c.route][strings.ToLower(c.method)]; slices.ContainsFunc(op.Parameters, func(p parameter) bool { return p.Name == "Scrier-Proof" }) {
			d.holds(t, c.method+" "+path+", not signed", op, resp, 403)
			body, err := json.Marshal(c.in)
			if err != nil {
				t.Fatal(err)
			}
			proof = signs(t, r, who, ann.signer, c.method, "/api/v1"+path, string(body))
			resp = ask(c.method, path, c.in)
		}
		if c.route == "/scrier/connect" && resp.StatusCode == 200 {
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			var ticket web.Ticket
			if err := json.Unmarshal(body, &ticket); err != nil {
				t.Fatal(err)
			}
			session = ticket.SessionID.String()
			resp.Body = io.NopCloser(bytes.NewReader(body))
		}
		op := d.Paths[c.route][strings.ToLower(c.method)]
		d.takes(t, c.method+" "+path, op, c.in)
		d.holds(t, c.method+" "+path, op, resp, c.status)
	}
	settled(t, r)
}

// takes says whether a request is as the description of its operation says.
func (d *description) takes(t *testing.T, what string, op operation, in any) {
	t.Helper()
	content, ok := op.RequestBody.Content["application/json"]
	if !ok {
		return
	}
	data, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	if err := d.check(&content.Schema, v, what+" takes"); err != nil {
		t.Error(err)
	}
}

// holds says whether an answer is as the description of its operation says.
func (d *description) holds(t *testing.T, what string, op operation, resp *http.Response, status int) {
	t.Helper()
	if resp.StatusCode != status {
		t.Errorf("%s: status %d", what, resp.StatusCode)
		return
	}
	var s schema
	media := "application/json"
	switch {
	case status >= 400:
		media, s = "application/problem+json", schema{Ref: "#/components/schemas/Problem"}
	case status == http.StatusNoContent:
		if _, ok := op.Responses["204"]; !ok {
			t.Errorf("%s: no content, which is not described", what)
		}
		return
	default:
		content, ok := op.Responses["200"].Content[media]
		if !ok {
			t.Errorf("%s: the answer is not described", what)
			return
		}
		s = content.Schema
	}
	if got := resp.Header.Get("Content-Type"); got != media {
		t.Errorf("%s: type %q", what, got)
	}
	var v any
	if err := json.NewDecoder(resp.Body).Decode(&v); err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	if err := d.check(&s, v, what); err != nil {
		t.Error(err)
	}
	if list, ok := v.([]any); ok && len(list) == 0 {
		t.Errorf("%s: an empty list checks nothing", what)
	}
}
