package web

import (
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"

	"scrier/relay/access"
	"scrier/relay/audit"
	"scrier/relay/fleet"
	"scrier/wire"
)

// by is who did it, for the audit log.
func by(who access.Operator) audit.Event {
	e := audit.Event{Operator: who.Username, Source: who.Source}
	if who.Proof != "" {
		e.Fields = map[string]string{"proof": who.Proof}
	}
	return e
}

func (a *api) fleetRoutes() []route {
	return []route{
		{method: "GET", pattern: "/envoys", verb: access.SeeEnvoys, what: "List the envoys", packs: true, handle: a.envoys, out: []fleet.Envoy{}, query: []param{{"limit", "at most so many, in the order of their ids; without it, all by hostname"}, {"after", "with limit: those behind this id"}}, more: "While there are more, the header Link names the next page."},
		{method: "GET", pattern: "/envoys/{envoy}", verb: access.SeeEnvoys, what: "Show an envoy", handle: a.envoy, out: fleet.Envoy{}, query: []param{{"strict", "true: never guess between envoys of one name, as changes do not; without it the connected one is shown"}}},
		{method: "POST", pattern: "/envoys/{envoy}/revoke", verb: access.ChangeEnvoys, what: "Revoke an envoy's identity", handle: a.revokeEnvoy, out: fleet.Envoy{}},
		{method: "POST", pattern: "/envoys/{envoy}/rename", verb: access.ChangeEnvoys, signed: true, what: "Give an envoy a name, or have it follow its hostname", handle: a.renameEnvoy, in: RenameRequest{}, out: fleet.Envoy{}, more: "The answer is the envoy as it is then."},
		{method: "POST", pattern: "/envoys/{envoy}/release", verb: access.ChangeEnvoys, what: "Release an envoy from quarantine", handle: a.releaseEnvoy, in: ReleaseRequest{}, out: fleet.Envoy{}, more: "The answer is the envoy as it was, with what happened. The newest certificate counts from then on."},
		{method: "DELETE", pattern: "/envoys/{envoy}", verb: access.ChangeEnvoys, what: "Revoke an envoy and forget it", handle: a.removeEnvoy, out: fleet.Envoy{}},
		{method: "POST", pattern: "/tokens", verb: access.MakeTokens, signed: true, what: "Make an enrolment token", handle: a.makeToken, in: TokenRequest{}, out: Token{}},
		{method: "GET", pattern: "/tokens", verb: access.MakeTokens, what: "List the enrolment tokens that were not used", handle: a.tokens, out: []fleet.Token{}, more: "A token itself is shown once, when it is made."},
		{method: "DELETE", pattern: "/tokens/{token}", verb: access.MakeTokens, signed: true, what: "Revoke an enrolment token, by its id", handle: a.revokeToken},
	}
}

func (a *api) userRoutes() []route {
	return []route{
		{method: "GET", pattern: "/self", verb: access.SeeSelf, what: "Who is calling, and what they may do", handle: a.self, out: Self{}},
		{method: "GET", pattern: "/users", verb: access.SeeUsers, what: "List the operators", packs: true, handle: a.users, out: []access.User{}},
		{method: "POST", pattern: "/users", verb: access.ChangeUsers, signed: true, what: "Make an operator", handle: a.createUser, in: access.User{}, out: Created{}},
		{method: "PUT", pattern: "/users/{user}", verb: access.ChangeUsers, signed: true, what: "Change an operator's role and keys, those that are given", handle: a.updateUser, in: UserChange{}, out: access.User{}, more: "What would leave no admin who can log in is refused, but over the admin socket."},
		{method: "DELETE", pattern: "/users/{user}", verb: access.ChangeUsers, signed: true, what: "Delete an operator", handle: a.deleteUser, more: "The last admin who can log in is not deleted, but over the admin socket."},
		{method: "POST", pattern: "/users/{user}/revoke", verb: access.ChangeUsers, signed: true, what: "End all logins, sign-ins, sessions, links and passkeys of an operator", handle: a.revokeUser, out: access.User{}},
	}
}

// Self is who is calling.
type Self struct {
	access.Operator
	May []access.Verb `json:"may"`
}

func (a *api) self(_ *http.Request, who access.Operator) (any, error) {
	return Self{Operator: who, May: who.Verbs()}, nil
}

func (a *api) envoys(r *http.Request, _ access.Operator) (any, error) {
	q := r.URL.Query()
	limit, err := limitOf(q)
	if err != nil {
		return nil, err
	}
	if limit == 0 {
		if q.Get("after") != "" {
			return nil, wire.Errorf(wire.BadRequest, "after goes with limit")
		}
		return a.Fleet.List(r.Context())
	}
	var after wire.EnvoyID
	if s := q.Get("after"); s != "" {
		if after, err = wire.ParseEnvoyID(s); err != nil {
			return nil, err
		}
	}
	rows, more, err := a.Fleet.Page(r.Context(), after, limit)
	if err != nil || !more {
		return rows, err
	}
	return part{rows, following(q, "after", rows[len(rows)-1].ID.String())}, nil
}

func (a *api) envoy(r *http.Request, _ access.Operator) (any, error) {
	name := chi.URLParam(r, "envoy")
	strict, err := flagOf(r.URL.Query(), "strict")
	if err != nil {
		return nil, err
	}
	if strict { // what is shown before a change is what will be changed
		e, err := a.Fleet.Find(r.Context(), name)
		if err != nil {
			return nil, err
		}
		return e, nil
	}
	e, _, err := a.Fleet.FindLive(r.Context(), name)
	if err != nil {
		return nil, err
	}
	return e, nil
}

// RenameRequest is the name that an envoy is to have.
type RenameRequest struct {
	Name   string `json:"name,omitempty"`   // it stays
	Follow bool   `json:"follow,omitempty"` // instead: whatever hostname its agent reports
}

func (a *api) renameEnvoy(r *http.Request, who access.Operator) (any, error) {
	req, err := body[RenameRequest](r)
	if err != nil {
		return nil, err
	}
	if (req.Name == "") != req.Follow {
		return nil, wire.Errorf(wire.BadRequest, "give either a name, or follow")
	}
	e, err := a.Fleet.Find(r.Context(), chi.URLParam(r, "envoy"))
	if err != nil {
		return nil, err
	}
	if err := a.Fleet.Rename(r.Context(), by(who), e.ID, req.Name); err != nil {
		return nil, err
	}
	if e, err = a.Fleet.Find(r.Context(), e.ID.String()); err != nil {
		return nil, err
	}
	return e, nil
}

func (a *api) revokeEnvoy(r *http.Request, who access.Operator) (any, error) {
	return a.changeEnvoy(r, func(e fleet.Envoy) error { return a.Fleet.Revoke(r.Context(), by(who), e.ID) })
}

func (a *api) removeEnvoy(r *http.Request, who access.Operator) (any, error) {
	return a.changeEnvoy(r, func(e fleet.Envoy) error { return a.Fleet.Remove(r.Context(), by(who), e.ID) })
}

// ReleaseRequest says which quarantine is to end.
type ReleaseRequest struct {
	Since time.Time `json:"since,omitzero"` // when the one began that somebody has looked at; without it, whichever there is
}

func (a *api) releaseEnvoy(r *http.Request, who access.Operator) (any, error) {
	req, err := body[ReleaseRequest](r)
	if err != nil && !errors.Is(err, io.EOF) { // an empty body asks for nothing special
		return nil, err
	}
	return a.changeEnvoy(r, func(e fleet.Envoy) error { return a.Fleet.Release(r.Context(), by(who), e.ID, req.Since) })
}

// changeEnvoy answers with the envoy that was meant, which a prefix does not tell, as it was before.
func (a *api) changeEnvoy(r *http.Request, change func(fleet.Envoy) error) (any, error) {
	e, err := a.Fleet.Find(r.Context(), chi.URLParam(r, "envoy"))
	if err != nil {
		return nil, err
	}
	if err := change(e); err != nil {
		return nil, err
	}
	return e, nil
}

// TokenRequest asks for an enrolment token.
type TokenRequest struct {
	Name string `json:"name"`
	TTL  string `json:"ttl"` // as Go writes durations, e.g. "15m"; empty: 15 minutes
	// Replace removes the envoy that has the name now when the token is used.
	Replace bool `json:"replace,omitempty"`
}

// Token is an enrolment token; it is shown once.
type Token struct {
	ID          string    `json:"id"` // public: by it the token is listed and revoked
	Token       string    `json:"token"`
	Fingerprint string    `json:"fingerprint"`
	Expires     time.Time `json:"expires"`
	Name        string    `json:"name,omitempty"`
	Address     string    `json:"relay_address,omitempty"` // host:port, if `hosts` of server.yaml has a name
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
	if req.Replace {
		if err := who.May(access.ChangeEnvoys); err != nil {
			return nil, err
		}
	}
	secret, t, err := a.Fleet.MakeToken(r.Context(), fleet.Order{By: by(who), Maker: who.ID, Name: req.Name, TTL: ttl, Replace: req.Replace})
	if err != nil {
		return nil, err
	}
	return Token{ID: t.ID, Token: secret.String(), Fingerprint: a.Pin.String(), Expires: t.Expires.UTC(), Name: t.Name, Address: a.address()}, nil
}

func (a *api) tokens(r *http.Request, _ access.Operator) (any, error) {
	return a.Fleet.Tokens(r.Context())
}

func (a *api) revokeToken(r *http.Request, who access.Operator) (any, error) {
	return nil, a.Fleet.RevokeToken(r.Context(), by(who), chi.URLParam(r, "token"))
}

func (a *api) users(r *http.Request, _ access.Operator) (any, error) {
	return a.Access.Users(r.Context())
}

// Created is a new operator and what to hand over for the first login.
type Created struct {
	access.User
	RelayFingerprint string `json:"relay_fingerprint"`
	RelayAddress     string `json:"relay_address,omitempty"` // host:port, if `hosts` of server.yaml has a name
	Link             *Link  `json:"link,omitempty"`          // missing when the operator was made and the link was not
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
	link, err := a.link(r, who, u.ID)
	if err != nil {
		a.Log.Error("make a sign-in link for a new operator", "operator", u.Username, "err", err)
	}
	return Created{User: u, RelayFingerprint: a.Pin.String(), RelayAddress: a.address(), Link: link}, nil
}

// address is where machines and operators reach this relay, if that is known.
func (a *api) address() string {
	if a.Address == nil {
		return ""
	}
	return a.Address()
}

// UserChange is what becomes of an operator.
type UserChange struct {
	access.User
	// RevokeAll also ends all logins, sign-ins and sessions, and removes links, passkeys and tokens.
	RevokeAll bool `json:"revoke_all,omitempty"`
}

func (a *api) updateUser(r *http.Request, who access.Operator) (any, error) {
	req, err := body[UserChange](r)
	if err != nil {
		return nil, err
	}
	if req.RevokeAll {
		return a.Access.UpdateAndRevoke(r.Context(), who, chi.URLParam(r, "user"), req.User)
	}
	return a.Access.Update(r.Context(), who, chi.URLParam(r, "user"), req.User)
}

func (a *api) revokeUser(r *http.Request, who access.Operator) (any, error) {
	return a.Access.Revoke(r.Context(), who, chi.URLParam(r, "user"))
}

func (a *api) deleteUser(r *http.Request, who access.Operator) (any, error) {
	return nil, a.Access.Delete(r.Context(), who, chi.URLParam(r, "user"))
}
