package web

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/coder/websocket"
	"github.com/go-chi/chi/v5"

	"scrier/relay/panics"
	"scrier/wire"
)

// A mistake of ours in one viewer's stream ends that viewer with a code, and the next one is served.
func TestAPanicEndsOneViewer(t *testing.T) {
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	first := true
	a := &Attacher{
		Origin: func(*http.Request) error { return nil }, Log: log, Panics: &panics.Boundary{Log: log},
		Attach: func(context.Context, wire.Stream, Transport, string, wire.SessionID) error {
			if first {
				first = false
				panic("oh")
			}
			return nil
		},
	}
	m := chi.NewRouter()
	m.Get(webSocketPath+"{session}", a.WebSocket)
	s := httptest.NewServer(m)
	defer s.Close()
	for _, want := range []websocket.StatusCode{closeBase + websocket.StatusCode(wire.Internal), websocket.StatusNormalClosure} {
		c, _, err := websocket.Dial(t.Context(), s.URL+webSocketPath+wire.NewSessionID().String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := c.Read(t.Context()); websocket.CloseStatus(err) != want {
			t.Errorf("the viewer ended with %v, want %d", err, want)
		}
		_ = c.CloseNow()
	}
	if n := a.Panics.Count(); n != 1 {
		t.Errorf("%d panics are counted", n)
	}
}
