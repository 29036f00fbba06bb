package agent

import (
	"testing"
	"time"

	"scrier/roads"
	"scrier/wire"
)

// natted plays a network that forgets after a while, until nothing is learnt any more. asked is how often the relay did meanwhile.
func natted(t *testing.T, r *rhythm, forgets time.Duration) (asked int) {
	t.Helper()
	for steady := 0; steady < 3; asked++ {
		if asked > 50 {
			t.Fatalf("a network that forgets after %s: it never settles", forgets)
		}
		before := *r
		if r.rest < forgets {
			r.held(r.rest)
		} else {
			r.lost()
		}
		if f := before.know.Failed; f > 0 && r.rest > max(f/2, wire.MinRest) {
			t.Fatalf("it rests for %s although %s failed", r.rest, f)
		}
		if *r == before {
			steady++
		} else {
			steady = 0
		}
	}
	return asked
}

// Rests grow to a minute where all holds, and settle below what a network forgets after, at half of what failed at most.
func TestRhythmSettles(t *testing.T) {
	for forgets := 6 * time.Second; forgets < 3*time.Minute; forgets += time.Second {
		r := newRhythm(roads.Rest{})
		if r.rest != 15*time.Second {
			t.Fatalf("it begins with %s", r.rest)
		}
		asked := natted(t, &r, forgets)
		switch {
		case r.rest >= forgets:
			t.Errorf("a network that forgets after %s: it rests for %s", forgets, r.rest)
		case forgets > time.Minute && r.rest != time.Minute:
			t.Errorf("a network that holds: it rests for %s", r.rest)
		case r.rest < min(forgets/4, time.Minute) && r.rest > wire.MinRest:
			t.Errorf("a network that forgets after %s: it rests for no more than %s", forgets, r.rest)
		}
		if asked > 12 {
			t.Errorf("a network that forgets after %s: it took %d rests to learn", forgets, asked)
		}
		// The next link in this network begins there.
		if again := newRhythm(r.know); again.rest != r.rest {
			t.Errorf("it rests for %s, and the next link begins with %s", r.rest, again.rest)
		}
	}
}

// A network that forgets at once is asked no more often than may be.
func TestRhythmIsBounded(t *testing.T) {
	r := newRhythm(roads.Rest{})
	natted(t, &r, 0)
	if r.rest != wire.MinRest || r.seconds() != 5 {
		t.Errorf("it rests for %s", r.rest)
	}
	for _, know := range []roads.Rest{{Held: time.Hour}, {Held: time.Second}, {Held: time.Minute, Failed: time.Second}, {Failed: time.Hour}} {
		if r := newRhythm(know); r.rest < wire.MinRest || r.rest > wire.MaxRest {
			t.Errorf("%+v: it rests for %s", know, r.rest)
		}
	}
}

// A question that comes behind something else was said teaches nothing.
func TestRhythmWantsSilence(t *testing.T) {
	r := newRhythm(roads.Rest{})
	if r.held(5*time.Second) || r.rest != 15*time.Second || r.know.Held != 0 {
		t.Errorf("it has learnt %+v and rests for %s", r.know, r.rest)
	}
	if !r.held(14*time.Second) || r.rest != 20*time.Second {
		t.Errorf("it has learnt %+v and rests for %s", r.know, r.rest)
	}
}
