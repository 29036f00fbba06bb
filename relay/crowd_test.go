package relay

import (
	"fmt"
	"testing"

	"scrier/wire"
)

func newStrangers() *crowd {
	return &crowd{what: "connections", max: maxStrangers, each: maxStrangersPerNetwork}
}

// fill takes places until there are no more, and says how many it got.
func fill(c *crowd, of func(i int) string) (n int, leave []func()) {
	for i := range 2 * c.max {
		if l, err := c.enter(of(i)); err == nil {
			leave = append(leave, l)
			n++
		}
	}
	return n, leave
}

// Links without a login are bounded, for one network and in all, and leave nothing behind.
func TestStrangersAreBounded(t *testing.T) {
	c := newStrangers()
	n, leave := fill(c, func(int) string { return "192.0.2.1" })
	if n != maxStrangersPerNetwork {
		t.Errorf("one address got %d places", n)
	}
	if _, err := c.enter("192.0.2.1"); wire.CodeOf(err) != wire.Busy {
		t.Errorf("one too many: %v", err)
	}
	if n := c.refused.Load(); n == 0 {
		t.Error("who is refused is not counted")
	}
	if l, err := c.enter("192.0.2.2"); err != nil {
		t.Errorf("another network: %v", err)
	} else {
		l()
	}
	for _, l := range leave {
		l()
		l() // once is enough
	}
	if c.total != 0 || len(c.by) != 0 || len(c.sites) != 0 {
		t.Errorf("%d places are still taken, of %v and %v", c.total, c.by, c.sites)
	}
}

// Whoever has one IPv6 network has 2^64 addresses, and with a /48 65,536 networks: neither is more than
// some places.
func TestOneOwnerIsOneStranger(t *testing.T) {
	c := newStrangers()
	if n, _ := fill(c, func(i int) string { return fmt.Sprintf("2001:db8:1:1::%x", i+1) }); n != maxStrangersPerNetwork {
		t.Errorf("a /64 got %d places", n)
	}
	if n, _ := fill(c, func(i int) string { return fmt.Sprintf("2001:db8:1:%x::1", i+2) }); n+maxStrangersPerNetwork != sitePart*maxStrangersPerNetwork {
		t.Errorf("a /48 got %d places", n+maxStrangersPerNetwork)
	}
	if _, err := c.enter("192.0.2.7"); err != nil {
		t.Errorf("everybody else: %v", err)
	}
}

// Sixteen networks could take all places; those that come new have some kept for them.
func TestNewcomersHaveAReserve(t *testing.T) {
	c := newStrangers()
	taken, _ := fill(c, func(i int) string { return fmt.Sprintf("198.51.100.%d", i%64) })
	if want := maxStrangers - maxStrangers/reservePart; taken != want {
		t.Errorf("64 networks got %d places, want %d", taken, want)
	}
	for i := range maxStrangers / reservePart / newcomer {
		for range newcomer {
			if _, err := c.enter(fmt.Sprintf("192.0.2.%d", i)); err != nil {
				t.Fatalf("a network that comes new: %v", err)
			}
		}
	}
	if _, err := c.enter("203.0.113.1"); wire.CodeOf(err) != wire.Busy || c.taken() != maxStrangers {
		t.Errorf("one too many: %v, and %d are taken", err, c.taken())
	}
}
