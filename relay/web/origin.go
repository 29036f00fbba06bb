package web

import (
	"mime"
	"net/http"
	"net/netip"
	"strings"

	"scrier/wire"
)

// fromOurPages refuses what a page of another site, or a form, could make a browser send.
func fromOurPages(r *http.Request) error {
	site := r.Header.Values("Sec-Fetch-Site")
	switch {
	case r.Method == http.MethodConnect, r.Header.Get("Upgrade") != "": // WebTransport, WebSocket
		return SameOrigin(r)
	case r.Method == http.MethodGet, r.Method == http.MethodHead, r.Method == http.MethodOptions:
		if !strings.HasPrefix(r.URL.Path, apiPath) {
			return nil // a page; whoever opens it may come from anywhere
		}
		for _, s := range site {
			if s != "same-origin" && s != "none" { // none: typed into the address bar
				return foreign("the API is read by the relay's own pages only")
			}
		}
		if len(r.Header.Values("Origin")) > 0 {
			return SameOrigin(r)
		}
		return nil
	}
	if err := onlyJSON(r); err != nil {
		return err
	}
	if len(site) > 0 && (len(site) > 1 || site[0] != "same-origin") {
		return foreign("it comes from another site's page")
	}
	if len(site) == 0 || len(r.Header.Values("Origin")) > 0 {
		return SameOrigin(r)
	}
	return nil
}

// onlyJSON refuses what a form can send without asking. A request that names neither type nor
// length may go on without a body.
func onlyJSON(r *http.Request) error {
	if isUpload(r) {
		return nil // with PUT no form can send anything, and other sites' pages must ask first
	}
	kinds := r.Header.Values("Content-Type")
	if len(kinds) == 0 && r.ContentLength <= 0 {
		return nil
	}
	if len(kinds) == 1 {
		if kind, _, err := mime.ParseMediaType(kinds[0]); err == nil && kind == "application/json" {
			return nil
		}
	}
	return foreign("a request with a body has the type application/json")
}

// isUpload says whether a request's body is a file's content.
func isUpload(r *http.Request) bool {
	return r.Method == http.MethodPut && strings.HasPrefix(r.URL.Path, apiPath+"v1/sessions/") && strings.HasSuffix(r.URL.Path, "/files/content")
}

// SameOrigin says whether a request comes from one of the relay's own pages: its Origin must be
// there and be https://, followed by the very Host. It is what WebSocket and WebTransport need,
// to which neither cookies' SameSite nor CORS applies; the Host is checked by [Browser]. The error
// is [wire.Forbidden].
func SameOrigin(r *http.Request) error {
	origins := r.Header.Values("Origin")
	if len(origins) != 1 {
		return foreign("it does not say, by one Origin, which page it comes from")
	}
	authority, ok := strings.CutPrefix(origins[0], "https://")
	if !ok || authority != r.Host {
		return foreign("it comes from the page of another origin")
	}
	// A browser writes an origin in one way only; the port of https is left out.
	if _, port, ok := parseHost(authority); !ok || port == "443" {
		return foreign("its Origin is not one")
	}
	return nil
}

// hostRewritten is [wire.WrongHost] for a request of which the browser itself says that it goes to the page's own origin,
// while its Host is another: something between the two has replaced that. No page can make a browser say so. The
// request is refused all the same.
func hostRewritten(r *http.Request) error {
	site, origins := r.Header.Values("Sec-Fetch-Site"), r.Header.Values("Origin")
	if len(site) != 1 || site[0] != "same-origin" || len(origins) != 1 {
		return nil
	}
	authority, ok := strings.CutPrefix(origins[0], "https://")
	if _, _, valid := parseHost(authority); !ok || !valid || authority == r.Host {
		return nil
	}
	return wire.Errorf(wire.WrongHost, "the browser is at %q, and the request came with the host %q: a proxy in front of this relay has replaced it", authority, wire.Printable(r.Host))
}

func foreign(why string) error {
	return wire.Errorf(wire.Forbidden, "the request was refused: %s", why)
}

// parseHost splits an authority, host[:port], as a browser writes one: in lower case, an IP
// address in its one shortest form, no dot at the end. IPv6 addresses lose their brackets.
func parseHost(authority string) (host, port string, ok bool) {
	rest := ""
	if v6, ok := strings.CutPrefix(authority, "["); ok {
		if host, rest, ok = strings.Cut(v6, "]"); !ok {
			return "", "", false
		}
		ip, err := netip.ParseAddr(host)
		if err != nil || !ip.Is6() || ip.Is4In6() || ip.String() != host || ip.Zone() != "" {
			return "", "", false
		}
	} else {
		i := strings.IndexByte(authority, ':')
		if i < 0 {
			i = len(authority)
		}
		if host, rest = authority[:i], authority[i:]; !validName(host) {
			return "", "", false
		}
	}
	if rest == "" {
		return host, "", true
	}
	port, ok = strings.CutPrefix(rest, ":")
	if _, err := netip.ParseAddrPort("0.0.0.0:" + port); !ok || err != nil || strings.HasPrefix(port, "0") {
		return "", "", false
	}
	return host, port, true
}

// validName says whether s is a host name in ASCII, or an IPv4 address.
func validName(s string) bool {
	if len(s) > 253 {
		return false
	}
	labels := strings.Split(s, ".")
	for _, l := range labels {
		if l == "" || len(l) > 63 || l[0] == '-' || strings.Trim(l, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	if last := labels[len(labels)-1]; last[0] >= '0' && last[0] <= '9' { // browsers read it as an address, in many forms
		ip, err := netip.ParseAddr(s)
		return err == nil && ip.String() == s
	}
	return true
}
