// Package audience is who sees a stage of a session: its owner, whose input counts, and watchers.
// Each has a [Seat], which sends what there is to show at the pace of its acknowledgements. What is
// shown is the stage's: it gives each seat a [Source].
package audience

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"scrier/relay/session"
	"scrier/wire"
)

const (
	maxWatchers = 16

	// ExitWait is how long the viewer of a session that is ended from outside may take to take its
	// last frame.
	ExitWait = 2 * time.Second
	// lastWait is how long a viewer may take to take all of a stage that ended by itself.
	lastWait = 8 * time.Second
)

// Audience is the viewers of one stage. It implements [session.Audience]; those of its methods that
// end in Locked are called with the stage's mutex held, all others without.
type Audience struct {
	session *session.Channel
	mu      *sync.Mutex // the stage's: what is shown and who sees it change together

	owner    *Seat
	watchers []*Seat
	final    *wire.Exit     // how the session ended
	gone     sync.WaitGroup // viewers
	grace    *time.Timer    // until the session ends for want of an owner
	until    time.Time      // when that is
	asides   uint64         // lanes that were offered
	times    asideTimes
}

// New is the audience of a stage of a session. mu guards the stage and its audience.
func New(s *session.Channel, mu *sync.Mutex) *Audience {
	return &Audience{session: s, mu: mu, times: defaultAsides()}
}

// Open is called when the stage runs: from then on the session ends unless an owner comes within the
// grace.
func (a *Audience) Open() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.owner == nil && a.grace == nil {
		a.waitLocked()
	}
}

// OwnerLocked is the owner's seat; nil: nobody has the stage now.
func (a *Audience) OwnerLocked() *Seat { return a.owner }

// WatchersLocked are the seats of those who watch.
func (a *Audience) WatchersLocked() []*Seat { return a.watchers }

// EnterLocked takes v in: it watches, or becomes the owner and ends the one before.
func (a *Audience) EnterLocked(v *Seat) error {
	if a.final != nil || a.session.Context().Err() != nil {
		return wire.Errorf(wire.NotFound, "the session has ended")
	}
	if v.Watch {
		if len(a.watchers) >= maxWatchers {
			return wire.Errorf(wire.Busy, "%d people watch this session already", len(a.watchers))
		}
		a.watchers = append(a.watchers, v)
		a.tellOwnerLocked()
	} else {
		if a.owner != nil {
			a.owner.EndLocked(&wire.Exit{Code: wire.TakenOver})
		}
		a.owner = v
		v.names = len(a.watchers) > 0
		a.stayLocked()
	}
	v.pace.acked = v.Seen
	v.entered = true
	a.gone.Add(1)
	return nil
}

// ForgetLocked takes v out again, if it has entered and something failed before [Audience.Attend].
func (a *Audience) ForgetLocked(v *Seat) {
	if !v.entered {
		return
	}
	v.left = true
	a.watchers = slices.DeleteFunc(a.watchers, func(w *Seat) bool { return w == v })
	if a.owner == v {
		a.owner = nil
	}
	a.gone.Done()
}

// leave takes v out; err tells how it went.
func (a *Audience) leave(v *Seat, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	v.left = true
	v.dropAsideLocked()
	if v.Watch {
		a.watchers = slices.DeleteFunc(a.watchers, func(w *Seat) bool { return w == v })
		a.tellOwnerLocked()
	}
	if v.lost == nil {
		v.lost = errors.Join(err, io.EOF)
	}
	if a.owner == v {
		a.owner = nil
		if v.leaving {
			a.session.End(&wire.Error{Code: wire.Left})
		}
		if a.final == nil {
			a.waitLocked()
		}
	}
	v.source.Left()
}

// tellOwnerLocked has the owner told who watches now.
func (a *Audience) tellOwnerLocked() {
	if a.owner != nil {
		a.owner.names = true
		a.owner.WakeLocked()
	}
}

// waitLocked ends the session unless an owner comes within the grace.
func (a *Audience) waitLocked() {
	limit := a.session.Grace()
	a.until = time.Now().Add(limit)
	a.grace = time.AfterFunc(limit, func() {
		a.session.End(wire.Errorf(wire.ViewerLost, "nobody was attached for %s", wire.Period(limit)))
	})
}

func (a *Audience) stayLocked() {
	if a.grace != nil {
		a.grace.Stop()
		a.grace, a.until = nil, time.Time{}
	}
}

func (a *Audience) allLocked() []*Seat {
	all := slices.Clone(a.watchers)
	if a.owner != nil {
		all = append(all, a.owner)
	}
	return all
}

// WakeLocked has every seat look for what is due.
func (a *Audience) WakeLocked() {
	for _, v := range a.watchers {
		v.WakeLocked()
	}
	if a.owner != nil {
		a.owner.WakeLocked()
	}
}

// End implements [session.Audience].
func (a *Audience) End(match func(session.Viewer) bool, why error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, v := range a.allLocked() {
		if match(v.Viewer) {
			v.EndLocked(wire.ExitOf(why))
		}
	}
}

// Present implements [session.Audience].
func (a *Audience) Present() (attached bool, watchers []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.owner != nil, a.namesLocked()
}

// Ends implements [session.Audience].
func (a *Audience) Ends() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.until
}

// namesLocked are those of the watchers, for the owner.
func (a *Audience) namesLocked() []string {
	names := []string{}
	for _, v := range a.watchers {
		names = append(names, v.Operator)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Dismiss implements [session.Audience]. It breaks off those that take their last frame too slowly.
func (a *Audience) Dismiss(exit *wire.Exit) {
	a.mu.Lock()
	a.final = exit
	a.stayLocked()
	a.WakeLocked()
	viewers := a.allLocked()
	a.mu.Unlock()
	patience := ExitWait
	if exit.Code == wire.None { // a slow line still has what was shown last before it
		patience = lastWait
	}
	stuck := time.AfterFunc(patience, func() {
		for _, v := range viewers {
			v.stream.Reset(exit.Code)
		}
	})
	a.gone.Wait()
	stuck.Stop()
}

// Stay has Dismiss wait until gone is called: for what belongs to a viewer that is still there.
func (a *Audience) Stay() (gone func()) {
	a.gone.Add(1)
	return a.gone.Done
}

// Ended is how a stage ended whose session was ended from outside.
func Ended(ctx context.Context) *wire.Exit { return wire.ExitOf(context.Cause(ctx)) }
