package wire

// Taken is how much memory the lanes have.
func (m *LaneMemory) Taken() int64 { return m.taken.Load() }

// Fell says whether the stream's lane has broken.
func (l *Laned) Fell() bool {
	g := l.gated.Load()
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.lane != nil && g.lane.broke && !g.finished
}
