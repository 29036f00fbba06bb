package web

import (
	"io"
	"net/http"

	"github.com/go-chi/chi/v5"
)

// Public is what the relay's TCP port serves to anybody: whether it lives, and a plain page. The
// API needs a login, and there is none here yet.
func Public() http.Handler {
	m := chi.NewRouter()
	m.Use(secureHeaders)
	m.Get("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, "ok\n") // the client may be gone
	})
	m.Get("/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, page)
	})
	return m
}

const page = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Scrier</title>
<h1>This is a Scrier relay.</h1>
<p>Open a shell from a terminal: <code>scrier login HOST:PORT</code>, then <code>scrier ssh ENVOY</code>.</p>
`

func secureHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}
