package terminal

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"scrier/relay/session/audience"
	"scrier/wire"
)

// Skipping is what a terminal's driver does when its user types Ctrl-C: output that waits is thrown
// away. Here it waits in many places; so once the owner has typed such a key the channel is read as
// fast as it goes, until the driver at the far end shows that it has reacted: it echoes ^C, ^\ or ^Z.
// Then the owner's viewer gets the screen as it is by now, in place of what it was not sent yet. What
// was left out stays in the backlog. Without a reaction nothing is left out.
type skipping struct {
	until time.Time // the owner has typed such a key, and a reaction counts until then; zero: no
	pause time.Time // until then the owner is sent nothing more
	half  bool      // the output ended in the first half of a reaction
	due   bool      // the reaction has come
}

// marks tell how many lines had left the screen at its top when there was so much output.
type marks []mark

type mark struct{ offset, left uint64 }

// markEvery is how far two marks are apart, in bytes.
const markEvery = 4 << 10

// add makes a mark, and forgets those that lie before what is still to be sent.
func (m *marks) add(offset, left, kept uint64) {
	if n := len(*m); n > 0 && offset-(*m)[n-1].offset < markEvery {
		return
	}
	first := 0
	for first+1 < len(*m) && (*m)[first+1].offset <= kept {
		first++
	}
	*m = append((*m)[:copy(*m, (*m)[first:])], mark{offset, left})
}

// at is how many lines had left when there were offset bytes, or a little before.
func (m marks) at(offset uint64) (left uint64) {
	for _, k := range m {
		if k.offset > offset {
			break
		}
		left = k.left
	}
	return left
}

const (
	// skipWait is how long a reaction may take to come through what was printed before it.
	skipWait = 15 * time.Second

	// skipPause is how long the owner is sent nothing while a reaction is waited for: it would most likely
	// be left out.
	skipPause = 250 * time.Millisecond

	// worthSkipping is how much must wait, in bytes, for anything to be left out.
	worthSkipping = 16 << 10

	// skipAhead is how far output may be ahead of the owner's screen while a reaction is waited for: what
	// SSH's window (2 MiB) holds, and what the backlog does.
	skipAhead = 4 << 20

	// maxRepaint is the longest repaint that is sent, in bytes. What is left out must be longer.
	maxRepaint = 256 << 10
)

// interrupts says whether a key has a terminal's driver throw output away: VINTR, VQUIT and VSUSP, as
// they are set everywhere.
func interrupts(b byte) bool { return b == 0x03 || b == 0x1c || b == 0x1a }

// reacts says whether b behind a ^ is how the driver echoes such a key (ECHOCTL).
func reacts(b byte) bool { return interrupts(b ^ 0x40) }

// typedLocked looks at what the owner types; v is their seat.
func (t *Terminal) typedLocked(v *audience.Seat, p []byte, now time.Time) {
	if !slices.ContainsFunc(p, interrupts) {
		return
	}
	again := t.skipping.awaits(now) // who holds the key down must not hold the screen
	t.skipping.until = now.Add(skipWait)
	if !again && t.out.head-v.Seen >= worthSkipping { // also what is on its way: the program prints
		t.skipping.pause = now.Add(skipPause)
		time.AfterFunc(skipPause, func() {
			t.mu.Lock()
			defer t.mu.Unlock()
			v.WakeLocked()
		})
	}
	wake(t.room)
}

// awaits says that a reaction is waited for.
func (s *skipping) awaits(now time.Time) bool { return now.Before(s.until) && !s.due }

// pauses says that the owner is sent nothing now.
func (s *skipping) pauses(now time.Time) bool { return now.Before(s.pause) && !s.due }

// look looks for the reaction in new output.
func (s *skipping) look(p []byte, now time.Time) {
	if !s.awaits(now) || len(p) == 0 {
		return
	}
	if s.half && reacts(p[0]) {
		s.due = true
	}
	for i := 0; !s.due; {
		j := bytes.IndexByte(p[i:], '^')
		if j < 0 || i+j+1 == len(p) {
			break
		}
		i += j + 1
		s.due = reacts(p[i])
	}
	s.half = p[len(p)-1] == '^'
}

// skipLocked leaves out what a viewer has not been sent, and says so with messages; none if a repaint
// would be longer than that.
func (t *Terminal) skipLocked(v *audience.Seat) (messages []wire.Message) {
	left := t.out.head - v.Next
	most := min(left, maxRepaint)
	t.fitLocked(t.input.size) // the viewer's has this size already
	repaint := t.screen.Repaint(nil, int(most), t.screen.Left()-t.marks.at(v.Next), note(left))
	if repaint == nil {
		return nil
	}
	v.SkipLocked(t.out.head)
	v.Missed = 0 // the viewer learns the number
	return skips(repaint, v.Next)
}

// note is the line that stands where output was left out.
func note(n uint64) string {
	if n < 1<<20 {
		return fmt.Sprintf("… %d kB not shown …", n/1000)
	}
	return fmt.Sprintf("… %.1f MB not shown …", float64(n)/1e6)
}
