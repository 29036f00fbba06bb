package session

import "sync"

// Memory is what a relay may keep for programs and connections whose viewers may come back, all of them together. Its methods may be
// called at the same time. Of nil nothing can be had.
type Memory struct {
	mu   sync.Mutex
	free int
}

// UsualMemory is enough for some hundreds of them, of which a few dozen carry much, in bytes.
const UsualMemory = 128 << 20

// NewMemory makes one of so many bytes.
func NewMemory(n int) *Memory { return &Memory{free: n} }

// Take says whether n bytes can be had: then they are until Give.
func (m *Memory) Take(n int) bool {
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

// Give gives bytes back.
func (m *Memory) Give(n int) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.free += n
}
