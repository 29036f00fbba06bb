package web

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"

	"scrier/relay/panics"
	"scrier/wire"
)

// Where viewers attach; a session's id follows. There is no secret in it: the right to attach is
// in the first frame.
const (
	webTransportPath = "/wt/scrier/"
	webSocketPath    = "/ws/scrier/"
)

// finishTime is how long a viewer's last frame may take to arrive.
// WebTransport's end drops what has not.
const finishTime = 15 * time.Second

// Transport is what carries a browser's viewer.
type Transport string

// The two of them.
const (
	OverWebTransport Transport = "webtransport"
	OverWebSocket    Transport = "websocket"
)

// Attacher attaches browsers to sessions, over WebTransport or WebSocket. Both become a [wire.Stream],
// and the code behind it does not know which of them it is.
type Attacher struct {
	// Attach serves a stream that has just begun. source is where it comes from.
	Attach func(ctx context.Context, s wire.Stream, over Transport, source string, id wire.SessionID) error
	// Origin refuses pages that are not our own.
	Origin func(*http.Request) error
	Log    *slog.Logger
	Panics *panics.Boundary
}

// refuse answers before there is a stream.
func (a *Attacher) refuse(w http.ResponseWriter, r *http.Request, status int, err error) {
	a.Log.Info("viewer refused", "source", r.RemoteAddr, "code", wire.CodeOf(err), "err", err)
	http.Error(w, err.Error(), status)
}

// session is the id in a request's path, when the request may go on.
func (a *Attacher) session(w http.ResponseWriter, r *http.Request) (wire.SessionID, bool) {
	if err := a.Origin(r); err != nil {
		a.refuse(w, r, http.StatusForbidden, err)
		return wire.SessionID{}, false
	}
	id, err := wire.ParseSessionID(chi.URLParam(r, "session"))
	if err != nil {
		a.refuse(w, r, http.StatusNotFound, err)
		return wire.SessionID{}, false
	}
	return id, true
}

// source is where a request comes from, without the port.
func source(r *http.Request) string {
	return wire.Host(r.RemoteAddr)
}

// serve runs a stream to its end and returns the code it ended with.
func (a *Attacher) serve(r *http.Request, s wire.Stream, over Transport, id wire.SessionID) wire.Code {
	// The request's context ends with a WebSocket's request; the stream has an end of its own.
	ctx := context.WithoutCancel(r.Context())
	err := a.Panics.Contain("viewer", func() error { return a.Attach(ctx, s, over, source(r), id) }, "session", id, "source", source(r))
	if err != nil {
		a.Log.Debug("viewer", "session", id, "err", err)
		s.Reset(wire.CodeOf(err))
		return wire.CodeOf(err)
	}
	wire.Finish(s, finishTime)
	return wire.None
}
