package wire

import (
	"context"
	"net/netip"
	"sync"
	"time"
)

const (
	// attemptDelay is when the next address is tried beside the one before (RFC 8305, 5).
	attemptDelay = 250 * time.Millisecond

	maxAddresses = 8 // of a name; a longer list is cut
)

// alternate orders addresses so that the families take turns, the one first that the system puts first
// (RFC 8305, 4; RFC 6724). Those that are there twice go.
func alternate(ips []netip.Addr) (out []netip.Addr) {
	var families [2][]netip.Addr // that of the first address, and the other
	seen := map[netip.Addr]bool{}
	for _, ip := range ips {
		if ip = ip.Unmap(); seen[ip] {
			continue
		}
		seen[ip] = true
		family := 0
		if ip.Is4() != ips[0].Unmap().Is4() {
			family = 1
		}
		families[family] = append(families[family], ip)
	}
	for i := 0; i < max(len(families[0]), len(families[1])) && len(out) < maxAddresses; i++ {
		for _, f := range families {
			if i < len(f) && len(out) < maxAddresses {
				out = append(out, f[i])
			}
		}
	}
	return out
}

// contest is what a race is over.
type contest[E, L any] struct {
	entries []E
	delay   time.Duration // between the beginnings of two
	dial    func(context.Context, E) (L, error)
	leave   func(L)             // what came second
	final   func(E, error) bool // an error after which nothing else is waited for; nil: there is none
}

// race dials the entries one after the other, each a while after the one before or as soon as that has failed, until
// one answers (RFC 8305, 5). It returns when all others have ended. Without an answer the error is that of an
// entry that was reached, if there is one: it says more than silence.
func race[E, L any](ctx context.Context, c contest[E, L]) (won L, err error) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	type result struct {
		entry E
		link  L
		err   error
	}
	results := make(chan result)
	over := make(chan struct{})
	defer close(over)
	start := func(e E) {
		wg.Go(func() {
			link, err := c.dial(ctx, e)
			select {
			case results <- result{e, link, err}:
			case <-over:
				if err == nil { // it came second
					c.leave(link)
				}
			}
		})
	}
	next := time.NewTimer(0)
	defer next.Stop()
	running, left := 0, c.entries
	for {
		select {
		case <-next.C:
			if len(left) > 0 {
				start(left[0])
				left = left[1:]
				running++
				next.Reset(c.delay)
			}
		case r := <-results:
			running--
			if r.err == nil {
				return r.link, nil
			}
			if c.final != nil && c.final(r.entry, r.err) {
				return won, r.err
			}
			if err == nil || CodeOf(err) == RelayUnreachable && CodeOf(r.err) != RelayUnreachable {
				err = r.err
			}
			if running == 0 && len(left) == 0 {
				return won, err
			}
			if len(left) > 0 {
				next.Reset(0)
			}
		}
	}
}
