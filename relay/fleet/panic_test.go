package fleet

import (
	"testing"
	"time"

	"scrier/wire"
)

// H90: a mistake of ours in what an agent said ends that agent's link, and neither the relay nor another's.
func TestPanicEndsOneLink(t *testing.T) {
	b := newBase(t, func(c *Config) {
		c.Changed = func(_ wire.EnvoyID, seen bool) {
			if seen { // a heartbeat came
				panic("oh")
			}
		}
	})
	faulty, other := b.enrolledAt("192.0.2.1"), b.enrolledAt("192.0.2.2")
	welcomed := func(answers <-chan wire.Message) {
		t.Helper()
		if m, ok := (<-answers).(*wire.Welcome); !ok {
			t.Fatalf("it was answered with %T", m)
		}
	}
	control, answers := faulty.connect()
	welcomed(answers)
	_, others := other.connect()
	welcomed(others)
	if err := control.Send(&wire.Heartbeat{Time: wire.Millis(time.Now())}); err != nil {
		t.Fatal(err)
	}
	for range answers { // up to the link's end
	}
	if n := b.Panics.Count(); n != 1 {
		t.Errorf("%d panics are counted", n)
	}
	if _, v := b.envoy(other.id.ID); v.State != Online {
		t.Errorf("another envoy is %s", v.State)
	}
	_, answers = faulty.connect() // nothing of it is in the way
	welcomed(answers)
}
