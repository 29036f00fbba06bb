package web

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"scrier/relay/access"
	"scrier/wire"
)

// The cookie is as browsers demand it of a __Host- cookie, and no script sees it.
func TestCookieAttributes(t *testing.T) {
	for _, give := range []func(http.ResponseWriter){func(w http.ResponseWriter) { setCookie(w, "v") }, clearCookie} {
		w := httptest.NewRecorder()
		give(w)
		all := w.Result().Cookies()
		if len(all) != 1 {
			t.Fatal(all)
		}
		if c := all[0]; c.Name != "__Host-scrier" || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Domain != "" {
			t.Errorf("%s", c.Raw)
		}
	}
}

// What is not the one cookie in its one form is none.
func TestOtherCookiesAreNone(t *testing.T) {
	d := newDesk(t)
	b := d.tab()
	b.signIn(d.operator("ann", access.Admin))
	good := b.cookie
	for what, header := range map[string]string{
		"no cookie":        "",
		"another name":     "scrier=" + good,
		"two of them":      cookieName + "=" + good + "; " + cookieName + "=" + good,
		"padded":           cookieName + "=" + good + "=",
		"cut":              cookieName + "=" + good[:42],
		"other characters": cookieName + "=" + good[:42] + "!",
		"longer":           cookieName + "=" + good + "A",
	} {
		r := b.request("GET", "/api/v1/self", "")
		r.Header.Del("Cookie")
		if header != "" {
			r.Header.Set("Cookie", header)
		}
		b.want(what, b.do(r), wire.Unauthenticated)
	}
	r := b.request("GET", "/api/v1/self", "")
	r.Header.Set("Cookie", cookieName+"="+"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	b.want("an unknown one", b.do(r), wire.SignedOut)
	b.want("the one", b.call("GET", "/self", nil), wire.None)
}
