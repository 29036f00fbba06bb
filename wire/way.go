package wire

import (
	"context"
	"errors"
	"net"
	"sync"

	"github.com/quic-go/quic-go"
)

// Roamer is a [Link] that can go another way through the network without losing anything. A link that has none of this is one
// that must be made anew. Its methods may be called at the same time.
type Roamer interface {
	// Move looks for a way from another port of this machine to the peer, and has the link go there from now on. If there is
	// none within ctx the link stays where it is, and it can be tried again.
	Move(ctx context.Context) error
	// Rebind has the link go on from another port at once, without a look whether that leads anywhere. It is for a link that Move
	// cannot help, as it may send nothing new before what was lost is acknowledged: that is sent again from there. What comes to the
	// port of before is lost. Only Linux can.
	Rebind() error
	// Heard is how many packets have come, Sent how many went, and Passed how many bytes in both directions.
	Heard() uint64
	Sent() uint64
	Passed() uint64
	// Refused is how often the network has said that nobody listens at the peer's port. Who is on the way may forge that: it is a
	// hint, for who hears nothing of the peer. Only Linux tells.
	Refused() int
}

// maxWays bounds the sockets of one link: its ways of before may still bring something.
const maxWays = 16

var (
	errMoved    = errors.New("the link has moved too often")
	errAccepted = errors.New("only who has dialled can move a link")
)

// way is one of this machine's sockets.
type way struct {
	socket    *Socket
	transport *quic.Transport
	refused   func() int // how often, see [Socket.Expect]; it ends with the socket
}

func newWay(to net.Addr) (*way, error) {
	c, err := net.ListenUDP("udp", nil)
	if err != nil {
		return nil, err
	}
	s := NewSocket(c)
	refused, _ := s.Expect(to)
	return &way{s, &quic.Transport{Conn: s, ConnectionIDGenerator: noIDs{}}, refused}, nil
}

// noIDs has packets to this machine carry no connection id: a socket is for one link alone. quic-go's other side never takes
// back the ids that it has used for a way, so that a link could move three times and no more.
type noIDs struct{}

func (noIDs) GenerateConnectionID() (quic.ConnectionID, error) { return quic.ConnectionID{}, nil }
func (noIDs) ConnectionIDLen() int                             { return 0 }

// close ends the connections on it, too.
func (w *way) close() {
	_ = w.transport.Close() // both only fail when closed already
	_ = w.socket.Close()
}

// ways are those of a dialled link. A socket that the link has been on, or has looked from, ends with it: quic-go ends a
// connection with each of its sockets.
type ways struct {
	moving sync.Mutex // one Move at a time

	mu     sync.Mutex
	now    *way
	before []*way
	path   *quic.Path // of now; nil: that of the handshake
	next   *way       // that was tried, and led nowhere yet
	look   *quic.Path // from next
	closed bool
}

func (w *ways) closeWays() {
	w.mu.Lock()
	all := append(w.before, w.now)
	if w.next != nil {
		all = append(all, w.next)
	}
	w.before, w.next, w.closed = nil, nil, true
	w.mu.Unlock()
	for _, one := range all {
		one.close()
	}
}

// another gives the path that is to be tried.
func (l *quicLink) another() (*quic.Path, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.now == nil:
		return nil, errAccepted
	case l.closed:
		return nil, net.ErrClosed
	case l.next != nil:
		_ = l.next.socket.Rebind() // where that is possible: the port may be known to a firewall by now
		return l.look, nil
	case len(l.before)+1 >= maxWays:
		return nil, errMoved
	}
	next, err := newWay(l.remote)
	if err != nil {
		return nil, err
	}
	next.socket.Settled.Store(true)
	path, err := l.conn.AddPath(next.transport)
	if err != nil {
		next.close()
		return nil, err
	}
	l.next, l.look = next, path
	return path, nil
}

// Move implements [Roamer].
func (l *quicLink) Move(ctx context.Context) error {
	l.moving.Lock()
	defer l.moving.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(l.Context(), cancel)() // a probe does not end with the connection
	path, err := l.another()
	if err != nil {
		return err
	}
	// One that was tried before may have been found good behind the end of that; quic-go does not find it good twice.
	if path.Switch() != nil {
		if err := path.Probe(ctx); err != nil {
			return err
		}
		if err := path.Switch(); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.path != nil {
		_ = l.path.Close() // gives back its connection id, of which a link has few; fails only on one that is in use
	}
	l.path = path
	if !l.closed {
		l.before, l.now, l.next, l.look = append(l.before, l.now), l.next, nil, nil
	}
	return nil
}

// Rebind implements [Roamer].
func (l *quicLink) Rebind() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.now == nil {
		return errAccepted
	}
	return l.now.socket.Rebind()
}

// Refused implements [Roamer].
func (l *quicLink) Refused() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.now == nil {
		return 0
	}
	n := l.now.refused()
	for _, w := range l.before {
		n += w.refused()
	}
	if l.next != nil {
		n += l.next.refused()
	}
	return n
}

// Heard implements [Roamer].
func (l *quicLink) Heard() uint64 { return l.conn.ConnectionStats().PacketsReceived }

// Sent implements [Roamer].
func (l *quicLink) Sent() uint64 { return l.conn.ConnectionStats().PacketsSent }

// Passed implements [Roamer].
func (l *quicLink) Passed() uint64 {
	s := l.conn.ConnectionStats()
	return s.BytesSent + s.BytesReceived
}
