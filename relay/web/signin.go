package web

import (
	"net/http"
	"slices"
	"time"

	"github.com/go-chi/chi/v5"

	"scrier/relay/access"
	"scrier/wire"
)

func (a *api) signinRoutes() []route {
	return append([]route{
		{method: "GET", pattern: "/signin", verb: anyone, what: "Which ways to sign in there are here", handle: a.waysIn, out: WaysIn{}},
		{method: "POST", pattern: "/signin/link/look", verb: anyone, what: "Whom a link signs in; it stays good", handle: a.lookAtLink, in: LinkToken{}, out: access.LinkFor{}},
		{method: "POST", pattern: "/signin/link", verb: anyone, what: "Sign in with a link", raw: a.signsIn(a.signInByLink), in: LinkToken{}, out: SignedIn{}},
		{method: "POST", pattern: "/signout", verb: access.SeeSelf, what: "Sign this browser out", raw: a.signOut},
		{method: "GET", pattern: "/self/signins", verb: access.SeeSelf, what: "List one's own sign-ins", handle: a.signIns, out: []access.SignIn{}},
		{method: "DELETE", pattern: "/self/signins", verb: access.SeeSelf, what: "Sign out everywhere; links that are unused end too", raw: a.signOutEverywhere, door: true},
		{method: "DELETE", pattern: "/self/signins/{signin}", verb: access.SeeSelf, what: "End one of one's own sign-ins", raw: a.endSignIn},
		{method: "POST", pattern: "/self/links", verb: access.SeeSelf, signed: true, what: "Make a sign-in link for oneself", handle: a.linkSelf, out: Link{}, door: true},
		{method: "POST", pattern: "/users/{user}/links", verb: access.ChangeUsers, signed: true, what: "Make a sign-in link for an operator", handle: a.linkUser, out: Link{}, door: true},
	}, slices.Concat(a.passkeyRoutes(), a.proofRoutes())...)
}

// WaysIn is how one may sign in at the host by which the relay was reached.
type WaysIn struct {
	Passkeys bool   `json:"passkeys"`
	Why      string `json:"why"` // why there are no passkeys
}

func (a *api) waysIn(r *http.Request, _ access.Operator) (any, error) {
	ok, why := passkeysAt(r)
	return WaysIn{Passkeys: ok, Why: why}, nil
}

// LinkToken is what stands behind the # of a link.
type LinkToken struct {
	Token string `json:"token"`
}

// SignedIn is who one is from now on.
type SignedIn struct {
	Username string      `json:"username"`
	Role     access.Role `json:"role"`
}

func (a *api) lookAtLink(r *http.Request, _ access.Operator) (any, error) {
	b, ok := browserOf(r)
	if !ok {
		return nil, errNoBrowser
	}
	req, err := body[LinkToken](r)
	if err != nil {
		return nil, err
	}
	return a.Access.LookAtLink(r.Context(), b.Browser, req.Token)
}

func (a *api) signInByLink(r *http.Request, b browser) (access.SignedIn, error) {
	req, err := body[LinkToken](r)
	if err != nil {
		return access.SignedIn{}, err
	}
	return a.Access.SignInByLink(r.Context(), b.Browser, req.Token)
}

// signsIn makes a handler of a way to sign in: it sets the cookie.
func (a *api) signsIn(by func(*http.Request, browser) (access.SignedIn, error)) rawHandler {
	return func(w http.ResponseWriter, r *http.Request, _ access.Operator) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		b, ok := browserOf(r)
		if !ok {
			a.fail(w, errNoBrowser)
			return
		}
		in, err := by(r, b)
		if err != nil {
			a.fail(w, err)
			return
		}
		setCookie(w, in.Cookie)
		a.write(w, SignedIn{Username: in.Operator.Username, Role: in.Operator.Role})
	}
}

// errNoBrowser refuses the admin socket and operators' links.
var errNoBrowser = wire.Errorf(wire.BadRequest, "only browsers sign in and out; from a terminal it is `scrier login` and `scrier logout`")

func (a *api) signOut(w http.ResponseWriter, r *http.Request, who access.Operator) {
	if _, ok := browserOf(r); !ok {
		a.fail(w, errNoBrowser)
		return
	}
	a.leave(w, a.Access.SignOut(r.Context(), who, SignIn(r.Context())), true)
}

func (a *api) signOutEverywhere(w http.ResponseWriter, r *http.Request, who access.Operator) {
	if err := who.Undoubted(); err != nil {
		a.fail(w, err)
		return
	}
	_, here := browserOf(r)
	a.leave(w, a.Access.SignOutEverywhere(r.Context(), who), here)
}

func (a *api) endSignIn(w http.ResponseWriter, r *http.Request, who access.Operator) {
	id := chi.URLParam(r, "signin")
	if err := who.Undoubted(); err != nil && id != who.SignIn {
		a.fail(w, err)
		return
	}
	a.leave(w, a.Access.SignOut(r.Context(), who, id), id == SignIn(r.Context()))
}

// leave answers to a sign-out; here says that this browser is one of those that it was for.
func (a *api) leave(w http.ResponseWriter, err error, here bool) {
	if err != nil {
		a.fail(w, err)
		return
	}
	if here {
		clearCookie(w)
	}
	w.WriteHeader(http.StatusNoContent)
}

func (a *api) signIns(r *http.Request, who access.Operator) (any, error) {
	return a.Access.SignIns(r.Context(), who, SignIn(r.Context()))
}

// Link is a sign-in link; it is shown once.
type Link struct {
	URL     string    `json:"url,omitempty"` // missing where the relay does not know what it is called
	Path    string    `json:"path"`          // of the URL; what is behind the # never reaches a server
	Expires time.Time `json:"expires"`
}

func (a *api) linkSelf(r *http.Request, who access.Operator) (any, error) {
	if who.ID == "" {
		return nil, wire.Errorf(wire.BadRequest, "%s is not an operator who can sign in; `scrier operators link` makes a link for one", who.Username)
	}
	return a.link(r, who, who.ID)
}

func (a *api) linkUser(r *http.Request, who access.Operator) (any, error) {
	return a.link(r, who, chi.URLParam(r, "user"))
}

func (a *api) link(r *http.Request, who access.Operator, user string) (*Link, error) {
	l, err := a.Access.SignInLink(r.Context(), who, user)
	if err != nil {
		return nil, err
	}
	link := &Link{Path: "/signin#" + l.Token, Expires: l.Expires.UTC()}
	origin := ""
	if b, ok := browserOf(r); ok {
		origin = b.site.Origin
	} else if a.Origin != nil {
		origin = a.Origin()
	}
	if origin != "" {
		link.URL = origin + link.Path
	}
	return link, nil
}
