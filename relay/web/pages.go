package web

import (
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"path"
	"strconv"
	"strings"

	"scrier/wire"
)

// PagesConfig is what the pages are served from.
type PagesConfig struct {
	Files fs.FS // as static/build.mjs makes them
	// Covered says whether host (with or without a port) has a certificate that browsers know. Only
	// then HSTS is sent: with the relay's own certificate it would take away the button with which a
	// person accepts that certificate.
	Covered func(host string) bool
	// HTTP3 says whether browsers take that certificate for HTTP/3 as well: then Alt-Svc.
	HTTP3 func(host string) bool
}

const (
	// policyNone is for what is no page.
	policyNone = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	policyApp  = policyHead + "style-src 'self'" + policyTail
	// policyTerminal allows styles in the document: xterm.js makes style elements.
	policyTerminal = policyHead + "style-src 'self' 'unsafe-inline'" + policyTail
	// policyDesktop allows no more than the app's: pictures become bitmaps and sound samples without an
	// address, styles are set one by one. data: in img-src is for the pointer, which is a style.
	policyDesktop = policyApp

	policyHead = "default-src 'none'; script-src 'self'; "
	policyTail = "; img-src 'self' data:; font-src 'self'; connect-src 'self'; manifest-src 'self'; " +
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)

const (
	cacheNever = "no-store"
	cacheDay   = "public, max-age=86400"
	// cacheForEver is for names that hold a hash of what is in them.
	cacheForEver = "public, max-age=31536000, immutable"
	// strictTransport is half a year. If the relay loses its certificate for good, browsers cannot reach
	// it for that long.
	strictTransport = "max-age=15552000"
)

// permissions are the powerful features that pages may use, and those that nobody may.
const permissions = "clipboard-read=(self), clipboard-write=(self), fullscreen=(self), keyboard-map=(self), " +
	"publickey-credentials-create=(self), publickey-credentials-get=(self), " +
	"camera=(), display-capture=(), geolocation=(), hid=(), microphone=(), midi=(), payment=(), serial=(), usb=()"

// Pages is what the relay serves to anybody: /healthz, and the pages, which hold nothing secret until
// somebody signs in. Browsers never store documents, and may store for ever what documents refer to.
func Pages(c PagesConfig) http.Handler { return &pages{c} }

type pages struct{ PagesConfig }

func (p *pages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.secure(w.Header(), r.Host)
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		say(w, http.StatusMethodNotAllowed, "Method not allowed", "<p>Pages are read with GET.</p>")
		return
	}
	name := strings.TrimPrefix(r.URL.Path, "/")
	switch envoy, isSession := strings.CutPrefix(name, "scrier/"); {
	case name == "healthz":
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, "ok\n") // the client may be gone
	case isDocument(name):
		p.document(w, r, "app.html", policyApp, http.StatusOK)
	case isSession && envoy != "" && !strings.Contains(envoy, "/"):
		switch query := r.URL.Query(); {
		case isDesktop(query.Get("protocol")):
			p.document(w, r, "desktop.html", policyDesktop, http.StatusOK)
		case query.Get("view") == "files":
			p.document(w, r, "files.html", policyApp, http.StatusOK)
		default:
			p.document(w, r, "terminal.html", policyTerminal, http.StatusOK)
		}
	case strings.HasPrefix(name, "assets/"):
		p.file(w, r, name, cacheForEver, http.StatusOK)
	case name == "LICENCES.txt", strings.HasPrefix(name, "favicon") && !strings.Contains(name, "/"):
		p.file(w, r, name, cacheDay, http.StatusOK)
	case path.Ext(name) == "" && !strings.HasPrefix(name, "assets/") && !strings.HasPrefix(name, "/") && p.has("app.html"):
		p.document(w, r, "app.html", policyApp, http.StatusNotFound) // which says so, with the way back
	default:
		notFound(w)
	}
}

func (p *pages) has(name string) bool {
	_, err := fs.Stat(p.Files, name)
	return err == nil
}

// isDocument says whether a path is one of the app's views. The app does its own routing, so all of them
// are the same document.
func isDocument(name string) bool {
	switch name {
	case "", "sessions", "operators", "enrol", "audit", "account", "signin":
		return true
	}
	return false
}

// isDesktop says whether a session of this kind has a picture rather than a terminal.
func isDesktop(protocol string) bool {
	return protocol == string(wire.KindRDP) || protocol == string(wire.KindVNC)
}

// secure sets the headers that every answer has; what is stored or has a policy of its own sets it
// later.
func (p *pages) secure(h http.Header, host string) {
	h.Set("Content-Security-Policy", policyNone)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", permissions)
	h.Set("Cache-Control", cacheNever)
	if p.Covered(host) {
		h.Set("Strict-Transport-Security", strictTransport)
	}
	if p.HTTP3(host) {
		h.Set("Alt-Svc", fmt.Sprintf(`h3=":%s"; ma=86400`, portOf(host)))
	}
}

// portOf is the port that the browser used. UDP has the same number, also where a firewall
// translates it.
func portOf(host string) string {
	if _, port, err := net.SplitHostPort(host); err == nil {
		if n, err := strconv.ParseUint(port, 10, 16); err == nil && n > 0 {
			return strconv.FormatUint(n, 10)
		}
	}
	return "443"
}

func (p *pages) document(w http.ResponseWriter, r *http.Request, name, policy string, status int) {
	if !p.has(name) {
		say(w, http.StatusServiceUnavailable, "This relay was built without its pages.",
			"<p>Build them with <code>./just web</code>, and then the program with <code>./just build</code>.</p>\n"+
				"<p>From a terminal everything works: <code>scrier login HOST:PORT</code>, then <code>scrier ssh ENVOY</code>.</p>")
		return
	}
	w.Header().Set("Content-Security-Policy", policy)
	p.file(w, r, name, cacheNever, status)
}

// file answers with a file or its compressed twin.
func (p *pages) file(w http.ResponseWriter, r *http.Request, name, cache string, status int) {
	kind := contentType(name)
	if kind == "" || !fs.ValidPath(name) {
		notFound(w) // the twins, .gz and .br, have no names of their own
		return
	}
	h, coding, twin := w.Header(), identity, name
	if has := p.codings(name); len(has) > 0 {
		h.Set("Vary", "Accept-Encoding")
		if coding = pickCoding(r.Header.Values("Accept-Encoding"), has); coding != identity {
			twin += ending(coding)
		}
	}
	f, err := p.Files.Open(twin)
	if err != nil {
		notFound(w)
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		notFound(w)
		return
	}
	if coding != identity {
		h.Set("Content-Encoding", coding)
	}
	h.Set("Content-Type", kind)
	h.Set("Content-Length", strconv.FormatInt(info.Size(), 10))
	h.Set("Cache-Control", cache)
	w.WriteHeader(status)
	if r.Method == http.MethodHead {
		return
	}
	// By small pieces: one that is held for each client that does not read is no more. The client may be
	// gone.
	_, _ = io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{f}, make([]byte, maxPiece))
}

// codings are those that a file has a twin of, the smaller one first.
func (p *pages) codings(name string) (has []string) {
	for _, c := range []string{"br", "gzip"} {
		if _, err := fs.Stat(p.Files, name+ending(c)); err == nil {
			has = append(has, c)
		}
	}
	return has
}

func ending(coding string) string {
	if coding == "gzip" {
		return ".gz"
	}
	return "." + coding
}

// contentType is by our own table: mime.TypeByExtension reads the host's. Empty: not for browsers.
func contentType(name string) string {
	switch path.Ext(name) {
	case ".css":
		return "text/css; charset=utf-8"
	case ".html":
		return "text/html; charset=utf-8"
	case ".ico":
		return "image/x-icon"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".json":
		return "application/json"
	case ".png":
		return "image/png"
	case ".svg":
		return "image/svg+xml"
	case ".txt":
		return "text/plain; charset=utf-8"
	case ".wasm":
		return "application/wasm"
	case ".webmanifest":
		return "application/manifest+json"
	case ".woff2":
		return "font/woff2"
	}
	return ""
}

func notFound(w http.ResponseWriter) {
	say(w, http.StatusNotFound, "There is no such page.", `<p><a href="/">To the envoys</a></p>`)
}

// say answers with a page that needs nothing else.
func say(w http.ResponseWriter, status int, title, body string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, plain, title, title, body) // the client may be gone
}

const plain = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>%s – Scrier</title>
<h1>%s</h1>
%s
`
