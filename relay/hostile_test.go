package relay

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"scrier/relay/access"
	"scrier/relay/evilbrowser"
	"scrier/relay/evilclient"
	"scrier/wire"
)

const (
	// within is when the relay has put an end to what a stranger does. The longest takes 65 s: an answer
	// that is not read for 30, and a connection on which nothing is asked for 30 after that.
	within = 2 * time.Minute
	// aPersonMayTake is for a login that waits for somebody who finds the security key.
	aPersonMayTake = nonceLimit + within
	nonceLimit     = time.Minute // relay/access/login.go
)

// insecure are configurations of a peer that trusts everybody.
func insecure(cert *tls.Certificate) func(...string) *tls.Config {
	return func(alpn ...string) *tls.Config {
		c := &tls.Config{InsecureSkipVerify: true, NextProtos: alpn, ServerName: "localhost"}
		if cert != nil {
			c.Certificates = []tls.Certificate{*cert}
		}
		return c
	}
}

// T-EVILPEER: whatever a stranger does at the relay's doors, it ends within its time, leaves nothing
// behind, and a session beside it does not notice.
func TestEvilPeers(t *testing.T) {
	r := start(t)
	servedBy(t, r, counter)
	ann := newPerson(t, r, "ann", access.Admin)
	mallory, err := newPerson(t, r, "mallory", access.Admin).login(attempt{})
	if err != nil {
		t.Fatal(err)
	}
	p := newPage(t, r, access.Operator{ID: ann.user.ID, Username: "ann", Role: access.Admin, Epoch: 1}, "web1", carriers["WebSocket"])
	lines := 0
	line := func() {
		if err := p.SetDeadline(time.Now().Add(within)); err != nil {
			t.Fatal(err)
		}
		lines++
		p.typing("1\n")
		p.until(fmt.Sprintf("%07d\n", lines))
	}
	line()
	before, links := held(t), r.strangers.taken() // the test's own, over which it logged in

	stranger := evilclient.Target{Addr: r.Addr(), TLS: insecure(nil)}
	known := evilclient.Target{Addr: r.Addr(), TLS: insecure(mallory)}
	var wg sync.WaitGroup
	begin := time.Now()
	run := func(to evilclient.Target, limit time.Duration, all ...evilclient.Behaviour) {
		for i, b := range all {
			to := to
			to.From = net.IPv4(127, 0, 1, byte(i%8+1)) // one network's bounds are not what is tried here
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), limit)
				defer cancel()
				if err := b.Do(ctx, to); err != nil {
					t.Errorf("%s: %v", b.Name, err)
				}
				t.Logf("%s ended after %s", b.Name, time.Since(begin).Round(time.Second))
			})
		}
	}
	run(stranger, within, evilclient.Behaviours()...)
	run(stranger, within, evilclient.OverTCP()...)
	run(stranger, within, evilbrowser.Behaviours()...)
	run(known, within, evilclient.Certified()...)
	run(known, within, evilclient.Violations()...)
	run(stranger, aPersonMayTake, evilclient.LoginThatStops(ann.signer.PublicKey().Marshal()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		wg.Wait()
	}()
	for working := true; working; {
		select {
		case <-done:
			working = false
		case <-time.After(50 * time.Millisecond):
		}
		line()
	}
	t.Logf("%d lines came meanwhile", lines)

	waitFor(t, "their places to be free", func() bool {
		return r.strangers.taken() <= links && r.listener.overTCP.taken() == 0 && r.listener.overQUIC.taken() == 0 && r.listener.handshakes.count() == 0
	})
	waitFor(t, "nothing of them to be left", func() bool {
		now := held(t)
		return now.goroutines <= before.goroutines+4 && now.files <= before.files+2 && now.heap <= before.heap+16<<20
	})
	if n := r.panics.Count(); n != 0 {
		t.Errorf("the relay had %d panics", n)
	}
	line()
}

// holding is what this process holds.
type holding struct {
	goroutines, files int
	heap              uint64
}

func held(t *testing.T) holding {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return holding{runtime.NumGoroutine(), len(files), m.HeapInuse}
}

// A browser's connection with half a header over HTTP/3 is not kept for ever, and others get in
// beside those that are.
func TestHalfHeadersKeepNobodyOut(t *testing.T) {
	r := start(t)
	r.listener.overQUIC.mu.Lock()
	r.listener.overQUIC.each = 4
	r.listener.overQUIC.mu.Unlock()
	half := evilbrowser.Behaviours()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	var wg sync.WaitGroup
	for range 4 {
		for _, b := range half {
			if b.Name == "http3_half_a_header" {
				wg.Go(func() {
					if err := b.Do(ctx, evilclient.Target{Addr: r.Addr(), TLS: insecure(nil)}); err != nil {
						t.Errorf("%s: %v", b.Name, err)
					}
				})
			}
		}
	}
	waitFor(t, "the places to be taken", func() bool { return r.listener.overQUIC.taken() == 4 })
	if s, err := webSocket(t, r, "https://"+r.Addr(), wire.NewSessionID()); err != nil {
		t.Errorf("over TCP there is room: %v", err)
	} else {
		s.Reset(wire.None)
	}
	wg.Wait()
	waitFor(t, "the places to be free", func() bool { return r.listener.overQUIC.taken() == 0 })
}
