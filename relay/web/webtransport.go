package web

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/webtransport-go"

	"scrier/wire"
)

// HTTP3 serves browsers over QUIC: pages, API and WebTransport.
type HTTP3 struct{ *webtransport.Server }

const (
	// h3Idle ends connections on which nothing is asked; a viewer's counts as asking. Browsers
	// keep them open after the page is gone.
	h3Idle = time.Minute

	maxHeader = 16 << 10

	// h3Request is how long a request and its answer may take, as over TCP; who needs longer sets
	// another deadline. HTTP/3's server has none of its own.
	h3Request = 30 * time.Second

	// webTransportIdle is webSocketIdle for WebTransport. The browser's network process keeps the
	// connection alive even when the page is frozen.
	webTransportIdle = webSocketIdle

	// streamWait is how long a page may take from its session to its stream.
	streamWait = 5 * time.Second
)

// NewHTTP3 makes a server of handler. Its connections come from the relay's listener.
func NewHTTP3(handler http.Handler, a *Attacher) HTTP3 {
	return HTTP3{&webtransport.Server{
		H3:          &http3.Server{Handler: handler, IdleTimeout: h3Idle, MaxHeaderBytes: maxHeader},
		CheckOrigin: func(r *http.Request) bool { return a.Origin(r) == nil },
	}}
}

// timely sets the deadlines of requests and answers. WebTransport sessions have their own.
func timely(next http.Handler, limit time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			rc, end := http.NewResponseController(w), time.Now().Add(limit)
			if rc.SetReadDeadline(end) != nil || rc.SetWriteDeadline(end.Add(limit/2)) != nil { // who is too slow hears of it
				return // the stream is gone
			}
		}
		next.ServeHTTP(w, r)
	})
}

// webTransport serves a viewer's WebTransport session, of which one stream is used.
func (a *Attacher) webTransport(w http.ResponseWriter, r *http.Request, server *webtransport.Server) {
	id, ok := a.session(w, r)
	if !ok {
		return
	}
	session, err := server.Upgrade(w, r)
	if err != nil {
		a.refuse(w, r, http.StatusBadRequest, err)
		return
	}
	ctx, cancel := context.WithTimeout(session.Context(), streamWait)
	defer cancel()
	s, err := session.AcceptStream(ctx)
	if err != nil {
		_ = session.CloseWithError(webtransport.SessionErrorCode(wire.Protocol), "no stream") // it may be gone
		return
	}
	stream := &wtStream{s: s, idle: webTransportIdle}
	if v := VisitOf(r.Context()); v != nil {
		v.came(int64(s.StreamID()))
		stream.path = v.Path
	}
	code := a.serve(r, stream, OverWebTransport, id)
	_ = session.CloseWithError(webtransport.SessionErrorCode(code), "") // the page may have gone first
}

// wtStream is a WebTransport stream; see wire/quic.go for the rules that it keeps.
type wtStream struct {
	s  *webtransport.Stream
	mu sync.Mutex // a Write and CloseWrite, never both

	idle  time.Duration // if the page sends nothing for so long the stream ends
	rmu   sync.Mutex
	until time.Time // as SetReadDeadline set it

	path func() (sent, lost uint64, trip time.Duration) // of its connection; nil: nobody measures it
}

// Path is how many packets the browser's connection was sent, how many of them were lost, and its shortest round trip.
func (w *wtStream) Path() (sent, lost uint64, trip time.Duration) {
	if w.path == nil {
		return 0, 0, 0
	}
	return w.path()
}

func (w *wtStream) Read(p []byte) (int, error) {
	w.rmu.Lock()
	err := w.limitRead()
	w.rmu.Unlock()
	if err != nil {
		return 0, wtError(err)
	}
	n, err := w.s.Read(p)
	if errors.Is(err, io.EOF) { // it may be a tab that was closed, which does not end the session
		err = &wire.Error{Code: wire.ViewerLost, Err: err}
	}
	return n, wtError(err)
}

func (w *wtStream) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, err := w.s.Write(p)
	return n, wtError(err)
}

func (w *wtStream) CloseWrite() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return wtError(w.s.Close())
}

func (w *wtStream) CloseRead(code wire.Code) { w.s.CancelRead(webtransport.StreamErrorCode(code)) }

func (w *wtStream) Reset(code wire.Code) {
	w.s.CancelWrite(webtransport.StreamErrorCode(code)) // first, as it frees a Write that blocks
	w.s.CancelRead(webtransport.StreamErrorCode(code))
}

func (w *wtStream) SetDeadline(t time.Time) error {
	return errors.Join(w.s.SetWriteDeadline(t), w.SetReadDeadline(t))
}

func (w *wtStream) SetReadDeadline(t time.Time) error {
	w.rmu.Lock()
	defer w.rmu.Unlock()
	w.until = t
	return w.limitRead()
}

func (w *wtStream) limitRead() error {
	if w.until.IsZero() {
		return w.s.SetReadDeadline(time.Now().Add(w.idle))
	}
	return w.s.SetReadDeadline(w.until)
}

func (w *wtStream) SetWriteDeadline(t time.Time) error { return w.s.SetWriteDeadline(t) }

// wtError keeps a page's code.
func wtError(err error) error {
	if e, ok := errors.AsType[*webtransport.StreamError](err); ok {
		return &wire.Error{Code: wire.Code(min(e.ErrorCode, 0xffff)), Err: err}
	}
	return err
}
