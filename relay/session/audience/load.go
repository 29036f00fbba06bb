package audience

import "time"

// load measures how much of the time a viewer's output waited for its way, and how much that carried and lost.
type load struct {
	since time.Time // when this measurement began; zero: it has not
	last  time.Time // when it was looked at
	full  bool      // then there was more than the way took
	wait  time.Duration

	acked, sent, lost uint64 // as they were when it began
}

// loaded is the result of one measurement.
type loaded struct {
	busy       bool    // nearly all the time there was more to send than the way took
	rate       float64 // bytes a second that were acknowledged
	sent, lost uint64  // packets
}

// busyShare is the part of the time that makes a way busy. A desktop's pictures come piece by piece.
const busyShare = 0.75

// look notes whether there is more than the way takes, and gives the result of a measurement that took a time.
func (l *load) look(full bool, took time.Duration, acked, sent, lost uint64, now time.Time) (r loaded, ok bool) {
	if !l.since.IsZero() && l.full {
		l.wait += now.Sub(l.last)
	}
	span := now.Sub(l.since)
	if ok = !l.since.IsZero() && span >= took; ok {
		r = loaded{
			busy: float64(l.wait) >= busyShare*float64(span), rate: float64(acked-min(acked, l.acked)) / span.Seconds(),
			sent: sent - min(sent, l.sent), lost: lost - min(lost, l.lost),
		}
	}
	if ok || l.since.IsZero() {
		*l = load{since: now, acked: acked, sent: sent, lost: lost}
	}
	l.last, l.full = now, full
	return r, ok
}
