package program

import "sync"

// Memory is what the numbered programs of a relay may keep, all of them together. Its methods may be called at the same time. Of
// nil nothing can be had.
type Memory struct {
	mu   sync.Mutex
	free int
}

// UsualMemory is enough for some hundred programs, of which a few dozen carry much, in bytes.
const UsualMemory = 128 << 20

// NewMemory makes one of so many bytes.
func NewMemory(n int) *Memory { return &Memory{free: n} }

// take says whether n bytes can be had: then they are until give.
func (m *Memory) take(n int) bool {
	if m == nil {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if n > m.free {
		return false
	}
	m.free -= n
	return true
}

func (m *Memory) give(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.free += n
}
