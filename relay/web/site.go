package web

import (
	"net/http"

	"github.com/go-chi/chi/v5"

	"scrier/relay/panics"
)

// Site is everything that browsers reach, over TCP and HTTP/3 alike.
type Site struct {
	API    http.Handler
	Pages  http.Handler
	Attach *Attacher
	Guard  BrowserConfig
	Panics *panics.Boundary
}

// Handlers makes the handler for TCP and the server for HTTP/3.
func (s Site) Handlers() (http.Handler, HTTP3) {
	h3 := NewHTTP3(nil, s.Attach)
	h3.H3.Handler = timely(s.routes(func(m chi.Router) {
		m.Handle(webTransportPath+"{session}", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.Attach.webTransport(w, r, h3.Server)
		}))
	}), h3Request)
	return s.routes(func(m chi.Router) { m.Get(webSocketPath+"{session}", s.Attach.WebSocket) }), h3
}

func (s Site) routes(viewers func(chi.Router)) http.Handler {
	m := chi.NewRouter()
	m.Handle("/api/v1/*", s.API)
	viewers(m)
	m.NotFound(s.Pages.ServeHTTP)
	m.MethodNotAllowed(s.Pages.ServeHTTP)
	return s.Panics.Handler(visited(Browser(m, s.Guard)))
}
