package relay

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"scrier/relay/access"
	"scrier/relay/audit"
	"scrier/relay/files"
	"scrier/relay/session"
	"scrier/relay/sftp"
	"scrier/relay/web"
	"scrier/wire"
)

// withFiles runs an SSH server with any number of channels, whose SFTP server is OpenSSH's and whose shell is an echo.
func (e *envoy) withFiles(s wire.Stream, open *wire.Open, home string) {
	rights := append(append([]wire.Right{}, open.Needs...), open.Likes...)
	if err := wire.Send(s, &wire.Opened{Login: "deploy", HostKeys: [][]byte{e.hostKey.PublicKey().Marshal()}, Rights: rights}); err != nil {
		e.t.Error(err)
	}
	config := &ssh.ServerConfig{PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return nil, nil }}
	config.AddHostKey(e.hostKey)
	conn, channels, requests, err := ssh.NewServerConn(sshConn(s), config)
	if err != nil {
		return
	}
	defer conn.Close()
	go ssh.DiscardRequests(requests)
	for c := range channels {
		channel, requests, err := c.Accept()
		if err != nil {
			return
		}
		go func() {
			defer channel.Close()
			for r := range requests {
				if r.WantReply {
					_ = r.Reply(true, nil)
				}
				switch {
				case r.Type == "shell":
					go echo(channel)
				case r.Type == "subsystem" && strings.HasSuffix(string(r.Payload), "sftp"):
					cmd := exec.Command("/usr/lib/openssh/sftp-server", "-e", "-l", "QUIET")
					cmd.Dir, cmd.Stdin, cmd.Stdout = home, channel, channel
					go func() {
						_ = cmd.Run()
						_ = channel.Close()
					}()
				}
			}
		}()
	}
}

// A page works on the files of its session's machine, and all of it is in the audit log.
func TestFilesOfASession(t *testing.T) {
	r := start(t)
	home := t.TempDir()
	e := serve(t, r, "web1", func(e *envoy, open *wire.Open, s wire.Stream) { e.withFiles(s, open, home) })
	ann := newPerson(t, r, "ann", access.Opener)
	who := access.Operator{ID: ann.user.ID, Username: "ann", Role: access.Opener, Epoch: 1}
	d := described(t, r)
	content := make([]byte, 5<<20+1)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(content)
	sum := sha256.Sum256(content)
	for _, channel := range []string{"", "hold"} {
		opened := answer[web.Opened](t, callAs(t, r, who, "POST", "/scrier/connect", map[string]any{"envoy_id": e.id.String(), "kind": "ssh", "channel": channel}))
		id := opened.SessionID.String()
		root := "/sessions/" + id + "/files"
		for _, c := range []struct {
			method, route, query string
			in                   any
			status               int
		}{
			{"POST", "/folder", "", map[string]string{"path": "folder"}, 204},
			{"POST", "/folder", "", map[string]string{"path": "folder"}, 409},
			{"PUT", "/content", "?path=folder%2Ffile&offset=0&size=5242881", content, 200},
			{"GET", "/upload", "?path=folder%2Fother&size=5", nil, 200},
			{"GET", "", "?path=folder", nil, 200},
			{"GET", "", "?path=nowhere", nil, 404},
			{"POST", "/rename", "", map[string]string{"from": "folder/file", "to": "folder/other"}, 204},
			{"DELETE", "/upload", "?path=folder%2Fother&size=5", nil, 204},
			{"DELETE", "", "?path=folder", nil, 409},
		} {
			op := d.Paths["/sessions/{session}/files"+c.route][strings.ToLower(c.method)]
			if body, ok := c.in.([]byte); ok {
				d.holds(t, c.method+" "+c.route, op, asBytes(r, who, c.method, root+c.route+c.query, body), c.status)
				continue
			}
			d.takes(t, c.method+" "+c.route, op, c.in)
			d.holds(t, c.method+" "+c.route, op, callAs(t, r, who, c.method, root+c.route+c.query, c.in), c.status)
		}
		resp := callAs(t, r, who, "GET", root+"/content?path="+url.QueryEscape(home+"/folder/other"), nil)
		if got, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 200 || !bytes.Equal(got, content) {
			t.Errorf("status %d, %d bytes that are not those sent, %v", resp.StatusCode, len(got), err)
		}
		if got := callAs(t, r, who, "DELETE", root+"?path=folder&recursive=true", nil); got.StatusCode != 204 {
			t.Errorf("remove: status %d", got.StatusCode)
		}
		if left, err := os.ReadDir(home); err != nil || len(left) > 0 {
			t.Errorf("there are %v, %v", left, err)
		}
		if err := r.sessions.Kill(t.Context(), audit.Event{}, opened.SessionID); err != nil {
			t.Error(err)
		}
		waitFor(t, "the files to be gone", func() bool { return callAs(t, r, who, "GET", root, nil).StatusCode == 404 })
		waitFor(t, "the session's end to be recorded", func() bool { return len(recordsOf(t, r, "scrier.disconnect", id)) == 1 })
		up, down := 0, 0
		for _, f := range recordsOf(t, r, session.FileType, id) {
			if f["upload_sha256"] == hex.EncodeToString(sum[:]) && f["upload"] == "5242881" {
				up++
			}
			if f["download_sha256"] == hex.EncodeToString(sum[:]) {
				down++
			}
		}
		if up != 1 || down != 1 {
			t.Errorf("recorded are %d uploads and %d downloads", up, down)
		}
		var changes []string
		for _, c := range recordsOf(t, r, session.ChangeType, id) {
			changes = append(changes, c["change"])
		}
		if got := strings.Join(changes, " "); got != "mkdir rename rename rmdir remove rmdir" {
			t.Errorf("recorded are %s", got)
		}
	}
	settled(t, r)
}

// asBytes sends a body that is no JSON.
func asBytes(r *Relay, who access.Operator, method, path string, body []byte) *http.Response {
	req := httptest.NewRequest(method, "/api/v1"+path, bytes.NewReader(body))
	w := httptest.NewRecorder()
	r.api.ServeHTTP(w, req.WithContext(web.WithCaller(req.Context(), is(who))))
	return w.Result()
}

// recordsOf are the fields of a session's audit records of a type.
func recordsOf(t *testing.T, r *Relay, kind, session string) (found []map[string]string) {
	t.Helper()
	all, err := r.audit.Records(t.Context(), 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, rec := range all {
		if rec.Type == kind && rec.Session == session {
			found = append(found, rec.Fields)
		}
	}
	return found
}

// A session that ends takes a transfer with it that is under way, also one that waits for its page.
func TestSessionEndsItsTransfers(t *testing.T) {
	r := start(t)
	home := t.TempDir()
	e := serve(t, r, "web1", func(e *envoy, open *wire.Open, s wire.Stream) { e.withFiles(s, open, home) })
	ann := newPerson(t, r, "ann", access.Opener)
	who := access.Operator{ID: ann.user.ID, Username: "ann", Role: access.Opener, Epoch: 1}
	opened := answer[web.Opened](t, callAs(t, r, who, "POST", "/scrier/connect", map[string]any{"envoy_id": e.id.String(), "kind": "ssh", "channel": "hold"}))
	body, to := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- r.files.Transfer(t.Context(), opened.SessionID, func(m *files.Machine) error {
			_, err := m.Put(t.Context(), files.Upload{Path: "file", Size: 1 << 30}, body)
			return err
		})
	}()
	if _, err := to.Write(make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the machine to have some of it", func() bool { left, err := os.ReadDir(home); return err == nil && len(left) > 0 })
	if err := r.sessions.Kill(t.Context(), audit.Event{}, opened.SessionID); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the file to be recorded", func() bool { return len(recordsOf(t, r, session.FileType, opened.SessionID.String())) == 1 })
	settled(t, r)
	_ = to.CloseWithError(io.ErrUnexpectedEOF)
	if err := <-done; err == nil {
		t.Error("it went well")
	}
	if f := recordsOf(t, r, session.FileType, opened.SessionID.String())[0]; f["status"] != "unanswered" {
		t.Errorf("recorded is %v", f)
	}
}

// Pages open channels for files no faster than others open channels: each has records in the audit log.
func TestPagesOpenChannelsAtAPace(t *testing.T) {
	r := start(t)
	e := serve(t, r, "web1", func(e *envoy, open *wire.Open, s wire.Stream) { e.withFiles(s, open, t.TempDir()) })
	ann := newPerson(t, r, "ann", access.Opener)
	who := access.Operator{ID: ann.user.ID, Username: "ann", Role: access.Opener, Epoch: 1}
	opened := answer[web.Opened](t, callAs(t, r, who, "POST", "/scrier/connect", map[string]any{"envoy_id": e.id.String(), "kind": "ssh"}))
	refused := func() bool {
		for wire.CodeOf(r.access.Channel(access.Operator{ID: who.ID, SignIn: "pages"})) != wire.Busy {
		}
		c, err := pageFiles{r}.OpenSFTP(t.Context(), opened.SessionID)
		if err == nil {
			c.Ended(sftp.Summary{}, nil)
		}
		return wire.CodeOf(err) == wire.Busy
	}
	for range 20 { // it may be some time from the one to the other
		if refused() {
			return
		}
	}
	t.Error("as many as they like")
}
