package web

import (
	"bufio"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"scrier/relay/access"
	"scrier/relay/files"
	"scrier/relay/store"
	"scrier/wire"
)

// policyFile is for the content of files that may be anything: nothing in them runs, even if they are shown.
const policyFile = "sandbox; " + policyNone

const rawPath = "in place of path, for one that is not UTF-8: its bytes in base64url"

func (a *api) fileRoutes() []route {
	if a.Files == nil {
		return nil
	}
	const all = "/sessions/{session}/files"
	path, raw := param{"path", "absolute, or from the login's home"}, param{"raw", rawPath}
	size := param{"size", "of the whole file, in bytes"}
	own := "The session is open, of kind ssh and the caller's own."
	return []route{
		{method: "GET", pattern: all, verb: access.OpenSessions, what: "List a folder of a session's machine", handle: a.listFiles, out: files.Listing{}, query: []param{{"path", "absolute, or from the login's home; empty: that"}, raw}, packs: true, slow: true, more: own},
		{method: "GET", pattern: all + "/content", verb: access.OpenSessions, what: "Download a file", raw: a.download, media: "application/octet-stream", query: []param{path, raw}, more: own + " Range and If-Range go on with a download that broke off; ETag is made of the file's size and when it was changed."},
		{method: "GET", pattern: all + "/archive", verb: access.OpenSessions, what: "Download files and folders as one zip", raw: a.downloadArchive, media: "application/zip", query: []param{path, raw}, many: true, more: own + " Links are packed as links. What cannot be read is listed in a file at the zip's end. A zip that breaks off has no end."},
		{method: "GET", pattern: all + "/upload", verb: access.OpenSessions, what: "Say how much of a broken upload is there", handle: a.uploaded, out: files.Progress{}, query: []param{path, raw, size}, slow: true, more: own},
		{method: "DELETE", pattern: all + "/upload", verb: access.OpenSessions, what: "Give a broken upload up, and remove what is there of it", handle: a.giveUp, query: []param{path, raw, size}, slow: true, elsewhere: true, more: own},
		{method: "PUT", pattern: all + "/content", verb: access.OpenSessions, what: "Upload a file, or a part of it", raw: a.upload, takes: "application/octet-stream", out: files.Progress{}, streams: true, elsewhere: true, query: []param{path, raw, size, {"offset", "where the body's bytes begin in the file; 0 begins anew"}, {"modified", "when it was changed, in milliseconds since 1970"}, {"overwrite", "true: a file that is there is replaced; 409 otherwise"}}, more: own + " The bytes go into a part file beside the target. When they are whole the file gets its name. A body that is shorter than the rest is a part."},
		{method: "POST", pattern: all + "/folder", verb: access.OpenSessions, what: "Make a folder", handle: a.makeFolder, in: FileName{}, slow: true, elsewhere: true, more: own},
		{method: "POST", pattern: all + "/rename", verb: access.OpenSessions, what: "Rename or move a file or folder", handle: a.renameFile, in: FileNames{}, slow: true, elsewhere: true, more: own + " The new name must be free."},
		{method: "DELETE", pattern: all, verb: access.OpenSessions, what: "Remove a file, a link or a folder", handle: a.removeFile, query: []param{path, raw, {"recursive", "true: a folder with all that is in it"}}, slow: true, elsewhere: true, more: own},
	}
}

// FileName is a path on a machine.
type FileName struct {
	Path string `json:"path,omitempty"`
	Raw  string `json:"raw,omitempty"` // see rawPath
}

// FileNames are two paths on a machine.
type FileNames struct {
	From    string `json:"from,omitempty"`
	FromRaw string `json:"from_raw,omitempty"`
	To      string `json:"to,omitempty"`
	ToRaw   string `json:"to_raw,omitempty"`
}

// pathOf is the path that is given, in either way.
func pathOf(path, raw string) (string, error) {
	if raw == "" {
		return path, nil
	}
	if path != "" {
		return "", wire.Errorf(wire.BadRequest, "path and raw are one thing; give one of the two")
	}
	b, err := base64.RawURLEncoding.DecodeString(strings.NewReplacer("+", "-", "/", "_", "=", "").Replace(raw))
	if err != nil {
		return "", wire.Errorf(wire.BadRequest, "raw is not in base64url")
	}
	return string(b), nil
}

// named is pathOf for a path that must be there.
func namedPath(path, raw string) (string, error) {
	name, err := pathOf(path, raw)
	if err == nil && name == "" {
		return "", wire.Errorf(wire.BadRequest, "path is missing")
	}
	return name, err
}

// fileSession is the open session of the caller's own that a request is about.
func (a *api) fileSession(r *http.Request, who access.Operator) (wire.SessionID, error) {
	id, err := wire.ParseSessionID(chi.URLParam(r, "session"))
	if err != nil {
		return id, err
	}
	s, err := a.Sessions.Get(r.Context(), id)
	if err == nil && who.ID != "" && s.OperatorID == who.ID && s.State == store.Active && s.Kind == string(wire.KindSSH) {
		return id, nil
	}
	if err != nil && wire.CodeOf(err) != wire.NotFound {
		return id, err
	}
	// The same words for a session that is somebody else's and for none.
	return id, wire.Errorf(wire.NotFound, "you have no open session %s of kind ssh", id).Advise("see `scrier sessions list`")
}

// onFiles runs work that is soon done on the files of a request's session.
func (a *api) onFiles(r *http.Request, who access.Operator, work func(*files.Machine) error) error {
	id, err := a.fileSession(r, who)
	if err != nil {
		return err
	}
	return a.Files.Do(r.Context(), id, work)
}

func (a *api) listFiles(r *http.Request, who access.Operator) (any, error) {
	q := r.URL.Query()
	name, err := pathOf(q.Get("path"), q.Get("raw"))
	if err != nil {
		return nil, err
	}
	var l files.Listing
	err = a.onFiles(r, who, func(m *files.Machine) (err error) {
		l, err = m.List(r.Context(), name)
		return err
	})
	return l, err
}

func (a *api) uploaded(r *http.Request, who access.Operator) (any, error) {
	name, size, err := targetOf(r.URL.Query())
	if err != nil {
		return nil, err
	}
	var p files.Progress
	err = a.onFiles(r, who, func(m *files.Machine) (err error) {
		p, err = m.Uploaded(name, size)
		return err
	})
	return p, err
}

func (a *api) giveUp(r *http.Request, who access.Operator) (any, error) {
	name, size, err := targetOf(r.URL.Query())
	if err != nil {
		return nil, err
	}
	return nil, a.onFiles(r, who, func(m *files.Machine) error { return m.GiveUp(name, size) })
}

// targetOf is what an upload is to become: its name and size.
func targetOf(q url.Values) (name string, size int64, err error) {
	if name, err = namedPath(q.Get("path"), q.Get("raw")); err != nil {
		return "", 0, err
	}
	size, err = sizeOf(q, "size")
	return name, size, err
}

// sizeOf is a number of bytes that must be there.
func sizeOf(q url.Values, name string) (int64, error) {
	if q.Get(name) == "" {
		return 0, wire.Errorf(wire.BadRequest, "%s is missing", name)
	}
	n, err := numberOf(q, name, 0)
	if err == nil && n > 1<<62 {
		err = wire.Errorf(wire.BadRequest, "%s is too large", name)
	}
	return int64(n), err
}

func (a *api) makeFolder(r *http.Request, who access.Operator) (any, error) {
	req, err := body[FileName](r)
	if err != nil {
		return nil, err
	}
	name, err := namedPath(req.Path, req.Raw)
	if err != nil {
		return nil, err
	}
	return nil, a.onFiles(r, who, func(m *files.Machine) error { return m.Mkdir(name) })
}

func (a *api) renameFile(r *http.Request, who access.Operator) (any, error) {
	req, err := body[FileNames](r)
	if err != nil {
		return nil, err
	}
	from, err := pathOf(req.From, req.FromRaw)
	if err != nil {
		return nil, err
	}
	to, err := pathOf(req.To, req.ToRaw)
	if err == nil && (from == "" || to == "") {
		err = wire.Errorf(wire.BadRequest, "give from and to")
	}
	if err != nil {
		return nil, err
	}
	return nil, a.onFiles(r, who, func(m *files.Machine) error { return m.Rename(from, to) })
}

func (a *api) removeFile(r *http.Request, who access.Operator) (any, error) {
	q := r.URL.Query()
	name, err := namedPath(q.Get("path"), q.Get("raw"))
	if err != nil {
		return nil, err
	}
	recursive, err := flagOf(q, "recursive")
	if err != nil {
		return nil, err
	}
	return nil, a.onFiles(r, who, func(m *files.Machine) error { return m.Remove(r.Context(), name, recursive) })
}

// transfer runs work that transfers contents on the files of a request's session. What of it fails before the answer has
// begun is answered; what fails later breaks the answer off, so that it does not look complete.
func (a *api) transfer(w http.ResponseWriter, r *http.Request, who access.Operator, work func(*files.Machine, *flowing) error) {
	to := &flowing{w: w, r: r, who: who, looked: time.Now()}
	err := a.Panics.Contain("call", func() error {
		if err := to.turn(); err != nil {
			return err
		}
		id, err := a.fileSession(r, who)
		if err != nil {
			return err
		}
		return a.Files.Transfer(r.Context(), id, func(m *files.Machine) error { return work(m, to) })
	}, "method", r.Method, "path", wire.Printable(r.URL.Path), "operator", who.Username)
	switch {
	case err == nil:
	case to.began:
		a.Log.Debug("a transfer broke off", "operator", who.Username, "err", err)
		panic(http.ErrAbortHandler)
	default:
		a.fail(w, err)
	}
}

// answering is from when on an answer has begun.
func (f *flowing) answering(kind, name string) {
	h := f.w.Header()
	h.Set("Content-Type", kind)
	h.Set("Content-Disposition", attachment(name))
	h.Set("Content-Security-Policy", policyFile)
	h.Set("X-Content-Type-Options", "nosniff")
	f.began = true
}

func (a *api) download(w http.ResponseWriter, r *http.Request, who access.Operator) {
	q := r.URL.Query()
	name, err := namedPath(q.Get("path"), q.Get("raw"))
	if err != nil {
		a.fail(w, err)
		return
	}
	a.transfer(w, r, who, func(m *files.Machine, to *flowing) error {
		c, err := m.Content(name)
		if err != nil {
			return err
		}
		defer c.Close() // it was only read
		to.answering("application/octet-stream", c.Name)
		w.Header().Set("ETag", c.ETag())
		http.ServeContent(to, r, "", c.Modified, c)
		if err := errors.Join(c.Err(), to.err); err != nil {
			return err
		}
		if length := w.Header().Get("Content-Length"); length != "" && length != strconv.FormatInt(to.sent, 10) && to.sent > 0 {
			return wire.Errorf(wire.FileFailed, "%s: it became shorter", wire.Printable(name)) // HTTP/3's server would not see it
		}
		return nil
	})
}

func (a *api) downloadArchive(w http.ResponseWriter, r *http.Request, who access.Operator) {
	q := r.URL.Query()
	names := q["path"]
	for _, raw := range q["raw"] {
		name, err := pathOf("", raw)
		if err != nil {
			a.fail(w, err)
			return
		}
		names = append(names, name)
	}
	a.transfer(w, r, who, func(m *files.Machine, to *flowing) error {
		z, err := m.Archive(names)
		if err != nil {
			return err
		}
		to.answering("application/zip", z.Name)
		b := bufio.NewWriterSize(to, 64<<10)
		if err := z.Write(r.Context(), b); err != nil {
			return err
		}
		return b.Flush()
	})
}

func (a *api) upload(w http.ResponseWriter, r *http.Request, who access.Operator) {
	u, err := uploadOf(r)
	if err != nil {
		a.fail(w, err)
		return
	}
	a.transfer(w, r, who, func(m *files.Machine, from *flowing) error {
		p, err := m.Put(r.Context(), u, from)
		if err != nil {
			return err
		}
		if err := last(w, writeTimeout); err != nil {
			return err
		}
		a.write(w, p)
		return nil
	})
}

// uploadOf is what a request wants to upload.
func uploadOf(r *http.Request) (u files.Upload, err error) {
	q := r.URL.Query()
	if u.Path, u.Size, err = targetOf(q); err != nil {
		return u, err
	}
	if u.Offset, err = sizeOf(q, "offset"); err != nil {
		return u, err
	}
	if r.ContentLength > u.Size-u.Offset {
		return u, wire.Errorf(wire.BadRequest, "%d bytes come, and %d from offset on are the whole file", r.ContentLength, max(0, u.Size-u.Offset))
	}
	if q.Get("modified") != "" {
		ms, err := numberOf(q, "modified", 0)
		if err != nil {
			return u, err
		}
		if u.Modified = time.UnixMilli(int64(ms)); ms > lastTime {
			return u, wire.Errorf(wire.BadRequest, "modified is later than a machine can store")
		}
	}
	u.Overwrite, err = flagOf(q, "overwrite")
	return u, err
}

// lastTime is the latest time that SFTP can say, in milliseconds.
const lastTime = (1<<32 - 1) * 1000

// flowing is a request's body or answer that may be of any length, as long as it flows and its caller may have it.
type flowing struct {
	w      http.ResponseWriter
	r      *http.Request
	who    access.Operator
	began  bool // the answer
	looked time.Time
	sent   int64 // bytes of the answer
	err    error // of the answer
}

const (
	// flowWait is how long the client may take for some bytes.
	flowWait = time.Minute
	// flowLook is how often it is looked whether the caller may still do what they do.
	flowLook = 15 * time.Second
)

// turn gives the next bytes time, if the caller may have them.
func (f *flowing) turn() error {
	now := time.Now()
	if now.Sub(f.looked) > flowLook {
		f.looked = now
		caller, _ := f.r.Context().Value(callerKey{}).(Caller) // guard has seen that there is one
		who, err := caller(f.r.Context())
		if err == nil {
			err = who.May(access.OpenSessions)
		}
		if err != nil {
			return err
		}
	}
	rc := http.NewResponseController(f.w)
	for _, set := range []func(time.Time) error{rc.SetReadDeadline, rc.SetWriteDeadline} {
		if err := set(now.Add(flowWait)); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return err
		}
	}
	return nil
}

// Read reads the body.
func (f *flowing) Read(b []byte) (int, error) {
	if err := f.turn(); err != nil {
		return 0, err
	}
	return f.r.Body.Read(b)
}

// Write writes the answer.
func (f *flowing) Write(b []byte) (n int, err error) {
	if err = f.turn(); err == nil {
		n, err = f.w.Write(b)
		f.sent += int64(n)
	}
	if err != nil {
		f.err = err
	}
	return n, err
}

// Header and WriteHeader make it a [http.ResponseWriter].
func (f *flowing) Header() http.Header    { return f.w.Header() }
func (f *flowing) WriteHeader(status int) { f.w.WriteHeader(status) }

// attachment names a download (RFC 6266): in ASCII for old programs, and as it is (RFC 8187).
func attachment(name string) string {
	var ascii, whole strings.Builder
	for _, r := range strings.ToValidUTF8(name, "\ufffd") {
		if r < ' ' || r == 0x7f || r == '/' || r == '\\' {
			r = '_'
		}
		switch {
		case r > 0x7e, r == '"', r == '%':
			ascii.WriteByte('_')
		default:
			ascii.WriteRune(r)
		}
		if r < 0x80 && (r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || strings.ContainsRune("!#$&+-.^_`|~", r)) {
			whole.WriteRune(r)
		} else {
			for _, b := range []byte(string(r)) {
				fmt.Fprintf(&whole, "%%%02X", b)
			}
		}
	}
	return `attachment; filename="` + ascii.String() + `"; filename*=UTF-8''` + whole.String()
}
