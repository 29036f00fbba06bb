package evilclient

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/quic-go/quic-go"

	"scrier/wire"
)

// half is the beginning of a frame that announces 32 KiB.
var half = []byte{0x32, 0x80, 0x00, 0x80, 0x00, 0xa1}

func random(n int) []byte {
	p := make([]byte, n)
	rand.Read(p)
	return p
}

// call is a stream that carries HTTP, which begins with head.
func call(head string, then func(ctx context.Context, s *quic.Stream) error) func(context.Context, Target) error {
	return stream(wire.ALPNClient, func(ctx context.Context, s *quic.Stream) error {
		if _, err := s.Write(append(message(&wire.Call{}), head...)); err != nil {
			return err
		}
		return then(ctx, s)
	})
}

// Behaviours are what strangers do: none of them has a certificate.
func Behaviours() []Behaviour {
	quiet := func(context.Context, *quic.Stream) error { return nil }
	return []Behaviour{
		{"handshake_that_stops", stopped},
		{"link_that_says_nothing", link(func(context.Context, *quic.Conn) error { return nil })},
		{"link_that_pings", link(pings)},
		{"streams_without_a_byte", link(func(ctx context.Context, conn *quic.Conn) error { return openMany(ctx, conn, nil) })},
		{"streams_with_half_a_frame", link(func(ctx context.Context, conn *quic.Conn) error { return openMany(ctx, conn, half) })},
		{"streams_without_end", link(endless)},
		{"streams_that_are_reset", link(resets)},
		{"unidirectional_streams", link(unidirectional)},
		{"datagrams", link(datagrams)},
		{"half_a_frame", write(half)},
		{"a_byte_a_second", stream(wire.ALPNClient, func(ctx context.Context, s *quic.Stream) error { return trickle(ctx, s, half) })},
		{"giant_frame", write([]byte{0x32, 0xbf, 0xff, 0xff, 0xff})},
		{"frame_of_2_to_the_62", write(append([]byte{0x32}, bytes.Repeat([]byte{0xff}, 8)...))},
		{"frames_to_skip", stream(wire.ALPNClient, func(_ context.Context, s *quic.Stream) error {
			return flood(s, bytes.Repeat([]byte{0x40, 0x40, 0x01, 'x'}, 256))
		})},
		{"junk", stream(wire.ALPNClient, func(_ context.Context, s *quic.Stream) error { return flood(s, random(4096)) })},
		{"another_message", write(message(&wire.Ping{}))},
		{"connect_without_a_login", write(message(&wire.Connect{Envoy: "web1", Kind: wire.KindSSH}))},
		{"login_with_many_keys", write(message(&wire.Login{Keys: manyKeys(64)}))},
		{"login_and_never_reads", unread(message(&wire.Login{Keys: [][]byte{random(32)}}))},
		{"ticket_guesses", guesses},
		{"enrol_garbage", write(message(&wire.Enrol{Secret: random(24), CSR: random(500)}))},
		{"call_without_a_header", call("", quiet)},
		{"call_with_endless_headers", call("GET /api/v1/self HTTP/1.1\r\n", func(_ context.Context, s *quic.Stream) error {
			return flood(s, []byte("X-More: "+strings.Repeat("x", 1000)+"\r\n"))
		})},
		{"call_with_slow_headers", call("GET /api/v1/self HTTP/1.1\r\n", func(ctx context.Context, s *quic.Stream) error {
			return trickle(ctx, s, []byte("X-More: x\r\n"))
		})},
		{"call_with_a_slow_body", call("POST /api/v1/tokens HTTP/1.1\r\nHost: relay\r\nContent-Length: 60000\r\n\r\n", func(ctx context.Context, s *quic.Stream) error {
			return trickle(ctx, s, []byte(" "))
		})},
		{"call_with_an_endless_body", call("POST /api/v1/tokens HTTP/1.1\r\nHost: relay\r\nTransfer-Encoding: chunked\r\n\r\n", func(_ context.Context, s *quic.Stream) error {
			return flood(s, []byte("400\r\n"+strings.Repeat("x", 1024)+"\r\n"))
		})},
		{"wrong_protocol", refused("scrier-client/99")},
		{"agent_without_a_certificate", agentless},
	}
}

// LoginThatStops begins a login with a registered key, which is no secret, and never proves that it has
// it. The relay waits for as long as a person may take.
func LoginThatStops(key []byte) Behaviour {
	return Behaviour{"login_that_stops", write(message(&wire.Login{Keys: [][]byte{key}}))}
}

// Certified are what somebody does who has a login: what they attack are the sessions of others.
func Certified() []Behaviour {
	return []Behaviour{
		{"attach_to_the_sessions_of_others", guesses},
		{"login_with_a_login_that_never_reads", unread(message(&wire.Attach{Ticket: random(32)}))},
		{"half_a_frame_with_a_login", write(half)},
		{"junk_with_a_login", stream(wire.ALPNClient, func(_ context.Context, s *quic.Stream) error { return flood(s, random(4096)) })},
		{"call_with_slow_headers_with_a_login", call("GET /api/v1/self HTTP/1.1\r\n", func(ctx context.Context, s *quic.Stream) error {
			return trickle(ctx, s, []byte("X-More: x\r\n"))
		})},
	}
}

// link has f use a link, and waits for the link's end.
func link(f func(context.Context, *quic.Conn) error) func(context.Context, Target) error {
	return func(ctx context.Context, t Target) error { return t.On(ctx, wire.ALPNClient, f) }
}

// write is a stream that says p and then nothing.
func write(p []byte) func(context.Context, Target) error {
	return stream(wire.ALPNClient, func(_ context.Context, s *quic.Stream) error {
		_, err := s.Write(p)
		return err
	})
}

// deaf is a socket that hears nothing.
type deaf struct {
	*net.UDPConn
	ended <-chan struct{}
}

func (d deaf) ReadFrom([]byte) (int, net.Addr, error) {
	<-d.ended
	return 0, nil, net.ErrClosed
}

// stopped begins a handshake and does not go on; nothing tells when the relay gives it up, so it is for
// the flood and for whoever counts.
func stopped(ctx context.Context, t Target) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	// The wrapper hides the socket's other methods, so that ReadFrom is what is used.
	_, end, err := t.dialBy(ctx, func(u *net.UDPConn) net.PacketConn { return struct{ net.PacketConn }{deaf{u, ctx.Done()}} }, config(), wire.ALPNClient)
	if err == nil {
		end()
		return errors.New("a deaf client finished its handshake")
	}
	return nil
}

func pings(ctx context.Context, conn *quic.Conn) error {
	for conn.Context().Err() == nil {
		if err := conn.SendDatagram(nil); err != nil {
			return nil
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// openMany opens as many streams as the relay allows.
func openMany(ctx context.Context, conn *quic.Conn, p []byte) error {
	for {
		opening, cancel := context.WithTimeout(ctx, time.Second)
		s, err := conn.OpenStreamSync(opening)
		cancel()
		if err != nil {
			return nil // no more are allowed, or the link is gone
		}
		if _, err := s.Write(p); err != nil {
			return nil
		}
	}
}

// endless opens streams as fast as it can, each with a whole message.
func endless(ctx context.Context, conn *quic.Conn) error {
	hello := message(&wire.Login{})
	for ctx.Err() == nil {
		s, err := conn.OpenStreamSync(ctx)
		if err != nil {
			return nil
		}
		_, _ = s.Write(hello) // it may be refused already
		s.CancelRead(0)
		_ = s.Close()
	}
	return ErrLasts
}

func resets(ctx context.Context, conn *quic.Conn) error {
	for ctx.Err() == nil {
		s, err := conn.OpenStreamSync(ctx)
		if err != nil {
			return nil
		}
		_, _ = s.Write(half[:1])
		s.CancelWrite(1)
		s.CancelRead(1)
	}
	return ErrLasts
}

func unidirectional(_ context.Context, conn *quic.Conn) error {
	for {
		s, err := conn.OpenUniStream()
		if err != nil {
			return nil // no more are allowed
		}
		go func() {
			p := random(4096)
			for {
				if _, err := s.Write(p); err != nil {
					return
				}
			}
		}()
	}
}

func datagrams(ctx context.Context, conn *quic.Conn) error {
	p := random(1000)
	for ctx.Err() == nil {
		if err := conn.SendDatagram(p); err != nil {
			return nil
		}
		if err := pause(ctx, time.Millisecond); err != nil {
			return err
		}
	}
	return ErrLasts
}

// unread says p with no window for an answer.
func unread(p []byte) func(context.Context, Target) error {
	return func(ctx context.Context, t Target) error {
		conf := config()
		conf.InitialStreamReceiveWindow, conf.MaxStreamReceiveWindow = 1, 1
		conn, end, err := t.Dial(ctx, conf, wire.ALPNClient)
		if err != nil {
			return fmt.Errorf("connect: %w", err)
		}
		defer end()
		s, err := conn.OpenStreamSync(ctx)
		if err != nil {
			return err
		}
		if _, err := s.Write(p); err != nil {
			return err
		}
		return Ended(ctx, s.Context())
	}
}

// guesses tries tickets, as many as a link may.
func guesses(ctx context.Context, t Target) error {
	for range 4 {
		if err := write(message(&wire.Attach{Ticket: random(32), Client: random(16)}))(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

func manyKeys(n int) (keys [][]byte) {
	for range n {
		keys = append(keys, random(256))
	}
	return keys
}

// refused is a handshake that must not succeed.
func refused(alpn string) func(context.Context, Target) error {
	return func(ctx context.Context, t Target) error {
		_, end, err := t.Dial(ctx, config(), alpn)
		switch {
		case err == nil:
			end()
			return errors.New("the relay accepted it")
		case ctx.Err() != nil:
			return ErrLasts
		}
		return nil
	}
}

// agentless is an agent that shows no certificate. Its own handshake is over before the relay's.
func agentless(ctx context.Context, t Target) error {
	conn, end, err := t.Dial(ctx, config(), wire.ALPNAgent)
	if err != nil {
		if ctx.Err() != nil {
			return ErrLasts
		}
		return nil
	}
	defer end()
	return Ended(ctx, conn.Context())
}
