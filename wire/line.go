package wire

import (
	"sync"
	"time"
)

// When a [Line] is lossy. quic-go's congestion control (NewReno) halves what it sends for each loss, so it carries little there.
const (
	lossOneIn  = 300  // packets
	lossPacket = 100  // that were sent, before anything is judged
	lossLeast  = 2    // packets: one may be chance
	lossRecent = 3000 // packets; of the line's past twice that count
)

// longLine is the round trip from which a TCP connection that begins anew needs seconds to be as fast as the link was.
const longLine = 150 * time.Millisecond

// After how many bytes a lane pays.
const (
	laneAfterLossy = 128 << 10
	laneAfterClean = 4 << 20
	laneAfterLong  = 64 << 20 // on a line that is long and clean: what the link carries while the lane would become fast, five times
)

// Line is what a link's own packets tell of the way to the peer. Its methods may be called at the same time; a nil Line knows nothing.
type Line struct {
	stats func() (sent, lost uint64, rtt time.Duration)

	mu     sync.Mutex
	before [2]linePackets // older, newer
}

type linePackets struct{ sent, lost uint64 }

// LineOf gives the line of a link; nil: the link does not tell.
func LineOf(l Link) *Line {
	if l, ok := l.(interface{ line() *Line }); ok {
		return l.line()
	}
	return nil
}

// Lossy says that of what this side sent lately at least 1 in 300 packets were lost.
func (l *Line) Lossy() bool {
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	sent, lost, _ := l.stats()
	now := linePackets{sent, lost}
	if now.sent-l.before[1].sent >= lossRecent {
		l.before[0], l.before[1] = l.before[1], now
	}
	sent, lost = now.sent-l.before[0].sent, now.lost-l.before[0].lost
	return sent >= lossPacket && lost >= lossLeast && lost*lossOneIn >= sent
}

// After is how many bytes a stream is to have carried before a lane pays.
func (l *Line) After() int64 {
	if l == nil {
		return laneAfterClean
	}
	if l.Lossy() {
		return laneAfterLossy
	}
	if _, _, rtt := l.stats(); rtt >= longLine {
		return laneAfterLong
	}
	return laneAfterClean
}
