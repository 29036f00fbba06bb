package web

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

func never(string) bool { return false }

func builtPages() fstest.MapFS {
	return fstest.MapFS{
		"app.html":               {Data: []byte("the app")},
		"terminal.html":          {Data: []byte("the terminal")},
		"files.html":             {Data: []byte("the files")},
		"desktop.html":           {Data: []byte("the desktop")},
		"LICENCES.txt":           {Data: []byte("licences")},
		"favicon.svg":            {Data: []byte("<svg/>")},
		"assets/main-1a2b.js":    {Data: []byte("plain script")},
		"assets/main-1a2b.js.br": {Data: []byte("br")},
		"assets/main-1a2b.js.gz": {Data: []byte("gzip")},
		"assets/only-3c.css":     {Data: []byte("plain style")},
		"assets/only-3c.css.gz":  {Data: []byte("gzip")},
		"assets/bare-4d.woff2":   {Data: []byte("font")},
		"assets/sub.js/x.js":     {Data: []byte("a folder with such a name")},
		".gitkeep":               {},
		"secret.pem":             {Data: []byte("not for browsers")},
	}
}

func ask(h http.Handler, method, target string, header ...string) *http.Response {
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func text(t *testing.T, r *http.Response) string {
	t.Helper()
	var b strings.Builder
	if err := r.Write(&b); err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(b.String(), "\r\n\r\n")
	return body
}

func TestPages(t *testing.T) {
	h := Pages(PagesConfig{Files: builtPages(), Covered: never, HTTP3: never})
	for _, c := range []struct {
		path, holds string
		status      int
		policy      string
		cache, kind string
	}{
		{"/healthz", "ok\n", 200, policyNone, cacheNever, "text/plain; charset=utf-8"},
		{"/", "the app", 200, policyApp, cacheNever, "text/html; charset=utf-8"},
		{"/sessions", "the app", 200, policyApp, cacheNever, "text/html; charset=utf-8"},
		{"/operators", "the app", 200, policyApp, cacheNever, "text/html; charset=utf-8"},
		{"/enrol?x=1", "the app", 200, policyApp, cacheNever, "text/html; charset=utf-8"},
		{"/audit", "the app", 200, policyApp, cacheNever, "text/html; charset=utf-8"},
		{"/account", "the app", 200, policyApp, cacheNever, "text/html; charset=utf-8"},
		{"/signin", "the app", 200, policyApp, cacheNever, "text/html; charset=utf-8"},
		{"/scrier/0198c0de?protocol=ssh", "the terminal", 200, policyTerminal, cacheNever, "text/html; charset=utf-8"},
		{"/scrier/0198c0de", "the terminal", 200, policyTerminal, cacheNever, "text/html; charset=utf-8"},
		{"/scrier/0198c0de?session=1&protocol=vnc&console=1", "the desktop", 200, policyDesktop, cacheNever, "text/html; charset=utf-8"},
		{"/scrier/0198c0de?protocol=ssh&view=files", "the files", 200, policyApp, cacheNever, "text/html; charset=utf-8"},
		{"/scrier/0198c0de?view=files&session=1", "the files", 200, policyApp, cacheNever, "text/html; charset=utf-8"},
		{"/scrier/0198c0de?protocol=rdp&view=files", "the desktop", 200, policyDesktop, cacheNever, "text/html; charset=utf-8"},
		{"/scrier/0198c0de?protocol=ssh&view=Files", "the terminal", 200, policyTerminal, cacheNever, "text/html; charset=utf-8"},
		{"/scrier/0198c0de?protocol=rdp", "the desktop", 200, policyDesktop, cacheNever, "text/html; charset=utf-8"},
		{"/scrier/0198c0de?protocol=RDP", "the terminal", 200, policyTerminal, cacheNever, "text/html; charset=utf-8"},
		{"/scrier/0198c0de?protocol=ssh&protocol=rdp", "the terminal", 200, policyTerminal, cacheNever, "text/html; charset=utf-8"},
		{"/scrier/0198c0de?protocol=%zz;protocol=rdp", "the terminal", 200, policyTerminal, cacheNever, "text/html; charset=utf-8"},
		{"/assets/main-1a2b.js", "plain script", 200, policyNone, cacheForEver, "text/javascript; charset=utf-8"},
		{"/assets/only-3c.css", "plain style", 200, policyNone, cacheForEver, "text/css; charset=utf-8"},
		{"/assets/bare-4d.woff2", "font", 200, policyNone, cacheForEver, "font/woff2"},
		{"/favicon.svg", "<svg/>", 200, policyNone, cacheDay, "image/svg+xml"},
		{"/LICENCES.txt", "licences", 200, policyNone, cacheDay, "text/plain; charset=utf-8"},

		{"/scrier/", "the app", 404, policyApp, cacheNever, "text/html; charset=utf-8"},
		{"/scrier/a/b", "the app", 404, policyApp, cacheNever, "text/html; charset=utf-8"},
		{"/sessions/", "the app", 404, policyApp, cacheNever, "text/html; charset=utf-8"},
		{"/scrier/?protocol=rdp", "the app", 404, policyApp, cacheNever, "text/html; charset=utf-8"},
		{"/scrier/a/b?protocol=rdp", "the app", 404, policyApp, cacheNever, "text/html; charset=utf-8"},
		{"/nowhere", "the app", 404, policyApp, cacheNever, "text/html; charset=utf-8"},
		{"/desktop.html", "no such page", 404, policyNone, cacheNever, "text/html; charset=utf-8"},
		{"/app.html", "no such page", 404, policyNone, cacheNever, "text/html; charset=utf-8"},
		{"/secret.pem", "no such page", 404, policyNone, cacheNever, "text/html; charset=utf-8"},
		{"/.gitkeep", "no such page", 404, policyNone, cacheNever, "text/html; charset=utf-8"},
		{"/favicon.ico", "no such page", 404, policyNone, cacheNever, "text/html; charset=utf-8"},
		{"/favicon/../secret.pem", "no such page", 404, policyNone, cacheNever, "text/html; charset=utf-8"},
		{"/assets/", "no such page", 404, policyNone, cacheNever, "text/html; charset=utf-8"},
		{"/assets/gone.js", "no such page", 404, policyNone, cacheNever, "text/html; charset=utf-8"},
		{"/assets/sub.js", "no such page", 404, policyNone, cacheNever, "text/html; charset=utf-8"},
		{"/assets/main-1a2b.js.br", "no such page", 404, policyNone, cacheNever, "text/html; charset=utf-8"},
		{"/assets/main-1a2b.js/", "no such page", 404, policyNone, cacheNever, "text/html; charset=utf-8"},
		{"/assets/../app.html", "no such page", 404, policyNone, cacheNever, "text/html; charset=utf-8"},
		{"/assets/%2e%2e/app.html", "no such page", 404, policyNone, cacheNever, "text/html; charset=utf-8"},
		{"/assets//main-1a2b.js", "no such page", 404, policyNone, cacheNever, "text/html; charset=utf-8"},
		{"//assets/main-1a2b.js", "no such page", 404, policyNone, cacheNever, "text/html; charset=utf-8"},
		{"/<script>alert(1)</script>", "the app", 404, policyApp, cacheNever, "text/html; charset=utf-8"},
	} {
		r := ask(h, "GET", c.path)
		body := text(t, r)
		if r.StatusCode != c.status || !strings.Contains(body, c.holds) || strings.Contains(body, "alert") {
			t.Errorf("%s: %s, %q", c.path, r.Status, body)
		}
		got := map[string]string{}
		for k := range r.Header {
			got[k] = r.Header.Get(k)
		}
		want := map[string]string{
			"Content-Security-Policy": c.policy, "Cache-Control": c.cache, "Content-Type": c.kind,
			"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
			"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
			"Permissions-Policy": permissions,
		}
		delete(got, "Content-Length")
		delete(got, "Vary")
		if !maps.Equal(got, want) {
			t.Errorf("%s: headers %v, not %v", c.path, got, want)
		}
		if r = ask(h, "HEAD", c.path); r.StatusCode != c.status {
			t.Errorf("HEAD %s: %s", c.path, r.Status)
		}
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"} {
		for _, path := range []string{"/", "/signin", "/healthz", "/assets/main-1a2b.js", "/nowhere"} {
			if r := ask(h, method, path); r.StatusCode != 405 || r.Header.Get("Allow") != "GET, HEAD" {
				t.Errorf("%s %s: %s", method, path, r.Status)
			}
		}
	}
}

func TestPagesAreCompressed(t *testing.T) {
	h := Pages(PagesConfig{Files: builtPages(), Covered: never, HTTP3: never})
	const both, one, none = "/assets/main-1a2b.js", "/assets/only-3c.css", "/assets/bare-4d.woff2"
	for _, c := range []struct{ path, accept, want string }{
		{both, "", ""},
		{both, "gzip, deflate, br, zstd", "br"},
		{both, "gzip", "gzip"},
		{both, "x-gzip", "gzip"},
		{both, "GZIP;Q=0.5, Br; q=0.4", "gzip"},
		{both, "br;q=0.5,gzip;q=0.5", "br"},
		{both, "br;q=0, gzip", "gzip"},
		{both, "br;q=0, gzip;q=0.000", ""},
		{both, "*", "br"},
		{both, "*;q=0", ""},
		{both, "br;q=0, *", "gzip"},
		{both, "gzip, *;q=0", "gzip"},
		{both, "identity, br;q=0.5", ""},
		{both, "identity;q=0.2, br;q=0.5", "br"},
		{both, "deflate, zstd", ""},
		{both, "br;q=2", ""},
		{both, "br;q=-1", ""},
		{both, "br;q=nan", ""},
		{both, "br;q=", ""},
		{both, "br;level=9", ""},
		{both, "identity;q=0", ""}, // nothing that it takes: as it is
		{both, ",,;q=1,", ""},
		{one, "br, gzip", "gzip"},
		{one, "br", ""},
		{none, "br, gzip", ""},
	} {
		r := ask(h, "GET", c.path, "Accept-Encoding", c.accept)
		body := text(t, r)
		if got := r.Header.Get("Content-Encoding"); got != c.want || c.want != "" && body != c.want || c.want == "" && len(body) < 4 {
			t.Errorf("%s with %q: %q, %q, not %q", c.path, c.accept, got, body, c.want)
		}
		if vary := r.Header.Get("Vary") == "Accept-Encoding"; vary != (c.path != none) {
			t.Errorf("%s with %q: Vary is %t", c.path, c.accept, vary)
		}
		if kind := r.Header.Get("Content-Type"); strings.Contains(kind, "gzip") || kind == "" {
			t.Errorf("%s: %s", c.path, kind)
		}
	}
	// Several headers are one list.
	if r := ask(h, "GET", both, "Accept-Encoding", "br;q=0.1", "Accept-Encoding", "gzip"); r.Header.Get("Content-Encoding") != "gzip" {
		t.Error("the second header does not count")
	}
}

// HSTS and Alt-Svc only where browsers know the certificate: elsewhere the one takes away the way
// in, and the other leads nowhere.
func TestPagesOfAKnownName(t *testing.T) {
	at := func(names ...string) func(string) bool {
		return func(host string) bool {
			return slices.ContainsFunc(names, func(n string) bool { return host == n || strings.HasPrefix(host, n+":") })
		}
	}
	h := Pages(PagesConfig{Files: builtPages(), Covered: at("relay.example.com", "intern.example.com"), HTTP3: at("relay.example.com")})
	for host, want := range map[string][2]string{
		"relay.example.com":       {strictTransport, `h3=":443"; ma=86400`},
		"relay.example.com:8443":  {strictTransport, `h3=":8443"; ma=86400`},
		"intern.example.com:8443": {strictTransport, ""},
		"127.0.0.1:8443":          {"", ""},
		"localhost":               {"", ""},
	} {
		for _, path := range []string{"/", "/scrier/x", "/assets/main-1a2b.js", "/healthz", "/nowhere"} {
			r := ask(h, "GET", "https://"+host+path)
			if got := [2]string{r.Header.Get("Strict-Transport-Security"), r.Header.Get("Alt-Svc")}; got != want {
				t.Errorf("%s%s: %q, not %q", host, path, got, want)
			}
		}
	}
	if strings.Contains(strictTransport, "includeSubDomains") {
		t.Error("HSTS for names that are not ours")
	}
}

func TestARelayWithoutPagesSaysSo(t *testing.T) {
	h := Pages(PagesConfig{Files: fstest.MapFS{".gitkeep": {}}, Covered: never, HTTP3: never})
	for _, path := range []string{"/", "/signin", "/scrier/x", "/scrier/x?protocol=rdp"} {
		r := ask(h, "GET", path)
		body := text(t, r)
		for _, want := range []string{"built without its pages", "./just web", "./just build"} {
			if r.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, want) {
				t.Errorf("%s: %s does not say %q: %s", path, r.Status, want, body)
			}
		}
		if r.Header.Get("Content-Security-Policy") != policyNone {
			t.Errorf("%s: %q", path, r.Header.Get("Content-Security-Policy"))
		}
	}
	if r := ask(h, "GET", "/healthz"); r.StatusCode != 200 {
		t.Errorf("it does not live: %s", r.Status)
	}
	if r := ask(h, "GET", "/assets/main-1a2b.js"); r.StatusCode != 404 {
		t.Errorf("an asset: %s", r.Status)
	}
}

// A desktop's page runs no script but ours, loads nothing from elsewhere, and makes no markup of text.
func TestPolicies(t *testing.T) {
	for name, policy := range map[string]string{"app": policyApp, "terminal": policyTerminal, "desktop": policyDesktop} {
		for _, want := range []string{"default-src 'none'", "script-src 'self';", "connect-src 'self';", "img-src 'self' data:;", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'", "require-trusted-types-for 'script'"} {
			if !strings.Contains(policy, want) {
				t.Errorf("%s lacks %s: %s", name, want, policy)
			}
		}
		for _, no := range []string{"unsafe-eval", "blob:", "*", "http:", "https:", "wasm"} {
			if strings.Contains(policy, no) {
				t.Errorf("%s allows %s: %s", name, no, policy)
			}
		}
		if strings.Contains(policy, "unsafe-inline") != (name == "terminal") {
			t.Errorf("styles of %s: %s", name, policy)
		}
	}
}
