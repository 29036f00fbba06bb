// Package web is the relay's HTTP side: the API, and for now one plain page.
//
// The API is the same over every carrier: the admin socket on the relay's host, and an operator's
// QUIC link. It never asks the network who is calling: the carrier says it ([WithCaller]). Each
// route names the verb it needs; a route without one cannot be written down.
package web

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"

	"github.com/go-chi/chi/v5"

	"scrier/certs"
	"scrier/relay/access"
	"scrier/relay/audit"
	"scrier/relay/fleet"
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
	Log      *slog.Logger
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
type api struct{ Config }

// handler serves one route. The value it returns becomes JSON; nil is 204.
type handler func(r *http.Request, who access.Operator) (any, error)

// API is the routes under /api/v1.
func API(c Config) http.Handler {
	a := &api{c}
	m := chi.NewRouter()
	m.Route("/api/v1", func(m chi.Router) {
		route := func(method, pattern string, verb access.Verb, h handler) {
			m.Method(method, pattern, a.serve(verb, h))
		}
		route("GET", "/self", access.SeeSelf, a.self)
		route("GET", "/envoys", access.SeeEnvoys, a.envoys)
		route("GET", "/envoys/{envoy}", access.SeeEnvoys, a.envoy)
		route("POST", "/envoys/{envoy}/revoke", access.ChangeEnvoys, a.revokeEnvoy)
		route("DELETE", "/envoys/{envoy}", access.ChangeEnvoys, a.removeEnvoy)
		route("POST", "/tokens", access.MakeTokens, a.makeToken)
		route("GET", "/users", access.SeeUsers, a.users)
		route("POST", "/users", access.ChangeUsers, a.createUser)
		route("PUT", "/users/{user}", access.ChangeUsers, a.updateUser)
		route("DELETE", "/users/{user}", access.ChangeUsers, a.deleteUser)
		route("GET", "/sessions", access.SeeSessions, a.sessions)
		route("DELETE", "/sessions/{session}", access.KillSessions, a.killSession)
		route("GET", "/audit", access.SeeAudit, a.auditRecords)
		m.Method("GET", "/audit/export", a.guard(access.SeeAudit, a.auditExport))
	})
	m.NotFound(func(w http.ResponseWriter, r *http.Request) {
		a.fail(w, wire.Errorf(wire.NotFound, "there is no %s %s", r.Method, wire.Printable(r.URL.Path)))
	})
	m.MethodNotAllowed(func(w http.ResponseWriter, r *http.Request) {
		a.fail(w, wire.Errorf(wire.BadRequest, "%s does not go with %s", r.Method, wire.Printable(r.URL.Path)))
	})
	return m
}

// guard lets a request through if the caller may do verb.
func (a *api) guard(verb access.Verb, h func(w http.ResponseWriter, r *http.Request, who access.Operator)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller, ok := r.Context().Value(callerKey{}).(Caller)
		if !ok {
			a.fail(w, wire.Errorf(wire.Unauthenticated, "this way in has no login"))
			return
		}
		who, err := caller(r.Context())
		if err == nil {
			err = who.May(verb)
		}
		if err != nil {
			a.fail(w, err)
			return
		}
		h(w, r, who)
	})
}

func (a *api) serve(verb access.Verb, h handler) http.Handler {
	return a.guard(verb, func(w http.ResponseWriter, r *http.Request, who access.Operator) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		v, err := h(r, who)
		if err != nil {
			a.fail(w, err)
			return
		}
		if v == nil {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(v); err != nil {
			a.Log.Debug("write answer", "err", err)
		}
	})
}

// maxBody is many times what any request needs.
const maxBody = 64 << 10

// body reads a request's JSON strictly.
func body[T any](r *http.Request) (T, error) {
	var v T
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		return v, &wire.Error{Code: wire.BadRequest, Detail: "the request's JSON: " + wire.Printable(err.Error()), Err: err}
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return v, wire.Errorf(wire.BadRequest, "the request goes on behind its JSON")
	}
	return v, nil
}

func (a *api) fail(w http.ResponseWriter, err error) {
	code := wire.CodeOf(err)
	if code == wire.Internal {
		a.Log.Error("request failed", "err", err)
	}
	p := wire.ProblemOf(err, status(code))
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
	case wire.Unauthenticated, wire.OperatorChanged, wire.Expired, wire.Revoked:
		return http.StatusUnauthorized
	case wire.Forbidden:
		return http.StatusForbidden
	case wire.NotFound, wire.NoSuchEnvoy:
		return http.StatusNotFound
	case wire.Conflict, wire.AmbiguousEnvoy:
		return http.StatusConflict
	case wire.Limit, wire.Busy:
		return http.StatusTooManyRequests
	case wire.AuditUnavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}
