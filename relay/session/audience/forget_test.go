package audience

import (
	"sync"
	"testing"

	"scrier/relay/session"
	"scrier/relay/session/sessiontest"
	"scrier/wire"
)

// A viewer that has entered and is never served, as something failed on the way, holds nobody up.
func TestForget(t *testing.T) {
	table, _ := sessiontest.Table(t)
	s := sessiontest.Reserve(t, table)
	var mu sync.Mutex
	a := New(s, &mu)
	mu.Lock()
	for _, who := range []session.Viewer{{Operator: "ann"}, {Operator: "bob", Watch: true}} {
		v := a.Seat(who, nil, nil)
		a.ForgetLocked(v) // it has not entered: nothing happens
		if err := a.EnterLocked(v); err != nil {
			t.Fatal(err)
		}
		a.ForgetLocked(v)
	}
	mu.Unlock()
	if here, watchers := a.Present(); here || len(watchers) > 0 {
		t.Errorf("still there: %v, %q", here, watchers)
	}
	a.Dismiss(&wire.Exit{}) // waits for those who are there
	if err := s.Close(wire.None, ""); err != nil {
		t.Fatal(err)
	}
}
