package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"scrier/relay/access"
	"scrier/relay/audit"
)

// logged is a log with some events, and the API on it.
func logged(t *testing.T, events ...audit.Event) (log *audit.Log, path string, api http.Handler) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "audit.db")
	logger := slog.New(slog.NewTextHandler(t.Output(), nil))
	log, err := audit.Open(audit.Config{Path: path, KeyPath: path + ".key", Name: "scrier-relay/test", Log: logger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	for _, e := range events {
		if _, err := log.Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	return log, path, API(Config{Access: access.New(access.Config{Now: time.Now}), Audit: log, Log: logger, Events: NewEvents()})
}

func askFor(t *testing.T, api http.Handler, method, path string) *http.Response {
	t.Helper()
	req := httptest.NewRequest(method, path, nil)
	w := httptest.NewRecorder()
	api.ServeHTTP(w, req.WithContext(WithCaller(req.Context(), admin)))
	return w.Result()
}

func decoded[T any](t *testing.T, resp *http.Response) (v T) {
	t.Helper()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("status %d", resp.StatusCode)
	}
	if err := json.NewDecoder(resp.Body).Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

// next is the path of the next page, empty behind the last.
func next(t *testing.T, resp *http.Response) string {
	t.Helper()
	link := resp.Header.Get("Link")
	if link == "" {
		return ""
	}
	path, ok := strings.CutSuffix(strings.TrimPrefix(link, "<"), `>; rel="next"`)
	if !ok {
		t.Fatalf("Link: %s", link)
	}
	return path
}

func numbers(records []Record) (seqs []uint64) {
	for _, r := range records {
		seqs = append(seqs, r.Seq)
	}
	return seqs
}

func TestAuditFilters(t *testing.T) {
	const envoy, session = "0b0e7e8e-0000-4000-8000-000000000001", "0192f0c0-0000-7000-8000-000000000001"
	_, _, api := logged(t,
		audit.Event{Type: "relay.start"},
		audit.Event{Type: "envoy.enrol", Envoy: envoy, EnvoyName: "web1", Source: "192.0.2.7"},
		audit.Event{Type: "envoy.enrol_refused", EnvoyName: "web2", Code: "token_invalid"},
		audit.Event{Type: "scrier.connect", Operator: "ann", Envoy: envoy, EnvoyName: "web1", Session: session},
		audit.Event{Type: "scrier.connect", Operator: "bob", Envoy: envoy, EnvoyName: "web1"},
		audit.Event{Type: "scrier.disconnect", Operator: "ann", Session: session, Fields: map[string]string{"login": "Deploy"}},
	)
	for query, want := range map[string][]uint64{
		"":                                  {0, 1, 2, 3, 4, 5},
		"limit=2":                           {4, 5},
		"limit=2&before=3":                  {1, 2},
		"from=1&limit=2":                    {1, 2},
		"from=2&before=4":                   {2, 3},
		"from=99":                           nil,
		"before=0":                          nil,
		"type=envoy":                        {1, 2},
		"type=envoy.enrol":                  {1},
		"type=env":                          nil,
		"operator=ann":                      {3, 5},
		"operator=an":                       nil,
		"envoy=" + envoy:                    {1, 3, 4},
		"envoy=WEB1":                        {1, 3, 4},
		"session=" + session:                {3, 5},
		"q=192.0.2":                         {1},
		"q=TOKEN":                           {2},
		"q=deploy":                          {5},
		"operator=ann&type=scrier&q=deploy": {5},
		"from=0&limit=1&operator=bob":       {4},
	} {
		got := numbers(decoded[[]Record](t, askFor(t, api, "GET", "/api/v1/audit?"+query)))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", query, diff)
		}
	}
	for _, query := range []string{"limit=0", "limit=1001", "limit=-1", "limit=x", "from=-1", "before=x"} {
		if resp := askFor(t, api, "GET", "/api/v1/audit?"+query); resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: status %d", query, resp.StatusCode)
		}
	}
}

// The pages of a filter are all that matches, once each, in both directions.
func TestAuditPages(t *testing.T) {
	var events []audit.Event
	for i := range 50 {
		events = append(events, audit.Event{Type: []string{"a.b", "c.d"}[i%2], Detail: fmt.Sprint(i)})
	}
	log, _, api := logged(t, events...)
	for _, start := range []string{"/api/v1/audit?type=a&limit=7", "/api/v1/audit?type=a&limit=7&from=0"} {
		seen := map[uint64]bool{}
		pages := 0
		for path := start; path != ""; pages++ {
			resp := askFor(t, api, "GET", path)
			path = next(t, resp)
			for _, r := range decoded[[]Record](t, resp) {
				if seen[r.Seq] || r.Type != "a.b" {
					t.Errorf("%s: record %d, %s", start, r.Seq, r.Type)
				}
				seen[r.Seq] = true
			}
		}
		if len(seen) != 25 || pages < 4 {
			t.Errorf("%s: %d records on %d pages", start, len(seen), pages)
		}
	}
	// What one request looks at is bounded, and it says where it stopped.
	for _, direction := range []func(*scan) error{
		func(s *scan) error { return s.forward(t.Context()) }, func(s *scan) error { return s.backward(t.Context()) },
	} {
		s := scan{log: log, match: matching(url.Values{"type": {"none"}}), limit: 5, left: 20, before: 50}
		if err := direction(&s); err != nil || len(s.found) != 0 || s.before-s.from != 30 {
			t.Errorf("%d found, %d to %d are left, %v", len(s.found), s.from, s.before, err)
		}
	}
}

func TestAuditVerify(t *testing.T) {
	log, path, api := logged(t, audit.Event{Type: "relay.start"}, audit.Event{Type: "operator.login", Operator: "unmistakable"}, audit.Event{Type: "relay.stop"})
	v := decoded[Verified](t, askFor(t, api, "POST", "/api/v1/audit/verify"))
	if !v.OK || v.Records != 3 || len(v.Head) != 44 || v.Detail != "" {
		t.Errorf("%+v", v)
	}
	// The log goes on while it is verified, and what was written then is in the next one.
	if _, err := log.Append(t.Context(), audit.Event{Type: "relay.start"}); err != nil {
		t.Fatal(err)
	}
	if v := decoded[Verified](t, askFor(t, api, "POST", "/api/v1/audit/verify")); !v.OK || v.Records != 4 {
		t.Errorf("%+v", v)
	}
	// Somebody edits the file under the running relay. The log may write its pages anew in between,
	// so what was edited may be a page of before.
	for end := time.Now().Add(10 * time.Second); v.OK && time.Now().Before(end); {
		edit(t, path, "unmistakable", "Unmistakable")
		v = decoded[Verified](t, askFor(t, api, "POST", "/api/v1/audit/verify"))
	}
	if v.OK || v.Detail == "" || v.Records > 2 || v.Head != "" {
		t.Errorf("after a change: %+v", v)
	}
}

// edit replaces all of before by after, which is as long, in a file that is in use.
func edit(t *testing.T, path, before, after string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for at := 0; ; {
		i := bytes.Index(data[at:], []byte(before))
		if i < 0 {
			return
		}
		if _, err := f.WriteAt([]byte(after), int64(at+i)); err != nil {
			t.Fatal(err)
		}
		at += i + 1
	}
}

// There is one verification at a time.
func TestAuditVerifyIsBusy(t *testing.T) {
	log, _, _ := logged(t)
	a := &api{Config: Config{Audit: log, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}}
	a.verifying.Lock()
	w := httptest.NewRecorder()
	a.auditVerify(w, httptest.NewRequest("POST", "/", nil), access.Operator{})
	if w.Code != http.StatusTooManyRequests {
		t.Errorf("status %d", w.Code)
	}
	a.verifying.Unlock()
	w = httptest.NewRecorder()
	a.auditVerify(w, httptest.NewRequest("POST", "/", nil), access.Operator{})
	if w.Code != http.StatusOK {
		t.Errorf("status %d", w.Code)
	}
}
