package ssh

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"scrier/relay/session/ssh/sshtest"
	"scrier/wire"
)

// Whatever a server does that forwards, a client that uses forwards is free in the end, by the limit of each step, has
// a bounded memory and leaves nothing behind (synctest and goleak look). It takes only what it has asked for.
func TestEvilForwards(t *testing.T) {
	for _, f := range sshtest.Forwards() {
		t.Run(f.Name, func(t *testing.T) {
			if f.Clogs {
				forwardVisit(t, f, 2*time.Second, patience, func() {})
				return
			}
			synctest.Test(t, func(t *testing.T) { forwardVisit(t, f, 15*time.Second, bound, synctest.Wait) })
		})
	}
}

// forwardVisit uses forwards of a server. Between two steps settled waits until nothing moves: x/crypto/ssh never returns from opening a
// channel in the moment where it has found the server wrong and has not closed the connection yet, as channel.go says.
func forwardVisit(t *testing.T, f sshtest.Forward, stay, bound time.Duration, settled func()) {
	within := func(what string, step func()) {
		start := time.Now()
		step()
		if took := time.Since(start); took > bound {
			t.Errorf("%s took %s", what, took)
		}
	}
	before := heap()
	c, err := behind(t, f.Serve)
	if err != nil {
		t.Fatal(err)
	}
	defer within("closing", c.Close)
	release, err := c.Hold()
	if err != nil {
		t.Fatal(err)
	}
	var l *Listener
	within("listening", func() { l, err = c.Listen(t.Context(), Target{Host: "127.0.0.1", Port: sshtest.ListensAt}) })
	if wire.CodeOf(err) != f.Listens && f.Listens != wire.Internal {
		t.Errorf("listening: %v", err)
	}
	plain(t, err)
	ctx, stop := context.WithTimeout(t.Context(), stay)
	defer stop()
	var wg sync.WaitGroup
	var accepted atomic.Int64
	var strange atomic.Bool
	if l != nil {
		wg.Go(func() {
			for accepted.Load() < 10 {
				conn, origin, _, err := l.Accept(ctx)
				if err != nil {
					if conn != nil || accepted.Load() == 0 && ctx.Err() == nil && c.Err() == nil {
						t.Errorf("accepting: %v", err)
					}
					return
				}
				if accepted.Add(1); wire.Printable(origin) != origin || len(origin) > 1<<10 {
					strange.Store(true)
				}
				wg.Go(func() {
					<-ctx.Done()
					conn.Reset(wire.Left)
				})
			}
		})
	}
	var conns []*Conn
	for range 2 {
		settled()
		within("dialling", func() {
			conn, err := c.Dial(t.Context(), Target{Host: "localhost", Port: 80})
			if wire.CodeOf(err) != f.Dials && f.Dials != wire.Internal {
				t.Errorf("dialling: %v", err)
			}
			plain(t, err)
			if err == nil {
				conns = append(conns, conn)
			}
		})
	}
	for _, conn := range conns {
		wg.Go(func() {
			_, err := io.Copy(io.Discard, conn)
			if err == nil && f.Breaks || err != nil && wire.CodeOf(err) != wire.Left && !errors.Is(err, c.Err()) {
				t.Errorf("reading ends with %v", err)
			}
		})
		wg.Go(func() {
			for sent := 0; sent < 2<<20; sent += 1 << 10 {
				if _, err := conn.Write(make([]byte, 1<<10)); err != nil {
					return
				}
			}
			_ = conn.CloseWrite()
		})
	}
	ended := false
	select {
	case <-c.Ended():
		ended = true
		if plain(t, c.Err()); wire.CodeOf(c.Err()) != wire.TargetRefused {
			t.Errorf("the connection ended with %v", c.Err())
		}
	case <-ctx.Done():
	}
	if ended != (f.At == sshtest.Ends) {
		t.Errorf("the connection has ended: %v", ended)
	}
	if more := heap() - before; more > 12<<20 {
		t.Errorf("%d bytes more are in use", more)
	}
	if n := accepted.Load(); n > 0 && f.Accepts == 0 || strange.Load() {
		t.Errorf("%d connections were accepted; strange: %v", n, strange.Load())
	}
	c.mu.Lock()
	if c.channels > maxArrivals+20 {
		t.Errorf("%d channels", c.channels)
	}
	c.mu.Unlock()
	stop()
	within("leaving", func() {
		for _, conn := range conns {
			conn.Reset(wire.Left)
		}
		if l != nil {
			l.Close()
		}
		wg.Wait()
	})
	release()
	<-c.Ended() // with the last of them
}
