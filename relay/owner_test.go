package relay

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"scrier/certs"
	"scrier/relay/access"
	"scrier/relay/web"
	"scrier/wire"

	"golang.org/x/crypto/ssh"
)

// asks is a request to the API by who, and its answer.
func asks(t *testing.T, r *Relay, who access.Operator, method, path, body string) (int, string) {
	t.Helper()
	status, answer := asksWith(t, r, who, method, path, body, "")
	signer, ok := signers.Load(who.ID)
	if !ok || !strings.Contains(answer, `"urn:scrier:error:proof_required"`) {
		return status, answer
	}
	return asksWith(t, r, who, method, path, body, signs(t, r, who, signer.(ssh.Signer), method, path, body))
}

// signs signs a request with a key, and gives the header that says so.
func signs(t *testing.T, r *Relay, who access.Operator, signer ssh.Signer, method, path, body string) string {
	t.Helper()
	_, answer := asksWith(t, r, who, "POST", "/api/v1/self/proofs", fmt.Sprintf(`{"method":%q,"path":%q,"sha256":"%x"}`, method, path, sha256.Sum256([]byte(body))), "")
	var c access.Challenge
	if err := json.Unmarshal([]byte(answer), &c); err != nil || c.ID == "" {
		t.Fatal(answer, err)
	}
	return "ssh " + c.ID + " " + signature(t, signer, c)
}

// signature is one under a challenge, in base64.
func signature(t *testing.T, signer ssh.Signer, c access.Challenge) string {
	t.Helper()
	sig, err := certs.SignSSH(rand.Reader, signer, c.Namespace, []byte(c.Text))
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(sig)
}

// asksWith is one request; proof is the signature under it.
func asksWith(t *testing.T, r *Relay, who access.Operator, method, path, body, proof string) (int, string) {
	t.Helper()
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	if proof != "" {
		req.Header.Set("Scrier-Proof", proof)
	}
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

// The machine is told where the operator is, by whichever way they come: from= in its authorized_keys is
// held against that (H19).
func TestMachineLearnsTheAddress(t *testing.T) {
	r := start(t)
	told := make(chan string, 1)
	serve(t, r, "web1", func(e *envoy, open *wire.Open, s wire.Stream) {
		told <- open.Source
		if err := wire.Send(s, wire.Refuse(wire.Errorf(wire.KeyRestricted, "the test has seen enough"))); err != nil {
			t.Error(err)
		}
	})
	if _, err := newPerson(t, r, "ann", access.Admin).connect("web1"); wire.CodeOf(err) != wire.KeyRestricted {
		t.Fatal(err)
	}
	if got := <-told; got != "127.0.0.1" {
		t.Errorf("of a terminal it hears %q", got)
	}
	bob := admin(t, r, "bob")
	bob.Source = "::ffff:203.0.113.7"
	if _, body := asks(t, r, bob, "POST", "/api/v1/scrier/connect", `{"envoy_id":"web1","protocol":"ssh"}`); !strings.Contains(body, "key_restricted") {
		t.Fatal(body)
	}
	if got := <-told; got != "203.0.113.7" {
		t.Errorf("of a page it hears %q", got)
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
