package evilbrowser

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/quic-go/quicvarint"
	"github.com/quic-go/webtransport-go"

	"scrier/relay/evilclient"
)

const alpnH3 = "h3"

// h3 has f use a connection below HTTP/3, and waits until the relay closes it.
func h3(f func(ctx context.Context, conn *quic.Conn) error) func(context.Context, evilclient.Target) error {
	return func(ctx context.Context, t evilclient.Target) error {
		return t.On(ctx, alpnH3, func(ctx context.Context, conn *quic.Conn) error {
			if s, err := conn.OpenUniStream(); err == nil { // the control stream, with empty settings (RFC 9114, 6.2.1)
				_, _ = s.Write([]byte{0x00, 0x04, 0x00})
			}
			if f == nil {
				return nil
			}
			return f(ctx, conn)
		})
	}
}

// halfHead is a HEADERS frame that announces 8 KiB and has two bytes of them.
var halfHead = []byte{0x01, 0x60, 0x00, 0x00, 0x00}

// each opens as many streams as it may, and says p on each.
func each(ctx context.Context, conn *quic.Conn, p []byte) {
	for {
		opening, cancel := context.WithTimeout(ctx, time.Second)
		s, err := conn.OpenStreamSync(opening)
		cancel()
		if err != nil {
			return // no more are allowed, or the connection is gone
		}
		if _, err := s.Write(p); err != nil {
			return
		}
	}
}

func halfHeader(ctx context.Context, conn *quic.Conn) error {
	each(ctx, conn, halfHead)
	return nil
}

func halfType(ctx context.Context, conn *quic.Conn) error {
	each(ctx, conn, []byte{0x40})
	return nil
}

func slowHeader(ctx context.Context, conn *quic.Conn) error {
	s, err := conn.OpenStreamSync(ctx)
	if err == nil {
		_, err = s.Write(halfHead)
	}
	for err == nil {
		if err = pause(ctx, time.Second); err == nil {
			_, err = s.Write([]byte{0})
		}
	}
	if errors.Is(err, evilclient.ErrLasts) {
		return err
	}
	return nil
}

func giantHeader(ctx context.Context, conn *quic.Conn) error {
	s, err := conn.OpenStreamSync(ctx)
	if err == nil {
		_, err = s.Write(quicvarint.Append([]byte{0x01}, 1<<40))
	}
	p := make([]byte, 4096)
	for err == nil {
		_, err = s.Write(p)
	}
	return nil
}

// settingsOverH3 sends a second SETTINGS frame, and more, each of which is an error.
func settingsOverH3(_ context.Context, conn *quic.Conn) error {
	s, err := conn.OpenUniStream()
	if err == nil {
		_, err = s.Write([]byte{0x00})
	}
	for err == nil {
		_, err = s.Write([]byte{0x04, 0x00})
	}
	return nil
}

func resetRequests(ctx context.Context, conn *quic.Conn) error {
	for {
		s, err := conn.OpenStreamSync(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return evilclient.ErrLasts
			}
			return nil
		}
		_, _ = s.Write(halfHead)
		s.CancelWrite(0x10c) // H3_REQUEST_CANCELLED
		s.CancelRead(0x10c)
	}
}

// client is an honest HTTP/3 client on a connection of its own.
func client(ctx context.Context, t evilclient.Target) (*http3.ClientConn, *quic.Conn, func(), error) {
	conn, end, err := t.Dial(ctx, &quic.Config{KeepAlivePeriod: 5 * time.Second, EnableDatagrams: true, EnableStreamResetPartialDelivery: true}, alpnH3)
	if err != nil {
		return nil, nil, nil, err
	}
	transport := &http3.Transport{EnableDatagrams: true}
	return transport.NewClientConn(conn), conn, end, nil
}

// halfBesideRequests holds streams with half a header, and makes requests that keep the connection
// in use.
func halfBesideRequests(ctx context.Context, t evilclient.Target) error {
	c, conn, end, err := client(ctx, t)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer end()
	for range 8 {
		s, err := conn.OpenStreamSync(ctx)
		if err != nil {
			return err
		}
		if _, err := s.Write(halfHead); err != nil {
			return err
		}
	}
	for conn.Context().Err() == nil {
		req, err := http.NewRequestWithContext(ctx, "GET", "https://localhost/healthz", nil)
		if err != nil {
			return err
		}
		if resp, err := c.RoundTrip(req); err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
		select {
		case <-conn.Context().Done():
		case <-ctx.Done():
			return evilclient.ErrLasts
		case <-time.After(2 * time.Second):
		}
	}
	return nil
}

// slowBodyOverH3 sends a body a byte a second, until the request is answered or broken off.
func slowBodyOverH3(ctx context.Context, t evilclient.Target) error {
	c, _, end, err := client(ctx, t)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer end()
	r, w := io.Pipe()
	defer r.Close()
	go func() {
		for pause(ctx, time.Second) == nil {
			if _, err := w.Write([]byte(" ")); err != nil {
				return
			}
		}
	}()
	req, err := http.NewRequestWithContext(ctx, "POST", "https://localhost/api/v1/signin/link", r)
	if err != nil {
		return err
	}
	for k, v := range map[string]string{"Origin": "https://localhost", "Sec-Fetch-Site": "same-origin", "Content-Type": "application/json"} {
		req.Header.Set(k, v)
	}
	if resp, err := c.RoundTrip(req); err == nil {
		_ = resp.Body.Close()
	}
	if ctx.Err() != nil {
		return evilclient.ErrLasts
	}
	return nil
}

// session opens a WebTransport session as a page at origin does.
func session(ctx context.Context, t evilclient.Target, origin string) (*webtransport.Session, func(), error) {
	end := func() {}
	d := &webtransport.Transport{
		TLSClientConfig: t.TLS(alpnH3),
		QUICConfig:      &quic.Config{KeepAlivePeriod: 5 * time.Second, EnableDatagrams: true, EnableStreamResetPartialDelivery: true},
		DialAddr: func(ctx context.Context, _ string, _ *tls.Config, conf *quic.Config) (conn *quic.Conn, err error) {
			conn, end, err = t.Dial(ctx, conf, alpnH3)
			return conn, err
		},
	}
	close := func() {
		_ = d.Close()
		if end != nil {
			end()
		}
	}
	_, s, err := d.Dial(ctx, "https://"+t.Addr+"/wt/scrier/"+nobody, http.Header{"Origin": {origin}})
	if err != nil {
		close()
		return nil, nil, err
	}
	return s, close, nil
}

// transport opens a WebTransport session, has f use it, and waits until the relay ends it.
func transport(f func(ctx context.Context, s *webtransport.Session) error) func(context.Context, evilclient.Target) error {
	return func(ctx context.Context, t evilclient.Target) error {
		s, end, err := session(ctx, t, "https://"+t.Addr)
		if err != nil {
			return fmt.Errorf("no WebTransport: %w", err)
		}
		defer end()
		if f != nil {
			if err := f(ctx, s); err != nil {
				return err
			}
		}
		return evilclient.Ended(ctx, s.Context())
	}
}

func silentStream(ctx context.Context, s *webtransport.Session) error {
	_, err := s.OpenStreamSync(ctx)
	return err
}

// manyStreams opens more streams than a viewer has, until it may open no more.
func manyStreams(ctx context.Context, s *webtransport.Session) error {
	for range 200 {
		opening, cancel := context.WithTimeout(ctx, time.Second)
		str, err := s.OpenStreamSync(opening)
		cancel()
		if err != nil {
			return nil
		}
		if _, err := str.Write([]byte{0x27, 0x80}); err != nil {
			return nil
		}
	}
	return nil
}

// foreignTransport is a page of another site's.
func foreignTransport(ctx context.Context, t evilclient.Target) error {
	_, end, err := session(ctx, t, "https://evil.example")
	if err == nil {
		end()
		return errors.New("a foreign page got a WebTransport session")
	}
	return nil
}
