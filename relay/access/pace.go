package access

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"

	"scrier/wire"
)

// How much an operator may change: each change is a record in the audit log, which never shrinks.
// Scripts do not come near it.
const (
	changes      = 10 // a second, logins among them
	changesBurst = 100

	// Links that sign in, and sign-outs everywhere. A person makes one now and then.
	doors      = 1 // a second
	doorsBurst = 10

	// Channels of open sessions, of which a page that is loaded through a forward opens dozens at once.
	channels      = 200 // a second
	channelsBurst = 4000

	// maxPaced is how many operators' ways to ask are remembered. One that was forgotten begins with a full burst.
	maxPaced = 4096
)

// pace is how fast each operator changes things. It goes by what shows who they are: whoever has stolen a sign-in or a
// login, or came by a link, must not use up what the operator needs to come in and to end that.
type pace struct {
	now func() time.Time

	mu sync.Mutex
	of *simplelru.LRU[string, paced]

	changes, doors, channels atomic.Uint64 // that were refused
}

type paced struct{ changes, doors, channels *rate.Limiter }

func newPace(now func() time.Time) *pace {
	of, err := simplelru.NewLRU[string, paced](maxPaced, nil)
	if err != nil {
		panic(err) // only for a size below 1
	}
	return &pace{now: now, of: of}
}

// Change takes a change of an operator's, or refuses with [wire.Busy]; door says that it is a
// link that signs in, or the end of sign-ins. The administrators of the relay's host are not limited:
// they can stop the relay, too.
func (a *Access) Change(who Operator, door bool) error {
	if who.ID == "" {
		return nil
	}
	of := who.ID + " " + who.SignIn // of a login from a terminal: ""
	if who.Proof != "" {
		of = who.ID + " signed"
	}
	if door {
		if !a.pace.operator(of).doors.AllowN(a.Now(), 1) {
			a.pace.doors.Add(1)
			return wire.Errorf(wire.Busy, "too many sign-in links and sign-outs of yours: one a second is possible; wait ten seconds and try again")
		}
	}
	return a.pace.change(of)
}

// Channel takes one more channel of an open session, which has two records in the audit log.
func (a *Access) Channel(who Operator) error {
	if who.ID != "" && !a.pace.operator(who.ID+" "+who.SignIn).channels.AllowN(a.Now(), 1) {
		a.pace.channels.Add(1)
		return wire.Errorf(wire.Busy, "too many channels of yours: %d a second are possible; wait a few seconds and try again", channels)
	}
	return nil
}

// arrive takes a login or sign-in of an operator.
func (p *pace) arrive(id string) error { return p.change(id + " arrives") }

// change takes an ordinary change.
func (p *pace) change(of string) error {
	if !p.operator(of).changes.AllowN(p.now(), 1) {
		p.changes.Add(1)
		return wire.Errorf(wire.Busy, "too many changes of yours: %d a second are possible; wait a few seconds and try again", changes)
	}
	return nil
}

func (p *pace) operator(of string) paced {
	p.mu.Lock()
	defer p.mu.Unlock()
	o, ok := p.of.Get(of)
	if !ok {
		o = paced{rate.NewLimiter(changes, changesBurst), rate.NewLimiter(doors, doorsBurst), rate.NewLimiter(channels, channelsBurst)}
		p.of.Add(of, o)
	}
	return o
}
