package client

import "sync"

// maxKept is how much memory the connections of a session may keep beyond what each has from its beginning, in bytes. A relay cannot have this
// program keep more.
const maxKept = 128 << 20

// budget is memory that several may take from.
type budget struct {
	mu   sync.Mutex
	free int
}

func (b *budget) take(n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n > b.free {
		return false
	}
	b.free -= n
	return true
}

func (b *budget) give(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.free += n
}
