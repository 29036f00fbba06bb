package audience

import (
	"sync"
	"testing"
	"time"

	"scrier/relay/session"
	"scrier/relay/session/sessiontest"
	"scrier/wire"
)

// A session says when it ends for want of an owner, and only while it lacks one.
func TestEnds(t *testing.T) {
	table, _ := sessiontest.Table(t)
	s := sessiontest.Reserve(t, table)
	var mu sync.Mutex
	a := New(s, &mu)
	before := time.Now()
	a.Open()
	if at := a.Ends(); at.Before(before.Add(s.Grace())) {
		t.Errorf("nobody has come; it ends %v after it was opened, and the grace is %v", at.Sub(before), s.Grace())
	}
	mu.Lock()
	v := a.Seat(session.Viewer{Operator: "ann"}, nil, nil)
	if err := a.EnterLocked(v); err != nil {
		t.Fatal(err)
	}
	mu.Unlock()
	if at := a.Ends(); !at.IsZero() {
		t.Errorf("ann is there, and it ends at %v", at)
	}
	mu.Lock()
	a.ForgetLocked(v)
	a.waitLocked()
	mu.Unlock()
	if a.Ends().IsZero() {
		t.Error("ann has gone, and it never ends")
	}
	a.Dismiss(&wire.Exit{})
	if err := s.Close(wire.None, ""); err != nil {
		t.Fatal(err)
	}
}
