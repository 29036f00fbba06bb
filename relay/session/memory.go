package session

import "sync"

// Memory is what a relay may keep for programs and connections whose viewers may come back, all of them together. No operator gets more
// than is left for the others then: one alone gets half of it, the next one a quarter. Its methods may be called at the same time. Of nil
// nothing can be had.
type Memory struct {
	most int

	mu   sync.Mutex
	free int
	by   map[string]int // what each operator has
}

// UsualMemory is enough for some hundreds of them, of which a few dozen carry much, in bytes.
const UsualMemory = 128 << 20

// NewMemory makes one of so many bytes.
func NewMemory(n int) *Memory { return &Memory{most: n, free: n, by: map[string]int{}} }

// Take says whether an operator can have n bytes: then they have them until Give.
func (m *Memory) Take(operatorID string, n int) bool {
	if m == nil {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.by[operatorID]+n > m.free-n {
		return false
	}
	m.free -= n
	m.by[operatorID] += n
	return true
}

// Give gives bytes back.
func (m *Memory) Give(operatorID string, n int) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.free += n
	if m.by[operatorID] -= n; m.by[operatorID] == 0 {
		delete(m.by, operatorID)
	}
}

// Taken is how many bytes are taken, and of how many.
func (m *Memory) Taken() (taken, most int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.most - m.free, m.most
}
