package client

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"scrier/wire"
	"scrier/wire/relaytest"
	"scrier/wire/wiretest"
)

// Whatever a relay does, a terminal that asked it for a shell ends by itself, or when its person leaves. The
// terminal is as it was, nothing is left (goleak), and what scrier itself says has no control characters.
func TestEvilRelays(t *testing.T) {
	for _, b := range relaytest.Viewers() {
		t.Run(b.Name, func(t *testing.T) {
			t.Parallel()
			endure(t, b)
		})
	}
}

func endure(t *testing.T, b relaytest.Viewer) {
	s := openStage(t)
	fd, err := unix.Dup(int(s.slave.Fd())) // nobody closes it while the keyboard may still be waited for
	if err != nil {
		t.Fatal(err)
	}
	own := os.NewFile(uintptr(fd), "terminal")
	terminal, err := OpenTerminal(own, own)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	shown := make(chan struct{})
	wg.Go(func() { // a screen that takes all
		defer close(shown)
		buf := make([]byte, 32<<10)
		for {
			n, err := s.master.Read(buf)
			if err != nil || bytes.IndexByte(buf[:n], 0) >= 0 {
				return
			}
		}
	})
	near, far := wiretest.Pair(wire.Peer{}, wire.Peer{})
	r := &Relay{link: near, http: &http.Client{}}
	wg.Go(func() {
		stream, err := far.Accept(t.Context())
		if err != nil {
			t.Error(err)
			return
		}
		f := wire.NewFramed(stream)
		if _, err := f.Receive(); err != nil {
			t.Error(err)
			return
		}
		_ = b.Behave(f) // it fails when the terminal has gone
	})
	ctx, giveUp := context.WithCancel(t.Context())
	defer giveUp()
	var messages syncBuffer
	type end struct {
		status int
		err    error
	}
	ended := make(chan end, 1)
	wg.Go(func() {
		status, err := r.Shell(ctx, ShellRequest{Envoy: "web1", Terminal: terminal, Messages: &messages})
		ended <- end{status, err}
	})
	left := time.AfterFunc(time.Second, func() { // the person has seen enough
		if b.Code == wire.None {
			_, _ = s.master.WriteString("\r~.")
			giveUp()
		}
	})
	defer left.Stop()
	select {
	case e := <-ended:
		d := wire.DetailOf(e.err)
		if code := wire.CodeOf(e.err); b.Code != wire.None && code != b.Code || b.Code == wire.None && code != wire.None && !errors.Is(ctx.Err(), context.Canceled) {
			t.Errorf("it ended with %d, %v", e.status, e.err)
		}
		if wire.Printable(d) != d {
			t.Errorf("the detail is %q", d)
		}
	case <-time.After(2 * patience):
		t.Error("it goes on")
	}
	s.wantRestored(t)
	for line := range strings.Lines(messages.String()) {
		if text := strings.Trim(line, "\r\n"); wire.Printable(text) != text && len(text) < 4096 {
			t.Errorf("it says %q", text)
		}
	}
	_ = near.Close(wire.None, "")
	_, _ = s.slave.Write([]byte{0})
	<-shown
}
