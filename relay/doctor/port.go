package doctor

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"time"

	"scrier/certs"
	"scrier/relay"
	"scrier/wire"
)

// process asks the relay on this machine for its version, over its admin socket.
func (e *examiner) process(context.Context) []Finding {
	if !e.here {
		return nil
	}
	f := Finding{What: "admin socket", Status: OK}
	about, err := e.runs, e.silent
	switch {
	case wire.CodeOf(err) == wire.Forbidden:
		f.Status, f.Detail, f.Hint = Fail, detail(err), "run this as root or as the relay's user"
	case err != nil:
		f.Status, f.Detail = Fail, "no relay answers: "+detail(err)
		f.Hint = "start it (`systemctl start scrier-relay`); if it does not stay, its log says why"
	case about.Version != wire.Version():
		f.Status, f.Detail = Warn, "the relay that runs is "+about.Version+", this program is "+wire.Version()
		f.Hint = "restart the relay if it was updated"
	default:
		f.Detail = "relay " + about.Version + " runs, " + about.Fingerprint
	}
	return group("relay", f)
}

// about is what a relay says of itself; there is more.
type about struct {
	Version     string `json:"version"`
	Fingerprint string `json:"fingerprint"`
	Listen      string `json:"listen"` // empty: a version that does not tell
}

func (e *examiner) about(ctx context.Context) (about about, err error) {
	ctx, cancel := context.WithTimeout(ctx, e.Wait)
	defer cancel()
	path := filepath.Join(e.State, relay.AdminSocket)
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}
	defer transport.CloseIdleConnections()
	body, _, err := get(ctx, transport, "http://relay/api/v1/relay")
	if err != nil {
		return about, err
	}
	if err := json.Unmarshal(body, &about); err != nil {
		return about, fmt.Errorf("read its answer: %w", err)
	}
	if host, _, err := net.SplitHostPort(about.Listen); err != nil || net.ParseIP(host) == nil {
		about.Listen = "" // no name is looked up because somebody says it
	}
	return about, nil
}

// maxAnswer is more than any answer here needs, in bytes.
const maxAnswer = 1 << 20

// errMisdirected is the answer of a relay that is reached under a name which it does not know as its own.
var errMisdirected = errors.New("the relay does not know that it is called so")

func get(ctx context.Context, t *http.Transport, url string) (body []byte, date time.Time, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, date, err
	}
	resp, err := t.RoundTrip(req)
	if err != nil {
		return nil, date, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, date, err
	}
	date, _ = http.ParseTime(resp.Header.Get("Date")) // zero: it does not say
	if resp.StatusCode != http.StatusOK {
		var p wire.Problem
		if json.Unmarshal(body, &p) == nil && p.Code != wire.None {
			return nil, date, p.Err()
		}
		err = fmt.Errorf("it answers %s", resp.Status)
		if resp.StatusCode == http.StatusMisdirectedRequest {
			err = errMisdirected
		}
		return nil, date, err
	}
	return body, date, nil
}

// port asks the relay over UDP and TCP, as agents and browsers do.
func (e *examiner) port(ctx context.Context) []Finding {
	if e.addr == "" {
		return group("port", Finding{What: "address", Status: Skip, Detail: "no relay's address is known here"})
	}
	return group("port", parallel(
		func() []Finding { return e.bound() },
		func() []Finding { return []Finding{e.udp(ctx)} },
		func() []Finding { return []Finding{e.tcp(ctx)} },
	)...)
}

// bound says who can reach the relay at all.
func (e *examiner) bound() []Finding {
	host, _, err := net.SplitHostPort(e.listen())
	if !e.here || e.Relay != "" || err != nil {
		return nil
	}
	f := Finding{What: "address", Status: OK, Detail: "listen is " + e.conf.Listen}
	if e.runs.Listen != "" {
		f.Detail = "the relay listens on " + e.runs.Listen
		if !same(e.runs.Listen, e.conf.Listen) {
			f.Detail += ", and not on " + e.conf.Listen + " of its configuration: --listen, or a change since its start"
		}
	}
	if loopback(host) {
		f.Status, f.Detail, f.Hint = Warn, f.Detail+": no other machine can reach it", "set listen in server.yaml, for example to \":8443\""
		if configured, _, err := net.SplitHostPort(e.conf.Listen); err == nil && !loopback(configured) { // it is set there
			f.Hint = "start the relay anew, and without --listen if that is what it has"
		}
	}
	return []Finding{f}
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// listen is where the relay of this machine listens: as it says itself if it runs, for it may have been started with
// --listen, else as its configuration says.
func (e *examiner) listen() string { return cmp.Or(e.runs.Listen, e.conf.Listen) }

// same says whether an address that is listened on is what a configuration says; a name is not looked up.
func same(bound, listen string) bool {
	bhost, bport, err := net.SplitHostPort(bound)
	host, port, lerr := net.SplitHostPort(listen)
	if err != nil || lerr != nil {
		return false
	}
	if n, err := net.LookupPort("tcp", port); err == nil {
		port = strconv.Itoa(n)
	}
	a, b := net.ParseIP(bhost), net.ParseIP(host)
	any := host == "" || b != nil && b.IsUnspecified()
	return (port == bport || port == "0") && (any && a != nil && a.IsUnspecified() || a.Equal(b) || !any && b == nil)
}

// trust says how this run checks who the relay is: by its pin, if that is known.
func (e *examiner) trust(alpn string) certs.Client {
	return certs.Client{ALPN: alpn, Pin: e.pin, Now: e.Now, Seen: func(*x509.Certificate) error { return nil }}
}

// compared says what it means that the relay answered: with a pin, that it is the right one.
func (e *examiner) compared() string {
	if e.pin == nil {
		return "answers; its fingerprint is not known here, so it was not compared"
	}
	return "answers, with the right fingerprint"
}

// elsewhere is what else may be the matter where neither the port is named nor the relay says it: server.yaml does not
// tell of --listen.
func (e *examiner) elsewhere() string {
	if e.Relay != "" || e.runs.Listen != "" {
		return ""
	}
	return ". Was it started with --listen? Then name it here with --relay HOST:PORT"
}

func (e *examiner) udp(ctx context.Context) Finding {
	f := Finding{What: "UDP " + e.addr, Status: OK, Detail: e.compared()}
	link, err := e.dial(ctx, e.trust(wire.ALPNClient).TLS())
	if err != nil {
		f.Status, f.Detail = Fail, detail(err)
		f.Hint = "is the relay running, and is UDP to its port let through? Agents and operators have no other way" + e.elsewhere()
		if wire.CodeOf(err) == wire.RelayUntrusted {
			f.Hint = "another relay, or another program, has this port"
		}
		return f
	}
	_ = link.Close(wire.None, "") // nothing was sent
	return f
}

// dial connects over QUIC within the time of one check.
func (e *examiner) dial(ctx context.Context, conf *tls.Config) (wire.Link, error) {
	ctx, cancel := context.WithTimeout(ctx, e.Wait)
	defer cancel()
	link, err := wire.Dialer{TLS: conf, Transport: wire.OnlyQUIC}.Dial(ctx, e.addr)
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = fmt.Errorf("no answer within %s", e.Wait)
	}
	return link, err
}

func (e *examiner) tcp(ctx context.Context) Finding {
	f := Finding{What: "TCP " + e.addr, Status: OK, Detail: e.compared()}
	if _, _, err := e.health(ctx); err != nil {
		f.Status, f.Detail = Fail, detail(err)
		f.Hint = "is the relay running, and is TCP to its port let through? Browsers come this way" + e.elsewhere()
		switch {
		case wire.CodeOf(err) == wire.RelayUntrusted:
			f.Hint = "another relay, or another program, has this port"
		case errors.Is(err, errMisdirected):
			f.Status, f.Hint = Warn, "browsers are refused under this name: add it to hosts in server.yaml and restart the relay"
		}
	}
	return f
}

// dialTCP connects over TCP: as a proxy that asks for itself, if the relay of this machine takes this machine for one.
func (e *examiner) dialTCP(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil || !e.here || !e.conf.ProxyProtocol.Lists(conn.LocalAddr()) {
		return conn, err
	}
	if _, err := conn.Write([]byte(relay.ProxyLocal)); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// health asks for /healthz; date is what the relay's clock said, took how long the answer took.
func (e *examiner) health(ctx context.Context) (date time.Time, took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, e.Wait)
	defer cancel()
	transport := &http.Transport{TLSClientConfig: e.trust("http/1.1").TLS(), DialContext: e.dialTCP}
	defer transport.CloseIdleConnections()
	begun := time.Now()
	_, date, err = get(ctx, transport, "https://"+e.addr+"/healthz")
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = fmt.Errorf("no answer within %s", e.Wait)
	}
	return date, time.Since(begun), err
}
