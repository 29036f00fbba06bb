package client

import (
	"context"
	"sync"
	"time"

	"scrier/wire"
)

const (
	// acceptWait is how long the relay may take to hand a connection over: it keeps one for 15 s that nobody wants.
	acceptWait = 20 * time.Second

	// maxArriving bounds how many connections of one listener are being taken, or wait for Accept. Then the relay is not
	// read, and keeps the others.
	maxArriving = 64
)

// Listener is a port or a socket at which the machine listens, or its way to the operator's SSH agent. All methods may be
// called at the same time.
type Listener struct {
	life    wire.Life
	session *Session
	f       *wire.Framed
	port    uint16
	ready   chan arrived
	gone    chan struct{} // closed when nothing of it runs any more
}

// arrived is a connection that was taken over.
type arrived struct {
	channel
	origin string
	port   uint16
}

func newListener(s *Session, stream wire.Stream, port uint16) *Listener {
	l := &Listener{life: wire.NewLife(), session: s, f: wire.NewFramed(stream), port: port, ready: make(chan arrived), gone: make(chan struct{})}
	go l.run()
	return l
}

// run takes what arrives until the listener ends.
func (l *Listener) run() {
	defer close(l.gone)
	stop := context.AfterFunc(l.session.life.Context(), func() { l.f.Reset(wire.CodeOf(l.session.life.Err())) })
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	l.life.End(l.receive(&wg))
	l.f.Reset(wire.None)
}

func (l *Listener) receive(wg *sync.WaitGroup) error {
	slots := make(chan struct{}, maxArriving)
	for {
		m, err := l.f.Receive()
		if err != nil {
			return l.session.failed(lostEnd(err))
		}
		switch m := m.(type) {
		case *wire.Arrived:
			select {
			case slots <- struct{}{}:
			case <-l.life.Context().Done():
				return nil // it was closed
			case <-l.session.Done():
				return l.session.Err()
			}
			wg.Go(func() {
				defer func() { <-slots }()
				l.take(m)
			})
		case *wire.Pong, *wire.Notice:
		case *wire.Exit:
			if m.Code == wire.None {
				return &wire.Error{Code: wire.Cancelled, Detail: "the machine listens no more"}
			}
			return ended(m.Code, m.Detail)
		default:
			return wire.Errorf(wire.Protocol, "unexpected %T from the relay", m)
		}
	}
}

// take opens the channel of a connection and hands it to Accept. One that is gone meanwhile is none.
func (l *Listener) take(m *wire.Arrived) {
	c, err := l.session.open(l.life.Context(), &wire.Channel{Kind: wire.Accept, Number: m.Number}, acceptWait)
	if err != nil {
		return
	}
	select {
	case l.ready <- arrived{c, wire.Printable(m.Origin[:min(len(m.Origin), wire.MaxTarget)]), m.OriginPort}:
	case <-l.life.Context().Done():
		c.Close()
	case <-l.session.Done():
		c.Close()
	}
}

// Accept waits for the next connection. origin and originPort say where it came from, in the machine's words; both are
// empty for a socket and for the agent.
func (l *Listener) Accept(ctx context.Context) (c Conn, origin string, originPort uint16, err error) {
	a, err := l.accept(ctx)
	if err != nil {
		return nil, "", 0, err
	}
	return a.channel, a.origin, a.port, nil
}

func (l *Listener) accept(ctx context.Context) (arrived, error) {
	select {
	case a := <-l.ready:
		return a, nil
	case <-ctx.Done():
		return arrived{}, wire.Cause(ctx, wire.Cancelled)
	case <-l.life.Context().Done():
		return arrived{}, l.life.Err()
	}
}

// Port is the port at which the machine listens; 0 if it is none.
func (l *Listener) Port() uint16 { return l.port }

// Close ends the listening. Connections that Accept has given go on.
func (l *Listener) Close() error {
	l.life.End(errClosed)
	_ = l.f.CloseWrite() // fails only on a stream that has ended
	l.f.CloseRead(wire.None)
	<-l.gone
	return nil
}
