package session

import (
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"scrier/wire"
)

const maxWatchers = 16

// attendant is a kind of viewer; its zero value is nobody.
type attendant interface {
	comparable
	seated() *seat
}

// audience is who sees a session: its owner, whose input counts, and watchers. It is guarded by the
// mutex of what they look at.
type audience[V attendant] struct {
	session  *Session
	owner    V
	watchers []V
	gone     sync.WaitGroup // viewers
	grace    *time.Timer    // until the session ends for want of an owner
}

func (a *audience[V]) ownedLocked() bool {
	var nobody V
	return a.owner != nobody
}

// enterLocked takes v in: it watches, or becomes the owner and ends the one before.
func (a *audience[V]) enterLocked(v V) error {
	s := v.seated()
	if s.Watch {
		if len(a.watchers) >= maxWatchers {
			return wire.Errorf(wire.Busy, "%d people watch this session already", len(a.watchers))
		}
		a.watchers = append(a.watchers, v)
		a.newsLocked()
	} else {
		if a.ownedLocked() {
			a.owner.seated().endLocked(&wire.Exit{Code: wire.TakenOver})
		}
		a.owner = v
		s.names = len(a.watchers) > 0
		a.stayLocked()
	}
	a.gone.Add(1)
	return nil
}

// exitLocked takes v out; err tells how it went. It says whether v was the owner.
func (a *audience[V]) exitLocked(v V, err error) (owner bool) {
	s := v.seated()
	s.left = true
	a.watchers = slices.DeleteFunc(a.watchers, func(w V) bool { return w == v })
	if s.Watch {
		a.newsLocked()
	}
	if s.lost == nil {
		s.lost = errors.Join(err, io.EOF)
	}
	if a.owner != v {
		return false
	}
	var nobody V
	a.owner = nobody
	if s.leaving {
		a.session.End(&wire.Error{Code: wire.Left})
	}
	return true
}

// newsLocked: the watchers are not who they were.
func (a *audience[V]) newsLocked() {
	if a.ownedLocked() {
		s := a.owner.seated()
		s.names = true
		s.wakeLocked()
	}
}

// waitLocked ends the session unless an owner comes within the grace.
func (a *audience[V]) waitLocked() {
	limit := a.session.table.Grace
	a.grace = time.AfterFunc(limit, func() {
		a.session.End(wire.Errorf(wire.ViewerLost, "nobody was attached for %s", limit))
	})
}

func (a *audience[V]) stayLocked() {
	if a.grace != nil {
		a.grace.Stop()
		a.grace = nil
	}
}

func (a *audience[V]) allLocked() []V {
	all := slices.Clone(a.watchers)
	if a.ownedLocked() {
		all = append(all, a.owner)
	}
	return all
}

func (a *audience[V]) wakeLocked() {
	for _, v := range a.watchers {
		v.seated().wakeLocked()
	}
	if a.ownedLocked() {
		a.owner.seated().wakeLocked()
	}
}

func (a *audience[V]) endLocked(match func(Viewer) bool, why error) {
	for _, v := range a.allLocked() {
		if s := v.seated(); match(s.Viewer) {
			s.endLocked(&wire.Exit{Code: wire.CodeOf(why), Detail: wire.DetailOf(why)})
		}
	}
}

// namesLocked are those of the watchers, for the owner.
func (a *audience[V]) namesLocked() []string {
	names := []string{}
	for _, v := range a.watchers {
		names = append(names, v.seated().Operator)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// dismiss waits for all viewers of a session that is over, and breaks off those that take their
// last frame too slowly. mu is what guards the audience.
func (a *audience[V]) dismiss(mu *sync.Mutex, code wire.Code) {
	mu.Lock()
	a.stayLocked()
	a.wakeLocked()
	viewers := a.allLocked()
	mu.Unlock()
	patience := exitWait
	if code == wire.None { // a slow line still has what was shown last before it
		patience = lastWait
	}
	stuck := time.AfterFunc(patience, func() {
		for _, v := range viewers {
			v.seated().stream.Reset(code)
		}
	})
	a.gone.Wait()
	stuck.Stop()
}
