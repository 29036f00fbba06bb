// Package evilclient is peers of a relay that speak its protocol over QUIC and TCP and mean no good: each does
// one thing that an honest CLI or agent never does, for as long as the relay lets it. Tests and the
// flood use it. Everything that it opens ends with its context.
package evilclient

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/quic-go/quic-go"

	"scrier/wire"
)

// Target is a relay, and how to come to it.
type Target struct {
	Addr string // host:port
	From net.IP // the address to come from; nil: any
	// TLS is a new configuration for one of these protocols, with a certificate of the peer's if it
	// has one.
	TLS func(alpn ...string) *tls.Config
}

// Behaviour is one thing that they do.
type Behaviour struct {
	Name string
	// Do goes on until the relay has put an end to it, and is nil then; or until ctx ends.
	Do func(ctx context.Context, t Target) error
}

// ErrLasts is that a relay did not put an end to it.
var ErrLasts = errors.New("it goes on")

// config is that of a client that wants to stay.
func config() *quic.Config {
	return &quic.Config{KeepAlivePeriod: 5 * time.Second, EnableDatagrams: true, EnableStreamResetPartialDelivery: true}
}

// Dial makes a QUIC connection; close takes away its socket too.
func (t Target) Dial(ctx context.Context, conf *quic.Config, alpn ...string) (conn *quic.Conn, close func(), err error) {
	return t.dialBy(ctx, func(u *net.UDPConn) net.PacketConn { return u }, conf, alpn...)
}

func (t Target) dialBy(ctx context.Context, by func(*net.UDPConn) net.PacketConn, conf *quic.Config, alpn ...string) (*quic.Conn, func(), error) {
	addr, err := net.ResolveUDPAddr("udp", t.Addr)
	if err != nil {
		return nil, nil, err
	}
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: t.From})
	if err != nil {
		return nil, nil, err
	}
	transport := &quic.Transport{Conn: by(socket)}
	end := func() {
		_ = socket.Close() // first: it may be one that does not read otherwise
		_ = transport.Close()
	}
	conn, err := transport.Dial(ctx, addr, t.TLS(alpn...), conf)
	if err != nil {
		end()
		return nil, nil, err
	}
	return conn, func() {
		_ = conn.CloseWithError(0, "")
		end()
	}, nil
}

// On has f use a connection, and waits until the relay closes it.
func (t Target) On(ctx context.Context, alpn string, f func(ctx context.Context, conn *quic.Conn) error) error {
	conn, end, err := t.Dial(ctx, config(), alpn)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer end()
	if err := f(ctx, conn); err != nil && conn.Context().Err() == nil {
		return err
	}
	return Ended(ctx, conn.Context())
}

// Ended waits for the end of what ended stands for, or of ctx.
func Ended(ctx, ended context.Context) error {
	select {
	case <-ended.Done():
		return nil
	case <-ctx.Done():
		return ErrLasts
	}
}

// stream has f use a stream of a link, and waits until the relay ends the stream in both directions.
func stream(alpn string, f func(ctx context.Context, s *quic.Stream) error) func(context.Context, Target) error {
	return func(ctx context.Context, t Target) error {
		conn, end, err := t.Dial(ctx, config(), alpn)
		if err != nil {
			return fmt.Errorf("connect: %w", err)
		}
		defer end()
		defer context.AfterFunc(ctx, func() { _ = conn.CloseWithError(0, "") })()
		s, err := conn.OpenStreamSync(ctx)
		if err != nil {
			return err
		}
		if err := f(ctx, s); err != nil {
			return err
		}
		p := make([]byte, 4096)
		for err == nil { // what the relay says is of no interest, but that it ends
			_, err = s.Read(p)
		}
		if ctx.Err() != nil {
			return ErrLasts
		}
		return nil
	}
}

// flood writes until the relay stops it.
func flood(s *quic.Stream, p []byte) error {
	for {
		if _, err := s.Write(p); err != nil {
			return nil
		}
	}
}

// trickle writes one byte of p after the other, once a second, and begins again.
func trickle(ctx context.Context, s *quic.Stream, p []byte) error {
	for i := 0; ; i++ {
		if _, err := s.Write(p[i%len(p) : i%len(p)+1]); err != nil {
			return nil
		}
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ErrLasts
	}
}

// message is a message as it crosses the network.
func message(m wire.Message) []byte {
	var b buffer
	if err := wire.Send(&b, m); err != nil {
		panic(err) // it is one of ours
	}
	return b
}

type buffer []byte

func (b *buffer) Write(p []byte) (int, error) {
	*b = append(*b, p...)
	return len(p), nil
}
