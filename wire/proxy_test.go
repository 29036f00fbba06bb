package wire

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// noEnvironment takes away what the machine that runs the test says of proxies.
func noEnvironment(t *testing.T) {
	for _, name := range []string{"SCRIER_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"} {
		t.Setenv(name, "")
		t.Setenv(strings.ToLower(name), "")
	}
}

// wayTo is what p says of an address.
func wayTo(t *testing.T, p Proxy, addr string) string {
	t.Helper()
	u, err := p.find(addr)
	if err != nil {
		t.Fatalf("%s: %v", addr, err)
	}
	return ProxyName(u)
}

func TestParseProxy(t *testing.T) {
	noEnvironment(t)
	for text, want := range map[string]string{
		"":                                 "",
		" none ":                           "",
		"None":                             "",
		"proxy.example:3128":               "http://proxy.example:3128",
		"proxy.example":                    "http://proxy.example:80",
		"ann:pa%20ss@proxy.example:3128":   "http://proxy.example:3128",
		"http://ann:hunter2@proxy.example": "http://proxy.example:80",
		"https://proxy.example/":           "https://proxy.example:443",
		"HTTP://192.0.2.1:3128":            "http://192.0.2.1:3128",
		"http://[2001:db8::1]:3128":        "http://[2001:db8::1]:3128",
		"socks5://proxy.example":           "socks5://proxy.example:1080",
		"socks5h://ann:@proxy.example:9":   "socks5h://proxy.example:9",
	} {
		p, err := ParseProxy("proxy", text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if got := wayTo(t, p, "127.0.0.1:8443"); got != want {
			t.Errorf("%q: %q, not %q", text, got, want)
		}
	}
	for _, text := range []string{
		"http://", "3128", "socks5://1080", "http://:3128", "http://ann:hunter2@", "http://proxy:0", "http://proxy:65536", "http://proxy:", "ftp://ann:hunter2@proxy", "socks4://proxy",
		"http://ann:hunter2/x@proxy:3128", "http://ann:hunter2#x@proxy:3128", "http://ann:12?hunter2@proxy:3128", "http://ann:hunter2%zz@proxy", "http://ann:hunter2@proxy:hunter2",
		"http://wpad.example/hunter2.pac", "http://:hunter2@proxy", "http://a%3ahunter2:x@proxy", "socks5://ann:" + strings.Repeat("hunter2", 40) + "@proxy", "http://pro xy", "http://ann:hunter2\n@proxy",
	} {
		p, err := ParseProxy("the setting", text)
		e, ok := errors.AsType[*Error](err)
		if !ok || p != nil || e.Code != BadConfig || e.Advice == "" || !strings.Contains(e.Detail, "the setting") {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if all := fmt.Sprintf("%v %+v %v", e, *e, errors.Unwrap(e)); strings.Contains(all, "hunter2") {
			t.Errorf("%q: the error has the password: %s", text, all)
		}
	}
}

func TestEnvironmentProxy(t *testing.T) {
	const relay = "relay.example:8443"
	for name, c := range map[string]struct {
		env  map[string]string
		addr string
		want string
	}{
		"nothing is set":                   {nil, relay, ""},
		"HTTPS_PROXY":                      {map[string]string{"HTTPS_PROXY": "http://u:p@one:1"}, relay, "http://one:1"},
		"in lower case":                    {map[string]string{"https_proxy": "one:1"}, relay, "http://one:1"},
		"ALL_PROXY":                        {map[string]string{"ALL_PROXY": "socks5h://one:1"}, relay, "socks5h://one:1"},
		"both":                             {map[string]string{"all_proxy": "socks5://two:2", "HTTPS_PROXY": "one:1"}, relay, "http://one:1"},
		"Scrier's own":                     {map[string]string{"SCRIER_PROXY": "three:3", "HTTPS_PROXY": "one:1"}, relay, "http://three:3"},
		"Scrier's own is none":             {map[string]string{"SCRIER_PROXY": "none", "HTTPS_PROXY": "one:1"}, relay, ""},
		"Scrier's own has no exceptions":   {map[string]string{"SCRIER_PROXY": "three:3", "NO_PROXY": "*"}, relay, "http://three:3"},
		"the relay is an exception":        {map[string]string{"HTTPS_PROXY": "one:1", "NO_PROXY": "other, .example"}, relay, ""},
		"another port is one":              {map[string]string{"HTTPS_PROXY": "one:1", "NO_PROXY": "relay.example:443"}, relay, "http://one:1"},
		"its network is one":               {map[string]string{"ALL_PROXY": "one:1", "no_proxy": "192.0.2.0/24"}, "192.0.2.7:8443", ""},
		"all are":                          {map[string]string{"HTTPS_PROXY": "one:1", "NO_PROXY": "*"}, relay, ""},
		"this machine":                     {map[string]string{"HTTPS_PROXY": "one:1"}, "127.0.0.1:8443", ""},
		"an exception of what is no proxy": {map[string]string{"HTTPS_PROXY": "ftp://one", "NO_PROXY": "relay.example"}, relay, ""},
	} {
		t.Run(name, func(t *testing.T) {
			noEnvironment(t)
			for k, v := range c.env {
				t.Setenv(k, v)
			}
			if got := wayTo(t, EnvironmentProxy(), c.addr); got != c.want {
				t.Errorf("%q, not %q", got, c.want)
			}
		})
	}
	for _, name := range []string{"SCRIER_PROXY", "https_proxy", "ALL_PROXY"} {
		noEnvironment(t)
		t.Setenv(name, "ftp://ann:hunter2@proxy")
		_, err := EnvironmentProxy().dial(t.Context(), relay)
		if CodeOf(err) != BadConfig || !strings.Contains(err.Error(), strings.ToUpper(name)) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// listen serves each connection to a port of this machine.
func listen(t *testing.T, serve func(net.Conn)) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveAll(t, l, serve)
}

func serveAll(t *testing.T, l net.Listener, serve func(net.Conn)) string {
	done := make(chan struct{})
	t.Cleanup(func() { _ = l.Close(); <-done })
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.SetDeadline(time.Now().Add(30 * time.Second))
			serve(c)
			_ = c.Close()
		}
	}()
	return l.Addr().String()
}

// httpProxy answers CONNECT as asked, and is the far end itself: an echo.
func httpProxy(t *testing.T, answer func(*http.Request) string) func(net.Conn) {
	return func(c net.Conn) {
		in := bufio.NewReader(c)
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		if r.Method != http.MethodConnect || r.URL.Host != r.Host {
			t.Errorf("%s %s, Host %s", r.Method, r.URL, r.Host)
		}
		_, _ = io.WriteString(c, answer(r))
		_, _ = io.Copy(c, in)
	}
}

// echoes says whether what is written comes back, behind what the far end said first.
func echoes(t *testing.T, c net.Conn, first string) {
	t.Helper()
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, "ping"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(first)+4)
	if _, err := io.ReadFull(c, got); err != nil || string(got) != first+"ping" {
		t.Errorf("%q, %v", got, err)
	}
}

const farEnd = "relay.invalid:8443" // no DNS knows it: the proxy alone could

func proxyAt(t *testing.T, format string, a ...any) Proxy {
	t.Helper()
	p, err := ParseProxy("proxy", fmt.Sprintf(format, a...))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestConnect(t *testing.T) {
	asked := make(chan string, 1)
	addr := listen(t, httpProxy(t, func(r *http.Request) string {
		asked <- r.Host + " " + r.Header.Get("Proxy-Authorization")
		return "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.0 200 Connection established\r\nVia: x\r\n\r\nfirst words, "
	}))
	for text, want := range map[string]string{
		"http://" + addr:               farEnd + " ",
		"http://ann:s%3A%40@" + addr:   farEnd + " Basic " + base64.StdEncoding.EncodeToString([]byte("ann:s:@")),
		"http://ann@" + addr:           farEnd + " Basic " + base64.StdEncoding.EncodeToString([]byte("ann:")),
		"http://ann:h%0d%0aX:@" + addr: farEnd + " Basic " + base64.StdEncoding.EncodeToString([]byte("ann:h\r\nX:")),
	} {
		c, err := proxyAt(t, "%s", text).dial(t.Context(), farEnd)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if got := <-asked; got != want {
			t.Errorf("%s: %q, not %q", text, got, want)
		}
		echoes(t, c, "first words, ")
	}
	if _, err := proxyAt(t, "http://%s", addr).dial(t.Context(), "relay:1\r\nX: y"); CodeOf(err) != BadRequest {
		t.Errorf("%v", err)
	}
}

// A proxy of https speaks TLS itself, with a certificate that this machine must trust.
func TestConnectOverTLS(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "proxy"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	if err != nil {
		t.Fatal(err)
	}
	addr := serveAll(t, l, httpProxy(t, func(*http.Request) string { return "HTTP/1.1 200 OK\r\n\r\n" }))
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	way := func(u string, roots *x509.CertPool) passage {
		return passage{proxy: mustURL(t, u), to: farEnd, tls: &tls.Config{RootCAs: roots}}
	}
	c, err := way("https://ann:pass@"+addr, roots).dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	echoes(t, c, "")
	_, err = way("https://ann:hunter2@"+addr, x509.NewCertPool()).dial(t.Context())
	wantProxyError(t, err, "cannot be reached", "does not trust the proxy's own certificate")
	_, port, _ := net.SplitHostPort(addr)
	_, err = way("https://localhost:"+port, roots).dial(t.Context())
	wantProxyError(t, err, "cannot be reached", "does not trust the proxy's own certificate")
	_, err = way("http://ann:hunter2@"+addr, nil).dial(t.Context())
	wantProxyError(t, err, addr, "kind")
	for _, words := range []string{"", "HTTP/1.1 400 Bad Request\r\n\r\n"} {
		plain := listen(t, func(c net.Conn) {
			_, _ = c.Read(make([]byte, 4<<10)) // or its end would be a reset
			_, _ = io.WriteString(c, words)
		})
		_, err = way("https://ann:hunter2@"+plain, roots).dial(t.Context())
		wantProxyError(t, err, "cannot be reached", "http://")
	}
}

func mustURL(t *testing.T, text string) *url.URL {
	t.Helper()
	u, err := parseProxy("proxy", text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// wantProxyError wants an error with words in it and a way out, and no password.
func wantProxyError(t *testing.T, err error, detail, advice string) {
	t.Helper()
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Code != RelayUnreachable || !strings.Contains(e.Detail, detail) || !strings.Contains(e.Advice, advice) {
		t.Errorf("%v, %+v; want %q, %q", err, e, detail, advice)
		return
	}
	if all := fmt.Sprintf("%+v %v", *e, e.Err); strings.Contains(all, "hunter2") {
		t.Errorf("the error has the password: %s", all)
	}
}

func TestConnectIsRefused(t *testing.T) {
	for name, c := range map[string]struct{ user, answer, detail, advice string }{
		"no password":      {"", "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\r\n", "wants a user and a password", "http://USER:PASSWORD@127.0.0.1:"},
		"a wrong password": {"ann:hunter2@", "HTTP/1.1 407 No\r\nProxy-Authenticate: Negotiate\r\nproxy-authenticate:basic\r\n\r\n", "does not accept the user and password", "%XX"},
		"another login":    {"ann:hunter2@", "HTTP/1.1 407 No\r\nProxy-Authenticate: Negotiate\r\nProxy-Authenticate: NTLM abc\r\n\r\n", "by Negotiate, NTLM", "Basic"},
		"the port":         {"ann:hunter2@", "HTTP/1.1 403 Forbidden\r\n\r\n", "refuses connections to " + farEnd + " (403 Forbidden)", "CONNECT to port 8443"},
		"no CONNECT":       {"", "HTTP/1.1 405 Method Not Allowed\r\n\r\n", "405 Method Not Allowed", "CONNECT to port 8443"},
		"a far end":        {"", "HTTP/1.1 503 Service Unavailable\r\nX: y\r\n\r\n", "does not reach " + farEnd + " (503 Service Unavailable)", "DNS"},
		"words":            {"", "HTTP/1.1 502 \x1b[2J" + strings.Repeat("x", 5000) + "\r\n\r\n", `\x1b[2J`, "DNS"},
		"SSH":              {"", "SSH-2.0-OpenSSH_9.2\r\n", "is no such proxy", "kind"},
		"no number":        {"", "HTTP/1.1 ok\r\n\r\n", "is no such proxy", "kind"},
		"HTTP/2":           {"", "HTTP/2 200 ok\r\n\r\n", "is no such proxy", "kind"},
		"a number of four": {"", "HTTP/1.1 2000 ok\r\n\r\n", "is no such proxy", "kind"},
		"half an answer":   {"", "HTTP/1.1 200 OK\r\nVia: x\r\n", "closes the connection", "kind"},
		"nothing":          {"", "", "closes the connection", "kind"},
		"without an end":   {"", "HTTP/1.1 200 OK\r\n" + strings.Repeat("X: y\r\n", 1<<20), "is no such proxy", "kind"},
		"in one line":      {"", strings.Repeat("HTTP/1.1 200 ", 1<<20), "is no such proxy", "kind"},
		"always more":      {"", strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 1<<16), "is no such proxy", "kind"},
	} {
		t.Run(name, func(t *testing.T) {
			addr := listen(t, func(conn net.Conn) {
				if _, err := http.ReadRequest(bufio.NewReader(conn)); err != nil {
					t.Error(err)
				}
				_, _ = io.WriteString(conn, c.answer)
			})
			_, err := proxyAt(t, "http://%s%s", c.user, addr).dial(t.Context(), farEnd)
			wantProxyError(t, err, c.detail, c.advice)
			if len(err.Error()) > 500 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
		})
	}
}

// socksProxy is a proxy of SOCKS5 that wants a login if user is not empty, and is the far end itself.
func socksProxy(t *testing.T, user, password string, asked chan<- string, answer ...byte) func(net.Conn) {
	return func(c net.Conn) {
		read := func(n int) []byte {
			b := make([]byte, n)
			if _, err := io.ReadFull(c, b); err != nil {
				return make([]byte, n)
			}
			return b
		}
		write := func(b ...byte) { _, _ = c.Write(b) }
		hello := read(2)
		methods := read(int(hello[1]))
		switch {
		case hello[0] == 0: // it has gone
			return
		case hello[0] != 5:
			t.Errorf("version %d", hello[0])
		case user == "":
			write(5, 0)
		case !strings.Contains(string(methods), "\x02"):
			write(5, 255)
			return
		default:
			write(5, 2)
			u := read(int(read(2)[1]))
			p := read(int(read(1)[0]))
			if string(u) != user || string(p) != password {
				write(1, 1)
				return
			}
			write(1, 0)
		}
		head := read(4)
		var host string
		switch head[3] {
		case 1, 4:
			host = net.IP(read(map[byte]int{1: 4, 4: 16}[head[3]])).String()
		case 3:
			host = string(read(int(read(1)[0])))
		}
		port := read(2)
		select {
		case asked <- fmt.Sprintf("%d %d %s %d", head[1], head[3], host, int(port[0])<<8|int(port[1])):
		default:
		}
		write(answer...)
		_, _ = io.Copy(c, c)
	}
}

func TestSOCKS(t *testing.T) {
	asked := make(chan string, 1)
	open := listen(t, socksProxy(t, "", "", asked, 5, 0, 0, 1, 127, 0, 0, 1, 0, 80, 'h', 'i', ' '))
	locked := listen(t, socksProxy(t, "ann", "s:@", asked, 5, 0, 0, 3, 5, 'p', 'r', 'o', 'x', 'y', 0, 80, 'h', 'i', ' '))
	six := listen(t, socksProxy(t, "", "", asked, append([]byte{5, 0, 0, 4}, append(make([]byte, 18), "hi "...)...)...))
	for _, c := range []struct{ proxy, addr, want string }{
		{"socks5://" + open, farEnd, "1 3 relay.invalid 8443"},
		{"socks5h://ann:s%3A%40@" + locked, farEnd, "1 3 relay.invalid 8443"},
		{"socks5h://ann:hunter2@" + open, "192.0.2.1:443", "1 1 192.0.2.1 443"},
		{"socks5://" + six, "[2001:db8::1]:443", "1 4 2001:db8::1 443"},
		{"socks5://" + six, "[::ffff:192.0.2.1]:443", "1 1 192.0.2.1 443"},
	} {
		conn, err := proxyAt(t, "%s", c.proxy).dial(t.Context(), c.addr)
		if err != nil {
			t.Fatalf("%s %s: %v", c.proxy, c.addr, err)
		}
		if got := <-asked; got != c.want {
			t.Errorf("%s: %q, not %q", c.addr, got, c.want)
		}
		echoes(t, conn, "hi ")
	}
	_, err := proxyAt(t, "socks5://%s", locked).dial(t.Context(), farEnd)
	wantProxyError(t, err, "wants a user and a password", "socks5://USER:PASSWORD@127.0.0.1:")
	_, err = proxyAt(t, "socks5://ann:hunter2@%s", locked).dial(t.Context(), farEnd)
	wantProxyError(t, err, "does not accept the user and password", "%XX")
	for _, addr := range []string{"relay", "relay:x", strings.Repeat("x", 256) + ":1", ":1"} {
		if _, err := proxyAt(t, "socks5://%s", open).dial(t.Context(), addr); CodeOf(err) != BadRequest {
			t.Errorf("%q: %v", addr, err)
		}
	}
	for reply, c := range map[byte][2]string{
		1: {"general failure", "DNS"}, 2: {"refuses connections to " + farEnd, "port 8443"}, 4: {"host unreachable", "DNS"}, 5: {"does not reach " + farEnd + " (connection refused)", "DNS"},
		8: {"address type not supported", ""}, 9: {"reply 9", ""},
	} {
		addr := listen(t, socksProxy(t, "", "", nil, 5, reply, 0, 1, 0, 0, 0, 0, 0, 0))
		_, err := proxyAt(t, "socks5://%s", addr).dial(t.Context(), farEnd)
		wantProxyError(t, err, c[0], c[1])
	}
	for name, answer := range map[string]string{
		"HTTP": "HTTP/1.1 400 Bad Request\r\n\r\n", "SOCKS4": "\x00\x5a", "a method that was not offered": "\x05\x02", "GSSAPI": "\x05\x01",
		"a strange address": "\x05\x00\x05\x00\x00\x07", "another version": "\x05\x00\x04\x00\x00\x01",
	} {
		addr := listen(t, func(c net.Conn) { _, _ = io.WriteString(c, answer); _, _ = io.Copy(io.Discard, c) })
		_, err := proxyAt(t, "socks5://%s", addr).dial(t.Context(), farEnd)
		if wantProxyError(t, err, "is no such proxy", "kind"); t.Failed() {
			t.Fatal(name)
		}
	}
	for _, answer := range []string{"", "\x05", "\x05\x00\x05", "\x05\x00\x05\x00\x00\x03", "\x05\x00\x05\x00\x00\x03\xffx"} {
		addr := listen(t, func(c net.Conn) {
			_, _ = io.ReadFull(c, make([]byte, 3)) // or its end would be a reset
			_, _ = io.WriteString(c, answer)
			_ = c.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(io.Discard, c)
		})
		_, err := proxyAt(t, "socks5://%s", addr).dial(t.Context(), farEnd)
		wantProxyError(t, err, "closes the connection", "kind")
	}
}

// A proxy that says nothing is waited for as long as the caller wants, and not longer.
func TestProxyIsSilent(t *testing.T) {
	ended := make(chan struct{}, 8)
	addr := listen(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c); ended <- struct{}{} })
	for _, scheme := range []string{"http", "https", "socks5"} {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		_, err := proxyAt(t, "%s://ann:hunter2@%s", scheme, addr).dial(ctx, farEnd)
		wantProxyError(t, err, addr, "check")
		cancel()
		<-ended
		why := errors.New("enough")
		whole, leave := context.WithCancelCause(t.Context())
		time.AfterFunc(100*time.Millisecond, func() { leave(why) })
		if _, err := proxyAt(t, "%s://%s", scheme, addr).dial(whole, farEnd); !errors.Is(err, why) {
			t.Errorf("%s: %v", scheme, err)
		}
		<-ended
	}
}

func TestProxyIsNotThere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = proxyAt(t, "http://ann:hunter2@%s", l.Addr()).dial(t.Context(), farEnd)
	wantProxyError(t, err, "the proxy http://"+l.Addr().String()+" cannot be reached", "none")
	_, err = proxyAt(t, "http://ann:hunter2@no..name.invalid").dial(t.Context(), farEnd)
	wantProxyError(t, err, "cannot be reached", "name and port")
}

// said is a proxy that says what it says, whatever it is asked.
type said struct{ io.Reader }

func (said) Write(p []byte) (int, error) { return len(p), nil }

// FuzzPassage: no answer makes anything but a connection, from whose beginning nothing is missing, or an error.
func FuzzPassage(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nVia: x\r\n\r\n"), false)
	f.Add([]byte("HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\n\r\n"), false)
	f.Add([]byte("\x05\x02\x01\x00\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50"), true)
	f.Add([]byte("\x05\x00\x05\x00\x00\x03\x01x\x00\x50"), true)
	f.Fuzz(func(t *testing.T, answer []byte, socks bool) {
		p := passage{proxy: &url.URL{Scheme: "http", Host: "proxy:1", User: url.UserPassword("ann", "hunter2")}, to: farEnd}
		in := io.MultiReader(strings.NewReader(string(answer)), strings.NewReader("first words"))
		ask := p.connect
		if socks {
			ask = p.socks
		}
		err := ask(said{in})
		if err == nil {
			rest, _ := io.ReadAll(in)
			if len(rest) < len("first words") && len(rest) > 0 && !strings.HasSuffix("first words", string(rest)) {
				t.Errorf("%q is left", rest)
			}
			return
		}
		if e, ok := errors.AsType[*Error](err); !ok || e.Code != RelayUnreachable || e.Advice == "" || strings.Contains(e.Detail, "hunter2") {
			t.Errorf("%v", err)
		}
	})
}
