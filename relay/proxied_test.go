package relay

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// proxy is a machine from which connections come that say something first.
type proxy struct {
	t    *testing.T
	r    *Relay
	ip   net.IP
	conf *tls.Config
}

func newProxy(t *testing.T, r *Relay, ip net.IP) *proxy {
	return &proxy{t, r, ip, &tls.Config{RootCAs: trust(t, r), ServerName: "localhost", NextProtos: []string{"http/1.1"}}}
}

// dial is a connection from the proxy, on which head was said.
func (p *proxy) dial(head string) (net.Conn, error) {
	conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: p.ip}}).Dial("tcp", p.r.Addr())
	if err != nil {
		return nil, err
	}
	if err = conn.SetDeadline(time.Now().Add(patience)); err == nil {
		_, err = io.WriteString(conn, head)
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// signIn tries a link that is none, on a connection on which head was said first, and gives the answer's status.
func (p *proxy) signIn(head string) (int, error) {
	raw, err := p.dial(head)
	if err != nil {
		return 0, err
	}
	defer raw.Close()
	conn := tls.Client(raw, p.conf)
	body := `{"token":"` + strings.Repeat("A", 43) + `"}`
	if _, err := fmt.Fprintf(conn, "POST /api/v1/signin/link HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nSec-Fetch-Site: same-origin\r\n"+
		"Content-Length: %d\r\n\r\n%s", len(body), body); err != nil {
		return 0, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

// sources are where refused sign-ins came from, by the audit log.
func sources(t *testing.T, r *Relay) (out []string) {
	t.Helper()
	all, err := r.audit.Records(t.Context(), 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, rec := range all {
		if rec.Type == "operator.signin_refused" {
			out = append(out, rec.Source)
		}
	}
	return out
}

// Who comes through a listed proxy has its own address in the audit log, and failures of its own; and nobody else
// can claim one.
func TestProxied(t *testing.T) {
	r := start(t, func(s *Settings) { s.Config.ProxyProtocol.From = []string{"127.0.7.0/24"} })
	listed, other := newProxy(t, r, net.IPv4(127, 0, 7, 1)), newProxy(t, r, net.IPv4(127, 0, 0, 1))
	const (
		ann   = "PROXY TCP4 192.0.2.7 10.1.0.1 12345 8443\r\n"
		bob   = proxySignature + "\x21\x11\x00\x0c\xc0\x00\x02\x08\x0a\x01\x00\x01\x30\x39\x20\xfb" // 192.0.2.8
		carol = "PROXY TCP6 2001:db8::7 2001:db8::1 12345 8443\r\n"
	)
	for _, c := range []struct{ head, from string }{
		{ann, "192.0.2.7"}, {bob, "192.0.2.8"}, {carol, "2001:db8::7"}, {ProxyLocal, "127.0.7.1"}, {"PROXY UNKNOWN\r\n", "127.0.7.1"},
	} {
		if status, err := listed.signIn(c.head); err != nil || status != http.StatusGone {
			t.Errorf("%q: %d %v", c.head, status, err)
		}
		if got := sources(t, r); len(got) == 0 || got[len(got)-1] != c.from {
			t.Errorf("%q: the audit log has %q", c.head, got)
		}
	}
	if status, err := other.signIn(""); err != nil || status != http.StatusGone {
		t.Errorf("without a proxy: %d %v", status, err)
	}
	n := len(sources(t, r))
	for _, head := range []string{"", "PROXY TCP4 192.0.2.7\r\n", "PROXY TCP4 1.2.3.4 1.2.3.4 1 99999\r\n", "HELO there, who listens here\r\n"} {
		if status, err := listed.signIn(head); err == nil {
			t.Errorf("a listed proxy that says %q: %d", head, status)
		}
	}
	for _, head := range []string{ann, bob, ProxyLocal} {
		if status, err := other.signIn(head); err == nil {
			t.Errorf("%q from somebody who is not listed: %d", head, status)
		}
	}
	if got := sources(t, r); len(got) != n {
		t.Errorf("of those some tried to sign in: %q", got[n:])
	}
	// One who guesses has to wait, and nobody else behind the same proxy.
	status := 0
	for range 30 {
		var err error
		if status, err = listed.signIn(ann); err != nil {
			t.Fatal(err)
		}
		if status == http.StatusTooManyRequests {
			break
		}
	}
	if status != http.StatusTooManyRequests {
		t.Errorf("who guesses all the time gets %d", status)
	}
	if status, err := listed.signIn(bob); err != nil || status != http.StatusGone {
		t.Errorf("another behind the same proxy: %d %v", status, err)
	}
}

// Places, handshakes and arrivals are counted by the address that the proxy says.
func TestProxiedAreCountedByTheirOwnAddress(t *testing.T) {
	r := start(t, func(s *Settings) { s.Config.ProxyProtocol.From = []string{"127.0.7.1"} })
	p := newProxy(t, r, net.IPv4(127, 0, 7, 1))
	for i := range 3 {
		conn, err := p.dial(fmt.Sprintf("PROXY TCP4 192.0.2.%d 10.1.0.1 12345 8443\r\n", i+1))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := tls.Client(conn, p.conf).Handshake(); err != nil {
			t.Fatal(err)
		}
		silent, err := p.dial("PROXY TCP4 198.51.100.7 10.1.0.1 12345 8443\r\n")
		if err != nil {
			t.Fatal(err)
		}
		defer silent.Close()
	}
	waitFor(t, "the browsers to be counted", func() bool { return r.listener.overTCP.taken() == 3 })
	waitFor(t, "the silent ones to be counted", func() bool {
		r.listener.handshakes.mu.Lock()
		defer r.listener.handshakes.mu.Unlock()
		return r.listener.handshakes.by["198.51.100.7"] == 3
	})
	r.listener.overTCP.mu.Lock()
	defer r.listener.overTCP.mu.Unlock()
	for i := range 3 {
		if n := r.listener.overTCP.by[fmt.Sprintf("192.0.2.%d", i+1)]; n != 1 {
			t.Errorf("192.0.2.%d has %d places", i+1, n)
		}
	}
}

// A listed proxy that says nothing, or says it slowly, is given up; so many do and no more; and they keep nobody
// else out.
func TestProxiesThatSayNothing(t *testing.T) {
	r := loaded(t, func(s *Settings) { s.Config.ProxyProtocol.From = []string{"127.0.7.1"} })
	const places = 12
	r.listener.proxies.waiting = make(chan struct{}, places)
	run(t, r)
	p := newProxy(t, r, net.IPv4(127, 0, 7, 1))
	var silent []net.Conn
	for i := range places {
		conn, err := p.dial("PROXY TCP4 "[:i])
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		silent = append(silent, conn)
	}
	waitFor(t, "all of them to be waited for", func() bool { return len(r.listener.proxies.waiting) == places })
	if status, err := p.signIn(ProxyLocal); err == nil {
		t.Errorf("one more than there are places for: %d", status)
	}
	if status, err := newProxy(t, r, net.IPv4(127, 0, 0, 1)).signIn(""); err != nil || status != http.StatusGone {
		t.Errorf("beside them: %d %v", status, err)
	}
	for _, conn := range silent {
		if _, err := conn.Read(make([]byte, 1)); errors.Is(err, nil) || isTimeout(err) {
			t.Fatalf("one is still there: %v", err)
		}
	}
	waitFor(t, "their places to be free", func() bool { return len(r.listener.proxies.waiting) == 0 })
	if status, err := p.signIn(ProxyLocal); err != nil || status != http.StatusGone {
		t.Errorf("afterwards: %d %v", status, err)
	}
}

func isTimeout(err error) bool {
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Timeout()
}

// What the list says of addresses.
func TestProxyProtocolLists(t *testing.T) {
	p := ProxyProtocol{From: []string{"127.0.0.1", "10.1.0.0/24", "2001:db8::/64"}}
	for addr, want := range map[string]bool{
		"127.0.0.1": true, "127.0.0.2": false, "10.1.0.77": true, "10.1.1.1": false, "::ffff:10.1.0.77": true,
		"2001:db8::1": true, "2001:db8:0:1::1": false, "fe80::1": false,
	} {
		if got := p.Lists(&net.TCPAddr{IP: net.ParseIP(addr), Port: 1}); got != want {
			t.Errorf("%s: %v", addr, got)
		}
	}
	if p.Lists(&net.UnixAddr{Name: "/run/socket"}) || (ProxyProtocol{}).Lists(&net.TCPAddr{IP: net.ParseIP("127.0.0.1")}) {
		t.Error("who is not in it is listed")
	}
}
