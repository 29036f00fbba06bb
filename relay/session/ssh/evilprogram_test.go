package ssh

import (
	"context"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"scrier/relay/session/ssh/sshtest"
	"scrier/wire"
)

// Whatever a server does that has let a client in, a program without a terminal can be left within a moment, however it
// is left, and leaves nothing behind (synctest and goleak look).
func TestEvilServersOfPrograms(t *testing.T) {
	for _, b := range sshtest.Behaviours() {
		if b.At == sshtest.Dials {
			continue
		}
		for name, leave := range map[string]func(*Process){"closed": (*Process).Close, "hung up": (*Process).Hangup} {
			t.Run(b.Name+", "+name, func(t *testing.T) {
				if b.Clogs {
					t.Parallel()
					leaveProgram(t, b, time.Second, patience, leave)
					return
				}
				synctest.Test(t, func(t *testing.T) { leaveProgram(t, b, 20*time.Second, bound, leave) })
			})
		}
	}
}

func leaveProgram(t *testing.T, b sshtest.Behaviour, stay, bound time.Duration, leave func(*Process)) {
	within := func(what string, bound time.Duration, f func()) {
		start := time.Now()
		f()
		if took := time.Since(start); took > bound {
			t.Errorf("%s took %s", what, took)
		}
	}
	c, err := behind(t, b.Serve)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { within("closing", bound, c.Close) }()
	var p *Process
	within("starting", bound, func() { p, err = c.Start(t.Context(), Program{}) })
	if (err != nil) != (b.At == sshtest.Opens) {
		t.Errorf("starting: %v", err)
	}
	plain(t, err)
	if err != nil {
		return
	}
	over := make(chan struct{})
	var outputs, wg sync.WaitGroup
	for _, r := range []io.Reader{p, p.Stderr()} {
		outputs.Go(func() { _, _ = io.Copy(io.Discard, r) })
	}
	wg.Go(func() {
		defer close(over)
		outputs.Wait()
	})
	wg.Go(func() {
		for typed := 0; typed < 8<<20; typed += 1 << 10 {
			if _, err := p.Write(make([]byte, 1<<10)); err != nil {
				return
			}
		}
		_ = p.CloseWrite()
	})
	wg.Go(func() { _ = p.CloseOutput() })
	ended := false
	select {
	case <-over:
		ended = true
	case <-time.After(stay):
	}
	if ended != (b.At == sshtest.Ends) {
		t.Errorf("the program has ended: %v", ended)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if e := p.Wait(ctx); e != nil && (wire.Printable(e.Signal) != e.Signal || e.Status == 4) {
		t.Errorf("it ended with %+v", e)
	}
	within("leaving", bound, func() { leave(p) })
	wg.Wait()
}
