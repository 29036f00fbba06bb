package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"scrier/certs"
	"scrier/wire"
)

// How many handshakes run at the same time. When a whole fleet reconnects at once, the processors can
// finish this many in time; without a bound nearly all of them would time out together.
var maxHandshakes = int64(2 * runtime.GOMAXPROCS(0) * 32)

const (
	// How many streams a peer may have open at once. An agent has one; a CLI has one for each session
	// and each call; a browser has one for each request and two for each viewer.
	peerStreams = 64
	// HTTP/3 has three for itself (RFC 9114, 6.2).
	browserUniStreams = 8
)

// listener is one port: UDP for QUIC, TCP for HTTPS.
type listener struct {
	tcp       net.Listener
	udp       *net.UDPConn
	transport *quic.Transport
	quic      *quic.EarlyListener

	handshakes atomic.Int64
	sources    sources
	browsers   crowd
}

// sources counts the handshakes of each address. No address may have more than half of them, so that
// one that does not go on leaves room for the others.
type sources struct {
	mu sync.Mutex
	by map[string]int64
}

func (s *sources) enter(addr net.Addr) (leave func(), ok bool) {
	host := sourceOf(addr)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.by[host] >= maxHandshakes/2 {
		return nil, false
	}
	if s.by == nil {
		s.by = map[string]int64{}
	}
	s.by[host]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.by[host]--; s.by[host] == 0 {
			delete(s.by, host)
		}
	}, true
}

// listen binds UDP and TCP on the same number.
func listen(addr string, tls *certs.Server) (*listener, error) {
	l := &listener{browsers: crowd{max: maxBrowsers, perSource: maxBrowsersPerSource}}
	if err := l.bind(addr); err != nil {
		return nil, err
	}
	// The key is kept over a restart. With it a peer that was connected before learns with its next
	// packet that its connection is gone, and does not wait for the idle timeout.
	derived, err := tls.CA.Derive("stateless reset")
	if err != nil {
		return nil, errors.Join(err, l.tcp.Close(), l.udp.Close())
	}
	resetKey := quic.StatelessResetKey(derived)
	l.transport = &quic.Transport{
		Conn:              l.udp,
		StatelessResetKey: &resetKey,
		ConnContext:       l.admit,
		// Retry proves that a peer has its address, and costs a round trip. It is used when half of the
		// handshakes are taken.
		VerifySourceAddress: func(net.Addr) bool { return l.handshakes.Load() > maxHandshakes/2 },
	}
	conf := wire.QUICConfig(peerStreams)
	conf.Allow0RTT = false
	// What WebTransport needs; which protocol a peer speaks is known only after this.
	conf.MaxIncomingUniStreams = browserUniStreams
	conf.EnableDatagrams = true
	conf.EnableStreamResetPartialDelivery = true
	if l.quic, err = l.transport.ListenEarly(tls.QUIC(), conf); err != nil {
		return nil, errors.Join(fmt.Errorf("listen for QUIC on %s: %w", addr, err), l.tcp.Close(), l.udp.Close())
	}
	return l, nil
}

func (l *listener) bind(addr string) (err error) {
	for range 16 { // with port 0 the number that TCP got may be taken for UDP
		if l.tcp, err = net.Listen("tcp", addr); err != nil {
			return &wire.Error{Code: wire.BadConfig, Detail: "cannot listen on TCP " + addr + ": " + err.Error(), Err: err}
		}
		t := l.tcp.Addr().(*net.TCPAddr)
		l.udp, err = net.ListenUDP("udp", &net.UDPAddr{IP: t.IP, Port: t.Port, Zone: t.Zone})
		if err == nil {
			return nil
		}
		err = &wire.Error{Code: wire.BadConfig, Detail: "cannot listen on UDP " + t.String() + ": " + err.Error(), Err: err}
		if cerr := l.tcp.Close(); cerr != nil {
			return errors.Join(err, cerr)
		}
		if _, port, perr := net.SplitHostPort(addr); perr != nil || port != "0" {
			return err
		}
	}
	return err
}

// admit lets a new connection begin its handshake, or turns it away; the slot is given back when
// the handshake is over ([listener.ready]) or the connection is.
func (l *listener) admit(ctx context.Context, info *quic.ClientInfo) (context.Context, error) {
	if l.handshakes.Add(1) > maxHandshakes {
		l.handshakes.Add(-1)
		return nil, errors.New("too many handshakes at once")
	}
	leave, ok := l.sources.enter(info.RemoteAddr)
	if !ok {
		l.handshakes.Add(-1)
		return nil, errors.New("too many handshakes at once from one address")
	}
	release := sync.OnceFunc(func() {
		l.handshakes.Add(-1)
		leave()
	})
	context.AfterFunc(ctx, release)
	return context.WithValue(ctx, releaseKey{}, release), nil
}

type releaseKey struct{}

// http3Server serves a browser's connection to its end.
type http3Server interface{ ServeQUICConn(*quic.Conn) error }

// accept gives each connection to serve, in a goroutine of its own, and does nothing else. So a client
// that never finishes its handshake delays no other.
func (l *listener) accept(ctx context.Context, serve func(wire.Link, string), browsers http3Server) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		conn, err := l.quic.Accept(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("accept: %w", err)
		}
		wg.Go(func() {
			if !l.ready(conn) {
				return
			}
			if alpn := conn.ConnectionState().TLS.NegotiatedProtocol; alpn != wire.ALPNH3 {
				serve(wire.QUICLink(conn), alpn)
			} else {
				l.serveBrowser(conn, browsers)
			}
		})
	}
}

func (l *listener) serveBrowser(conn *quic.Conn, browsers http3Server) {
	leave, err := l.browsers.enter(sourceOf(conn.RemoteAddr()))
	if err != nil {
		_ = conn.CloseWithError(quic.ApplicationErrorCode(wire.Busy), "") // it may be gone
		return
	}
	defer leave()
	_ = browsers.ServeQUICConn(conn) // ends with the connection, or because of it
}

// ready waits until the handshake has succeeded or failed. Accept returns before the client's
// certificate was checked.
func (l *listener) ready(conn *quic.Conn) bool {
	if release, ok := conn.Context().Value(releaseKey{}).(func()); ok {
		defer release()
	}
	select {
	case <-conn.HandshakeComplete():
		return conn.Context().Err() == nil
	case <-conn.Context().Done():
		return false
	}
}

// serveWeb serves HTTPS until ctx ends.
func (l *listener) serveWeb(ctx context.Context, tls *certs.Server, handler http.Handler) error {
	server := &http.Server{
		Handler:           handler,
		TLSConfig:         tls.Web(),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          discardLog(),
	}
	return serveHTTP(ctx, server, func() error { return server.ServeTLS(browserListener{l.tcp, &l.browsers}, "", "") })
}

// serveHTTP runs serve until ctx ends, and then waits a moment for requests under way.
func serveHTTP(ctx context.Context, server *http.Server, serve func() error) error {
	done := make(chan error, 1)
	go func() { done <- serve() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	wait, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	err := server.Shutdown(wait)
	if err != nil {
		err = server.Close()
	}
	if serr := <-done; !errors.Is(serr, http.ErrServerClosed) {
		err = errors.Join(err, serr)
	}
	return err
}

func (l *listener) close() error {
	err := l.quic.Close()
	return errors.Join(err, l.transport.Close(), l.udp.Close())
}
