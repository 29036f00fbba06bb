package access

import (
	"fmt"
	"testing"
	"time"

	"scrier/wire"
)

// An operator changes so much and no more; others, and the host's administrators, are not concerned.
func TestPace(t *testing.T) {
	c := newClock()
	a := New(Config{Now: c.now})
	ann, bob := Operator{ID: "ann"}, Operator{ID: "bob"}
	many := func(who Operator, door bool) (n int) {
		for n < 10*changesBurst && a.Change(who, door) == nil {
			n++
		}
		return n
	}
	if n := many(ann, true); n != doorsBurst {
		t.Errorf("%d links at once, want %d", n, doorsBurst)
	}
	if n := many(ann, false); n != changesBurst-doorsBurst {
		t.Errorf("%d changes at once beside the links, want %d", n, changesBurst-doorsBurst)
	}
	if err := a.Change(ann, false); wire.CodeOf(err) != wire.Busy {
		t.Errorf("one too many: %v", err)
	}
	if err := a.Change(bob, true); err != nil {
		t.Errorf("another operator: %v", err)
	}
	if n := many(Local("root"), true); n != 10*changesBurst {
		t.Errorf("the host's administrator was stopped after %d", n)
	}
	if r := a.Refused(); r != (Refused{Doors: 1, Changes: 2}) {
		t.Errorf("it counts %+v", r)
	}
	c.at = c.at.Add(time.Second)
	if n := many(ann, false); n != changes {
		t.Errorf("%d changes a second later, want %d", n, changes)
	}
	for i := range 2 * maxPaced {
		_ = a.Change(Operator{ID: fmt.Sprint(i)}, false)
	}
	if n := a.pace.of.Len(); n != maxPaced {
		t.Errorf("%d operators are remembered", n)
	}
}
