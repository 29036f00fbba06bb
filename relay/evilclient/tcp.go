package evilclient

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"scrier/wire"
)

// OverTCP are what strangers do on a link over TCP, and on the way to one: none of them has a certificate.
func OverTCP() []Behaviour {
	return append(Violations(), []Behaviour{
		{"tcp_hello_a_byte_a_second", slowHello},
		{"tcp_hello_and_no_more", stoppedTLS},
		{"tcp_link_that_says_nothing", tcpLink(func(context.Context, wire.Link) error { return nil })},
		{"tcp_streams_with_half_a_frame", tcpLink(halves)},
		{"tcp_streams_without_end", tcpLink(tcpEndless)},
		{"tcp_streams_that_are_reset", tcpLink(tcpResets)},
		{"tcp_frames_to_skip", tcpLink(func(ctx context.Context, l wire.Link) error {
			s, err := l.Open(ctx)
			if err != nil {
				return nil
			}
			p := make([]byte, 0, 1024)
			for range 256 {
				p = append(p, 0x40, 0x40, 0x01, 'x')
			}
			for {
				if _, err := s.Write(p); err != nil {
					return nil
				}
			}
		})},
		{"tcp_signs_of_life_alone", tcpRaw(wire.ALPNClient, func(c net.Conn) { floodTCP(c, frame(0x13, 0, 0, 0)) })},
		{"tcp_half_a_header", tcpRaw(wire.ALPNClient, func(c net.Conn) { _, _ = c.Write(make([]byte, 5)) })},
		{"tcp_half_a_last_word", tcpRaw(wire.ALPNClient, func(c net.Conn) { _, _ = c.Write(append(frame(0x14, 0, 500, 0), "because"...)) })},
		{"tcp_agent_without_a_certificate", tcpRaw(wire.ALPNAgent, func(net.Conn) {})},
	}...)
}

// Violations are what no link over TCP may carry, whoever has it.
func Violations() []Behaviour {
	return []Behaviour{
		{"tcp_junk", tcpRaw(wire.ALPNClient, func(c net.Conn) { floodTCP(c, random(4096)) })},
		{"tcp_browser_with_our_protocol", tcpRaw(wire.ALPNClient, func(c net.Conn) {
			floodTCP(c, []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"))
		})},
		{"tcp_h2_with_our_protocol", tcpRaw(wire.ALPNClient, func(c net.Conn) { _, _ = io.WriteString(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") })},
		{"tcp_giant_window", tcpRaw(wire.ALPNClient, func(c net.Conn) { _, _ = c.Write(frame(1, 1, 1, 1<<31)) })},
		{"tcp_giant_frame", tcpRaw(wire.ALPNClient, func(c net.Conn) {
			_, _ = c.Write(append(frame(1, 1, 1, 0), frame(0, 0, 1, 1<<31)...))
		})},
		{"tcp_more_streams_than_allowed", tcpRaw(wire.ALPNClient, func(c net.Conn) {
			for id := uint32(1); id < 4096; id += 2 {
				if _, err := c.Write(frame(1, 1, id, 0)); err != nil {
					return
				}
			}
		})},
		{"tcp_frames_of_streams_that_are_not", tcpRaw(wire.ALPNClient, func(c net.Conn) { floodTCP(c, frame(0x10, 3, 77, 1)) })},
		{"tcp_yamux_pings", tcpRaw(wire.ALPNClient, func(c net.Conn) { floodTCP(c, frame(2, 1, 0, 7)) })},
		{"tcp_yamux_goes_away", tcpRaw(wire.ALPNClient, func(c net.Conn) { _, _ = c.Write(frame(3, 0, 0, 0)) })},
	}
}

// frame is a frame's header on a TCP link, as yamux has it (wire/tcpframe.go).
func frame(kind byte, flags uint16, stream, value uint32) []byte {
	h := []byte{0, kind}
	h = binary.BigEndian.AppendUint16(h, flags)
	h = binary.BigEndian.AppendUint32(h, stream)
	return binary.BigEndian.AppendUint32(h, value)
}

// dialTCP connects; the connection is closed when ctx ends.
func (t Target) dialTCP(ctx context.Context) (net.Conn, func(), error) {
	d := net.Dialer{}
	if t.From != nil {
		d.LocalAddr = &net.TCPAddr{IP: t.From}
	}
	c, err := d.DialContext(ctx, "tcp", t.Addr)
	if err != nil {
		return nil, nil, fmt.Errorf("connect: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	return c, func() {
		stop()
		_ = c.Close()
	}, nil
}

// closedTCP reads until the relay closes the connection.
func closedTCP(ctx context.Context, c net.Conn) error {
	_, _ = io.Copy(io.Discard, c) // it ends one way or the other
	if ctx.Err() != nil {
		return ErrLasts
	}
	return nil
}

// tcpRaw has f use what is inside TLS, and waits until the relay closes it. f must end when the connection does.
func tcpRaw(alpn string, f func(net.Conn)) func(context.Context, Target) error {
	return func(ctx context.Context, t Target) error {
		raw, end, err := t.dialTCP(ctx)
		if err != nil {
			return err
		}
		defer end()
		c := tls.Client(raw, t.TLS(alpn))
		if err := c.HandshakeContext(ctx); err != nil {
			return nil // it was refused
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			f(c)
		}()
		err = closedTCP(ctx, c)
		end()
		<-done
		return err
	}
}

func floodTCP(c net.Conn, p []byte) {
	for {
		if _, err := c.Write(p); err != nil {
			return
		}
	}
}

// tcpLink has f use a link, and waits until the relay ends it.
func tcpLink(f func(context.Context, wire.Link) error) func(context.Context, Target) error {
	return func(ctx context.Context, t Target) error {
		raw, end, err := t.dialTCP(ctx)
		if err != nil {
			return err
		}
		defer end()
		c := tls.Client(raw, t.TLS(wire.ALPNClient))
		if err := c.HandshakeContext(ctx); err != nil {
			return fmt.Errorf("connect: %w", err)
		}
		l := wire.TCPLink(c, wire.TCPConfig{MaxStreams: 64, Known: true})
		defer func() { _ = l.Close(wire.None, "") }()
		if err := f(ctx, l); err != nil && l.Err() == nil {
			return err
		}
		return Ended(ctx, l.Context())
	}
}

// halves opens as many streams as it may, with half a frame on each.
func halves(ctx context.Context, l wire.Link) error {
	for {
		opening, cancel := context.WithTimeout(ctx, time.Second)
		s, err := l.Open(opening)
		cancel()
		if err != nil {
			return nil // no more are allowed, or the link is gone
		}
		if _, err := s.Write(half); err != nil {
			return nil
		}
	}
}

// tcpEndless opens streams as fast as it can, each with a whole message.
func tcpEndless(ctx context.Context, l wire.Link) error {
	hello := message(&wire.Login{})
	for ctx.Err() == nil {
		s, err := l.Open(ctx)
		if err != nil {
			return nil
		}
		_, _ = s.Write(hello) // it may be refused already
		s.CloseRead(wire.None)
		_ = s.CloseWrite()
	}
	return ErrLasts
}

func tcpResets(ctx context.Context, l wire.Link) error {
	for ctx.Err() == nil {
		s, err := l.Open(ctx)
		if err != nil {
			return nil
		}
		_, _ = s.Write(half[:1])
		s.Reset(wire.Internal)
	}
	return ErrLasts
}

// slowHello sends the beginning of TLS, one byte a second.
func slowHello(ctx context.Context, t Target) error {
	raw, end, err := t.dialTCP(ctx)
	if err != nil {
		return err
	}
	defer end()
	hello := append([]byte{0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03}, random(500)...)
	for i := range hello {
		if _, err := raw.Write(hello[i : i+1]); err != nil {
			return nil
		}
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
	}
	return errors.New("the relay waits for all of it")
}

// stoppedTLS begins a handshake, takes the relay's part of it, and does not go on.
func stoppedTLS(ctx context.Context, t Target) error {
	raw, end, err := t.dialTCP(ctx)
	if err != nil {
		return err
	}
	defer end()
	conf := t.TLS(wire.ALPNClient)
	stop := errors.New("no more")
	conf.VerifyConnection = func(tls.ConnectionState) error { return stop }
	mute := &muted{Conn: raw}
	if err := tls.Client(mute, conf).HandshakeContext(ctx); err == nil {
		return errors.New("the handshake succeeded")
	}
	return closedTCP(ctx, raw)
}

// muted is a connection on which only the first thing that is said gets through.
type muted struct {
	net.Conn
	said bool
}

func (m *muted) Write(p []byte) (int, error) {
	if m.said {
		return len(p), nil
	}
	m.said = true
	return m.Conn.Write(p)
}
