// Package web is the relay's HTTP side: the API, the pages, and the streams of browsers.
//
// The API is the same over every carrier: the admin socket on the relay's host, and an operator's
// QUIC link. Who is calling is known from the carrier ([WithCaller]), never from the request. Each route
// names the verb it needs; the table has no way to write a route without one.
package web

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-chi/chi/v5"

	"scrier/certs"
	"scrier/relay/access"
	"scrier/relay/audit"
	"scrier/relay/files"
	"scrier/relay/fleet"
	"scrier/relay/panics"
	"scrier/relay/session"
	"scrier/wire"
)

// Config is what the API works on.
type Config struct {
	Access   *access.Access
	Fleet    *fleet.Fleet
	Sessions *session.Table
	Audit    *audit.Log
	Pin      certs.Pin
	// Connect opens a session, or begins to, if it can ask.
	Connect func(ctx context.Context, who access.Operator, req *session.Request) (*session.Session, error)
	// Files works on the files of machines; nil: there are no routes for that.
	Files *files.Files
	// Hashes are those of the certificates that WebTransport at this host meets; none where a
	// browser accepts them anyway.
	Hashes func(host string) []string
	// Origin, if not nil, is https://host:port of this relay as browsers reach it, empty if it is not
	// known; links to sign in begin with it where they are not asked for by a browser.
	Origin func() string
	// Address, if not nil, is host:port of this relay for machines and operators, empty if it is not known.
	Address  func() string
	LiveView bool // operators whose role allows it may watch sessions of others
	Log      *slog.Logger
	Events   *Events
	About    func() About
	Panics   *panics.Boundary
	// Metrics answers with the relay's figures; nil: there are none.
	Metrics http.Handler
}

// Caller finds out who is calling, anew for each request: an operator may have been deleted since
// the connection was made.
type Caller func(ctx context.Context) (access.Operator, error)

type callerKey struct{}

// WithCaller marks a connection's context.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// api is the handlers.
type api struct {
	Config
	verifying sync.Mutex // held by the one verification of the audit log
	packers   sync.Pool  // of *gzip.Writer
}

// handler serves one route. The value it returns becomes JSON; nil is 204.
type handler func(r *http.Request, who access.Operator) (any, error)

// route is one line of the API's table; its description (openapi.go) is made of the same line.
type route struct {
	method, pattern string      // the pattern without /api/v1
	verb            access.Verb // what the caller must be allowed to do; [anyone] before sign-in
	what            string      // one line for the description
	handle          handler
	raw             rawHandler // instead of handle: answers that are no JSON, or set cookies
	in, out         any        // zero values of the JSON that is taken and given, if any
	query           []param
	many            bool   // they may be given more than once
	takes           string // the media type of a body that is no JSON
	signed          bool   // it changes who may do what: a signature under this very request is needed
	confirms        bool   // it is how they prove who they are who came by another operator's link
	challenge       bool   // it gives a challenge and changes nothing
	slow            bool   // the answer may take as long as an envoy does
	streams         bool   // its body is no JSON, and is read by handle or raw alone
	elsewhere       bool   // what it changes is the machine's, and nothing of the relay's
	packs           bool   // the answer may be compressed, see [api.pack]: it holds nothing that lets anybody in
	door            bool   // it makes or ends ways in: see [access.Access.Change]
	media           string // of an answer that is no JSON
	more            string // for the description, besides what
}

// param is a query parameter.
type param struct{ name, what string }

// rawHandler writes its answer itself; who is zero where the verb is [anyone].
type rawHandler func(w http.ResponseWriter, r *http.Request, who access.Operator)

// anyone is the verb of the few routes that are for people who have not signed in yet.
const anyone access.Verb = ""

func (a *api) routes() []route {
	return slices.Concat(a.fleetRoutes(), a.sessionRoutes(), a.userRoutes(), a.auditRoutes(), a.signinRoutes(), a.eventRoutes(), a.fileRoutes(), a.aboutRoutes(), a.metricsRoutes(), a.descriptionRoutes())
}

// API is the routes under /api/v1.
func API(c Config) http.Handler {
	if c.Panics == nil {
		c.Panics = &panics.Boundary{Log: c.Log}
	}
	a := &api{Config: c}
	m := chi.NewRouter()
	m.Use(c.Panics.Handler)
	m.Route("/api/v1", func(m chi.Router) {
		for _, r := range a.routes() {
			raw := r.raw
			if raw == nil {
				raw = a.json(r)
			}
			if r.slow {
				raw = slowly(raw)
			}
			m.Method(r.method, r.pattern, a.guard(r, raw))
		}
	})
	m.NotFound(func(w http.ResponseWriter, r *http.Request) {
		a.fail(w, wire.Errorf(wire.NotFound, "there is no %s %s", wire.Printable(r.Method), wire.Printable(r.URL.Path)).Advise("see GET /api/v1/openapi.json"))
	})
	m.MethodNotAllowed(func(w http.ResponseWriter, r *http.Request) {
		allowed := strings.Join(methods(m, cmp.Or(r.URL.RawPath, r.URL.Path)), ", ")
		w.Header().Set("Allow", allowed)
		a.problem(w, http.StatusMethodNotAllowed, wire.Errorf(wire.BadRequest, "%s does not go with %s", wire.Printable(r.Method), wire.Printable(r.URL.Path)).
			Advise("here it is %s; see GET /api/v1/openapi.json", allowed))
	})
	return m
}

// methods are those that a path takes.
func methods(m chi.Routes, path string) []string {
	var all []string
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete} {
		if m.Match(chi.NewRouteContext(), method, path) {
			all = append(all, method)
		}
	}
	return all
}

// slowly gives an answer more time than the server does.
func slowly(h rawHandler) rawHandler {
	return func(w http.ResponseWriter, r *http.Request, who access.Operator) {
		// A server that sets no time limits cannot lengthen them either.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(patience))
		h(w, r, who)
	}
}

// guard lets a request through if the caller may do what the route is for, has signed it if it must be, and does not
// change things too fast: most changes are written to the audit log, refused ones among them.
func (a *api) guard(to route, h rawHandler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if to.verb == anyone {
			if err := to.known(r); err != nil {
				a.fail(w, err)
				return
			}
			h(w, r, access.Operator{})
			return
		}
		caller, ok := r.Context().Value(callerKey{}).(Caller)
		if !ok {
			a.fail(w, wire.Errorf(wire.Unauthenticated, "this way in has no login"))
			return
		}
		who, err := a.caller(r, caller, to)
		var data []byte
		if err == nil && r.Method != http.MethodGet && !to.streams {
			if data, err = whole(r); err == nil && len(data) > 0 { // it may have taken its time, and they may have been changed since
				who, err = a.caller(r, caller, to)
			}
		}
		if err == nil && to.signed {
			who, err = a.signed(r, who, data)
		}
		// A request that only lacks its signature comes again.
		if who.ID != "" && to.method != http.MethodGet && !to.challenge && !to.elsewhere && wire.CodeOf(err) != wire.ProofRequired {
			paced := who
			if err != nil {
				paced.Proof = "" // nothing was proved
			}
			if busy := a.Access.Change(paced, to.door); busy != nil {
				err = busy
			}
		}
		if err != nil {
			a.fail(w, err)
			return
		}
		h(w, r, who)
	})
}

// caller is who asks, if they may, and ask for what there is.
func (a *api) caller(r *http.Request, caller Caller, to route) (access.Operator, error) {
	who, err := caller(r.Context())
	if err == nil {
		err = who.May(to.verb)
	}
	if err == nil && to.signed && !to.confirms {
		err = who.Undoubted()
	}
	if err == nil {
		err = to.known(r)
	}
	return who, err
}

// json is a route's handler with its value as the answer.
func (a *api) json(to route) rawHandler {
	return func(w http.ResponseWriter, r *http.Request, who access.Operator) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		var v any
		err := a.Panics.Contain("call", func() (err error) {
			v, err = to.handle(r, who)
			return err
		}, "method", r.Method, "path", wire.Printable(r.URL.Path), "operator", who.Username)
		if err != nil {
			a.fail(w, err)
			return
		}
		if v == nil {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		if p, ok := v.(part); ok {
			p.link(w, r)
			v = p.rows
		}
		if to.packs {
			a.pack(w, r, v)
			return
		}
		a.write(w, v)
	}
}

func (a *api) write(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		a.Log.Debug("write answer", "err", err)
	}
}

func (a *api) fail(w http.ResponseWriter, err error) {
	code := wire.CodeOf(err)
	if errors.Is(err, context.Canceled) {
		a.Log.Debug("the client gave its request up", "err", err)
	} else if code == wire.Internal {
		a.Log.Error("request failed", "err", err)
	}
	a.problem(w, status(code), err)
}

func (a *api) problem(w http.ResponseWriter, status int, err error) {
	p := wire.ProblemOf(err, status)
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	if err := json.NewEncoder(w).Encode(p); err != nil {
		a.Log.Debug("write answer", "err", err)
	}
}

func status(c wire.Code) int {
	switch c {
	case wire.BadRequest, wire.Usage, wire.NoSSHPubkey, wire.KeyUnusable:
		return http.StatusBadRequest
	case wire.Unauthenticated, wire.OperatorChanged, wire.Expired, wire.SignedOut:
		return http.StatusUnauthorized
	case wire.Forbidden, wire.Disabled, wire.NativeOff, wire.ConsoleOff, wire.ConsoleRefused, wire.DesktopLogin, wire.PortNotAllowed, wire.LoginNotAllowed, wire.PubkeyNotAuthorized, wire.KeyRestricted, wire.AccountNotLoginable:
		return http.StatusForbidden
	case wire.NotFound, wire.NoSuchEnvoy:
		return http.StatusNotFound
	case wire.Conflict, wire.AmbiguousEnvoy, wire.AmbiguousLogin, wire.Revoked, wire.Quarantined, wire.Killed, wire.ConsoleEmpty, wire.ConsoleLocked, wire.ConsoleEnded:
		return http.StatusConflict
	case wire.FileNoSpace:
		return http.StatusInsufficientStorage
	case wire.AgentLost, wire.TargetRefused, wire.FileFailed, wire.HostKeyMismatch, wire.AuthFailed, wire.DesktopFailed, wire.DesktopSecurity, // the machine's fault
		wire.ListenerUntrusted, wire.CertificateMismatch, wire.ConsoleMissing, wire.ConsoleUnsupported:
		return http.StatusBadGateway
	case wire.AgentTimeout, wire.SSHTimeout, wire.ConsoleNoAnswer:
		return http.StatusGatewayTimeout
	case wire.EnvoyOffline, wire.RelayShutdown, wire.RelayLost, wire.GuacdUnavailable:
		return http.StatusServiceUnavailable
	case wire.LinkInvalid:
		return http.StatusGone
	case wire.Limit, wire.Busy:
		return http.StatusTooManyRequests
	case wire.AuditUnavailable:
		return http.StatusServiceUnavailable
	}
	if c >= wire.KeyfileSymlink && c <= wire.KeyfileUnsupported { // on the machine
		return http.StatusBadGateway
	}
	if class, ok := c.Class(); ok {
		return statusOfClass[class.First]
	}
	return http.StatusInternalServerError
}

// statusOfClass is for codes that status does not name.
var statusOfClass = map[wire.Code]int{
	300: http.StatusBadRequest,
	400: http.StatusForbidden,
	500: http.StatusServiceUnavailable,
	600: http.StatusServiceUnavailable,
	700: http.StatusBadGateway,
	800: http.StatusInternalServerError,
	900: http.StatusInternalServerError,
}
