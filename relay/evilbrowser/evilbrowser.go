// Package evilbrowser is peers of a relay that speak what browsers speak (HTTP/1.1, HTTP/2, HTTP/3,
// WebSocket and WebTransport) and mean no good; see [evilclient.Behaviour].
package evilbrowser

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"scrier/relay/evilclient"
)

// target is a relay as browsers come to it.
type target struct{ evilclient.Target }

// dial connects over TCP and TLS. It is closed when ctx ends.
func (t target) dial(ctx context.Context, alpn string) (*tls.Conn, func(), error) {
	raw, err := t.dialTCP(ctx)
	if err != nil {
		return nil, nil, err
	}
	c := tls.Client(raw, t.TLS(alpn))
	if err := c.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	return c, func() {
		stop()
		_ = raw.Close()
	}, nil
}

func (t target) dialTCP(ctx context.Context) (net.Conn, error) {
	d := net.Dialer{}
	if t.From != nil {
		d.LocalAddr = &net.TCPAddr{IP: t.From}
	}
	return d.DialContext(ctx, "tcp", t.Addr)
}

// closed reads until the relay closes the connection, or does not answer any more than that.
func closed(ctx context.Context, c net.Conn) error {
	_, err := io.Copy(io.Discard, c)
	if ctx.Err() != nil {
		return evilclient.ErrLasts
	}
	_ = err // it has ended, one way or the other
	return nil
}

// over has f use a connection over TCP and TLS, and waits until the relay closes it. f may be stopped in
// the middle of what it does.
func over(alpn string, f func(ctx context.Context, t target, c *tls.Conn) error) func(context.Context, evilclient.Target) error {
	return func(ctx context.Context, at evilclient.Target) error {
		t := target{at}
		c, end, err := t.dial(ctx, alpn)
		if err != nil {
			return fmt.Errorf("connect: %w", err)
		}
		defer end()
		done := make(chan error, 1)
		go func() { done <- f(ctx, t, c) }()
		err = closed(ctx, c)
		end()
		if ferr := <-done; err == nil && errors.Is(ferr, errWrong) {
			return ferr
		}
		return err
	}
}

// errWrong is that the relay did something that it must not do.
var errWrong = errors.New("the relay let it")

// says writes s once.
func says(s string) func(context.Context, target, *tls.Conn) error {
	return func(_ context.Context, _ target, c *tls.Conn) error {
		_, err := io.WriteString(c, s)
		return err
	}
}

// repeats writes s, and then more for as long as it is let, with a pause between.
func repeats(s, more string, every time.Duration) func(context.Context, target, *tls.Conn) error {
	return func(ctx context.Context, _ target, c *tls.Conn) error {
		_, err := io.WriteString(c, s)
		for err == nil {
			if every > 0 {
				err = pause(ctx, every)
			}
			if err == nil {
				_, err = io.WriteString(c, more)
			}
		}
		return err
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return evilclient.ErrLasts
	}
}

// Behaviours are what strangers do.
func Behaviours() []evilclient.Behaviour {
	named := func(name string, f func(context.Context, evilclient.Target) error) evilclient.Behaviour {
		return evilclient.Behaviour{Name: name, Do: f}
	}
	const get = "GET / HTTP/1.1\r\nHost: localhost\r\n"
	post := "POST /api/v1/signin/link HTTP/1.1\r\nHost: localhost\r\nOrigin: https://localhost\r\nSec-Fetch-Site: same-origin\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n"
	return []evilclient.Behaviour{
		named("tcp_without_tls", silentTCP(nil)),
		named("tls_that_stops", silentTCP([]byte{0x16, 0x03, 0x01, 0x02, 0x00, 0x01})),
		named("tcp_with_junk", silentTCP([]byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"))),
		named("http1_idle", over("http/1.1", says(""))),
		named("http1_idle_after_a_request", over("http/1.1", says(get+"\r\n"))),
		named("http1_slow_headers", over("http/1.1", repeats(get, "X: y\r\n", time.Second))),
		named("http1_endless_headers", over("http/1.1", repeats(get, "X-More: 0123456789012345678901234567890123456789\r\n", 0))),
		named("http1_slow_body", over("http/1.1", repeats(post, " ", time.Second))),
		named("http1_request_flood", over("http/1.1", repeats("", get+"\r\n", 0))),
		named("http1_never_reads", neverReads(get+"\r\n")),
		named("http2_idle", over("h2", h2(nil))),
		named("http2_half_a_header", over("h2", h2(halfHeaders))),
		named("http2_continuation_flood", over("h2", h2(continuations))),
		named("http2_request_flood", over("h2", h2(requestFlood))),
		named("http2_rapid_reset", over("h2", h2(rapidReset))),
		named("http2_settings_flood", over("h2", h2(settingsFlood))),
		named("http2_ping_flood", over("h2", h2(pingFlood))),
		named("http2_slow_body", over("h2", h2(slowBody))),
		named("http2_no_window", over("h2", h2(noWindow))),
		named("websocket_without_frames", socket(nil)),
		named("websocket_giant_frame", socket(giantFrame)),
		named("websocket_ping_flood", socket(pingFrames)),
		named("websocket_byte_a_second", socket(slowFrames)),
		named("websocket_wrong_origin", foreignSocket),
		named("http3_idle", h3(nil)),
		named("http3_half_a_header", h3(halfHeader)),
		named("http3_half_headers_beside_requests", halfBesideRequests),
		named("http3_headers_a_byte_a_second", h3(slowHeader)),
		named("http3_half_a_type", h3(halfType)),
		named("http3_giant_header", h3(giantHeader)),
		named("http3_settings_flood", h3(settingsOverH3)),
		named("http3_streams_that_are_reset", h3(resetRequests)),
		named("http3_slow_body", slowBodyOverH3),
		named("webtransport_without_a_stream", transport(nil)),
		named("webtransport_stream_without_a_byte", transport(silentStream)),
		named("webtransport_many_streams", transport(manyStreams)),
		named("webtransport_wrong_origin", foreignTransport),
	}
}

// neverReads makes requests until nothing more is taken, and waits for the end without reading.
func neverReads(p string) func(context.Context, evilclient.Target) error {
	return func(ctx context.Context, at evilclient.Target) error {
		c, end, err := target{at}.dial(ctx, "http/1.1")
		if err != nil {
			return err
		}
		defer end()
		for err == nil {
			_, err = io.WriteString(c, p)
		}
		if ctx.Err() != nil {
			return evilclient.ErrLasts
		}
		return nil
	}
}

// silentTCP says p, which is no TLS handshake, and waits to be thrown out.
func silentTCP(p []byte) func(context.Context, evilclient.Target) error {
	return func(ctx context.Context, at evilclient.Target) error {
		c, err := target{at}.dialTCP(ctx)
		if err != nil {
			return err
		}
		defer c.Close()
		defer context.AfterFunc(ctx, func() { _ = c.Close() })()
		if _, err := c.Write(p); err != nil {
			return err
		}
		return closed(ctx, c)
	}
}

// response reads the head of an answer.
func response(c *tls.Conn) (*http.Response, *bufio.Reader, error) {
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, nil)
	return resp, r, err
}
