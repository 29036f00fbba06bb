package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/yamux"
	"golang.org/x/sync/semaphore"
)

// Numbers of TCP links; those that both sides must know are part of the protocol.
const (
	tcpFirstStreams = 16        // each side may open before it is told of more
	tcpFirstWindow  = 256 << 10 // of each stream, yamux's
	tcpFirstRoom    = 1 << 20   // of all streams together, as QUIC's first window

	tcpKeepAlive    = 15 * time.Second // who has sent nothing for so long says that it lives
	tcpSilence      = 45 * time.Second // after which a peer that says nothing, or takes nothing, is gone
	tcpCloseTimeout = time.Second      // for the peer to take the last word

	tcpUnanswered = 128     // streams that the peer has not heard of yet
	tcpMaxCredit  = 1 << 20 // streams; nobody grants more
	tcpMaxWindow  = 1 << 30 // bytes; the same
)

// TCPConfig is what the two sides of a TCP link differ in.
type TCPConfig struct {
	Server     bool // this side has accepted the connection
	MaxStreams int  // that the peer may have open at once; 16 at least
	// Known says that the peer has shown who it is. Strangers have the first windows only: 256 KiB for a stream, 1 MiB for all.
	Known bool
}

// TCPLink makes a Link of a TLS connection whose handshake is complete, and which nobody else uses from now on.
//
// The streams are yamux's. What yamux lacks are frames of ours between its own (tcpframe.go): codes for ends of streams and of
// the link, credit for streams, and a window for the whole link. Nothing that yamux does waits for the network, so a stream whose
// peer takes nothing can still be reset, closed and given deadlines: what waits is tcpTurns, before anything is given to yamux.
func TCPLink(conn *tls.Conn, c TCPConfig) Link { return newTCPLink(conn, c) }

type tcpLink struct {
	Life
	conn   *tls.Conn
	config TCPConfig
	mux    *yamux.Session
	in     tcpReader
	out    *tcpWriter
	turns  *tcpTurns

	credit     *semaphore.Weighted // streams that may be opened
	unanswered *semaphore.Weighted // streams that may be opened before the peer has heard of earlier ones
	opening    sync.Mutex          // held while a stream gets its number and is announced, so that they arrive in order

	mu       sync.Mutex
	streams  map[uint32]*tcpStream // those of which something can still arrive, or is not read yet
	next     uint32                // the number of the next stream that is opened here
	last     uint32                // the number of the newest stream of the peer's
	mayOpen  int                   // streams, the peer
	granted  int64                 // streams that the peer has ever granted
	incoming []*tcpStream          // not accepted yet; at most as many as the peer may have open
	arrived  chan struct{}         // something came to incoming
	freed    int                   // places of streams that the peer was not told of yet

	heard, said atomic.Int64 // when something came, and went, last: nanoseconds since began
	began       time.Time
	pulse       *time.Timer
	ready       chan struct{} // closed when all of the above is there

	ending sync.Once
	done   chan struct{} // closed when nothing of the link is left
}

func newTCPLink(conn *tls.Conn, c TCPConfig) *tcpLink {
	tuneTCP(conn.NetConn())
	l := &tcpLink{
		Life: NewLife(), conn: conn, config: c,
		streams: map[uint32]*tcpStream{}, next: 1, mayOpen: max(c.MaxStreams, tcpFirstStreams),
		arrived: make(chan struct{}, 1), ready: make(chan struct{}), done: make(chan struct{}), began: time.Now(),
		credit: semaphore.NewWeighted(tcpMaxCredit), unanswered: semaphore.NewWeighted(tcpUnanswered),
	}
	l.credit.TryAcquire(tcpMaxCredit - tcpFirstStreams)
	l.granted = tcpFirstStreams
	l.out = newTCPWriter(l)
	l.turns = newTCPTurns()
	l.in = tcpReader{link: l, room: tcpFirstRoom, window: tcpFirstRoom, done: make(chan struct{})}
	if extra := l.mayOpen - tcpFirstStreams; extra > 0 {
		l.out.control(newTCPHeader(tcpStreams, 0, 0, uint32(extra)))
	}
	config := &yamux.Config{
		AcceptBacklog:          tcpUnanswered + 1,
		KeepAliveInterval:      tcpKeepAlive,
		ConnectionWriteTimeout: 24 * time.Hour, // our queue takes everything at once
		MaxStreamWindowSize:    tcpFirstWindow,
		Logger:                 log.New(io.Discard, "", 0), // what it would say ends the link, with an error
	}
	if c.Known {
		config.MaxStreamWindowSize = streamWindow
		l.in.grant(linkWindow - tcpFirstRoom)
	}
	begin := yamux.Client
	if c.Server {
		begin = yamux.Server
		l.next = 2
	}
	var err error
	if l.mux, err = begin(tcpMuxConn{l}, config); err != nil {
		panic(err) // the configuration is constant: this cannot depend on input
	}
	l.pulse = time.AfterFunc(tcpKeepAlive, l.beat)
	close(l.ready)
	go l.out.run()
	return l
}

// beat says that this side lives when it has said nothing else, and ends the link when the peer is silent.
func (l *tcpLink) beat() {
	if l.Err() != nil {
		return
	}
	now := time.Since(l.began)
	silent := now - time.Duration(l.heard.Load())
	if silent >= tcpSilence {
		l.end(fmt.Errorf("nothing was heard for %s: %w", tcpSilence, errTCPSilent), nil)
		return
	}
	quiet := now - time.Duration(l.said.Load())
	if quiet >= tcpKeepAlive {
		l.out.control(newTCPHeader(tcpAlive, 0, 0, 0))
		quiet = 0
	}
	for _, s := range l.all() {
		s.rest()
	}
	l.pulse.Reset(min(tcpKeepAlive-quiet, tcpSilence-silent))
}

// all are the streams of which something can still arrive, or is not read yet.
func (l *tcpLink) all() []*tcpStream {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Values(l.streams))
}

// How a connection ends when nobody has said so.
var (
	errTCPSilent = errors.New("the connection is dead")
	errTCPCut    = errors.New("the connection ended without a word")
)

// Open implements [Link].
func (l *tcpLink) Open(ctx context.Context) (Stream, error) {
	if err := l.acquire(ctx, l.credit); err != nil {
		return nil, err
	}
	if err := l.acquire(ctx, l.unanswered); err != nil {
		l.credit.Release(1)
		return nil, err
	}
	l.opening.Lock()
	defer l.opening.Unlock()
	s := newTCPStream(l, l.next, true)
	l.mu.Lock()
	l.streams[s.id] = s
	l.next += 2
	l.mu.Unlock()
	mux, err := l.mux.OpenStream()
	if err != nil {
		return nil, l.failed(err)
	}
	s.bind(mux)
	return s, l.Err()
}

// acquire takes one of s, which may have to come from the peer.
func (l *tcpLink) acquire(ctx context.Context, s *semaphore.Weighted) error {
	if l.Err() == nil && ctx.Err() == nil && s.TryAcquire(1) {
		return nil
	}
	waits, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(l.Context(), cancel)()
	err := s.Acquire(waits, 1)
	switch {
	case l.Err() != nil:
		return l.Err()
	case ctx.Err() != nil:
		if err == nil {
			s.Release(1)
		}
		return context.Cause(ctx)
	}
	return err
}

// Accept implements [Link].
func (l *tcpLink) Accept(ctx context.Context) (Stream, error) {
	for {
		if err := l.Err(); err != nil {
			return nil, err
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if s := l.taken(); s != nil {
			return s, nil
		}
		select {
		case <-l.arrived:
		case <-l.Context().Done():
		case <-ctx.Done():
		}
	}
}

// taken is the oldest stream that was not accepted yet, if there is one.
func (l *tcpLink) taken() *tcpStream {
	l.mu.Lock()
	if len(l.incoming) == 0 {
		l.mu.Unlock()
		return nil
	}
	s := l.incoming[0]
	l.incoming[0] = nil
	if l.incoming = l.incoming[1:]; len(l.incoming) == 0 {
		l.incoming = nil
	} else {
		notify(l.arrived) // for another Accept
	}
	l.mu.Unlock()
	s.take()
	return s
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// forget removes a stream that is over. A place of the peer's is free again then.
func (l *tcpLink) forget(s *tcpStream) {
	l.mu.Lock()
	delete(l.streams, s.id)
	var free int
	if !s.ours {
		// The peer is told of some at once: it has as many left, or waits for them.
		if l.freed++; l.freed >= max(1, min(l.mayOpen, tcpFirstStreams/2)) || l.mayOpen == 0 {
			free, l.freed = l.freed, 0
			l.mayOpen += free
		}
	}
	l.mu.Unlock()
	if free > 0 {
		l.out.control(newTCPHeader(tcpStreams, 0, 0, uint32(free)))
	}
}

// Close implements [Link].
func (l *tcpLink) Close(code Code, detail string) error {
	detail = cutString(detail, 512)
	l.end(&Error{Code: code, Detail: detail}, tcpGoodbye(code, detail))
	<-l.done
	return nil
}

// tcpGoodbye is the frame that ends a link.
func tcpGoodbye(code Code, detail string) []byte {
	h := newTCPHeader(tcpClose, 0, uint32(len(detail)), uint32(code))
	return append(h[:], detail...)
}

// violated ends the link of a peer that does not keep to the protocol.
func (l *tcpLink) violated(format string, args ...any) error {
	err := Errorf(Protocol, format, args...)
	l.end(err, tcpGoodbye(err.Code, cutString(err.Detail, 512)))
	return l.Err()
}

// failed ends the link because of an error of the connection or of yamux, unless it has ended, and is how it ended.
func (l *tcpLink) failed(err error) error {
	if l.Err() == nil {
		l.end(tcpError(err), nil)
	}
	return l.Err()
}

// end ends the link. goodbye is what the peer is told, if it can still be told anything.
func (l *tcpLink) end(err error, goodbye []byte) {
	l.ending.Do(func() {
		l.End(err)
		for _, s := range l.all() {
			s.wakeReader()
		}
		go l.takeDown(goodbye)
	})
}

// takeDown frees what a link that has ended holds. The peer reads the goodbye only if the connection is not closed while
// something of the peer's is unread, as the kernel then says RST; so that is read first, and thrown away.
func (l *tcpLink) takeDown(goodbye []byte) {
	defer close(l.done)
	raw := l.conn.NetConn()
	if goodbye != nil {
		l.out.last(goodbye)
		<-l.out.done
		select {
		case <-l.in.done:
		case <-time.After(tcpCloseTimeout):
		}
	}
	_ = raw.Close() // it only fails when it was closed already
	l.out.stop()
	<-l.out.done
	_ = l.mux.Close()
	l.pulse.Stop()
}

// Peer implements [Link].
func (l *tcpLink) Peer() Peer {
	state := l.conn.ConnectionState()
	return Peer{
		Addr:         l.conn.RemoteAddr(),
		Road:         TCP,
		Certificates: state.PeerCertificates,
		Export: func(label string, n int) ([]byte, error) {
			return state.ExportKeyingMaterial(label, nil, n)
		},
	}
}

// tcpError is how a connection broke. TLS's verdict on our certificate comes after the handshake, in place of the first bytes.
func tcpError(err error) error {
	if e, ok := errors.AsType[*net.OpError](err); ok && e.Op == "remote error" {
		return &Error{Code: Unauthenticated, Detail: "the peer refused the certificate", Err: err}
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		return fmt.Errorf("%w: %v", errTCPCut, err) // no io.EOF, which is a stream's ordinary end
	}
	return err
}

// tcpMuxStream is a stream's bytes and ordinary ends.
type tcpMuxStream = yamux.Stream

// errTCPMuxDeadline is what its Read says after its deadline.
var errTCPMuxDeadline error = yamux.ErrTimeout

// tcpMuxConn is the connection as yamux sees it.
type tcpMuxConn struct{ link *tcpLink }

func (c tcpMuxConn) Read(p []byte) (int, error) {
	<-c.link.ready
	return c.link.in.read(p)
}

func (c tcpMuxConn) Write(p []byte) (int, error) { return c.link.out.mux(p) }

// Close is called when yamux ends by itself, for which it has no reason while tcpReader lets nothing wrong through.
func (c tcpMuxConn) Close() error {
	_ = c.link.failed(errors.New("yamux has ended"))
	return nil
}
