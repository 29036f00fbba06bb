package web

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"scrier/relay/access"
	"scrier/wire"
)

const patienceOfTests = 2 * time.Minute // of the bubble's clock

// pipes is a listener whose connections hold nothing: who does not read stops the writer at once.
type pipes struct{ conns chan net.Conn }

func (p pipes) Accept() (net.Conn, error) {
	c, ok := <-p.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.UnixAddr{} }

// page of a test: its connection, behind the answer's head.
type openPage struct {
	net.Conn
	lines *bufio.Reader
}

// pagesOf serves e to pages whose caller is who.
func pagesOf(t *testing.T, e *Events, who Caller) (open func() openPage) {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	l := pipes{make(chan net.Conn)}
	server := &http.Server{ // its time-outs are shorter than a stream lasts
		Handler: API(Config{Events: e, Log: log}), ReadTimeout: time.Second, WriteTimeout: time.Second,
		ConnContext: func(ctx context.Context, _ net.Conn) context.Context { return WithCaller(ctx, who) },
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		e.Close()
		close(l.conns)
		_ = server.Close()
		<-done
		waitUntil(t, "all streams to end", func() bool { return e.count() == 0 })
	})
	return func() openPage {
		near, far := net.Pipe()
		t.Cleanup(func() { _ = near.Close() })
		l.conns <- far
		if _, err := io.WriteString(near, "GET /api/v1/events HTTP/1.1\r\nHost: relay\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		p := openPage{near, bufio.NewReader(near)}
		p.until(t, ": scrier")
		return p
	}
}

// count is how many streams there are.
func (e *Events) count() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.streams)
}

func waitUntil(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patienceOfTests); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited for %s in vain", what)
		}
	}
}

// until reads on until a line begins with want.
func (p openPage) until(t *testing.T, want string) {
	t.Helper()
	if err := p.SetReadDeadline(time.Now().Add(patienceOfTests)); err != nil {
		t.Fatal(err)
	}
	for {
		line, err := p.lines.ReadString('\n')
		if strings.HasPrefix(line, want) {
			return
		}
		if err != nil {
			t.Fatalf("waiting for %q: %v", want, err)
		}
	}
}

// ends reads on until the relay ends the stream.
func (p openPage) ends(t *testing.T) {
	t.Helper()
	if err := p.SetReadDeadline(time.Now().Add(patienceOfTests)); err != nil {
		t.Fatal(err)
	}
	for {
		line, err := p.lines.ReadString('\n')
		if line == "0\r\n" || errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatalf("the stream goes on: %v", err)
		}
	}
}

func admin(context.Context) (access.Operator, error) {
	return access.Operator{ID: "a", Username: "ann", Role: access.Admin}, nil
}

// A stream pings, and ends when the operator is gone, has another role, or is somebody else.
func TestStreamEndsWithTheRight(t *testing.T) {
	for name, now := range map[string]struct {
		who access.Operator
		err error
	}{
		"signed out":   {err: &wire.Error{Code: wire.SignedOut}},
		"another role": {who: access.Operator{ID: "a", Username: "ann", Role: access.Viewer}},
		"another name": {who: access.Operator{ID: "b", Username: "ann", Role: access.Admin}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var over atomic.Bool
				open := pagesOf(t, NewEvents(), func(ctx context.Context) (access.Operator, error) {
					if over.Load() {
						return now.who, now.err
					}
					return admin(ctx)
				})
				p := open()
				p.until(t, ":\n")
				p.until(t, ":\n")
				over.Store(true)
				p.ends(t)
			})
		})
	}
}

// A right that is taken away while a stream begins, before it can be found, is noticed at once.
func TestStreamBeginsWithoutTheRight(t *testing.T) {
	e := NewEvents()
	asked := 0
	caller := func(ctx context.Context) (access.Operator, error) {
		if asked++; asked > 1 {
			return access.Operator{}, &wire.Error{Code: wire.SignedOut}
		}
		return admin(ctx)
	}
	r := httptest.NewRequest("GET", "/api/v1/events", nil)
	answer := httptest.NewRecorder()
	API(Config{Events: e, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}).ServeHTTP(answer, r.WithContext(WithCaller(r.Context(), caller)))
	if !strings.Contains(answer.Body.String(), "urn:scrier:error:operator_changed") || e.count() != 0 {
		t.Errorf("%d %s, %d streams are open", answer.Code, answer.Body, e.count())
	}
}

// A page that does not read loses its stream, and holds up nobody.
func TestSlowPage(t *testing.T) { synctest.Test(t, testSlowPage) }

func testSlowPage(t *testing.T) {
	e := NewEvents()
	open := pagesOf(t, e, admin)
	_, reads := open(), open()
	id := wire.NewEnvoyID()
	if err := tell(e.listeners(""), id.UUID, "envoy", "first"); err != nil {
		t.Fatal(err)
	}
	reads.until(t, `data: "first"`)
	waitUntil(t, "the slow page to be left", func() bool {
		reads.until(t, ":\n")
		return e.count() == 1
	})
	if err := tell(e.listeners(""), id.UUID, "envoy", "second"); err != nil {
		t.Fatal(err)
	}
	reads.until(t, `data: "second"`)
	e.Close()
	reads.ends(t)
}

// What a stream holds is bounded: of each thing the newest, and of things so many.
func TestPendingIsBounded(t *testing.T) {
	e := NewEvents()
	s, leave, err := e.open(access.Operator{Role: access.Admin})
	if err != nil {
		t.Fatal(err)
	}
	defer leave()
	id := wire.NewEnvoyID()
	for _, v := range []string{"1", "2", "3"} {
		if err := tell(e.listeners(access.SeeEnvoys), id.UUID, "envoy", v); err != nil {
			t.Fatal(err)
		}
	}
	if out, lost := s.take(piece); lost || string(out) != "event: envoy\ndata: \"3\"\n\n" {
		t.Errorf("%q, %v", out, lost)
	}
	for range maxPending + 1 {
		s.put(wire.NewEnvoyID().UUID, []byte("x"))
	}
	if _, lost := s.take(10); !lost || len(s.pending) > maxPending {
		t.Errorf("%d events are pending, lost: %v", len(s.pending), lost)
	}
}

// Heartbeats of a large fleet are told a part at a time, and never hold up a change.
func TestHeartbeatsTakeTurns(t *testing.T) {
	e := NewEvents()
	_, leave, err := e.open(access.Operator{Role: access.Admin})
	if err != nil {
		t.Fatal(err)
	}
	ids := make([]wire.EnvoyID, 3*maxSeen)
	for i := range ids {
		ids[i] = wire.NewEnvoyID()
		e.Envoy(ids[i], true)
		e.Envoy(ids[i], true)
	}
	last := ids[len(ids)-1]
	e.Envoy(last, false)
	told := map[wire.EnvoyID]int{}
	for n := range 4 {
		batch := e.changedEnvoys()
		if len(batch) > maxSeen+1 {
			t.Errorf("batch %d has %d", n, len(batch))
		}
		for _, id := range batch {
			told[id]++
		}
		if n == 0 && told[last] != 1 {
			t.Error("a change waits behind heartbeats")
		}
	}
	if len(told) != len(ids) {
		t.Errorf("%d of %d envoys were told", len(told), len(ids))
	}
	e.Envoy(last, true)
	leave()
	if e.Envoy(last, false); len(e.changedEnvoys()) != 0 {
		t.Error("things are noted though nobody listens")
	}
}
