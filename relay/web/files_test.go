package web

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"scrier/relay/access"
	"scrier/relay/files"
	"scrier/relay/sftp"
	"scrier/relay/store"
	"scrier/wire"
)

// server is a machine's SFTP server, a process. It implements [sftp.End].
type server struct {
	io.Reader
	io.WriteCloser
	close func()
}

func (s server) CloseWrite() error { return s.WriteCloser.Close() }
func (s server) Close() error {
	s.close()
	return nil
}

// OpenSFTP implements [files.Opener] with OpenSSH's server.
func (d *desk) OpenSFTP(context.Context, wire.SessionID) (*files.Channel, error) {
	cmd := exec.Command("/usr/lib/openssh/sftp-server", "-e", "-l", "QUIET")
	cmd.Dir = d.home
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &files.Channel{
		Server: server{out, in, sync.OnceFunc(func() {
			_ = in.Close()
			_ = cmd.Process.Kill()
			_ = out.Close()
		})},
		Config: sftp.Config{Rights: sftp.Rights{Upload: true, Download: true}},
		Ended:  func(sftp.Summary, error) { _ = cmd.Wait() },
	}, nil
}

// session makes the row of an operator's session.
func (d *desk) session(u access.User, kind wire.Kind, state store.State) wire.SessionID {
	d.t.Helper()
	s := store.Session{ID: wire.NewSessionID(), Operator: u.Username, OperatorID: u.ID, Kind: string(kind), Created: time.Now()}
	if err := d.kv.Update(d.t.Context(), func(tx store.Tx) error {
		if err := store.ReserveSession(tx, s, 100); err != nil || state == store.Waiting {
			return err
		}
		if err := store.ActivateSession(tx, s.ID, "root", time.Now()); err != nil || state == store.Active {
			return err
		}
		_, err := store.CloseSession(tx, s.ID, store.End{At: time.Now()})
		return err
	}); err != nil {
		d.t.Fatal(err)
	}
	return s.ID
}

// panel is a page with the files of a session's machine.
type panel struct {
	*tab
	root string // /api/v1/sessions/ID/files
}

func newPanel(t *testing.T) (*panel, access.User) {
	t.Helper()
	d := newDesk(t)
	ann := d.operator("ann", access.Opener)
	b := d.tab()
	b.signIn(ann)
	return &panel{b, "/api/v1/sessions/" + d.session(ann, wire.KindSSH, store.Active).String() + "/files"}, ann
}

// ask asks for something below the root; query is key, value, ….
func (p *panel) ask(method, path, body string, query ...string) *http.Response {
	p.t.Helper()
	return p.do(p.asks(method, path, body, query...))
}

func (p *panel) asks(method, path, body string, query ...string) *http.Request {
	q := url.Values{}
	for i := 0; i < len(query); i += 2 {
		q.Add(query[i], query[i+1])
	}
	req := p.request(method, p.root+path+"?"+q.Encode(), body)
	if method == "PUT" {
		req.Header.Set("Content-Type", "application/octet-stream")
	}
	return req
}

func (p *panel) path(name string) string { return p.home + "/" + name }

func (p *panel) content(resp *http.Response, status int) string {
	p.t.Helper()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != status {
		p.t.Errorf("status %d, want %d: %.200q, %v", resp.StatusCode, status, b, err)
	}
	return string(b)
}

func random(n int) string {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(n >> 16)})
	_, _ = r.Read(b)
	return string(b)
}

func TestFiles(t *testing.T) {
	p, _ := newPanel(t)
	content := random(300_000)
	at := time.Date(2024, 2, 29, 12, 30, 15, 0, time.UTC)
	put := func(body string, query ...string) *http.Response { return p.ask("PUT", "/content", body, query...) }
	got := decode[files.Progress](t, put(content[:200_000], "path", "big", "size", "300000", "offset", "0", "modified", fmt.Sprint(at.UnixMilli())))
	if got.Offset != 200_000 || got.Whole {
		t.Errorf("a part: %+v", got)
	}
	if got := decode[files.Progress](t, p.ask("GET", "/upload", "", "path", "big", "size", "300000")); got.Whole || got.Offset > 200_000 {
		t.Errorf("what is there: %+v", got)
	}
	got = decode[files.Progress](t, put(content[200_000:], "path", "big", "size", "300000", "offset", "200000", "modified", fmt.Sprint(at.UnixMilli())))
	if got.Offset != 300_000 || !got.Whole {
		t.Errorf("the rest: %+v", got)
	}
	odd := base64.URLEncoding.EncodeToString([]byte("odd \xff"))
	if got := decode[files.Progress](t, put("", "raw", odd, "size", "0", "offset", "0")); !got.Whole {
		t.Errorf("an empty file: %+v", got)
	}
	p.want("once more", put("", "raw", odd, "size", "0", "offset", "0"), wire.Conflict)
	p.want("over it", put("x", "raw", odd, "size", "1", "offset", "0", "overwrite", "true"), wire.None)
	p.want("more than the size", put("xy", "path", "y", "size", "1", "offset", "0"), wire.BadRequest)
	p.want("too late", put("", "path", "y", "size", "0", "offset", "0", "modified", "99999999999999"), wire.BadRequest)
	p.want("no size", put("", "path", "y", "offset", "0"), wire.BadRequest)
	p.want("no path", put("", "size", "0", "offset", "0"), wire.BadRequest)
	p.want("both", put("", "size", "0", "offset", "0", "path", "x", "raw", "eA"), wire.BadRequest)
	p.want("no base64", put("", "size", "0", "offset", "0", "raw", "!"), wire.BadRequest)

	p.want("a folder", p.ask("POST", "/folder", `{"path": "folder"}`), wire.None)
	p.want("again", p.ask("POST", "/folder", `{"path": "folder"}`), wire.Conflict)
	p.want("renamed", p.ask("POST", "/rename", `{"from_raw": "`+odd+`", "to": "folder/even"}`), wire.None)
	p.want("from nothing", p.ask("POST", "/rename", `{"to": "x"}`), wire.BadRequest)
	l := decode[files.Listing](t, p.ask("GET", "", ""))
	home, err := filepath.EvalSymlinks(p.home)
	if err != nil || l.Path != home || len(l.Entries) != 2 || l.More {
		t.Fatalf("listed is %+v, %v", l, err)
	}
	if e := l.Entries[0]; e.Name != "big" || e.Kind != files.File || e.Size != 300_000 || !e.Modified.Equal(at) {
		t.Errorf("listed is %+v", e)
	}
	p.want("nowhere", p.ask("GET", "", "", "path", "nowhere"), wire.NotFound)
	p.want("misspelt", p.ask("GET", "", "", "pth", "folder"), wire.BadRequest)
	p.want("twice", p.ask("GET", "", "", "path", "folder", "path", "folder"), wire.BadRequest)

	resp := p.ask("GET", "/archive", "", "path", "folder", "path", p.path("big"))
	data := p.content(resp, 200)
	z, err := zip.NewReader(strings.NewReader(data), int64(len(data)))
	if err != nil || len(z.File) != 3 || resp.Header.Get("Content-Type") != "application/zip" || !strings.HasPrefix(resp.Header.Get("Content-Disposition"), "attachment; filename=\"files.zip\"") {
		t.Errorf("the archive: %v, %v", resp.Header, err)
	}
	p.want("an archive of nothing", p.ask("GET", "/archive", ""), wire.BadRequest)
	p.want("an archive of what is not there", p.ask("GET", "/archive", "", "path", "folder", "path", "nowhere"), wire.NotFound)

	p.want("not empty", p.ask("DELETE", "", "", "path", "folder"), wire.Conflict)
	p.want("removed", p.ask("DELETE", "", "", "path", "folder", "recursive", "true"), wire.None)
	p.want("gone", p.ask("DELETE", "", "", "path", "folder", "recursive", "true"), wire.NotFound)
	p.want("given up", p.ask("DELETE", "/upload", "", "path", "new", "size", "7"), wire.None)
}

func TestDownload(t *testing.T) {
	p, _ := newPanel(t)
	content := random(300_000)
	name := "<b>\"é\".html"
	if err := os.WriteFile(p.path(name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	resp := p.ask("GET", "/content", "", "path", name)
	if p.content(resp, 200) != content {
		t.Error("other bytes came")
	}
	for header, want := range map[string]string{
		"Content-Type": "application/octet-stream", "X-Content-Type-Options": "nosniff", "Content-Length": "300000", "Accept-Ranges": "bytes",
		"Content-Disposition": `attachment; filename="<b>___.html"; filename*=UTF-8''%3Cb%3E%22%C3%A9%22.html`,
	} {
		if got := resp.Header.Get(header); got != want {
			t.Errorf("%s is %q", header, got)
		}
	}
	if csp := resp.Header.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "sandbox; default-src 'none'") {
		t.Errorf("the policy is %q", csp)
	}
	tag := resp.Header.Get("ETag")
	ranged := func(header ...string) *http.Response {
		req := p.asks("GET", "/content", "", "path", name)
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		return p.do(req)
	}
	for r, want := range map[string]string{"bytes=200000-": content[200_000:], "bytes=5-9": content[5:10], "bytes=-7": content[300_000-7:]} {
		if p.content(ranged("Range", r, "If-Range", tag), 206) != want {
			t.Errorf("%s: other bytes came", r)
		}
	}
	if resp := ranged("Range", "bytes=300000-"); resp.StatusCode != 416 {
		t.Errorf("behind the end: status %d", resp.StatusCode)
	}
	if p.content(ranged("If-None-Match", tag), 304) != "" {
		t.Error("it came all the same")
	}
	if err := os.Chtimes(p.path(name), time.Time{}, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if p.content(ranged("Range", "bytes=200000-", "If-Range", tag), 200) != content {
		t.Error("of a file that was changed another part came than all")
	}
	p.want("a folder", p.ask("GET", "/content", "", "path", "."), wire.BadRequest)
	p.want("nothing", p.ask("GET", "/content", "", "path", "nowhere"), wire.NotFound)
	p.want("no path", p.ask("GET", "/content", ""), wire.BadRequest)
}

// Only whoever opened a session, and may open sessions, gets at the files of its machine, and while it is open.
func TestFilesAreTheOwnersAlone(t *testing.T) {
	p, ann := newPanel(t)
	routes := func(root string, b *tab) map[string]wire.Code {
		codes := map[string]wire.Code{}
		for _, c := range []struct{ method, path, body string }{
			{"GET", "", ""}, {"GET", "/content?path=x", ""}, {"GET", "/archive?path=.", ""}, {"GET", "/upload?path=x&size=1", ""}, {"DELETE", "/upload?path=x&size=1", ""},
			{"PUT", "/content?path=x&size=1&offset=0", "x"}, {"POST", "/folder", `{"path": "y"}`}, {"POST", "/rename", `{"from": "x", "to": "y"}`}, {"DELETE", "?path=x", ""},
		} {
			req := b.request(c.method, root+c.path, c.body)
			codes[c.method+" "+c.path] = codeOf(t, b.do(req)).Code
		}
		return codes
	}
	all := func(what string, codes map[string]wire.Code, want wire.Code) {
		t.Helper()
		for route, code := range codes {
			if code != want {
				t.Errorf("%s, %s: %s, not %s", what, route, code, want)
			}
		}
	}
	eve := p.desk.tab()
	all("nobody", routes(p.root, eve), wire.Unauthenticated)
	eve.signIn(p.operator("eve", access.Admin))
	all("another admin", routes(p.root, eve), wire.NotFound)
	vic := p.desk.tab()
	vic.signIn(p.operator("vic", access.Viewer))
	all("a viewer", routes(p.root, vic), wire.Forbidden)
	for what, id := range map[string]wire.SessionID{
		"a closed one": p.session(ann, wire.KindSSH, store.Closed), "a desktop": p.session(ann, wire.KindRDP, store.Active),
		"one that waits": p.session(ann, wire.KindSSH, store.Waiting), "none": wire.NewSessionID(),
	} {
		all(what, routes("/api/v1/sessions/"+id.String()+"/files", p.tab), wire.NotFound)
	}
	// The host's administrator has no sessions.
	req := httptest.NewRequest("GET", p.root, nil)
	w := httptest.NewRecorder()
	p.api.ServeHTTP(w, req.WithContext(WithCaller(req.Context(), func(context.Context) (access.Operator, error) { return access.Local("root"), nil })))
	if codeOf(t, w.Result()).Code != wire.NotFound {
		t.Errorf("the admin socket: %d", w.Code)
	}
	if entries, err := os.ReadDir(p.home); err != nil || len(entries) > 0 {
		t.Errorf("there are %v, %v", entries, err)
	}
}

// Other sites' pages can neither read nor write files.
func TestFilesAreForOurPages(t *testing.T) {
	p, _ := newPanel(t)
	for what, change := range map[string]func(http.Header){
		"another site":   func(h http.Header) { h.Set("Sec-Fetch-Site", "cross-site"); h.Set("Origin", "https://evil.example") },
		"a sister":       func(h http.Header) { h.Set("Sec-Fetch-Site", "same-site") },
		"another origin": func(h http.Header) { h.Del("Sec-Fetch-Site"); h.Set("Origin", "https://evil.example") },
		"no origin":      func(h http.Header) { h.Del("Sec-Fetch-Site"); h.Del("Origin") },
	} {
		req := p.asks("PUT", "/content", "x", "path", "x", "size", "1", "offset", "0")
		change(req.Header)
		p.want(what, p.do(req), wire.Forbidden)
	}
	for _, kind := range []string{"text/plain", "image/png", ""} { // as pages send files
		req := p.asks("PUT", "/content", "x", "path", "x", "size", "1", "offset", "0", "overwrite", "true")
		req.Header.Del("Content-Type")
		if kind != "" {
			req.Header.Set("Content-Type", kind)
		}
		p.want(kind, p.do(req), wire.None)
	}
	req := p.asks("POST", "/folder", `{"path": "y"}`)
	req.Header.Set("Content-Type", "text/plain")
	p.want("a form", p.do(req), wire.Forbidden)
}

// What is changed on machines does not count among the changes of the relay.
func TestFilesAreNotPaced(t *testing.T) {
	p, _ := newPanel(t)
	for i := range 150 {
		p.want("a folder", p.ask("POST", "/folder", fmt.Sprintf(`{"path": "%d"}`, i)), wire.None)
	}
}

// live is a real server for the panel, over TCP.
func (p *panel) live() (*http.Client, func(method, path, body string, query ...string) *http.Request) {
	p.t.Helper()
	s := httptest.NewUnstartedServer(p.handler)
	s.EnableHTTP2 = true
	s.Config.ReadTimeout, s.Config.WriteTimeout = 2*time.Second, 2*time.Second
	s.Config.ErrorLog = nil
	s.StartTLS()
	p.t.Cleanup(s.Close)
	transport := s.Client().Transport.(*http.Transport)
	transport.TLSClientConfig = &tls.Config{RootCAs: transport.TLSClientConfig.RootCAs, NextProtos: []string{"h2", "http/1.1"}}
	p.host = strings.TrimPrefix(s.URL, "https://")
	return s.Client(), func(method, path, body string, query ...string) *http.Request {
		req := p.asks(method, path, body, query...).WithContext(p.t.Context())
		req.RequestURI = ""
		req.Header.Set("User-Agent", "test") // what the recorder takes is no header
		return req
	}
}

// Transfers may take longer than the server gives to others, as long as they flow.
func TestSlowTransfers(t *testing.T) {
	p, _ := newPanel(t)
	c, asks := p.live()
	content := random(3 << 20)
	r, w := io.Pipe()
	go func() {
		for i := range 6 { // of half a second each
			_, _ = io.WriteString(w, content[i<<19:(i+1)<<19])
			time.Sleep(500 * time.Millisecond)
		}
		_ = w.Close()
	}()
	req := asks("PUT", "/content", "x", "path", "file", "size", fmt.Sprint(len(content)), "offset", "0")
	req.Body, req.ContentLength = r, int64(len(content))
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if got := decode[files.Progress](t, resp); !got.Whole {
		t.Errorf("it is %+v", got)
	}
	resp, err = c.Do(asks("GET", "/content", "", "path", "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var got bytes.Buffer
	for range 6 {
		if _, err := io.CopyN(&got, resp.Body, 1<<19); err != nil {
			t.Fatal(err)
		}
		time.Sleep(500 * time.Millisecond)
	}
	if got.String() != content {
		t.Error("other bytes came")
	}
}

// A download that the machine breaks off does not look complete.
func TestDownloadThatBreaksOff(t *testing.T) {
	p, _ := newPanel(t)
	c, asks := p.live()
	content := random(8 << 20)
	if err := os.WriteFile(p.path("file"), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/content", "/archive"} {
		resp, err := c.Do(asks("GET", path, "", "path", "file"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(io.Discard, resp.Body, 100); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(p.path("file"), 100_000); err != nil { // what was not read by now is not there
			t.Fatal(err)
		}
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if path == "/content" && err == nil {
			t.Error("it looks complete")
		}
		if err := os.WriteFile(p.path("file"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// A transfer ends when its caller may not have it any more.
func TestTransferOfWhoSignedOut(t *testing.T) {
	p, _ := newPanel(t)
	req := p.asks("GET", "/content", "", "path", "file")
	left := false
	req = req.WithContext(WithCaller(req.Context(), func(context.Context) (access.Operator, error) {
		if left {
			return access.Operator{}, &wire.Error{Code: wire.SignedOut}
		}
		return access.Operator{ID: "1", Role: access.Opener}, nil
	}))
	f := &flowing{w: httptest.NewRecorder(), r: req, looked: time.Now().Add(-time.Hour)}
	if _, err := f.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	left = true
	f.looked = time.Now().Add(-time.Hour)
	if _, err := f.Write([]byte("x")); wire.CodeOf(err) != wire.SignedOut {
		t.Errorf("it goes on: %v", err)
	}
	f.looked = time.Now().Add(-time.Hour)
	if _, err := f.Read(make([]byte, 1)); wire.CodeOf(err) != wire.SignedOut {
		t.Errorf("it goes on: %v", err)
	}
}

func TestAttachment(t *testing.T) {
	for name, want := range map[string]string{
		"plain.txt":     `attachment; filename="plain.txt"; filename*=UTF-8''plain.txt`,
		"a b;c":         `attachment; filename="a b;c"; filename*=UTF-8''a%20b%3Bc`,
		"q\"\r\nX: y\\": `attachment; filename="q___X: y_"; filename*=UTF-8''q%22__X%3A%20y_`,
		"50%é\xff":      `attachment; filename="50___"; filename*=UTF-8''50%25%C3%A9%EF%BF%BD`,
	} {
		if got := attachment(name); got != want {
			t.Errorf("%q: %s\nwant   %s", name, got, want)
		}
	}
}
