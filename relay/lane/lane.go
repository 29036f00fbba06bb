// Package lane knows which streams may go on over a connection of their own, and binds those connections to them.
package lane

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"sync"

	"scrier/wire"
)

// Lanes are the streams that wait for a lane. Its methods may be called at the same time; the zero value has none.
type Lanes struct {
	Memory wire.LaneMemory // what lanes hold whose streams can go back

	mu sync.Mutex
	by map[key]offer
}

// key is what must be shown: the very certificate of the stream's link, and the token. So no token is worth anything to
// anybody else, and whoever chooses tokens chooses them among their own.
type key [sha256.Size]byte

type offer struct {
	link   context.Context
	stream *wire.Laned
}

func keyOf(certificates []*x509.Certificate, token []byte) (key, bool) {
	if len(certificates) == 0 || len(token) != wire.LaneToken {
		return key{}, false
	}
	of := sha256.Sum256(certificates[0].Raw)
	return sha256.Sum256(append(of[:], token...)), true
}

// Offer lets a stream of a link have a lane, once, until the stream or the link ends. A peer without a certificate has none, and
// neither has a token of another length or one that the peer's other stream waits with.
func (l *Lanes) Offer(link wire.Link, token []byte, stream *wire.Laned) {
	k, ok := keyOf(link.Peer().Certificates, token)
	if !ok {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, taken := l.by[k]; taken {
		return
	}
	if l.by == nil {
		l.by = map[key]offer{}
	}
	l.by[k] = offer{link.Context(), stream}
	withdraw := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.by[k].stream == stream {
			delete(l.by, k)
		}
	}
	stop := context.AfterFunc(link.Context(), withdraw)
	stream.OnEnd(func() {
		stop()
		withdraw()
	})
}

// Serve binds a connection to the stream that waits for it, or closes it. It does not wait for the stream's end.
func (l *Lanes) Serve(conn *tls.Conn) error {
	return wire.AcceptLane(conn, func(token []byte) (context.Context, *wire.Laned) {
		k, ok := keyOf(conn.ConnectionState().PeerCertificates, token)
		if !ok {
			return nil, nil
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		o := l.by[k]
		delete(l.by, k)
		return o.link, o.stream
	})
}
