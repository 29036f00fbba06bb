package agent

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"time"

	"scrier/roads"
	"scrier/wire"
)

const (
	// factsEvery is how often a resting agent says how the machine is if nothing has changed that anybody would look for. The relay
	// writes it to its disk as often.
	factsEvery = 5 * time.Minute

	// settled is when what an agent has said is surely on its way, and its silence begins.
	settled = 2 * time.Second

	// verdict is how long the relay may take to show that the way is good, when its question did not come.
	verdict = 3 * time.Second

	// asleep is by how much more the wall's clock must have gone on for this machine to have slept.
	asleep = 5 * time.Second
)

// beat says how the machine is, until ctx ends.
func (l *agentLink) beat(ctx context.Context) error {
	if way, ok := l.link.(wire.Roamer); ok && l.rests {
		b := &beats{agentLink: l, way: way, network: l.here()}
		return b.run(ctx)
	}
	tick := time.NewTicker(l.interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		case <-l.now:
		}
		if err := l.control.Send(&wire.Heartbeat{Time: wire.Millis(l.Now()), Facts: l.tell(ctx)}); err != nil {
			return fmt.Errorf("send heartbeat: %w", err)
		}
	}
}

// beats is what an agent says of itself over QUIC to a relay that knows of rests. While it has sessions that is a heartbeat at each
// interval. Else it rests, and one small packet a rest is all: its answer to the relay, which asks when the rest is over. See [rhythm].
type beats struct {
	*agentLink
	way     wire.Roamer
	network string // that the rhythm is of

	told    time.Duration // the rest that the relay knows; 0: none
	facts   wire.Facts    // as the relay knows them
	at      time.Time     // when it was told
	silence time.Time     // since when nothing was sent; zero: not yet
	count   uint64        // of packets that were sent before
	tick    *time.Ticker  // it is time to look how the machine is, and to say so while there are sessions
	late    *time.Timer   // the relay's question has not come
	settle  *time.Timer   // the silence begins
	doubt   *time.Timer   // whether the way is good is known
	doubts  bool          // it is not known
	heard   uint64        // packets that had come when the doubt began
}

func (b *beats) run(ctx context.Context) error {
	b.late, b.settle, b.doubt = time.NewTimer(0), time.NewTimer(0), time.NewTimer(0)
	for _, t := range []*time.Timer{b.late, b.settle, b.doubt} {
		t.Stop()
		defer t.Stop()
	}
	b.tick = time.NewTicker(b.interval)
	defer b.tick.Stop()
	b.told, b.facts, b.at = b.rhythm.rest, b.first, time.Now() // by Hello
	b.spoken()
	for {
		now := b.facts
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-b.tick.C:
			if now = b.tell(ctx); !b.due(now) {
				continue
			}
		case <-b.now:
			now = b.tell(ctx)
			b.moved()
		case sent := <-b.asked:
			if !b.answered(sent) {
				continue
			}
		case <-b.settle.C:
			b.silence, b.count = time.Now(), b.way.Sent()
			continue
		case <-b.late.C:
			b.missed()
		case <-b.doubt.C:
			if b.doubts = false; b.way.Heard() == b.heard { // nothing passes at all, which says nothing of rests: roam looks after that
				continue
			}
			b.lost()
		}
		if err := b.say(now); err != nil {
			return err
		}
	}
}

// due says whether there is something that the relay is to be told.
func (b *beats) due(now wire.Facts) bool {
	return b.rest() == 0 || b.told != b.rest() || time.Since(b.at) >= factsEvery || differ(b.facts, now)
}

// rest is how long the agent rests now.
func (b *beats) rest() time.Duration {
	if b.usage.busy() {
		return 0
	}
	return b.rhythm.rest
}

func (b *beats) say(facts wire.Facts) error {
	b.told, b.facts, b.at = b.rest(), facts, time.Now()
	if err := b.control.Send(&wire.Heartbeat{Time: wire.Millis(b.Now()), Facts: facts, Rest: uint32(b.told / time.Second)}); err != nil {
		return fmt.Errorf("send heartbeat: %w", err)
	}
	b.spoken()
	return nil
}

// spoken begins a silence.
func (b *beats) spoken() {
	b.silence = time.Time{}
	b.settle.Reset(settled)
	b.tick.Reset(min(b.interval, b.rhythm.rest)) // with a session the network must not forget the link either
	b.late.Stop()
	if b.told > 0 {
		b.late.Reset(b.told + restSlack)
	}
}

// answered takes a question of the relay's, which was answered when so many packets had been sent. It says whether there is a new
// rest for the relay to be told.
func (b *beats) answered(sent uint64) bool {
	before := b.rhythm.rest
	if b.doubts { // it has come behind what was said here
		b.doubts = false
		b.doubt.Stop()
		b.lost()
		return true
	}
	// One more may have gone: that the question has come.
	if b.told == before && !b.silence.IsZero() && sent <= b.count+1 && b.rhythm.held(time.Since(b.silence)) {
		b.learnt()
	}
	b.spoken()
	return b.told > 0 && b.rhythm.rest != before
}

// missed is when the relay's question did not come. What is sent behind it finds the way again; if the relay hears that, it was
// the rest that was too long.
func (b *beats) missed() {
	// A machine that slept has not rested.
	slept := time.Now().Round(0).Sub(b.at.Round(0))-time.Since(b.at) > asleep
	if b.silence.IsZero() || b.way.Sent() != b.count || slept || b.told != b.rhythm.rest {
		return
	}
	b.heard, b.doubts = b.way.Heard(), true
	b.doubt.Reset(verdict)
}

// lost is when the way is good and the question had not come.
func (b *beats) lost() {
	b.Log.Debug("the network forgets the link in a rest", "rest", b.rhythm.rest)
	if b.rhythm.lost() {
		b.learnt()
	}
}

// moved looks whether this is another network, with a rhythm of its own.
func (b *beats) moved() {
	if here := b.here(); here != b.network {
		b.network, b.rhythm = here, b.knownRhythm()
	}
}

// learnt notes what is known of the network.
func (b *beats) learnt() {
	if here := b.here(); here != b.network { // it is about another one
		return
	}
	if err := b.State.roads(b.Now).Rested(b.enrolment.Relay, b.rhythm.know); err != nil {
		b.Log.Warn("how long the network remembers a link cannot be noted", "err", err)
	}
}

// here names the network that this machine is in.
func (a *Agent) here() string { return roads.Network() }

// knownRhythm is the rhythm with which to begin here.
func (a *Agent) knownRhythm() rhythm {
	return newRhythm(a.State.roads(a.Now).Rest(a.enrolment.Relay))
}

// differ says whether somebody who looks at a machine would want to know of a difference at once.
func differ(a, b wire.Facts) bool {
	if more, less := max(a.Load, b.Load), min(a.Load, b.Load); more-less >= max(50, less/4) {
		return true
	}
	a.Uptime, a.Load, a.Offset = b.Uptime, b.Load, b.Offset
	return !slices.Equal(a.Users, b.Users) || !reflect.DeepEqual(withoutUsers(a), withoutUsers(b))
}

func withoutUsers(f wire.Facts) wire.Facts {
	f.Users = nil // an empty list is the same as none
	return f
}
