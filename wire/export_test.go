package wire

import "time"

// LineWith is a line of which a link says so much.
func LineWith(stats func() (sent, lost uint64, rtt time.Duration)) *Line { return &Line{stats: stats} }

// Taken is how much memory the lanes have.
func (m *LaneMemory) Taken() int64 { return m.taken.Load() }

// Fell says whether the stream's lane has broken.
func (l *Laned) Fell() bool {
	g := l.gated.Load()
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.lane != nil && g.lane.broke && !g.finished
}

// Fill has all memory taken.
func (m *LaneMemory) Fill() { m.taken.Store(laneMemory) }
