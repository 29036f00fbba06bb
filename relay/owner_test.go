package relay

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"scrier/relay/access"
	"scrier/relay/web"
	"scrier/wire"
)

// asks is a request to the API by who, and its answer.
func asks(t *testing.T, r *Relay, who access.Operator, method, path, body string) (int, string) {
	t.Helper()
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	req = req.WithContext(web.WithCaller(req.Context(), func(context.Context) (access.Operator, error) { return who, nil }))
	w := httptest.NewRecorder()
	r.api.ServeHTTP(w, req)
	data, err := io.ReadAll(w.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Result().StatusCode, string(data)
}

// H50: a session is its operator's. For everybody else it looks like one that does not exist,
// whoever they are and however they ask.
func TestSessionsOfOthers(t *testing.T) {
	for _, live := range []bool{false, true} {
		r := start(t, func(s *Settings) { s.Config.Scrier.LiveView = live })
		servedBy(t, r, counter)
		ann := admin(t, r, "ann")
		p := newPage(t, r, ann, "web1", carriers["WebSocket"])
		others := map[string]access.Operator{
			"bob": admin(t, r, "bob"), "root": access.Local("root"),
			"vic": {ID: "vic", Username: "vic", Role: access.Viewer}, "cay": {ID: "cay", Username: "cay", Role: access.Compliance},
		}
		path := func(id wire.SessionID) string { return "/api/v1/sessions/" + id.String() + "/attach" }
		for name, who := range others {
			for _, watch := range []string{`{}`, `{"watch":true}`} {
				status, body := asks(t, r, who, "POST", path(p.id), watch)
				if live && watch != `{}` && name != "vic" {
					if status != http.StatusOK {
						t.Errorf("%s may not watch: %d %s", name, status, body)
					}
					continue
				}
				none := wire.NewSessionID()
				wantStatus, want := asks(t, r, who, "POST", path(none), watch)
				if want = strings.ReplaceAll(want, none.String(), p.id.String()); status != wantStatus || body != want || status != http.StatusNotFound {
					t.Errorf("%s asks %s for a session of another: %d %s; for none: %d %s", name, watch, status, body, wantStatus, want)
				}
			}
		}
		// The owner may, and only the owner's own session is marked as such.
		if status, body := asks(t, r, ann, "POST", path(p.id), `{}`); status != http.StatusOK {
			t.Errorf("the owner may not attach: %d %s", status, body)
		}
		for name, who := range map[string]access.Operator{"ann": ann, "bob": others["bob"]} {
			_, body := asks(t, r, who, "GET", "/api/v1/sessions", "")
			var list []struct {
				Own      bool `json:"own"`
				Attached bool `json:"attached"`
			}
			if err := json.Unmarshal([]byte(body), &list); err != nil || len(list) != 1 || list[0].Own != (name == "ann") || !list[0].Attached {
				t.Errorf("%s sees %s, %v", name, body, err)
			}
		}
	}
}

// H49: what lets somebody in is in no log and in no audit record.
func TestTicketsAreInNoLog(t *testing.T) {
	log := new(lockedLog)
	r := start(t, func(s *Settings) {
		s.Log = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	servedBy(t, r, counter)
	ann := admin(t, r, "ann")
	_, body := asks(t, r, ann, "POST", "/api/v1/scrier/connect", `{"envoy_id":"web1","protocol":"ssh"}`)
	var ticket web.Ticket
	if err := json.Unmarshal([]byte(body), &ticket); err != nil || len(ticket.Ticket) != 43 || len(ticket.CertHashes) == 0 {
		t.Fatalf("%s: %v", body, err)
	}
	for _, u := range []string{ticket.WT, ticket.WS} {
		if strings.Contains(u, ticket.Ticket) || !strings.HasSuffix(u, ticket.SessionID.String()) {
			t.Errorf("the URL %s", u)
		}
	}
	for _, open := range carriers {
		f := wire.NewFramed(open(t, r, ticket.SessionID))
		if err := f.Send(&wire.Attach{Ticket: []byte(ticket.Ticket)}); err != nil { // encoded once too often: refused
			t.Fatal(err)
		}
		if _, err := f.Receive(); err != nil {
			t.Fatal(err)
		}
	}
	if strings.Contains(log.String(), ticket.Ticket) {
		t.Error("the log has a ticket")
	}
	records, err := r.audit.Records(t.Context(), 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, rec := range records {
		if data, err := json.Marshal(rec); err != nil || strings.Contains(string(data), ticket.Ticket) {
			t.Errorf("the audit log has a ticket: %s, %v", data, err)
		}
	}
}

// lockedLog is a log that may be read while it is written.
type lockedLog struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
