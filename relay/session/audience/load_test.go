package audience

import (
	"testing"
	"time"

	"scrier/relay/session"
	"scrier/relay/session/sessiontest"
	"scrier/wire"
	"scrier/wire/wiretest"
)

// counted is a stream whose connection loses packets as the test says.
type counted struct {
	wire.Stream
	sent, lost uint64
}

func (c *counted) Path() (sent, lost uint64, trip time.Duration) {
	return c.sent, c.lost, 50 * time.Millisecond
}

// line is a seat whose way carries what the test says, in time that the test counts.
type line struct {
	v       *Seat
	packets *counted
	now     time.Time
}

// runs has it carry rate bytes a second for a while, and lose some of a thousand packets a second; full is how much of the time
// more waits.
func (l *line) runs(d time.Duration, rate, lost uint64, full float64) {
	const step = 100 * time.Millisecond
	for i := 0; time.Duration(i)*step < d; i++ {
		l.packets.sent += 100
		l.packets.lost += lost / 10
		l.v.pace.acked += rate / 10
		l.v.weighLocked(float64(i%20) < 20*full, wire.ViewerWindow, l.now)
		l.now = l.now.Add(step)
	}
}

// comes has the page open the lane that it is offered; false: there is none.
func (l *line) comes(t *testing.T) bool {
	if l.v.aside == nil {
		return false
	}
	l.v.audience.mu.Unlock()
	_, _, err := l.v.audience.open(wire.NewFramed(l.packets), session.Viewer{Aside: l.v.aside.number})
	l.v.audience.gone.Done()
	l.v.audience.mu.Lock()
	if err != nil {
		t.Fatal(err)
	}
	return true
}

// over has the page say that the lane is over, if it was called back.
func (l *line) over(t *testing.T) bool {
	if l.v.aside == nil || l.v.aside.recalled.IsZero() {
		return false
	}
	if err := l.v.asideOverLocked(&wire.Aside{N: l.v.asided, Over: true}); err != nil {
		t.Fatal(err)
	}
	return true
}

func newLine(t *testing.T) *line {
	table, _ := sessiontest.Table(t)
	w := watch(t, table, sessiontest.Reserve(t, table))
	near, _ := wiretest.Streams()
	l := &line{v: w.v, packets: &counted{Stream: near}, now: time.Now()}
	l.v.stream = wire.NewFramed(l.packets)
	w.a.mu.Lock()
	t.Cleanup(w.a.mu.Unlock)
	return l
}

// A lane is offered where output waits and packets are lost, and not where another way would carry no more.
func TestAsideWhen(t *testing.T) {
	for _, c := range []struct {
		name       string
		rate, lost uint64
		full       float64
		asides     bool
		want       bool
	}{
		{"lossy", 300_000, 10, 1, true, true},
		{"a desktop's pictures, with pauses", 300_000, 10, 0.8, true, true},
		{"the page knows no lanes", 300_000, 10, 1, false, false},
		{"nothing is lost", 300_000, 0, 1, true, false},
		{"little is to be sent", 300_000, 10, 0.5, true, false},
		{"the window is what bounds it", 4_000_000, 10, 1, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLine(t)
			l.v.Asides = c.asides
			l.runs(2*time.Second, c.rate, c.lost, c.full)
			if l.v.aside != nil {
				t.Error("offered before it was measured")
			}
			l.runs(5*time.Second, c.rate, c.lost, c.full)
			if (l.v.aside != nil) != c.want {
				t.Errorf("offered: %v", l.v.aside != nil)
			}
		})
	}
}

// A lane that carries no more than the stream is given up, for ever longer; one that does stays until it is not needed.
func TestAsideOnlyWhereItWins(t *testing.T) {
	l := newLine(t)
	var waits []time.Duration
	since := l.now
	for range 3 {
		for i := 0; !l.comes(t); i++ {
			if i == 100_000 {
				t.Fatal("no lane is offered any more")
			}
			l.runs(time.Second, 300_000, 10, 1)
		}
		waits = append(waits, l.now.Sub(since))
		since = l.now
		for i := 0; !l.over(t); i++ {
			if i == 10 {
				t.Fatal("a lane that carries no more stays")
			}
			l.runs(time.Second, 350_000, 10, 1)
		}
	}
	if waits[0] > 5*time.Second || waits[1] < 4*time.Minute || waits[2] < 2*waits[1]-10*time.Second {
		t.Errorf("offered after %v", waits)
	}
	for !l.comes(t) {
		l.runs(time.Second, 300_000, 10, 1)
	}
	l.runs(10*time.Minute, 900_000, 10, 1)
	if l.over(t) {
		t.Fatal("a lane that carries three times as much is given up")
	}
	a := l.v.aside
	l.runs(20*time.Second, 900_000, 10, 0.1)
	l.v.lookLocked(a, l.now)
	if l.over(t) {
		t.Fatal("given up 20 s after the last load")
	}
	l.runs(20*time.Second, 900_000, 10, 0.1)
	l.v.lookLocked(a, l.now)
	if !l.over(t) {
		t.Fatal("it stays, and nothing needs it")
	}
	if wait := l.v.mayMove.Sub(l.now); wait > time.Minute {
		t.Errorf("it was useful, and the next is offered after %v", wait)
	}
}

// A lane on which nothing is said to arrive is called back, and a page that does not answer that is gone.
func TestAsideStalls(t *testing.T) {
	l := newLine(t)
	l.runs(4*time.Second, 300_000, 10, 1)
	if !l.comes(t) {
		t.Fatal("no lane is offered")
	}
	a := l.v.aside
	a.kept = append(a.kept, keptFrame{b: []byte("frame")})
	l.v.lookLocked(a, a.moved.Add(3*time.Second))
	if !a.recalled.IsZero() {
		t.Fatal("called back after 3 s")
	}
	l.v.lookLocked(a, a.moved.Add(5*time.Second))
	if a.recalled.IsZero() {
		t.Fatal("not called back after 5 s")
	}
	l.v.lookLocked(a, a.recalled.Add(2*time.Minute))
	if l.v.lost != nil {
		t.Fatal(l.v.lost)
	}
	l.v.lookLocked(a, a.recalled.Add(4*time.Minute))
	if wire.CodeOf(l.v.lost) != wire.ViewerLost {
		t.Errorf("the page is not given up: %v", l.v.lost)
	}
}

// One that was offered, and that nobody opens, is forgotten.
func TestAsideNobodyCame(t *testing.T) {
	l := newLine(t)
	l.runs(4*time.Second, 300_000, 10, 1)
	a := l.v.aside
	if a == nil {
		t.Fatal("no lane is offered")
	}
	l.v.lookLocked(a, a.expires.Add(time.Second))
	if l.v.aside != nil || len(l.v.notes) != 2 {
		t.Errorf("the seat still waits; it has to say %d words", len(l.v.notes))
	}
	if l.v.mayMove.Before(l.now) {
		t.Error("the next one is offered at once")
	}
}
