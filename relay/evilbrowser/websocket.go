package evilbrowser

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"scrier/relay/evilclient"
)

// nobody is a session that does not exist.
const nobody = "00000000-0000-4000-8000-000000000001"

func upgrade(origin string) string {
	return "GET /ws/scrier/" + nobody + " HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nOrigin: " + origin +
		"\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
}

// socket opens a WebSocket and has f write frames.
func socket(f func(ctx context.Context, c *tls.Conn) error) func(context.Context, evilclient.Target) error {
	return func(ctx context.Context, at evilclient.Target) error {
		c, end, err := target{at}.dial(ctx, "http/1.1")
		if err != nil {
			return err
		}
		defer end()
		if _, err := io.WriteString(c, upgrade("https://localhost")); err != nil {
			return err
		}
		resp, _, err := response(c)
		if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
			return fmt.Errorf("no WebSocket: %v", err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			if f != nil {
				_ = f(ctx, c) // ends with the connection
			}
		}()
		err = closed(ctx, c)
		end()
		<-done
		return err
	}
}

// frame is a masked frame's head (RFC 6455, 5.2) that announces size bytes, with a mask of zeros.
func frame(kind byte, size uint64) []byte {
	b := []byte{0x80 | kind, 0x80 | 127}
	for i := range 8 {
		b = append(b, byte(size>>(56-8*i)))
	}
	return append(b, 0, 0, 0, 0)
}

func giantFrame(_ context.Context, c *tls.Conn) error {
	_, err := c.Write(frame(2, 1<<40))
	p := make([]byte, 4096)
	for err == nil {
		_, err = c.Write(p)
	}
	return err
}

func pingFrames(_ context.Context, c *tls.Conn) (err error) {
	for err == nil {
		_, err = c.Write([]byte{0x89, 0x80, 0, 0, 0, 0})
	}
	return err
}

func slowFrames(ctx context.Context, c *tls.Conn) error {
	_, err := c.Write(frame(2, 1000))
	for err == nil {
		if err = pause(ctx, time.Second); err == nil {
			_, err = c.Write([]byte{0x27})
		}
	}
	return err
}

// foreignSocket is a page of another site's.
func foreignSocket(ctx context.Context, at evilclient.Target) error {
	c, end, err := target{at}.dial(ctx, "http/1.1")
	if err != nil {
		return err
	}
	defer end()
	if _, err := io.WriteString(c, upgrade("https://evil.example")); err != nil {
		return err
	}
	resp, _, err := response(c)
	if err == nil && resp.StatusCode == http.StatusSwitchingProtocols {
		return errors.New("a foreign page got a WebSocket")
	}
	return nil
}
