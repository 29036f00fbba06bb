package access

import (
	"fmt"
	"testing"
	"time"

	"scrier/wire"
)

// clock is a time that a test moves.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func newClock() *clock { return &clock{time.Unix(1_700_000_000, 0)} }

func TestFailuresOfOneNetwork(t *testing.T) {
	c := newClock()
	a := newAttempts(c.now)
	for _, network := range [][2]string{
		{"192.0.2.1", "192.0.2.1"}, {"2001:db8::1", "2001:db8::ffff"}, {"198.51.100.1", "::ffff:198.51.100.1"},
	} {
		for range freeFailures {
			if err := a.allow(network[0]); err != nil {
				t.Fatalf("%s waits too early: %v", network[0], err)
			}
			a.fail(network[0])
		}
		for _, source := range network {
			if err := a.allow(source); wire.CodeOf(err) != wire.Busy {
				t.Errorf("%s may go on: %v", source, err)
			}
		}
	}
	if n := a.refused.Load(); n != 6 {
		t.Errorf("%d are counted as refused", n)
	}
	if err := a.allow("192.0.2.2"); err != nil {
		t.Errorf("another network waits too: %v", err)
	}
	c.at = c.at.Add(forgetAfter)
	if err := a.allow("192.0.2.1"); err != nil {
		t.Errorf("after a minute: %v", err)
	}
}

// An IPv6 /48 has 65,536 networks, and is no more than some of them.
func TestFailuresOfOneSite(t *testing.T) {
	a := newAttempts(newClock().now)
	a.succeed("2001:db8:7:aaaa::1")
	for i := range siteFailures {
		source := fmt.Sprintf("2001:db8:7:%x::1", i)
		if err := a.allow(source); err != nil {
			t.Fatalf("%s waits too early: %v", source, err)
		}
		a.fail(source)
	}
	if err := a.allow("2001:db8:7:ffff::1"); wire.CodeOf(err) != wire.Busy {
		t.Errorf("the site may go on: %v", err)
	}
	if err := a.allow("2001:db8:7:aaaa::2"); err != nil {
		t.Errorf("its neighbours keep out who has logged in: %v", err)
	}
	if err := a.allow("2001:db8:8::1"); err != nil {
		t.Errorf("another site waits too: %v", err)
	}
}

// However many networks fail, one that failed is limited, and who is known is not.
func TestFailuresFromEverywhere(t *testing.T) {
	c := newClock()
	a := newAttempts(c.now)
	a.succeed("192.0.2.50")
	for i := range maxSources { // one of each, which forgets all older ones
		a.fail(fmt.Sprintf("2001:db8:%x::1", i))
	}
	if n := a.failed.Len(); n > maxSources {
		t.Errorf("%d networks are remembered, at most %d should be", n, maxSources)
	}
	guesses := 0
	for ; guesses < 100_000 && a.allow("203.0.113.9") == nil; guesses++ {
		a.fail("203.0.113.9")
	}
	if guesses > freeFailures {
		t.Errorf("one network had %d guesses", guesses)
	}
	if err := a.allow("203.0.113.10"); wire.CodeOf(err) != wire.Busy {
		t.Errorf("a stranger may go on while there are too many failures: %v", err)
	}
	if err := a.allow("192.0.2.50"); err != nil {
		t.Errorf("from where somebody has logged in: %v", err)
	}
	c.at = c.at.Add(time.Minute)
	if err := a.allow("203.0.113.10"); err != nil {
		t.Errorf("a stranger a minute later: %v", err)
	}
}

// What one failure costs does not grow with the networks that are remembered.
func BenchmarkFailure(b *testing.B) {
	a := newAttempts(newClock().now)
	for i := range maxSources {
		a.fail(fmt.Sprintf("2001:db8:%x::1", i))
	}
	for i := 0; b.Loop(); i++ {
		a.fail(fmt.Sprintf("2001:db9:%x::1", i&0xffff))
	}
}
