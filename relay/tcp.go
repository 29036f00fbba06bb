package relay

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/time/rate"

	"scrier/relay/web"
	"scrier/wire"
)

const (
	// helloTime is how long a peer over TCP may take for its handshake; while many have begun it is twice hurry, as
	// QUIC has it.
	helloTime = 10 * time.Second
	// helloBytes is what it may send for it. An honest one sends 5 KB at most, its certificate included.
	helloBytes = 16 << 10
)

// acceptTCP gives each link to serve, in a goroutine of its own, when its handshake is through, streams' connections of their own
// to lane, and browsers to HTTP's server.
func (l *listener) acceptTCP(ctx context.Context, conf *tls.Config, serve func(arrived), lane func(conn *tls.Conn, showed func(identity string))) error {
	defer context.AfterFunc(ctx, func() { _ = l.tcp.Close() })()
	var wg sync.WaitGroup
	defer wg.Wait()
	for wait := time.Millisecond; ; wait = min(2*wait, time.Second) {
		raw, err := l.tcp.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = raw.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept: %w", err)
		case err != nil: // of one connection, or no more files may be open
			pause(ctx, wait)
			continue
		}
		wait = time.Millisecond
		wg.Go(func() {
			conn, secure, ok := l.greet(ctx, raw, conf)
			if !ok {
				return
			}
			switch alpn := secure.ConnectionState().NegotiatedProtocol; alpn {
			case wire.ALPNAgent, wire.ALPNClient:
				serve(l.linked(conn, secure, alpn))
			case wire.ALPNLane:
				wire.ForBulk(conn.Conn)
				stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // until it is bound to a stream, whose link ends it
				lane(secure, conn.handshake.showed)
				stop()
			default:
				l.browse(conn, secure)
			}
		})
	}
}

// linked is an agent's or a CLI's link.
func (l *listener) linked(c *tcpConn, secure *tls.Conn, alpn string) arrived {
	known := len(secure.ConnectionState().PeerCertificates) > 0
	streams := strangerStreams
	if known || l.acquainted.has(c.from.String()) {
		streams = peerStreams
	}
	link := wire.TCPLink(secure, wire.TCPConfig{Server: true, MaxStreams: streams, Known: known})
	return arrived{link: link, addr: c.from, alpn: alpn, acquaint: func(identity string) {
		c.acquaint()
		c.handshake.showed(identity)
	}}
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// greet runs a connection's handshake. If it does not succeed, or has no place, the connection is closed.
func (l *listener) greet(ctx context.Context, raw net.Conn, conf *tls.Config) (*tcpConn, *tls.Conn, bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	from, err := l.proxies.origin(ctx, raw)
	if err != nil {
		_ = raw.Close()
		return nil, nil, false
	}
	h, err := l.handshakes.begin(ctx, from)
	if err != nil {
		_ = raw.Close() // nothing was said yet
		return nil, nil, false
	}
	c := &tcpConn{Conn: raw, from: from, of: l, handshake: h, bytes: l.bytes.of(h.addr), closed: make(chan struct{})}
	h.closable(func() { _ = c.Close() })
	limit := helloTime
	if l.handshakes.busy() {
		limit = 2 * hurry
	}
	secure := tls.Server(c, conf)
	err = raw.SetDeadline(time.Now().Add(limit))
	if err == nil {
		err = secure.HandshakeContext(ctx)
	}
	if err == nil {
		err = raw.SetDeadline(time.Time{})
	}
	if !h.done() || err != nil {
		_ = c.Close()
		return nil, nil, false
	}
	c.greeted(len(secure.ConnectionState().PeerCertificates) > 0)
	return c, secure, true
}

// tcpConn is a connection over TCP, below TLS. A stranger's is read no faster than its network may send. Its methods
// may be called concurrently, but for Read.
type tcpConn struct {
	net.Conn
	from      net.Addr // also behind a proxy
	of        *listener
	handshake *handshake
	bytes     *rate.Limiter

	hello int         // bytes that came for the handshake, while it goes on
	over  atomic.Bool // the handshake is
	known atomic.Bool // who is at the other end: it is not held back

	visit  atomic.Pointer[web.Visit] // of a browser
	once   sync.Once
	closed chan struct{}
}

var errLongHello = errors.New("more bytes than any handshake has")

func (c *tcpConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if !c.over.Load() {
		if c.hello += n; c.hello > helloBytes {
			return 0, errLongHello
		}
		return n, err
	}
	if n == 0 || c.known.Load() {
		return n, err
	}
	wait := c.bytes.ReserveN(time.Now(), n).Delay()
	if wait == 0 {
		return n, err
	}
	c.of.heldBytes.Add(1)
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.closed:
	}
	return n, err
}

// greeted says that the handshake is through. Who shows no certificate counts against its network, what the handshake
// took included: so neither does a fleet behind one address wait for itself, nor for a stranger beside it.
func (c *tcpConn) greeted(certified bool) {
	if !certified {
		c.bytes.AllowN(time.Now(), c.hello)
	}
	c.known.Store(certified)
	c.over.Store(true)
}

// acquaint says that the peer has shown who it is: it is not held back any more, and others of its network may
// have more streams.
func (c *tcpConn) acquaint() {
	c.known.Store(true)
	c.of.acquainted.add(c.RemoteAddr().String())
}

// visited says that the connection is a browser's: its end is the visit's.
func (c *tcpConn) visited(v *web.Visit) {
	c.visit.Store(v)
	select {
	case <-c.closed:
		v.End()
	default:
	}
}

func (c *tcpConn) RemoteAddr() net.Addr { return c.from }

// SyscallConn implements [syscall.Conn], for who sets options of the socket.
func (c *tcpConn) SyscallConn() (syscall.RawConn, error) {
	s, ok := c.Conn.(syscall.Conn)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	return s.SyscallConn()
}

func (c *tcpConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	if v := c.visit.Load(); v != nil {
		v.End()
	}
	return c.Conn.Close()
}
