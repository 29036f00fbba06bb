package wire

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func addresses(all ...string) (out []netip.Addr) {
	for _, a := range all {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

func TestAlternate(t *testing.T) {
	for _, c := range []struct{ in, want []netip.Addr }{
		{nil, nil},
		{addresses("192.0.2.1"), addresses("192.0.2.1")},
		{addresses("2001:db8::1", "2001:db8::2", "192.0.2.1", "192.0.2.2"), addresses("2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2")},
		{addresses("192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1"), addresses("192.0.2.1", "2001:db8::1", "192.0.2.2", "192.0.2.3")},
		{addresses("::ffff:192.0.2.1", "192.0.2.1", "2001:db8::1"), addresses("192.0.2.1", "2001:db8::1")},
	} {
		if got := alternate(c.in); !slices.Equal(got, c.want) {
			t.Errorf("%v: %v, not %v", c.in, got, c.want)
		}
	}
	var many []netip.Addr
	for i := range 100 {
		many = append(many, netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}))
	}
	if got := alternate(many); len(got) != maxAddresses {
		t.Errorf("%d addresses", len(got))
	}
}

// TestRace: the first that answers wins; what is slower is left, and what fails does not hold the next up.
func TestRace(t *testing.T) {
	silent, refuses := time.Hour, errors.New("refused")
	type host struct {
		after time.Duration
		err   error
	}
	for name, c := range map[string]struct {
		hosts []host
		won   int
		took  time.Duration
		code  Code
	}{
		"the first answers":            {[]host{{100 * time.Millisecond, nil}, {0, nil}}, 0, 100 * time.Millisecond, None},
		"the first is silent":          {[]host{{silent, nil}, {50 * time.Millisecond, nil}}, 1, 300 * time.Millisecond, None},
		"the first is slow, and wins":  {[]host{{280 * time.Millisecond, nil}, {time.Second, nil}}, 0, 280 * time.Millisecond, None},
		"the first refuses at once":    {[]host{{0, refuses}, {10 * time.Millisecond, nil}}, 1, 10 * time.Millisecond, None},
		"two are silent":               {[]host{{silent, nil}, {silent, nil}, {0, nil}}, 2, 500 * time.Millisecond, None},
		"all refuse":                   {[]host{{0, Errorf(RelayUnreachable, "a")}, {0, &Error{Code: RelayUntrusted}}, {0, Errorf(RelayUnreachable, "c")}}, -1, 0, RelayUntrusted},
		"nobody answers within limits": {[]host{{silent, nil}, {silent, nil}}, -1, 10 * time.Second, Internal},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				var addrs []netip.Addr
				for i := range c.hosts {
					addrs = append(addrs, netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}))
				}
				var mu sync.Mutex
				open := map[int]bool{}
				begin := time.Now()
				won, err := race(ctx, contest[netip.Addr, int]{entries: addrs, delay: attemptDelay, dial: func(ctx context.Context, a netip.Addr) (int, error) {
					i := int(a.As4()[3])
					select {
					case <-time.After(c.hosts[i].after):
					case <-ctx.Done():
						return -1, ctx.Err()
					}
					if c.hosts[i].err != nil {
						return -1, c.hosts[i].err
					}
					mu.Lock()
					defer mu.Unlock()
					open[i] = true
					return i, nil
				}, leave: func(i int) {
					mu.Lock()
					defer mu.Unlock()
					delete(open, i)
				}})
				if took := time.Since(begin); took != c.took {
					t.Errorf("it took %s, not %s", took, c.took)
				}
				if CodeOf(err) != c.code || err == nil && won != c.won {
					t.Errorf("%d won, %v", won, err)
				}
				if n := len(open); err == nil && n != 1 || err != nil && n != 0 {
					t.Errorf("open: %v", open)
				}
			})
		})
	}
}

// TestRaceFinal: nothing else is begun, or waited for, after an error that is final.
func TestRaceFinal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var begun []int
		begin := time.Now()
		_, err := race(t.Context(), contest[int, int]{
			entries: []int{0, 1, 2}, delay: attemptDelay,
			dial: func(ctx context.Context, i int) (int, error) {
				mu.Lock()
				begun = append(begun, i)
				mu.Unlock()
				if i == 0 {
					time.Sleep(attemptDelay + time.Millisecond)
					return 0, Errorf(Busy, "no place")
				}
				<-ctx.Done()
				return 0, ctx.Err()
			},
			final: func(i int, err error) bool { return i == 0 && CodeOf(err) == Busy },
		})
		if CodeOf(err) != Busy || !slices.Equal(begun, []int{0, 1}) || time.Since(begin) != attemptDelay+time.Millisecond {
			t.Errorf("%v after %s, begun %v", err, time.Since(begin), begun)
		}
	})
}
