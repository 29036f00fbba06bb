package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math"
	"net"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
)

// QUIC's settings, the same on every link.
const (
	keepAlive       = 20 * time.Second // below what NATs keep a UDP mapping for; agents' heartbeats (15 s) make it unnecessary
	idleTimeout     = 45 * time.Second // two keep-alives lost, each of which is sent again and again
	restTimeout     = 5 * MaxRest / 2  // the same of an agent's link, on which nothing may pass for MaxRest
	handshakeIdle   = 5 * time.Second
	streamWindow    = 1 << 20   // bounds a relay's memory: sessions x 1 MiB each way
	initialWindow   = 512 << 10 // a shell's burst fits without waiting for an update
	linkWindow      = 16 << 20
	streamsPerAgent = 1 << 10 // opened by the peer

	// packetSize is what fits into 1,280 bytes behind the headers of IPv6 and UDP: every IP path carries that (RFC 8200, 5),
	// tunnels among them. It does not grow with what a path is found to carry: quic-go never goes back, and when
	// the path carries less one day (another network, a VPN that comes up), all but the smallest packets are lost for ever, and the
	// link stays alive by these.
	packetSize = 1280 - 40 - 8
)

// QUICConfig is the configuration of every QUIC endpoint. incoming is how many streams the peer
// may have open at once.
func QUICConfig(incoming int64) *quic.Config {
	return &quic.Config{
		InitialPacketSize:              packetSize,
		DisablePathMTUDiscovery:        true,
		HandshakeIdleTimeout:           handshakeIdle,
		MaxIdleTimeout:                 idleTimeout,
		KeepAlivePeriod:                keepAlive,
		InitialStreamReceiveWindow:     initialWindow,
		MaxStreamReceiveWindow:         streamWindow,
		InitialConnectionReceiveWindow: 2 * initialWindow,
		MaxConnectionReceiveWindow:     linkWindow,
		MaxIncomingStreams:             incoming,
		MaxIncomingUniStreams:          -1,
	}
}

// Resting changes the configuration of an endpoint for links on which nothing passes for [MaxRest]: those of agents. Each end says how
// long it waits, and the shorter time counts for both; so a relay may have it for all that come. QUIC's own keep-alive is then as rare
// as may be: a rest that ends by that would teach nobody anything.
func Resting(c *quic.Config) {
	c.MaxIdleTimeout = restTimeout
	c.KeepAlivePeriod = restTimeout / 2
}

// refusedConnection says that the peer is there, and has no place for a handshake.
func refusedConnection(err error) bool {
	e, ok := errors.AsType[*quic.TransportError](err)
	return ok && e.ErrorCode == quic.ConnectionRefused && e.Remote
}

// Forgotten says whether err, a link's, means that the peer knows nothing of the link: it was restarted. Over TCP it is any
// end of the connection without a word, as of a process that was killed.
func Forgotten(err error) bool {
	_, ok := errors.AsType[*quic.StatelessResetError](err)
	return ok || errors.Is(err, errTCPCut)
}

// QUICLink makes a Link of an accepted connection whose handshake is complete.
func QUICLink(conn *quic.Conn) Link { return newQUICLink(conn) }

// quicLink has a context of its own. quic-go tells a connection's streams of its end before it
// ends the connection's context; whoever learns of the end first, ends ours ([quicLink.failed]).
type quicLink struct {
	Life
	conn   *quic.Conn
	remote net.Addr      // where a dialled link goes; nil: the peer came here, and may roam
	done   chan struct{} // closed when the dialled link's sockets are

	ways // of a dialled link

	packets Line

	// state is asked for once: quic-go reads there what it changes when the connection goes another way.
	state func() tls.ConnectionState
}

func (l *quicLink) line() *Line { return &l.packets }

func newQUICLink(conn *quic.Conn) *quicLink {
	l := &quicLink{Life: NewLife(), conn: conn, state: sync.OnceValue(func() tls.ConnectionState { return conn.ConnectionState().TLS })}
	l.packets.stats = func() (sent, lost uint64, rtt time.Duration) {
		s := conn.ConnectionStats()
		return s.PacketsSent, s.PacketsLost, s.SmoothedRTT
	}
	context.AfterFunc(conn.Context(), l.ended)
	return l
}

// ended ends the link's context when the connection's has.
func (l *quicLink) ended() { l.End(quicError(context.Cause(l.conn.Context()))) }

// failed is an error of quic-go's as the contract of [Link] and [Stream] has it. Errors of a
// connection wrap [net.ErrClosed], and no error of a single stream does.
func (l *quicLink) failed(err error) error {
	if !errors.Is(err, net.ErrClosed) {
		return quicError(err)
	}
	l.End(quicError(err))
	return l.Err()
}

func (l *quicLink) Open(ctx context.Context) (Stream, error) {
	s, err := l.conn.OpenStreamSync(ctx)
	return l.stream(ctx, s, err)
}

func (l *quicLink) Accept(ctx context.Context) (Stream, error) {
	s, err := l.conn.AcceptStream(ctx)
	return l.stream(ctx, s, err)
}

func (l *quicLink) stream(ctx context.Context, s *quic.Stream, err error) (Stream, error) {
	switch {
	case err == nil:
		return &quicStream{s: s, link: l}, nil
	case ctx.Err() != nil && !errors.Is(err, net.ErrClosed):
		return nil, context.Cause(ctx)
	}
	return nil, l.failed(err)
}

func (l *quicLink) Close(code Code, detail string) error {
	err := l.conn.CloseWithError(quic.ApplicationErrorCode(code), cutString(detail, 512))
	l.ended()
	if l.done != nil {
		<-l.done
	}
	return err
}

func (l *quicLink) Peer() Peer {
	state := l.state()
	addr := l.remote
	if addr == nil {
		addr = l.conn.RemoteAddr()
	}
	return Peer{
		Addr:         addr,
		Road:         QUIC,
		Certificates: state.PeerCertificates,
		Export: func(label string, n int) ([]byte, error) {
			return state.ExportKeyingMaterial(label, nil, n)
		},
	}
}

// quicError translates quic-go's errors into ours where they carry the peer's code. Everything
// else (time-outs, refused datagrams) is left as it is: the caller knows what it means.
func quicError(err error) error {
	if e, ok := errors.AsType[*quic.StreamError](err); ok {
		return &Error{Code: numbered(uint64(e.ErrorCode)), Err: err}
	}
	if e, ok := errors.AsType[*quic.ApplicationError](err); ok {
		return &Error{Code: numbered(uint64(e.ErrorCode)), Detail: e.ErrorMessage, Err: err}
	}
	if refusedConnection(err) {
		return &Error{Code: Busy, Err: err}
	}
	return err
}

// numbered is the code of a number that a peer chose; QUIC's are up to 2^62.
func numbered(n uint64) Code { return Code(min(n, math.MaxUint16)) }

// quicStream owns quic-go's rules: Close ends only the writing side and must not race with
// Write, and a stream leaks until it is read to its end or CancelRead.
type quicStream struct {
	s    *quic.Stream
	link *quicLink
	mu   sync.Mutex // a Write and CloseWrite, never both
}

func (q *quicStream) Read(p []byte) (int, error) {
	n, err := q.s.Read(p)
	return n, q.fail(err)
}

func (q *quicStream) Write(p []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, err := q.s.Write(p)
	return n, q.fail(err)
}

func (q *quicStream) CloseWrite() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.fail(q.s.Close())
}

func (q *quicStream) fail(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	return q.link.failed(err)
}

func (q *quicStream) CloseRead(code Code) { q.s.CancelRead(quic.StreamErrorCode(code)) }

func (q *quicStream) Reset(code Code) {
	q.s.CancelWrite(quic.StreamErrorCode(code)) // first, as it frees a Write that blocks
	q.s.CancelRead(quic.StreamErrorCode(code))
}

func (q *quicStream) SetDeadline(t time.Time) error      { return q.s.SetDeadline(t) }
func (q *quicStream) SetReadDeadline(t time.Time) error  { return q.s.SetReadDeadline(t) }
func (q *quicStream) SetWriteDeadline(t time.Time) error { return q.s.SetWriteDeadline(t) }
