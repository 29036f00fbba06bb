package web

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"

	"scrier/relay/access"
	"scrier/wire"
)

// unsafeRoutes are all that change something, with a path that fits.
func (d *desk) unsafeRoutes() (all [][2]string) {
	d.t.Helper()
	err := chi.Walk(d.api.(chi.Routes), func(method, route string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		if method != "GET" {
			all = append(all, [2]string{method, strings.NewReplacer("{user}", "victim", "{", "", "}", "").Replace(route)})
		}
		return nil
	})
	if err != nil || len(all) < 15 {
		d.t.Fatal(len(all), err)
	}
	return all
}

// set makes a header's values those; none takes the header away.
func set(r *http.Request, name string, values ...string) {
	r.Header.Del(name)
	for _, v := range values {
		r.Header.Add(name, v)
	}
}

// T-CSRF: nothing that another site's page, or a form, can send changes anything.
func TestForeignPagesChangeNothing(t *testing.T) {
	d := newDesk(t)
	b := d.tab()
	b.signIn(d.operator("ann", access.Admin))
	d.operator("victim", access.Viewer)
	own := "https://" + relayHost
	sites := [][]string{nil, {"cross-site"}, {"same-site"}, {"none"}, {""}, {"Same-Origin"}, {"same-origin", "cross-site"}, {"same-origin"}}
	origins := [][]string{
		nil, {"null"}, {""}, {"https://evil.example"}, {"http://" + relayHost}, {"https://relay.example"}, {own + ".evil.example"},
		{own, "https://evil.example"}, {"https://RELAY.example:8443"}, {own},
	}
	kinds := [][]string{nil, {"text/plain"}, {"application/x-www-form-urlencoded"}, {"multipart/form-data; boundary=x"}, {"application/json", "text/plain"}, {"text/json"}, {"application/json"}}
	before, size := d.state(), d.log.Size()
	tried := 0
	for _, site := range sites {
		for _, origin := range origins {
			for _, kind := range kinds {
				ownPage := len(origin) == 1 && origin[0] == own
				ownSite := len(site) == 1 && site[0] == "same-origin"
				json := len(kind) == 1 && kind[0] == "application/json"
				ours := ownPage && (ownSite || site == nil) || ownSite && origin == nil
				if json && ours {
					continue // our own page's
				}
				tried++
				// A browser that says so is at another name than the Host: a proxy has replaced that.
				status, code := http.StatusForbidden, wire.Forbidden
				if ownSite && len(origin) == 1 && slices.Contains([]string{"https://evil.example", "https://relay.example"}, origin[0]) {
					status, code = http.StatusMisdirectedRequest, wire.WrongHost
				}
				for _, route := range d.unsafeRoutes() {
					if ours && strings.HasSuffix(route[1], "/files/content") {
						continue // it takes bytes, of any kind
					}
					r := b.request(route[0], route[1], `{"username":"victim","role":"admin"}`)
					set(r, "Sec-Fetch-Site", site...)
					set(r, "Origin", origin...)
					set(r, "Content-Type", kind...)
					if resp := b.do(r); resp.StatusCode != status || codeOf(t, resp).Code != code {
						t.Errorf("%s %s with Sec-Fetch-Site %q, Origin %q, type %q: status %d", route[0], route[1], site, origin, kind, resp.StatusCode)
					}
				}
			}
		}
	}
	if tried < 24 || !d.unchanged(before, size) {
		t.Errorf("after %d combinations the state or the audit log changed", tried)
	}
	// Without a body there is no type, and the rest holds all the same.
	for _, origin := range [][]string{nil, {"null"}, {"https://evil.example"}} {
		r := b.request("POST", "/api/v1/signout", "")
		set(r, "Sec-Fetch-Site")
		set(r, "Origin", origin...)
		b.want("a form without fields", b.do(r), wire.Forbidden)
	}
	// Our own page is let through, whichever of the two the browser sends.
	for _, header := range []string{"", "Origin", "Sec-Fetch-Site"} {
		r := b.request("PUT", "/api/v1/users/victim", `{"role":"compliance"}`)
		if header != "" {
			r.Header.Del(header)
		}
		b.want("our own page without "+header, b.do(r), wire.None)
	}
	b.want("without a body", b.call("DELETE", "/users/victim", nil), wire.None)
}

// Reading the API is for our own pages; the pages are for everybody who follows a link.
func TestForeignPagesReadNothing(t *testing.T) {
	d := newDesk(t)
	b := d.tab()
	b.signIn(d.operator("ann", access.Admin))
	pages := Browser(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "page") }), BrowserConfig{Access: d.access, Hosts: []string{"relay.example"}, Log: d.access.Log})
	for site, may := range map[string]bool{"": true, "none": true, "same-origin": true, "same-site": false, "cross-site": false, "what": false} {
		read := b.request("GET", "/api/v1/users", "")
		read.Header.Del("Origin")
		open := b.request("GET", "/account", "")
		open.Header.Del("Origin")
		if site == "" {
			read.Header.Del("Sec-Fetch-Site")
		} else {
			read.Header.Set("Sec-Fetch-Site", site)
			open.Header.Set("Sec-Fetch-Site", site)
		}
		if resp := b.do(read); (resp.StatusCode == http.StatusOK) != may {
			t.Errorf("Sec-Fetch-Site %q reads the API: status %d", site, resp.StatusCode)
		}
		w := httptest.NewRecorder()
		if pages.ServeHTTP(w, open); w.Code != http.StatusOK {
			t.Errorf("Sec-Fetch-Site %q opens a page: status %d", site, w.Code)
		}
	}
	r := b.request("GET", "/api/v1/users", "")
	r.Header.Set("Origin", "https://evil.example")
	r.Header.Del("Sec-Fetch-Site")
	b.want("a foreign Origin reads the API", b.do(r), wire.Forbidden)
}

// T-WSORIGIN: WebSocket and WebTransport are for our own pages alone.
func TestViewersComeFromOurPages(t *testing.T) {
	d := newDesk(t)
	reached := 0
	h := Browser(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached++ }), BrowserConfig{
		Access: d.access, Hosts: []string{"relay.example", "xn--rlay-bpa.example"}, Log: d.access.Log,
	})
	for _, c := range []struct {
		what, host string
		origins    []string
		ok         bool
	}{
		{"our own", "relay.example:8443", []string{"https://relay.example:8443"}, true},
		{"our own, the usual port", "relay.example", []string{"https://relay.example"}, true},
		{"our own, IPv6", "[::1]:8443", []string{"https://[::1]:8443"}, true},
		{"our own, not ASCII", "xn--rlay-bpa.example", []string{"https://xn--rlay-bpa.example"}, true},
		{"none", "relay.example:8443", nil, false},
		{"null", "relay.example:8443", []string{"null"}, false},
		{"empty", "relay.example:8443", []string{""}, false},
		{"two", "relay.example:8443", []string{"https://relay.example:8443", "https://relay.example:8443"}, false},
		{"a list", "relay.example:8443", []string{"https://relay.example:8443 https://evil.example"}, false},
		{"http", "relay.example:8443", []string{"http://relay.example:8443"}, false},
		{"wss", "relay.example:8443", []string{"wss://relay.example:8443"}, false},
		{"an extension", "relay.example:8443", []string{"chrome-extension://relay.example:8443"}, false},
		{"another port", "relay.example:8443", []string{"https://relay.example:8444"}, false},
		{"no port", "relay.example:8443", []string{"https://relay.example"}, false},
		{"a port too many", "relay.example", []string{"https://relay.example:443"}, false},
		{"the usual port, written", "relay.example:443", []string{"https://relay.example:443"}, false},
		{"a longer host", "relay.example:8443", []string{"https://relay.example:8443.evil.example"}, false},
		{"a host behind", "relay.example", []string{"https://relay.example.evil.example"}, false},
		{"a host before", "relay.example", []string{"https://evilrelay.example"}, false},
		{"below it", "relay.example", []string{"https://x.relay.example"}, false},
		{"above it", "relay.example", []string{"https://example"}, false},
		{"upper case", "relay.example", []string{"https://RELAY.example"}, false},
		{"upper case in both", "RELAY.example", []string{"https://RELAY.example"}, false},
		{"scheme in upper case", "relay.example", []string{"HTTPS://relay.example"}, false},
		{"a dot behind", "relay.example", []string{"https://relay.example."}, false},
		{"a dot behind both", "relay.example.", []string{"https://relay.example."}, false},
		{"a slash", "relay.example", []string{"https://relay.example/"}, false},
		{"a user", "relay.example", []string{"https://relay.example@evil.example"}, false},
		{"a user before", "relay.example", []string{"https://x@relay.example"}, false},
		{"a lookalike", "relay.example", []string{"https://xn--rlay-bpa.example"}, false},
		{"a lookalike, not ASCII", "relay.example", []string{"https://rеlay.example"}, false},
		{"an address for the name", "localhost:8443", []string{"https://127.0.0.1:8443"}, false},
	} {
		for _, upgrade := range []bool{true, false} {
			r := httptest.NewRequest("GET", "https://relay.example/ws/scrier/x", nil)
			if upgrade {
				r.Header.Set("Upgrade", "websocket")
			} else {
				r.Method = http.MethodConnect // extended CONNECT: WebTransport
			}
			r.Host = c.host
			set(r, "Origin", c.origins...)
			if err := SameOrigin(r); (err == nil) != c.ok || err != nil && wire.CodeOf(err) != wire.Forbidden {
				t.Errorf("%s: %v", c.what, err)
			}
			before := reached
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if (reached > before) != c.ok {
				t.Errorf("%s: status %d through the guard", c.what, w.Code)
			}
		}
	}
}

// T-REBIND: the relay answers to its own names only.
func TestHosts(t *testing.T) {
	d := newDesk(t)
	h := Browser(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }), BrowserConfig{
		Access: d.access, Hosts: []string{"Relay.Example", "[2001:db8::9]", "192.0.2.9", "*.wild.example"}, Log: d.access.Log,
		Covered: func(host string) bool { return host == "covered.example" },
	})
	local := &net.TCPAddr{IP: net.ParseIP("::ffff:198.51.100.7"), Port: 8443}
	for host, ok := range map[string]bool{
		"relay.example": true, "relay.example:8443": true, "RELAY.example:8443": true, "localhost": true, "localhost:1": true, "127.0.0.1:8443": true, "[::1]": true,
		"192.0.2.9": true, "[2001:db8::9]:8443": true, "x.wild.example": true, "covered.example:8443": true, "198.51.100.7:8443": true,
		"": false, "evil.example": false, "relay.example.evil.example": false, "relay.example.": false, ".relay.example": false, "x.relay.example": false,
		"wild.example": false, "x.y.wild.example": false, "127.0.0.2": false, "127.1": false, "0177.0.0.1": false, "2130706433": false, "0x7f.1": false, "0.0.0.0": false,
		"[::]": false, "::1": false, "[::1": false, "[::1]x": false, "[::1%25lo]": false, "[0:0:0:0:0:0:0:1]": false, "[::ffff:127.0.0.1]": false,
		"198.51.100.8": false, "relay.example:": false, "relay.example:0": false, "relay.example:08443": false, "relay.example:65536": false, "relay.example:x": false,
		"user@relay.example": false, "relay.example/": false, "relay.example:8443:1": false, "rеlay.example": false, "localhost.evil.example": false, "*.wild.example": false,
		strings.Repeat("a", 300): false, "x\x00y": false,
	} {
		for _, path := range []string{"/", "/api/v1/self"} {
			r := httptest.NewRequest("GET", "https://relay.example"+path, nil)
			r.Host = host
			r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, local))
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if want := map[bool]int{true: http.StatusNoContent, false: http.StatusMisdirectedRequest}[ok]; w.Code != want {
				t.Errorf("Host %q: status %d", host, w.Code)
			}
			if !ok && (strings.Count(w.Body.String(), "`hosts`") != 1 || strings.Count(w.Body.String(), "must pass on the Host") != 1) {
				t.Errorf("Host %q: the answer does not say once what to do: %s", host, w.Body)
			}
			if path != "/" && !ok {
				codeOf(t, w.Result())
			}
		}
	}
	if strings.Contains(d.said.String(), "\x00") {
		t.Error("the log has a Host as it came")
	}
}
