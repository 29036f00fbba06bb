package wire

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/url"
	"strings"
	"time"
)

// passageWait bounds all that is asked of a proxy. It answers only when it has reached the far end, or given that up.
const passageWait = 15 * time.Second

// passage is a TCP connection through a proxy that is being made.
type passage struct {
	proxy *url.URL // with user and password, which are in no error
	to    string   // host:port; the proxy looks a name up itself
	// tls is for proxies of https; nil is that of the system, with the certification authorities that this machine trusts.
	tls *tls.Config
}

// dial makes the connection. Nothing is known then of who is at its far end: that is for TLS to show.
func (p passage) dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, passageWait)
	defer cancel()
	dial := new(net.Dialer).DialContext
	if p.proxy.Scheme == "https" {
		dial = (&tls.Dialer{Config: p.tls}).DialContext
	}
	conn, err := dial(ctx, "tcp", p.proxy.Host)
	if errors.Is(ctx.Err(), context.Canceled) {
		if err == nil {
			_ = conn.Close()
		}
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, p.unreachable(err)
	}
	hurried := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(hurried)
		_ = conn.SetDeadline(time.Unix(1, 0)) // ends what is under way
	})
	ask := p.connect
	if strings.HasPrefix(p.proxy.Scheme, "socks") {
		ask = p.socks
	}
	err = ask(conn)
	if !stop() {
		<-hurried
		if err = context.Cause(ctx); errors.Is(err, context.DeadlineExceeded) {
			err = p.silent()
		}
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// name is what may be shown of the proxy.
func (p passage) name() string { return ProxyName(p.proxy) }

func (p passage) unreachable(err error) error {
	e := Errorf(RelayUnreachable, "the proxy %s cannot be reached: %w", p.name(), err)
	_, strange := errors.AsType[*tls.CertificateVerificationError](err)
	if _, wrong := errors.AsType[x509.HostnameError](err); strange || wrong {
		return e.Advise("this machine does not trust the proxy's own certificate: give the proxy the name that stands in it, or put its certification authority where the system keeps those that it trusts")
	}
	if _, plain := errors.AsType[tls.RecordHeaderError](err); plain || errors.Is(err, io.EOF) {
		return e.Advise("the proxy does not speak TLS at this port: it may be http:// in place of https://")
	}
	return e.Advise("check the proxy's name and port, and that this machine may connect there; `none` in its place is no proxy")
}

func (p passage) silent() error {
	return Errorf(RelayUnreachable, "the proxy %s did not say in time whether it reaches %s", p.name(), p.to).
		Advise("check the relay's name and port, and that the proxy is of the kind that its URL says")
}

// broken is a proxy that says nothing more before it has answered.
func (p passage) broken(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("it closes the connection")
	}
	return Errorf(RelayUnreachable, "the proxy %s gives no whole answer: %w", p.name(), err).Advise("%s", whatKind)
}

// noProxy is an answer that no proxy of this kind gives.
func (p passage) noProxy() error {
	return Errorf(RelayUnreachable, "what answers at %s is no such proxy", p.name()).Advise("%s", whatKind)
}

const whatKind = "check the proxy's port and kind: http://, https:// (the proxy itself speaks TLS) or socks5://"

// unknown is a proxy that wants to know who comes, or does not take the user and password. scheme is what it wants, where
// that is another way to show it than Scrier has.
func (p passage) unknown(scheme string) error {
	switch {
	case scheme != "":
		return Errorf(RelayUnreachable, "the proxy %s wants a login by %s, and Scrier has user and password alone", p.name(), scheme).
			Advise("let the proxy's administrator allow Basic, or connections to %s without a login", p.to)
	case p.proxy.User == nil:
		return Errorf(RelayUnreachable, "the proxy %s wants a user and a password", p.name()).
			Advise("put them into the proxy's URL: %s", p.withUser())
	}
	return Errorf(RelayUnreachable, "the proxy %s does not accept the user and password that its URL has", p.name()).
		Advise("correct them in the proxy's URL, %s; in the password, write other characters than letters and digits as %%XX", p.withUser())
}

func (p passage) withUser() string {
	return p.proxy.Scheme + "://USER:PASSWORD@" + Printable(p.proxy.Host)
}

// forbidden is a proxy that does not let this one through to the far end.
func (p passage) forbidden(words string) error {
	_, port, err := net.SplitHostPort(p.to)
	if err != nil {
		port = p.to
	}
	return Errorf(RelayUnreachable, "the proxy %s refuses connections to %s (%s)", p.name(), p.to, words).
		Advise("let its administrator allow them (CONNECT to port %s); many proxies allow port 443 alone, which a relay can have", port)
}

// noWay is a proxy that does not reach the far end.
func (p passage) noWay(words string) error {
	return Errorf(RelayUnreachable, "the proxy %s does not reach %s (%s)", p.name(), p.to, words).
		Advise("check the relay's name and port, and that the proxy's own DNS knows the name")
}
