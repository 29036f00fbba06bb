package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"scrier/certs"
	"scrier/relay/web"
	"scrier/wire"
)

const (
	// How many streams a peer may have open at once. An agent has one; a CLI has one for each session
	// and each call; a browser has one for each request and two for each viewer.
	peerStreams = 64
	// The same from networks where nobody has shown who they are yet.
	strangerStreams = 16

	// HTTP/3 has three for itself (RFC 9114, 6.2).
	browserUniStreams = 8

	// The same over HTTP/2. A page asks for some thirty things at once.
	webStreams = 64

	// hurry is how long a handshake may be silent while many have begun.
	hurry = 2 * time.Second

	h3NoError = 0x100 // H3_NO_ERROR (RFC 9114, 8.1): the browser connects anew when it needs to
)

// listener is one port: UDP for QUIC, TCP for HTTPS.
type listener struct {
	tcp       net.Listener
	udp       *wire.Socket
	transport *quic.Transport
	quic      *quic.EarlyListener

	proxies    *proxies
	handshakes *handshakes

	// Browsers that have not signed in, by what they came over, and those that have.
	overTCP, overQUIC, signedIn crowd
	visits                      web.VisitTimes
	browsers                    *handover // their connections over TCP, for HTTP's server
	requests, bytes             *rates    // of those that have not
	asking                      crowd     // requests of theirs that are not answered yet
	acquainted                  acquainted

	// How often strangers were held back, or sent away, by these two limits.
	heldRequests, heldBytes atomic.Uint64
}

// listen binds UDP and TCP on the same number.
func listen(c Config, tls *certs.Server, log *slog.Logger) (*listener, error) {
	proxies, err := newProxies(c.ProxyProtocol, log)
	if err != nil {
		return nil, err
	}
	l := &listener{
		proxies:    proxies,
		handshakes: newHandshakes(maxHandshakes), browsers: newHandover(), visits: web.DefaultVisit(),
		requests: newRates(strangerRequests, strangerRequestsBurst), bytes: newRates(strangerBytes, strangerBytesBurst),
		overTCP:  crowd{what: "connections from your network", max: maxOverTCP, each: maxOverTCPPerNetwork},
		overQUIC: crowd{what: "connections from your network", max: maxOverQUIC, each: maxOverQUICPerNetwork},
		signedIn: crowd{what: "connections of yours", max: maxSignedIn, each: maxSignedInPerUser},
		asking:   crowd{what: "requests from your network", max: maxAsking, each: maxAskingPerNetwork},
	}
	if err := l.bind(c.Listen); err != nil {
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
		Conn:                l.udp,
		StatelessResetKey:   &resetKey,
		ConnContext:         l.admit,
		VerifySourceAddress: l.handshakes.doubts, // by Retry, which costs a round trip
	}
	conf := wire.QUICConfig(strangerStreams)
	wire.Resting(conf)
	conf.Allow0RTT = false
	// What WebTransport needs; which protocol a peer speaks is known only after this.
	conf.MaxIncomingUniStreams = browserUniStreams
	conf.EnableDatagrams = true
	conf.EnableStreamResetPartialDelivery = true
	// What a stranger sends and nobody reads yet is bounded by the connection's first window. That is made
	// larger only for who is known.
	conf.AllowConnectionWindowIncrease = func(conn *quic.Conn, _ uint64) bool { return isKnown(conn.Context()) }
	conf.GetConfigForClient = func(info *quic.ClientInfo) (*quic.Config, error) {
		c := conf.Clone()
		if l.acquainted.has(info.RemoteAddr.String()) {
			c.MaxIncomingStreams = peerStreams
		}
		if l.handshakes.busy() {
			c.HandshakeIdleTimeout = hurry
		}
		return c, nil
	}
	if l.quic, err = l.transport.ListenEarly(tls.QUIC(), conf); err != nil {
		return nil, errors.Join(fmt.Errorf("listen for QUIC on %s: %w", c.Listen, err), l.tcp.Close(), l.udp.Close())
	}
	return l, nil
}

const otherPort = "free the port, or choose another with --listen or `listen` in server.yaml: HOST:PORT, or :PORT for all addresses"

func (l *listener) bind(addr string) (err error) {
	for range 16 { // with port 0 the number that TCP got may be taken for UDP
		if l.tcp, err = (&net.ListenConfig{Control: wire.Segments}).Listen(context.Background(), "tcp", addr); err != nil {
			return (&wire.Error{Code: wire.BadConfig, Detail: "cannot listen on TCP " + addr + ": " + err.Error(), Err: err}).Advise("%s", otherPort)
		}
		t := l.tcp.Addr().(*net.TCPAddr)
		udp, uerr := net.ListenUDP("udp", &net.UDPAddr{IP: t.IP, Port: t.Port, Zone: t.Zone})
		if uerr == nil {
			l.udp = wire.NewSocket(udp)
			l.udp.Settled.Store(true)
			return nil
		}
		err = uerr
		err = (&wire.Error{Code: wire.BadConfig, Detail: "cannot listen on UDP " + t.String() + ": " + err.Error(), Err: err}).Advise("%s", otherPort)
		if cerr := l.tcp.Close(); cerr != nil {
			return errors.Join(err, cerr)
		}
		if _, port, perr := net.SplitHostPort(addr); perr != nil || port != "0" {
			return err
		}
	}
	return err
}

// arrival is what is known of a connection before anybody knows what it is for.
type arrival struct {
	*handshake
	visit web.Arrival
	known atomic.Bool // who is at the other end; see [acquaint]
	meet  func()
}

type arrivalKey struct{}

// acquaint says that the peer of a connection has shown who it is: its window may grow, and others of
// its network may have more streams.
func acquaint(ctx context.Context) {
	if a, ok := ctx.Value(arrivalKey{}).(*arrival); ok {
		a.known.Store(true)
		a.meet()
	}
}

func isKnown(ctx context.Context) bool {
	a, ok := ctx.Value(arrivalKey{}).(*arrival)
	return ok && a.known.Load()
}

// admit lets a new connection begin its handshake, or turns it away.
func (l *listener) admit(ctx context.Context, info *quic.ClientInfo) (context.Context, error) {
	s, err := l.handshakes.begin(ctx, info.RemoteAddr)
	if err != nil {
		return nil, err
	}
	a := &arrival{handshake: s, meet: func() { l.acquainted.add(info.RemoteAddr.String()) }}
	return web.WithArrival(context.WithValue(ctx, arrivalKey{}, a), &a.visit), nil
}

// http3Server serves a browser's connection to its end.
type http3Server interface{ ServeQUICConn(*quic.Conn) error }

// arrived is a link whose handshake is through.
type arrived struct {
	link     wire.Link
	addr     net.Addr // where it came from; an agent may roam
	alpn     string
	acquaint func(identity string) // says that the peer has shown who it is
	refused  refused
}

// refused counts how often the network says from now on that nobody listens any more where a link comes from, until forget.
// It is a hint: who is on the way may forge it.
type refused func() (count func() int, forget func())

// accept gives each connection to serve, in a goroutine of its own, and does nothing else. So a client
// that never finishes its handshake delays no other.
func (l *listener) accept(ctx context.Context, serve func(arrived), browsers http3Server) error {
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
			alpn, known, ok := l.ready(conn)
			switch {
			case !ok:
			case alpn == wire.ALPNH3:
				l.serveBrowser(conn, browsers)
			default:
				if !known {
					defer l.strictly(conn)()
				}
				serve(arrived{
					link: wire.QUICLink(conn), addr: conn.RemoteAddr(), alpn: alpn,
					refused: func() (func() int, func()) { return l.udp.Expect(conn.RemoteAddr()) },
					acquaint: func(identity string) {
						acquaint(conn.Context())
						if a, ok := conn.Context().Value(arrivalKey{}).(*arrival); ok {
							a.showed(identity)
						}
					},
				})
			}
		})
	}
}

// strictly ends a stranger's link that opens a stream which no link has, as nobody reads what comes on it,
// or that sends more than its network may. release waits for what looks for that.
func (l *listener) strictly(conn *quic.Conn) (release func()) {
	ctx, cancel := context.WithCancel(conn.Context())
	end := func(why string) { _ = conn.CloseWithError(quic.ApplicationErrorCode(wire.Protocol), why) }
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := conn.AcceptUniStream(ctx); err == nil {
			end("unidirectional streams are not used")
		}
	})
	wg.Go(func() {
		bytes := l.bytes.of(conn.RemoteAddr().String())
		look := time.NewTicker(time.Second)
		defer look.Stop()
		for seen := uint64(0); ; {
			select {
			case <-look.C:
				n := conn.ConnectionStats().BytesReceived - seen
				seen += n
				if !bytes.AllowN(time.Now(), int(min(n, strangerBytesBurst))) && n > web.MayReceive {
					l.heldBytes.Add(1)
					end("too much is sent without a login")
				}
			case <-ctx.Done():
				return
			}
		}
	})
	return func() {
		cancel()
		wg.Wait()
	}
}

func (l *listener) serveBrowser(conn *quic.Conn, browsers http3Server) {
	leave, err := l.overQUIC.enter(conn.RemoteAddr().String())
	if err != nil {
		_ = conn.CloseWithError(quic.ApplicationErrorCode(wire.Busy), "") // it may be gone
		return
	}
	from := conn.RemoteAddr().String()
	bytes := l.bytes.of(from)
	visit := l.visit(from, web.VisitConfig{
		Leave: leave, Close: func() { _ = conn.CloseWithError(h3NoError, "") }, Known: func() { acquaint(conn.Context()) },
		Received: func() uint64 { return conn.ConnectionStats().BytesReceived },
		Path: func() (sent, lost uint64, trip time.Duration) {
			s := conn.ConnectionStats()
			return s.PacketsSent, s.PacketsLost, s.MinRTT
		},
		MayReceive: func(n uint64) bool {
			if bytes.AllowN(time.Now(), int(min(n, strangerBytesBurst))) {
				return true
			}
			l.heldBytes.Add(1)
			return false
		},
	})
	defer visit.End()
	if a, ok := conn.Context().Value(arrivalKey{}).(*arrival); ok {
		a.visit.Began(visit)
	}
	_ = browsers.ServeQUICConn(conn) // ends with the connection, or because of it
}

// ready waits until the handshake has succeeded or failed. Accept returns before the client's
// certificate was checked. known says that there is one.
func (l *listener) ready(conn *quic.Conn) (alpn string, known, ok bool) {
	a, ok := conn.Context().Value(arrivalKey{}).(*arrival)
	if !ok {
		return "", false, false
	}
	a.closable(func() { _ = conn.CloseWithError(quic.ApplicationErrorCode(wire.Busy), "") })
	select {
	case <-conn.HandshakeComplete():
		state := conn.ConnectionState().TLS
		return state.NegotiatedProtocol, len(state.PeerCertificates) > 0, a.done() && conn.Context().Err() == nil
	case <-conn.Context().Done():
		return "", false, false
	}
}

// visit watches a browser's connection from an address.
func (l *listener) visit(from string, c web.VisitConfig) *web.Visit {
	c.Times = l.visits
	requests := l.requests.of(from)
	c.MayAsk = func() (func(), bool) {
		if !requests.Allow() {
			l.heldRequests.Add(1)
			return nil, false
		}
		end, err := l.asking.enter(from)
		return end, err == nil
	}
	c.Know = func(who string) (func(), bool) {
		leave, err := l.signedIn.enter(who)
		return leave, err == nil
	}
	return web.NewVisit(c)
}

// serveWeb serves browsers over TCP until ctx ends.
func (l *listener) serveWeb(ctx context.Context, handler http.Handler) error {
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          discardLog(),
		ConnContext:       visitOver,
		HTTP2: &http.HTTP2Config{ // the default is some MiB for each connection
			MaxConcurrentStreams: webStreams, MaxReadFrameSize: 16 << 10,
			MaxReceiveBufferPerConnection: 128 << 10, MaxReceiveBufferPerStream: 64 << 10,
			WriteByteTimeout: 30 * time.Second,
		},
	}
	return serveHTTP(ctx, server, func() error { return server.Serve(l.browsers) })
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
	err := l.tcp.Close()
	if errors.Is(err, net.ErrClosed) { // accepting has ended
		err = nil
	}
	return errors.Join(err, l.quic.Close(), l.transport.Close(), l.udp.Close())
}
