package web

import "net/http"

// cookieName has the prefix that makes browsers hold us to Secure, Path=/ and no Domain: no other
// host, not even one below ours, can set it.
const cookieName = "__Host-scrier"

// cookieOf is the value of the one cookie; several are none.
func cookieOf(r *http.Request) string {
	if all := r.CookiesNamed(cookieName); len(all) == 1 {
		return all[0].Value
	}
	return ""
}

// setCookie gives the browser its sign-in. It ends with the browser; when it ends at the latest,
// the relay decides.
func setCookie(w http.ResponseWriter, value string) {
	http.SetCookie(w, &http.Cookie{Name: cookieName, Value: value, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode})
}

func clearCookie(w http.ResponseWriter) {
	http.SetCookie(w, &http.Cookie{Name: cookieName, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode, MaxAge: -1})
}
