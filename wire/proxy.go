package wire

import (
	"cmp"
	"context"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpproxy"
)

// Proxy finds the way to an address, host:port: the URL of the proxy through which all TCP connections go there, or
// nil where they go directly. A nil Proxy is direct to every address. It may be called at any time by any number of
// goroutines.
//
// The URL holds the password: [ProxyName] is what may be shown of it.
type Proxy func(addr string) (*url.URL, error)

// ParseProxy reads what a configuration says: the URL of a proxy for every address, the word none for no proxy, and
// nothing for [EnvironmentProxy]. what names the setting in errors, which are [BadConfig] and never repeat the text.
func ParseProxy(what, text string) (Proxy, error) {
	text = strings.TrimSpace(text)
	switch {
	case text == "":
		return EnvironmentProxy(), nil
	case strings.EqualFold(text, "none"):
		return nil, nil
	}
	u, err := parseProxy(what, text)
	if err != nil {
		return nil, err
	}
	return func(string) (*url.URL, error) { return u, nil }, nil
}

// EnvironmentProxy is what the environment says. SCRIER_PROXY is for Scrier alone, and is read as by [ParseProxy].
// Without it HTTPS_PROXY counts, and without that ALL_PROXY, but for addresses that NO_PROXY names and those of this
// machine's loopback. All but the first count in lower case as well, and first.
//
// A variable that is no proxy's URL is an error for the addresses that it would be for: a machine that must use a
// proxy shall not go on without.
func EnvironmentProxy() Proxy {
	if text := strings.TrimSpace(os.Getenv("SCRIER_PROXY")); text != "" {
		p, err := ParseProxy("SCRIER_PROXY", text)
		if err != nil {
			return func(string) (*url.URL, error) { return nil, err }
		}
		return p
	}
	env := httpproxy.FromEnvironment()
	what, text := "HTTPS_PROXY", env.HTTPSProxy
	if text == "" {
		what, text = "ALL_PROXY", cmp.Or(os.Getenv("all_proxy"), os.Getenv("ALL_PROXY"))
	}
	if text == "" {
		return nil
	}
	u, err := parseProxy(what, text)
	// The library is asked about exceptions alone: a URL that it cannot read would be no proxy to it.
	through := (&httpproxy.Config{HTTPSProxy: "http://proxy", NoProxy: env.NoProxy}).ProxyFunc()
	return func(addr string) (*url.URL, error) {
		if some, _ := through(&url.URL{Scheme: "https", Host: addr}); some == nil { // it fails for HTTP alone
			return nil, nil
		}
		return u, err
	}
}

// proxyPorts are the ports of proxies' URLs that have none, by scheme.
var proxyPorts = map[string]string{"http": "80", "https": "443", "socks5": "1080", "socks5h": "1080"}

// parseProxy reads a proxy's URL; without a scheme it is http's. No error repeats any of it, nor of the errors of
// package net/url, which do: a password with special characters may look like anything.
func parseProxy(what, text string) (*url.URL, error) {
	bad := func(why string) (*url.URL, error) {
		return nil, Errorf(BadConfig, "%s does not name a proxy: %s", what, why).
			Advise("it is http://, https:// or socks5://, then USER:PASSWORD@ if the proxy wants that, then HOST:PORT; in the password, write other characters than letters and digits as %%XX")
	}
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(strings.TrimSpace(text))
	if err != nil {
		return bad("it is no URL")
	}
	port, err := strconv.ParseUint(cmp.Or(u.Port(), proxyPorts[u.Scheme], "0"), 10, 16)
	switch {
	case proxyPorts[u.Scheme] == "":
		return bad("Scrier speaks with proxies of HTTP and SOCKS5")
	case u.Hostname() == "":
		return bad("it has no host")
	case strings.Trim(u.Hostname(), "0123456789") == "": // the port alone, as it is easily meant
		return bad("it has a number in place of a host")
	case err != nil || port == 0 || strings.HasSuffix(u.Host, ":"):
		return bad("its port is not one from 1 to 65535")
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return bad("something stands behind the port; a file of rules (PAC) is not read")
	}
	if u.User != nil {
		password, _ := u.User.Password()
		switch socks := strings.HasPrefix(u.Scheme, "socks"); {
		case u.User.Username() == "":
			return bad("it has a password and no user")
		case socks && max(len(u.User.Username()), len(password)) > maxSOCKS:
			return bad("SOCKS5 takes a user and a password of 255 bytes each at most")
		case !socks && strings.Contains(u.User.Username(), ":"):
			return bad("a user of HTTP has no colon in its name")
		}
	}
	u.Host = net.JoinHostPort(u.Hostname(), strconv.FormatUint(port, 10))
	return u, nil
}

// ProxyName is what may be shown of a proxy's URL: all but user and password. It is empty for nil.
func ProxyName(u *url.URL) string {
	if u == nil {
		return ""
	}
	return Printable(u.Scheme + "://" + u.Host)
}

// dial makes a TCP connection to addr, through the proxy if there is one for it.
func (p Proxy) dial(ctx context.Context, addr string) (net.Conn, error) {
	u, err := p.find(addr)
	switch {
	case err != nil:
		return nil, err
	case u == nil:
		return new(net.Dialer).DialContext(ctx, "tcp", addr)
	}
	return passage{proxy: u, to: addr}.dial(ctx)
}

// Name is what may be shown of the proxy for addr; empty: there is none, or it cannot be known.
func (p Proxy) Name(addr string) string {
	u, err := p.find(addr)
	if err != nil {
		return ""
	}
	return ProxyName(u)
}

// find is the proxy for addr; nil: there is none.
func (p Proxy) find(addr string) (*url.URL, error) {
	if p == nil {
		return nil, nil
	}
	return p(addr)
}
