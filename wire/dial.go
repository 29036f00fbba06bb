package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/quic-go/quic-go"
)

const (
	// headStart is how long one road is tried alone. QUIC answers within a round trip or two where it is carried at all.
	headStart = 300 * time.Millisecond

	tcpHandshake = 15 * time.Second // connection and TLS, for each address, and a proxy
)

// Dialer connects to relays, over whichever road answers first. The zero value tries QUIC, and TCP a little later.
type Dialer struct {
	TLS       *tls.Config
	Transport Transport
	// First is the road that begins, where both may be taken; the other one waits for the head start. Empty is QUIC.
	First Road
	// Proxy is the way of the TCP road. Where there is a proxy, QUIC is taken only if Transport says so: UDP does not go through it.
	Proxy Proxy
}

// approach is a road to a relay, dialled at all its addresses.
type approach struct {
	road Road
	dial func(context.Context) (Link, error)
}

// Dial connects to a relay at host:port. One race is over roads and addresses: a road begins when it is its turn, or when the one
// before has failed, and on each road the addresses take turns (RFC 8305). If nothing answers, the error says what each road said.
//
// The link over QUIC has a socket that is bound to no particular address: so it survives when the machine's address changes.
func (d Dialer) Dial(ctx context.Context, addr string) (Link, error) {
	d.TLS = named(d.TLS, addr)
	ways, err := d.ways(ctx, addr)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	said := map[Road]error{}
	link, err := race(ctx, contest[approach, Link]{
		entries: ways, delay: headStart, leave: leaveLink,
		dial: func(ctx context.Context, w approach) (Link, error) {
			l, err := w.dial(ctx)
			mu.Lock()
			defer mu.Unlock()
			said[w.road] = err
			return l, err
		},
		// A relay that has answered over QUIC says the same over TCP, where a network may have put somebody in between.
		final: func(w approach, err error) bool { return w.road == QUIC && answered(err) },
	})
	switch {
	case err == nil:
		return link, nil
	case errors.Is(ctx.Err(), context.Canceled):
		return nil, context.Cause(ctx)
	case len(ways) == 1 || answered(said[QUIC]):
		return nil, err
	}
	return nil, unreachable(addr, said)
}

// named is the configuration with the relay's name in what is sent (RFC 6066, 3). The relay does not look at it; what is in
// front of it may: a port that is shared with a web site, and a firewall that lets through what it knows the name of.
func named(conf *tls.Config, addr string) *tls.Config {
	host, _, err := net.SplitHostPort(addr)
	if err != nil || host == "" {
		return conf
	}
	if _, err := netip.ParseAddr(host); err == nil { // addresses are not sent
		return conf
	}
	conf = conf.Clone()
	conf.ServerName = host
	return conf
}

// answered says that an error is the relay's word, or about it.
func answered(err error) bool {
	code := CodeOf(err)
	return err != nil && code != RelayUnreachable && code != Internal
}

// leaveLink ends a link that came second, without waiting for the peer.
func leaveLink(l Link) {
	if t, ok := l.(*tcpLink); ok {
		t.end(&Error{Code: None}, nil)
	}
	_ = l.Close(None, "")
}

// unreachable is what the two roads said.
func unreachable(addr string, said map[Road]error) error {
	quic, tcp := strings.TrimSuffix(roadError(said[QUIC]), " from "+addr), roadError(said[TCP])
	e := &Error{Code: RelayUnreachable, Err: errors.Join(said[QUIC], said[TCP])}
	switch t, ok := errors.AsType[*Error](said[TCP]); {
	case ok && answered(t):
		e.Code, e.Advice = t.Code, t.Advice
	case errors.Is(said[TCP], syscall.ECONNREFUSED): // the host is there: neither the network nor a proxy is what is missing
		_ = e.Advise("check the port, and that the relay is running there; a firewall that rejects connections looks the same")
	}
	e.Detail = fmt.Sprintf("no link to %s: over QUIC (UDP): %s; over TCP: %s", addr, quic, tcp)
	return e
}

// roadError is an error in few words.
func roadError(err error) string {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno.Error()
	}
	timeout, ok := errors.AsType[net.Error](err)
	switch e, ours := errors.AsType[*Error](err); {
	case err == nil, errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), ok && timeout.Timeout():
		return "no answer"
	case ours && e.Detail != "":
		return e.Detail
	}
	return err.Error()
}

// ways are the roads that may be taken, in their order.
func (d Dialer) ways(ctx context.Context, addr string) ([]approach, error) {
	if d.Transport != OnlyQUIC {
		through, err := d.Proxy.find(addr)
		if err != nil {
			return nil, err
		}
		if through != nil {
			return []approach{{TCP, func(ctx context.Context) (Link, error) {
				return d.overTCP(ctx, addr, func(ctx context.Context) (net.Conn, error) { return d.Proxy.dial(ctx, addr) })
			}}}, nil
		}
	}
	ips, port, err := resolve(ctx, addr)
	if err != nil {
		return nil, (&Error{Code: RelayUnreachable, Detail: "cannot resolve " + addr, Err: err}).
			Advise("check the name, and that this machine's DNS knows it; where there is only a proxy, which looks names up by itself, name it in HTTPS_PROXY, on a machine in its agent.yaml (`proxy`)")
	}
	ips = alternate(ips)
	over := func(dial func(context.Context, netip.AddrPort) (Link, error)) func(context.Context) (Link, error) {
		return func(ctx context.Context) (Link, error) {
			return race(ctx, contest[netip.Addr, Link]{
				entries: ips, delay: attemptDelay, leave: leaveLink,
				dial: func(ctx context.Context, ip netip.Addr) (Link, error) {
					return dial(ctx, netip.AddrPortFrom(ip, uint16(port)))
				},
			})
		}
	}
	both := []approach{
		{QUIC, over(func(ctx context.Context, at netip.AddrPort) (Link, error) { return d.overQUIC(ctx, addr, at) })},
		{TCP, over(func(ctx context.Context, at netip.AddrPort) (Link, error) {
			return d.overTCP(ctx, addr, func(ctx context.Context) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "tcp", at.String())
			})
		})},
	}
	if d.First == TCP {
		both[0], both[1] = both[1], both[0]
	}
	var ways []approach
	for _, w := range both {
		if d.Transport.has(w.road) {
			ways = append(ways, w)
		}
	}
	return ways, nil
}

// resolve finds the relay's addresses within ctx.
func resolve(ctx context.Context, addr string) ([]netip.Addr, int, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, 0, err
	}
	n, err := net.DefaultResolver.LookupPort(ctx, "udp", port)
	if err != nil {
		return nil, 0, err
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	return ips, n, err
}

// overQUIC makes a link whose socket is its own.
func (d Dialer) overQUIC(ctx context.Context, addr string, at netip.AddrPort) (Link, error) {
	remote := net.UDPAddrFromAddrPort(at)
	w, err := newWay(remote)
	if err != nil {
		return nil, Errorf(RelayUnreachable, "cannot open a UDP socket: %w", err).Advise("see the limits on open files and on networks of this machine")
	}
	conf := QUICConfig(streamsPerAgent)
	if slices.Contains(d.TLS.NextProtos, ALPNAgent) {
		Resting(conf)
	}
	conn, err := w.transport.Dial(ctx, remote, d.TLS, conf)
	if err != nil {
		w.close()
		return nil, quicDialError(addr, err)
	}
	w.socket.Settled.Store(true)
	l := newQUICLink(conn)
	l.state() // before it goes another way
	l.remote, l.now, l.done = remote, w, make(chan struct{})
	go func() {
		defer close(l.done)
		<-conn.Context().Done()
		l.closeWays()
	}()
	return l, nil
}

// overTCP makes a link of a connection that dial makes.
func (d Dialer) overTCP(ctx context.Context, addr string, dial func(context.Context) (net.Conn, error)) (Link, error) {
	ctx, cancel := context.WithTimeout(ctx, tcpHandshake)
	defer cancel()
	raw, err := dial(ctx)
	if err != nil {
		return nil, tcpDialError(addr, err)
	}
	// Older relays, and proxies that look into TLS, know HTTP alone. With that offered they get as far as their certificate, so
	// that the error can name them.
	conf := d.TLS.Clone()
	conf.NextProtos = append(slices.Clip(conf.NextProtos), "http/1.1")
	conn := tls.Client(raw, conf)
	if err = conn.HandshakeContext(ctx); err == nil && !slices.Contains(d.TLS.NextProtos, conn.ConnectionState().NegotiatedProtocol) {
		err = noTCPRoad(addr, nil)
	}
	if err != nil {
		_ = raw.Close()
		return nil, tcpDialError(addr, err)
	}
	return newTCPLink(conn, TCPConfig{MaxStreams: streamsPerAgent, Known: true}), nil
}

// noApplicationProtocol is TLS's alert (RFC 7301, 3.2) as a QUIC error (RFC 9001, 4.8).
const noApplicationProtocol = 0x100 + 120

// quicDialError keeps the peer's own code; TLS's verdicts reach us as errors of the callbacks in
// package certs, which carry a code too.
func quicDialError(addr string, err error) error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if e, ok := errors.AsType[*quic.ApplicationError](err); ok {
		return &Error{Code: numbered(uint64(e.ErrorCode)), Detail: e.ErrorMessage, Err: err}
	}
	if refusedConnection(err) {
		return &Error{Code: Busy, Detail: "the relay at " + addr + " takes no more connections at the moment", Err: err}
	}
	if e, ok := errors.AsType[*quic.TransportError](err); ok && e.ErrorCode == noApplicationProtocol {
		return &Error{Code: VersionMismatch, Detail: "the relay at " + addr + " speaks another version of the protocol", Err: err}
	}
	if e, ok := errors.AsType[*quic.TransportError](err); ok && e.ErrorCode.IsCryptoError() && e.Remote {
		return &Error{Code: Unauthenticated, Detail: "the relay refused the certificate", Err: err}
	}
	return &Error{Code: RelayUnreachable, Detail: "no answer from " + addr, Err: err}
}

// tcpDialError is the same of the TCP road. What the relay says of our certificate comes after the handshake.
func tcpDialError(addr string, err error) error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if e, ok := errors.AsType[*net.OpError](err); ok && e.Op == "remote error" && strings.Contains(e.Error(), "no application protocol") {
		return noTCPRoad(addr, err)
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return &Error{Code: RelayUntrusted, Detail: "what answers at " + addr + " over TCP does not speak TLS", Err: err}
	}
	detail := "no answer from " + addr + " over TCP"
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
		detail = addr + " ended the connection before it had answered"
	}
	return &Error{Code: RelayUnreachable, Detail: detail, Err: err}
}

// noTCPRoad is a relay that is older than this road, or speaks another version on it.
func noTCPRoad(addr string, err error) error {
	return &Error{Code: VersionMismatch, Detail: "the relay at " + addr + " does not take agents and terminals over TCP, or speaks another version of the protocol", Err: err}
}
