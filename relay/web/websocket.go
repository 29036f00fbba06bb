package web

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/coder/websocket"

	"scrier/wire"
)

const (
	// closeBase is added to a code of ours in a close frame: 4000–4999 are for applications
	// (RFC 6455, 7.4.2).
	closeBase = 4000

	maxMessage = 1 << 20 // of a browser, in bytes
	maxPiece   = 4 << 10 // of a message, that is held at a time: strangers get no more either

	// A page pings every 2 s, but one in the background may be let run only once a minute.
	webSocketIdle = 3 * time.Minute
)

// WebSocket serves a viewer's WebSocket.
func (a *Attacher) WebSocket(w http.ResponseWriter, r *http.Request) {
	id, ok := a.session(w, r)
	if !ok {
		return
	}
	// The server's time-outs for requests end with the upgrade; from here on the stream has its own.
	below := &hijacked{ResponseWriter: w}
	c, err := websocket.Accept(below, r, &websocket.AcceptOptions{
		InsecureSkipVerify: true, // the origin was checked above, and more strictly
		CompressionMode:    websocket.CompressionDisabled,
	})
	if err != nil {
		a.Log.Debug("WebSocket", "source", r.RemoteAddr, "err", err)
		return // Accept has answered
	}
	c.SetReadLimit(maxMessage)
	s := newWSStream(c, below.conn)
	a.serve(r, s, OverWebSocket, id)
	s.close()
}

// hijacked keeps the connection below a WebSocket. The library reads what a browser announced to its end
// before it closes the connection, however much that is and however long it takes.
type hijacked struct {
	http.ResponseWriter
	conn net.Conn
}

// Hijack implements [http.Hijacker].
func (h *hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	h.conn = conn
	return conn, rw, err
}

// wsStream is a WebSocket's binary messages as one stream of bytes. A WebSocket has no half-close:
// CloseWrite is the close handshake.
type wsStream struct {
	c      *websocket.Conn
	conn   net.Conn           // below
	cancel context.CancelFunc // of pump
	done   chan struct{}

	pieces chan []byte // unbuffered: at most two pieces are held
	rest   []byte
	err    error // why pieces was closed

	mu    sync.Mutex
	read  time.Time
	moved chan struct{} // closed when read changes
	write time.Time
}

func newWSStream(c *websocket.Conn, conn net.Conn) *wsStream {
	s := &wsStream{c: c, conn: conn, done: make(chan struct{}), pieces: make(chan []byte), moved: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	go s.pump(ctx)
	return s
}

// ForBulk prepares it for much output.
func (s *wsStream) ForBulk() {
	if secure, ok := s.conn.(*tls.Conn); ok {
		wire.ForBulk(secure.NetConn())
	}
}

// kill closes the connection below, which may be gone.
func (s *wsStream) kill() { _ = s.conn.Close() }

// pump reads messages in a goroutine of its own: to cancel a read that waits would end the whole
// connection, writing included.
func (s *wsStream) pump(ctx context.Context) {
	defer close(s.done)
	defer close(s.pieces)
	for {
		if err := s.message(ctx); err != nil {
			// A close handshake does not mean that the person has ended the session: the page would
			// have said so in a frame.
			s.err = &wire.Error{Code: wire.ViewerLost, Err: err}
			return
		}
	}
}

// message hands one message over, piece by piece.
func (s *wsStream) message(ctx context.Context) error {
	idle, cancel := context.WithTimeout(ctx, webSocketIdle)
	defer cancel()
	kind, r, err := s.c.Reader(idle)
	if err == nil && kind != websocket.MessageBinary {
		err = wire.Errorf(wire.Protocol, "a text message")
	}
	if err != nil {
		return err
	}
	for {
		p := make([]byte, maxPiece)
		n, err := r.Read(p)
		if n > 0 {
			select {
			case s.pieces <- p[:n]:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (s *wsStream) Read(p []byte) (int, error) {
	for len(s.rest) == 0 {
		s.mu.Lock()
		deadline, moved := s.read, s.moved
		s.mu.Unlock()
		var late <-chan time.Time
		if !deadline.IsZero() {
			t := time.NewTimer(time.Until(deadline))
			defer t.Stop()
			late = t.C
		}
		select {
		case piece, ok := <-s.pieces:
			if !ok {
				return 0, s.err
			}
			s.rest = piece
		case <-late:
			return 0, os.ErrDeadlineExceeded
		case <-moved:
		}
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

func (s *wsStream) Write(p []byte) (int, error) {
	s.mu.Lock()
	deadline := s.write
	s.mu.Unlock()
	ctx, cancel := context.Background(), context.CancelFunc(func() {})
	if !deadline.IsZero() {
		ctx, cancel = context.WithDeadline(ctx, deadline)
	}
	defer cancel()
	if err := s.c.Write(ctx, websocket.MessageBinary, p); err != nil {
		return 0, &wire.Error{Code: wire.ViewerLost, Err: err}
	}
	return len(p), nil
}

// CloseWrite ends the WebSocket in order: the browser has all that was written.
func (s *wsStream) CloseWrite() error {
	t := time.AfterFunc(finishTime, s.kill)
	defer t.Stop()
	return s.c.Close(websocket.StatusNormalClosure, "")
}

func (s *wsStream) CloseRead(wire.Code) {}

// Reset ends the WebSocket with a code, and does not wait long for the browser to hear it.
func (s *wsStream) Reset(code wire.Code) {
	t := time.AfterFunc(time.Second, s.kill)
	defer t.Stop()
	if code > wire.MaxCode { // a peer chose the number
		code = wire.Internal
	}
	_ = s.c.Close(closeBase+websocket.StatusCode(code), code.String()) // it may be gone already
	s.cancel()
}

// close waits for the reader.
func (s *wsStream) close() {
	s.cancel()
	s.kill() // closed already in the ordinary case
	_ = s.c.CloseNow()
	<-s.done
}

func (s *wsStream) SetDeadline(t time.Time) error {
	_ = s.SetWriteDeadline(t) // neither fails
	return s.SetReadDeadline(t)
}

func (s *wsStream) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.read = t
	close(s.moved)
	s.moved = make(chan struct{})
	return nil
}

func (s *wsStream) SetWriteDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.write = t
	return nil
}
