package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"scrier/certs"
	"scrier/relay/evilbrowser"
	"scrier/relay/evilclient"
)

const (
	quiet = "none"
	// busy sends nothing: what it changes is not the relay's doing, but that of a machine on which
	// relay, operator and strangers share the processors.
	busy = "none, but the processors are busy"
)

// floods are what strangers can send, each of one or more behaviours.
var floods = []struct {
	kind string
	of   []string
}{
	{"QUIC handshakes that stop", []string{"handshake_that_stops"}},
	{"QUIC links that say nothing", []string{"link_that_says_nothing", "streams_with_half_a_frame", "unidirectional_streams"}},
	{"agents without a certificate", []string{"agent_without_a_certificate", "wrong_protocol"}},
	{"TLS that stops", []string{"tcp_without_tls", "tls_that_stops", "tcp_hello_and_no_more", "tcp_hello_a_byte_a_second"}},
	{"links over TCP", []string{"tcp_link_that_says_nothing", "tcp_streams_with_half_a_frame", "tcp_streams_without_end", "tcp_junk", "tcp_signs_of_life_alone"}},
	{"HTTP/1.1", []string{"http1_slow_headers", "http1_endless_headers", "http1_request_flood", "http1_never_reads", "http1_slow_body"}},
	{"HTTP/2", []string{"http2_request_flood", "http2_rapid_reset", "http2_continuation_flood", "http2_settings_flood", "http2_ping_flood", "http2_no_window"}},
	{"HTTP/3", []string{"http3_half_a_header", "http3_half_headers_beside_requests", "http3_streams_that_are_reset", "http3_giant_header", "http3_idle"}},
	{"logins", []string{"login_with_many_keys", "login_and_never_reads", "streams_without_end"}},
	{"enrolments", []string{"enrol_garbage"}},
	{"tickets", []string{"ticket_guesses"}},
	{"calls without a login", []string{"call_without_a_header", "call_with_endless_headers", "call_with_a_slow_body"}},
	{"WebSockets", []string{"websocket_without_frames", "websocket_giant_frame", "websocket_ping_flood", "websocket_wrong_origin"}},
	{"WebTransport", []string{"webtransport_without_a_stream", "webtransport_stream_without_a_byte", "webtransport_many_streams"}},
}

func kinds() (names []string) {
	for _, f := range floods {
		names = append(names, f.kind)
	}
	return append(names, "all of them")
}

// behaviours are those of a kind.
func behaviours(kind string) (found []evilclient.Behaviour, err error) {
	by := map[string]evilclient.Behaviour{}
	for _, b := range slices.Concat(evilclient.Behaviours(), evilclient.OverTCP(), evilbrowser.Behaviours()) {
		by[b.Name] = b
	}
	for _, f := range floods {
		if f.kind != kind && kind != "all of them" {
			continue
		}
		for _, name := range f.of {
			b, ok := by[name]
			if !ok {
				return nil, fmt.Errorf("nobody does %s", name)
			}
			found = append(found, b)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("there is no flood %q", kind)
	}
	return found, nil
}

// behind is in the environment of an attacker that goes behind whoever else wants the processors. A
// stranger's machine does not take those of the relay, and here they have the same.
const behind = "SCRIER_FLOOD_BEHIND=1"

// goBehind begins the program anew so that it runs when nobody else wants to (SCHED_IDLE, sched(7)).
// That is a property of threads, and a new one has that of the thread that made it.
func goBehind() error {
	runtime.LockOSThread()
	if err := unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE}, 0); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return syscall.Exec(self, os.Args, append(os.Environ(), behind))
}

// attack is one network, until ctx ends. It prints how many things it began.
func attack(ctx context.Context, o options) error {
	if !slices.Contains(os.Environ(), behind) {
		return goBehind()
	}
	ctx, cancel := context.WithTimeout(ctx, o.each)
	defer cancel()
	if o.kind == busy {
		spin(ctx)
		fmt.Println(0)
		return nil
	}
	all, err := behaviours(o.kind)
	if err != nil {
		return err
	}
	target := evilclient.Target{Addr: o.relay, From: net.ParseIP(o.from), TLS: anybody}
	var begun atomic.Int64
	var wg sync.WaitGroup
	for i := range o.workers {
		wg.Go(func() {
			for n := i; ctx.Err() == nil; n++ {
				begun.Add(1)
				_ = all[n%len(all)].Do(ctx, target) // whatever it was, the next one
			}
		})
	}
	wg.Wait()
	fmt.Println(begun.Load())
	return nil
}

// spin has one thread for each processor do nothing, as fast as it can.
func spin(ctx context.Context) {
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for ctx.Err() == nil {
			}
		})
	}
	wg.Wait()
}

// anybody trusts every relay: it has nothing to lose.
func anybody(alpn ...string) *tls.Config {
	c := certs.Client{ALPN: strings.Join(alpn, ","), Now: time.Now}.TLS()
	c.NextProtos, c.ServerName, c.VerifyConnection = alpn, "localhost", nil
	return c
}
