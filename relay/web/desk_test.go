package web

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"scrier/certs"
	"scrier/relay/access"
	"scrier/relay/audit"
	"scrier/relay/files"
	"scrier/relay/fleet"
	"scrier/relay/session"
	"scrier/relay/store"
	"scrier/relay/store/bolt"
	"scrier/wire"
)

// desk is what a browser meets, without the network: guard, API, and all that is behind it.
type desk struct {
	t       *testing.T
	kv      *bolt.DB
	log     *audit.Log
	access  *access.Access
	api     http.Handler
	handler http.Handler
	ahead   atomic.Int64 // of the clock
	deaf    atomic.Bool  // the audit log cannot be written
	home    string       // of the machine whose files there are
	said    lockedBuffer // the relay's log

	mu  sync.Mutex
	out []string // sign-outs that were told, operator/signin
}

// relayHost is what the relay is called in these tests.
const relayHost = "relay.example:8443"

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{t: t}
	now := func() time.Time { return time.Now().Add(time.Duration(d.ahead.Load())) }
	log := slog.New(slog.NewTextHandler(&d.said, &slog.HandlerOptions{Level: slog.LevelDebug}))
	dir := t.TempDir()
	var err error
	if d.kv, err = bolt.Open(bolt.Config{Path: filepath.Join(dir, "state.db"), Log: log}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.kv.Close() })
	ca, err := certs.LoadOrMakeCA(dir, now)
	if err != nil {
		t.Fatal(err)
	}
	if d.log, err = audit.Open(audit.Config{Path: filepath.Join(dir, "audit.db"), KeyPath: filepath.Join(dir, "audit.key"), Name: "test", Reserve: -1, Log: log}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.log.Close() })
	d.access = access.New(access.Config{
		KV: d.kv, CA: ca, Journal: journal{d}, Now: now, Log: log, Changed: func(string) {},
		SignedOut: func(operator, signin string) {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.out = append(d.out, operator+"/"+signin)
		},
	})
	d.home = t.TempDir()
	machines := files.New(files.Config{Opener: d, Log: log})
	t.Cleanup(machines.Close)
	d.api = API(Config{
		Files:  machines,
		Access: d.access, Audit: d.log, Pin: ca.Pin(), Log: log, Events: NewEvents(), About: func() About { return About{} },
		Fleet:    fleet.New(fleet.Config{KV: d.kv, CA: ca, Journal: d.log, Now: now, Log: log, Lost: func(wire.EnvoyID, error) {}}),
		Sessions: session.NewTable(session.Config{KV: d.kv, Journal: d.log, Now: now, Log: log, Max: 1, MaxAge: time.Hour, Grace: time.Minute}),
		Connect: func(context.Context, access.Operator, *session.Request) (*session.Session, error) {
			return nil, errors.New("not here")
		},
	})
	d.handler = Browser(d.api, BrowserConfig{Access: d.access, Hosts: []string{"Relay.Example", "192.0.2.9", "*.wild.example"}, Log: log})
	return d
}

// journal is the audit log that can be made to fail.
type journal struct{ *desk }

func (j journal) Append(ctx context.Context, e audit.Event) (audit.Record, error) {
	if j.deaf.Load() {
		return audit.Record{}, &wire.Error{Code: wire.AuditUnavailable}
	}
	return j.log.Append(ctx, e)
}

func (j journal) AppendEnd(ctx context.Context, e audit.Event) (audit.Record, error) {
	return j.log.AppendEnd(ctx, e)
}

func (j journal) AppendOwn(ctx context.Context, e audit.Event) (audit.Record, error) {
	return j.log.AppendOwn(ctx, e)
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (d *desk) turn(by time.Duration) { d.ahead.Add(int64(by)) }

// operator makes one.
func (d *desk) operator(name string, role access.Role) access.User {
	d.t.Helper()
	u, err := d.access.Create(d.t.Context(), access.Local("test"), access.User{Username: name, Role: role})
	if err != nil {
		d.t.Fatal(err)
	}
	return u
}

// tab is a browser: it keeps cookies and tells where its page is from.
type tab struct {
	*desk
	host, source, cookie string
}

func (d *desk) tab() *tab { return &tab{desk: d, host: relayHost, source: "192.0.2.1"} }

// request is one as our own page makes it.
func (b *tab) request(method, path, body string) *http.Request {
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	req := httptest.NewRequest(method, "https://"+b.host+path, r)
	req.RemoteAddr = b.source + ":50000"
	req.Header.Set("User-Agent", "Mozilla/5.0 \x1b[31mred")
	req.Header.Set("Origin", "https://"+b.host)
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if b.cookie != "" {
		req.AddCookie(&http.Cookie{Name: cookieName, Value: b.cookie})
	}
	return req
}

// do sends a request and takes the cookie that comes back.
func (b *tab) do(req *http.Request) *http.Response {
	w := httptest.NewRecorder()
	b.handler.ServeHTTP(w, req)
	resp := w.Result()
	for _, c := range resp.Cookies() {
		if c.Name == cookieName {
			b.cookie = c.Value
		}
	}
	return resp
}

// call asks the API; in is nil or becomes JSON.
func (b *tab) call(method, path string, in any) *http.Response {
	b.t.Helper()
	body := ""
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			b.t.Fatal(err)
		}
		body = string(data)
	}
	return b.do(b.request(method, "/api/v1"+path, body))
}

// want checks the code of an answer; wire.None is success.
func (b *tab) want(what string, resp *http.Response, code wire.Code) {
	b.t.Helper()
	if got := codeOf(b.t, resp); got.Code != code {
		b.t.Errorf("%s: status %d, %s, not %s (%s)", what, resp.StatusCode, got.Code, code, got.Detail)
	}
}

func codeOf(t *testing.T, resp *http.Response) (p wire.Problem) {
	t.Helper()
	if resp.StatusCode < 300 {
		return p
	}
	if err := json.NewDecoder(resp.Body).Decode(&p); err != nil || p.Status != resp.StatusCode || resp.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("status %d without a problem: %v", resp.StatusCode, err)
	}
	return p
}

func decode[T any](t *testing.T, resp *http.Response) (v T) {
	t.Helper()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("status %d: %+v", resp.StatusCode, codeOf(t, resp))
	}
	if err := json.NewDecoder(resp.Body).Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

// link makes a link for an operator and returns its token.
func (d *desk) link(u access.User) string {
	d.t.Helper()
	l, err := d.access.SignInLink(d.t.Context(), access.Local("test"), u.ID)
	if err != nil {
		d.t.Fatal(err)
	}
	return l.Token
}

// signIn signs a browser in by a new link.
func (b *tab) signIn(u access.User) {
	b.t.Helper()
	in := decode[SignedIn](b.t, b.call("POST", "/signin/link", LinkToken{b.link(u)}))
	if in.Username != u.Username || in.Role != u.Role || b.cookie == "" {
		b.t.Fatalf("signed in as %+v", in)
	}
}

// state is all that is stored.
func (d *desk) state() map[string]string {
	d.t.Helper()
	all := map[string]string{}
	err := d.kv.View(d.t.Context(), func(tx store.Tx) error {
		for k, v := range tx.Scan("") {
			all[k] = string(v)
		}
		return nil
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return all
}

// records are the audit records of a type.
func (d *desk) records(kind string) (found []audit.Record) {
	d.t.Helper()
	all, err := d.log.Records(d.t.Context(), 0, 1000)
	if err != nil {
		d.t.Fatal(err)
	}
	for _, r := range all {
		if r.Type == kind {
			found = append(found, r)
		}
	}
	return found
}

func (d *desk) signOuts() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]string(nil), d.out...)
}

// unchanged says whether nothing at all was stored or written down since before.
func (d *desk) unchanged(before map[string]string, records uint64) bool {
	return maps.Equal(before, d.state()) && d.log.Size() == records
}

func decode64(s string) []byte {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

func encode64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
