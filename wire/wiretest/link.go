// Package wiretest plays a network in memory: links and streams with flow control and errors,
// as [wire.Link] describes them, without sockets. Everything blocks on sync.Cond, so that tests
// may run inside a testing/synctest bubble.
package wiretest

import (
	"context"
	"net"
	"sync"

	"scrier/wire"
)

// Pair returns the two ends of a new link. Peer certificates are those given.
func Pair(a, b wire.Peer) (wire.Link, wire.Link) {
	la := &link{Life: wire.NewLife(), peer: a, incoming: make(chan *stream, 64)}
	lb := &link{Life: wire.NewLife(), peer: b, incoming: make(chan *stream, 64)}
	la.other, lb.other = lb, la
	la.closing = new(sync.Mutex)
	lb.closing = la.closing
	for _, l := range []*link{la, lb} {
		if l.peer.Addr == nil {
			l.peer.Addr = &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}
		}
		if l.peer.Export == nil {
			l.peer.Export = func(label string, n int) ([]byte, error) { return make([]byte, n), nil }
		}
	}
	return la, lb
}

type link struct {
	wire.Life
	peer     wire.Peer
	other    *link
	incoming chan *stream
	closing  *sync.Mutex // of both ends: one Close at a time

	mu      sync.Mutex
	streams []*stream
}

func (l *link) Open(ctx context.Context) (wire.Stream, error) {
	if err := l.ended(ctx); err != nil {
		return nil, err
	}
	a, b := newStreams()
	l.keep(a)
	l.other.keep(b)
	select {
	case l.other.incoming <- b:
		return a, nil
	case <-l.Context().Done():
		return nil, l.Err()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (l *link) Accept(ctx context.Context) (wire.Stream, error) {
	if err := l.ended(ctx); err != nil {
		return nil, err
	}
	select {
	case s := <-l.incoming:
		return s, nil
	case <-l.Context().Done():
		return nil, l.Err()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// ended is why nothing begins any more.
func (l *link) ended(ctx context.Context) error {
	if err := l.Err(); err != nil {
		return err
	}
	return context.Cause(ctx)
}

func (l *link) keep(s *stream) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.Err(); err != nil {
		s.fail(err)
		return
	}
	l.streams = append(l.streams, s)
}

func (l *link) Close(code wire.Code, detail string) error {
	l.closing.Lock()
	defer l.closing.Unlock()
	err := &wire.Error{Code: code, Detail: detail}
	l.End(err) // both ends, before a stream of either fails: the two ends of a stream share their bytes
	l.other.End(err)
	l.fail()
	l.other.fail()
	return nil
}

// fail ends the streams of a link that has ended.
func (l *link) fail() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.streams {
		s.fail(l.Err())
	}
	l.streams = nil
}

func (l *link) Peer() wire.Peer { return l.peer }
