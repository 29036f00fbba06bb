package audience

import "time"

// pace is how much may be on the way to a viewer: as much as the way carries in its round trip and
// what a person does not notice, and no more. What is on the way lies in front of every echo.
//
// It learns from acknowledgements, which say what is on the screen: so a slow terminal counts like a
// slow line. The rate is the highest of late, the round trip the shortest of late; both as in BBR
// (draft-ietf-ccwg-bbr). When there was no more to send, the rate that was measured is the program's and
// not the line's: then it counts only if it is higher.
type pace struct {
	sends []send // not acknowledged yet, oldest first

	acked   uint64    // the highest number that was acknowledged
	ackedAt time.Time // when

	rates  [2]float64 // bytes a second, the highest of this period and of the one before
	rateAt time.Time  // when this period began

	trips   [2]time.Duration // the shortest of this period and of the one before; 0: none
	tripAt  time.Time        // when this period began
	quietTo time.Time        // until then little is sent, so that a round trip without a queue is seen

	inOrder bool // what is behind a lost packet waits for it: another round trip's worth must be on the way
}

// send is one moment at which something was sent.
type send struct {
	end     uint64 // the number behind its last byte
	at      time.Time
	acked   uint64    // what was acknowledged then
	ackedAt time.Time // and when
	limited bool      // by the program: there was no more to send
}

const (
	// What is on the way may have to wait there for half of the round trip, within these bounds: nobody
	// notices it then, and the rate is still found out.
	minQueue = 10 * time.Millisecond
	maxQueue = 50 * time.Millisecond

	minWindow = 16 << 10 // bytes; what a line of 2 Mbit/s carries in 65 ms

	ratePeriod = time.Second
	tripPeriod = 10 * time.Second

	maxSends = 128 // moments remembered; of what is sent beyond them only the last end is
)

// sent notes that everything up to end was sent; limited says that there is no more.
func (p *pace) sent(end uint64, limited bool, now time.Time) {
	if len(p.sends) == 0 {
		p.ackedAt = now // nothing was on the way: the time before tells nothing about the rate
	}
	if n := len(p.sends); n == maxSends {
		p.sends[n-1].end, p.sends[n-1].limited = end, limited
		return
	}
	p.sends = append(p.sends, send{end: end, at: now, acked: p.acked, ackedAt: p.ackedAt, limited: limited})
}

// shown notes that the viewer has acknowledged everything up to offset.
func (p *pace) shown(offset uint64, now time.Time) {
	var last *send
	n := 0
	for n < len(p.sends) && p.sends[n].end <= offset {
		last = &p.sends[n]
		n++
	}
	if offset > p.acked {
		p.acked, p.ackedAt = offset, now
	}
	if last == nil {
		return
	}
	p.trip(now.Sub(last.at), now)
	if took := now.Sub(last.ackedAt); took > 0 && offset > last.acked {
		p.rate(float64(offset-last.acked)/took.Seconds(), last.limited, now)
	}
	p.sends = p.sends[:copy(p.sends, p.sends[n:])]
}

func (p *pace) rate(r float64, limited bool, now time.Time) {
	if limited && r < max(p.rates[0], p.rates[1]) {
		return
	}
	if now.Sub(p.rateAt) >= ratePeriod {
		p.rates[1], p.rates[0], p.rateAt = p.rates[0], 0, now
	}
	p.rates[0] = max(p.rates[0], r)
}

func (p *pace) trip(d time.Duration, now time.Time) {
	if now.Sub(p.tripAt) >= tripPeriod {
		if p.trips[0] > 0 {
			p.quietTo = now.Add(p.base() + queue(p.base()))
		}
		p.trips[1], p.trips[0], p.tripAt = p.trips[0], 0, now
	}
	if d = max(d, time.Microsecond); p.trips[0] == 0 || d < p.trips[0] {
		p.trips[0] = d
	}
}

// base is the round trip without a queue; 0: not known.
func (p *pace) base() time.Duration {
	if p.trips[0] == 0 || p.trips[1] != 0 && p.trips[1] < p.trips[0] {
		return p.trips[1]
	}
	return p.trips[0]
}

// skipped notes that what was sent and not acknowledged counts no more.
func (p *pace) skipped(to uint64, now time.Time) {
	p.sends = p.sends[:0]
	p.acked, p.ackedAt = to, now
}

// window is how far output may be ahead of its acknowledgement, in bytes, at most limit.
func (p *pace) window(limit uint64, now time.Time) uint64 {
	rate, base := max(p.rates[0], p.rates[1]), p.base()
	if rate == 0 || base == 0 {
		return max(minWindow, limit/4)
	}
	wait := base + queue(base)
	if p.inOrder {
		wait += base
	}
	if now.Before(p.quietTo) {
		wait = base / 2
	}
	return min(max(uint64(rate*wait.Seconds()), minWindow), limit)
}

// queue is how long what is on the way may wait there, on a way with that round trip. On a long way it takes
// more to find out what it carries.
func queue(base time.Duration) time.Duration {
	return max(minQueue, min(base/2, maxQueue), base/4)
}
