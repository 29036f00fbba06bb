package web

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"

	"scrier/relay/access"
	"scrier/wire"
)

// BrowserConfig is what [Browser] works with.
type BrowserConfig struct {
	Access *access.Access
	// Hosts are the names and addresses by which browsers may reach the relay: those of server.yaml
	// and the machine's own name. "*.example.com" stands for one label. localhost, 127.0.0.1 and ::1
	// need not be among them, nor the address that a connection itself was made to.
	Hosts []string
	// Covered, if not nil, says whether a configured certificate has this name; such a name is
	// allowed as well.
	Covered func(host string) bool
	Log     *slog.Logger
}

// Browser stands in front of everything that browsers reach, over TCP and HTTP/3: the API, the
// pages, WebSocket and WebTransport. It refuses
//
//   - a Host that is not the relay's (DNS rebinding),
//   - whatever changes something and does not come from one of our own pages, or is no JSON, files' contents apart,
//   - reading the API from other sites' pages.
//
// What it lets through has who is calling in its context ([WithCaller], [WithSignIn]), from the
// cookie; whether that counts is looked up when a route asks for it. The admin socket and
// operators' links have no cookies and do not go through here.
func Browser(next http.Handler, c BrowserConfig) http.Handler {
	g := &browserGuard{BrowserConfig: c, next: next, hosts: map[string]bool{"localhost": true, "127.0.0.1": true, "::1": true}}
	for _, h := range c.Hosts {
		g.hosts[strings.ToLower(strings.Trim(h, "[]"))] = true
	}
	return g
}

type browserGuard struct {
	BrowserConfig
	next  http.Handler
	hosts map[string]bool
}

// browser is who is at the other end, as far as a request tells.
type browser struct {
	access.Browser
	host string // without port, lower case
	site access.Site
}

type browserKey struct{}

// browserOf is the browser that a request came from; the admin socket and operators' links are none.
func browserOf(r *http.Request) (browser, bool) {
	b, ok := r.Context().Value(browserKey{}).(browser)
	return b, ok
}

func (g *browserGuard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header() // pages set their own instead
	h.Set("Content-Security-Policy", policyNone)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", cacheNever)
	authority := strings.ToLower(r.Host)
	name, _, ok := parseHost(authority)
	if !ok || !g.knows(r, name) {
		g.misdirected(w, r)
		return
	}
	if err := fromOurPages(r); err != nil {
		status := http.StatusForbidden
		if rewritten := hostRewritten(r); rewritten != nil {
			err, status = rewritten, http.StatusMisdirectedRequest
		}
		g.Log.Info("request refused", "source", source(r), "code", wire.CodeOf(err), "err", err)
		g.problem(w, err, status)
		return
	}
	if r.ContentLength < 0 && r.Header.Get("Content-Type") == "" && r.Method != http.MethodConnect && !isUpload(r) {
		r.Body = http.MaxBytesReader(w, r.Body, 0) // what has no type is empty; HTTP/3 does not say so at first
	}
	b := browser{
		Browser: access.Browser{Source: source(r), Agent: r.UserAgent(), Cookie: cookieOf(r)},
		host:    name, site: access.Site{Name: name, Origin: "https://" + authority},
	}
	ctx := context.WithValue(r.Context(), browserKey{}, b)
	ctx = WithSignIn(ctx, access.SignInID(b.Cookie))
	g.next.ServeHTTP(w, r.WithContext(WithCaller(ctx, g.caller(b))))
}

// caller looks the cookie up anew each time, and takes the first time as use of the sign-in: what
// asks again and again, like a stream of events, does not keep it from becoming idle.
func (g *browserGuard) caller(b browser) Caller {
	var once sync.Once
	return func(ctx context.Context) (access.Operator, error) {
		who, err := g.Access.IdentifyBrowser(ctx, b.Cookie)
		if err != nil {
			return access.Operator{}, err
		}
		once.Do(func() {
			err = g.Access.Touch(ctx, access.SignInID(b.Cookie))
			if v := VisitOf(ctx); v != nil {
				v.Identified(who.ID)
			}
		})
		who.Source = b.Source
		return who, err
	}
}

// knows says whether the relay is meant by this host: a name or an address, in lower case.
func (g *browserGuard) knows(r *http.Request, host string) bool {
	if g.hosts[host] {
		return true
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		if !ok {
			return false
		}
		at, err := netip.ParseAddrPort(local.String())
		return err == nil && at.Addr().Unmap().WithZone("") == ip
	}
	if _, parent, ok := strings.Cut(host, "."); ok && g.hosts["*."+parent] {
		return true
	}
	return g.Covered != nil && g.Covered(host)
}

// misdirected refuses a Host in words that can be read wherever they are shown.
func (g *browserGuard) misdirected(w http.ResponseWriter, r *http.Request) {
	host := wire.Printable(r.Host)
	g.Log.Info("request refused", "source", source(r), "host", host, "err", "the relay is not called so")
	err := wire.Errorf(wire.WrongHost, "this relay is not called %q", host)
	if strings.HasPrefix(r.URL.Path, apiPath) {
		g.problem(w, err, http.StatusMisdirectedRequest)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(http.StatusMisdirectedRequest)
	text := "T" + err.Detail[1:] + "; if it should be, add the name to `hosts` in server.yaml and restart the relay." +
		" A proxy in front of it must pass on the Host that the browser sent.\n"
	_, _ = io.WriteString(w, text) // the client may be gone
}

func (g *browserGuard) problem(w http.ResponseWriter, err error, status int) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(wire.ProblemOf(err, status)); err != nil {
		g.Log.Debug("write answer", "err", err)
	}
}

const apiPath = "/api/"
