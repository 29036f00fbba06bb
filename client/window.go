package client

import "sync"

// window is how much input a terminal may be sent ahead of what has arrived there.
type window struct {
	mu            sync.Mutex
	changed       *sync.Cond
	sent, arrived uint64 // both count from the session's beginning
	size          uint64
	ended         bool
}

func newWindow(typed, size uint64) *window {
	w := &window{sent: typed, arrived: typed, size: size}
	w.changed = sync.NewCond(&w.mu)
	return w
}

// take waits for room, and takes up to n bytes of it; 0: there will be none any more.
func (w *window) take(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.sent-w.arrived >= w.size && !w.ended {
		w.changed.Wait()
	}
	if w.ended {
		return 0
	}
	n = int(min(uint64(n), w.size-(w.sent-w.arrived)))
	w.sent += uint64(n)
	return n
}

// ack says that everything before offset has arrived. What was not sent has not.
func (w *window) ack(offset uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if offset > w.arrived && offset <= w.sent {
		w.arrived = offset
	}
	w.changed.Broadcast()
}

func (w *window) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	w.changed.Broadcast()
}
