package web

import (
	"net/http"
	"strconv"
	"time"

	"github.com/go-chi/chi/v5"

	"scrier/relay/access"
	"scrier/relay/audit"
	"scrier/relay/fleet"
	"scrier/wire"
)

// by is who did it, for the audit log.
func by(who access.Operator) audit.Event {
	return audit.Event{Operator: who.Username, Source: who.Source}
}

func (a *api) self(_ *http.Request, who access.Operator) (any, error) { return who, nil }

func (a *api) envoys(r *http.Request, _ access.Operator) (any, error) {
	return a.Fleet.List(r.Context())
}

func (a *api) envoy(r *http.Request, _ access.Operator) (any, error) {
	e, err := a.Fleet.Find(r.Context(), chi.URLParam(r, "envoy"))
	if err != nil {
		return nil, err
	}
	return e, nil
}

func (a *api) revokeEnvoy(r *http.Request, who access.Operator) (any, error) {
	return a.endEnvoy(r, func(e fleet.Envoy) error { return a.Fleet.Revoke(r.Context(), by(who), e.ID) })
}

func (a *api) removeEnvoy(r *http.Request, who access.Operator) (any, error) {
	return a.endEnvoy(r, func(e fleet.Envoy) error { return a.Fleet.Remove(r.Context(), by(who), e.ID) })
}

// endEnvoy answers with the envoy that was meant, which a prefix does not tell.
func (a *api) endEnvoy(r *http.Request, end func(fleet.Envoy) error) (any, error) {
	e, err := a.Fleet.Find(r.Context(), chi.URLParam(r, "envoy"))
	if err != nil {
		return nil, err
	}
	if err := end(e); err != nil {
		return nil, err
	}
	return e, nil
}

// TokenRequest asks for an enrolment token.
type TokenRequest struct {
	Name string `json:"name"`
	TTL  string `json:"ttl"` // as Go writes durations, e.g. "15m"; empty: 15 minutes
}

// Token is an enrolment token; it is shown once.
type Token struct {
	Token       string    `json:"token"`
	Fingerprint string    `json:"fingerprint"`
	Expires     time.Time `json:"expires"`
	Name        string    `json:"name,omitempty"`
}

func (a *api) makeToken(r *http.Request, who access.Operator) (any, error) {
	req, err := body[TokenRequest](r)
	if err != nil {
		return nil, err
	}
	ttl := fleet.DefaultTokenTTL
	if req.TTL != "" {
		if ttl, err = time.ParseDuration(req.TTL); err != nil {
			return nil, wire.Errorf(wire.BadRequest, "ttl %q is not a duration like 15m or 24h", wire.Printable(req.TTL))
		}
	}
	t, expires, err := a.Fleet.Token(r.Context(), by(who), req.Name, ttl)
	if err != nil {
		return nil, err
	}
	return Token{Token: t.String(), Fingerprint: a.Pin.String(), Expires: expires.UTC(), Name: req.Name}, nil
}

func (a *api) users(r *http.Request, _ access.Operator) (any, error) {
	return a.Access.Users(r.Context())
}

// Created is a new operator and what to hand over for the first login.
type Created struct {
	access.User
	RelayFingerprint string `json:"relay_fingerprint"`
}

func (a *api) createUser(r *http.Request, who access.Operator) (any, error) {
	req, err := body[access.User](r)
	if err != nil {
		return nil, err
	}
	u, err := a.Access.Create(r.Context(), who, req)
	if err != nil {
		return nil, err
	}
	return Created{User: u, RelayFingerprint: a.Pin.String()}, nil
}

func (a *api) updateUser(r *http.Request, who access.Operator) (any, error) {
	req, err := body[access.User](r)
	if err != nil {
		return nil, err
	}
	return a.Access.Update(r.Context(), who, chi.URLParam(r, "user"), req)
}

func (a *api) deleteUser(r *http.Request, who access.Operator) (any, error) {
	return nil, a.Access.Delete(r.Context(), who, chi.URLParam(r, "user"))
}

// maxPage is the most rows that one answer holds.
const maxPage = 1000

func (a *api) sessions(r *http.Request, _ access.Operator) (any, error) {
	all := r.URL.Query().Get("all") == "true"
	return a.Sessions.List(r.Context(), all, maxPage)
}

func (a *api) killSession(r *http.Request, who access.Operator) (any, error) {
	id, err := wire.ParseSessionID(chi.URLParam(r, "session"))
	if err != nil {
		return nil, err
	}
	return nil, a.Sessions.Kill(r.Context(), by(who), id)
}

// Record is an audit record as the API shows one.
type Record struct {
	Seq       uint64            `json:"seq"`
	Time      time.Time         `json:"time"`
	Type      string            `json:"type"`
	Operator  string            `json:"operator"`
	EnvoyID   string            `json:"envoy_id"`
	EnvoyName string            `json:"envoy_name"`
	SessionID string            `json:"session_id"`
	Source    string            `json:"source"`
	Code      string            `json:"code"`
	Detail    string            `json:"detail"`
	Fields    map[string]string `json:"fields"`
}

// auditRecords is a page: the newest records, or those from ?from= on.
func (a *api) auditRecords(r *http.Request, _ access.Operator) (any, error) {
	q := r.URL.Query()
	limit := uint64(200)
	if s := q.Get("limit"); s != "" {
		n, err := strconv.ParseUint(s, 10, 32)
		if err != nil || n == 0 || n > maxPage {
			return nil, wire.Errorf(wire.BadRequest, "limit is a number from 1 to %d", maxPage)
		}
		limit = n
	}
	size := a.Audit.Size()
	from := size - min(size, limit)
	if s := q.Get("from"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			return nil, wire.Errorf(wire.BadRequest, "from is the number of a record")
		}
		from = n
	}
	records, err := a.Audit.Records(r.Context(), from, int(limit))
	if err != nil {
		return nil, err
	}
	out := make([]Record, 0, len(records))
	for _, rec := range records {
		out = append(out, Record{
			Seq: rec.Seq, Time: rec.Time.UTC(), Type: rec.Type, Operator: rec.Operator, EnvoyID: rec.Envoy, EnvoyName: rec.EnvoyName,
			SessionID: rec.Session, Source: rec.Source, Code: rec.Code, Detail: rec.Detail, Fields: rec.Fields,
		})
	}
	return out, nil
}

func (a *api) auditExport(w http.ResponseWriter, r *http.Request, _ access.Operator) {
	w.Header().Set("Content-Type", "application/octet-stream")
	if err := a.Audit.Export(r.Context(), w); err != nil {
		a.Log.Error("export the audit log", "err", err)
		// The answer is under way already: break it off, so that it does not look complete.
		panic(http.ErrAbortHandler)
	}
}
