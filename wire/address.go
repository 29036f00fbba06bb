package wire

import (
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// DefaultPort is the port of a relay whose name has none.
const DefaultPort = "8443"

// RelayAddress makes host:port of what a person calls a relay: a name or an IP address, with or without a port, or the
// address of its pages. Names are in lower case, so that one relay has one. What cannot be meant is
// [BadRequest].
func RelayAddress(text string) (string, error) {
	s, port := strings.TrimSpace(text), DefaultPort
	if scheme, _, ok := strings.Cut(s, "://"); ok {
		u, err := url.Parse(s)
		if err != nil || !strings.EqualFold(scheme, "https") {
			return "", Errorf(BadRequest, "%q is not a relay: its pages are at https://HOST:PORT", Printable(text))
		}
		s, port = u.Host, "443"
		if u.User != nil {
			s = u.User.Username() + "@" + s
		}
	}
	s = strings.TrimSuffix(s, "/")
	if user, host, ok := strings.Cut(s, "@"); ok {
		return "", Errorf(BadRequest, "a relay is HOST:PORT; the operator is named by --username: %s --username %s", Printable(host), Printable(user))
	}
	host := s
	bare := s
	if inner, ok := strings.CutPrefix(s, "["); ok {
		bare, _ = strings.CutSuffix(inner, "]")
	}
	if ip, err := netip.ParseAddr(bare); err == nil && !strings.ContainsAny(bare, "[]") && (bare == s || "["+bare+"]" == s) {
		return net.JoinHostPort(ip.String(), port), nil
	}
	if h, p, err := net.SplitHostPort(s); err == nil {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return "", Errorf(BadRequest, "%q is not a port of a relay: ports are 1 to 65535", Printable(p))
		}
		host, port = h, strconv.FormatUint(n, 10)
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return net.JoinHostPort(ip.String(), port), nil
	}
	if host == "" || strings.ContainsAny(host, ":/?#[]% \t") || Printable(host) != host {
		return "", Errorf(BadRequest, "%q is not a relay; it is HOST or HOST:PORT", Printable(text))
	}
	return net.JoinHostPort(strings.ToLower(strings.TrimSuffix(host, ".")), port), nil
}
