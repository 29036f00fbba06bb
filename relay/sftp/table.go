package sftp

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"

	"scrier/wire"
)

// The bounds of a connection.
const (
	// maxRequests is how many requests may wait for an answer; then the client waits. Each takes some KiB at most, and with
	// blocks of 32 KiB that many fill a way of 100 ms with 160 MiB/s.
	maxRequests = 512
	// maxHandles is how many files and folders may be open, as many as most servers' processes may open.
	maxHandles = 1024
)

// request is one that waits for its answer.
type request struct {
	id     uint32
	order  uint64
	answer packet  // the type of its answer, besides STATUS
	opened *handle // what HANDLE would open
	handle *handle // what READ, WRITE, CLOSE and FSETSTAT are about
	offset uint64  // of a READ
	length uint32
	change *Change // to be recorded with the answer
	attrs  string  // of a FSETSTAT
	limits bool    // the answer is [capped]
	close  bool
}

// own is an answer of our own.
type own struct {
	order  uint64
	packet []byte
}

// handle is an open file or folder. Its fields that change have one user at a time: up is for who reads the client, down
// and status for who reads the server, who also makes the record when there is nothing to come from the client.
type handle struct {
	order    uint64
	name     string // as the server gave it
	path     []byte
	folder   bool
	writes   bool // it was opened for writing
	asked    bool // something was to be read
	up, down digest
	attrs    string
	// names have been listed of a folder, and how many bytes they took
	names, listed atomic.Int64
	status        Status
}

// file is its record.
func (h *handle) file() File {
	f := File{Path: h.path, Attributes: h.attrs, Status: h.status}
	if h.writes || h.up.bytes > 0 {
		f.Up = h.up.transfer()
		if h.status != OK {
			f.Up.SHA256 = nil // what was sent is not what is there
		}
	}
	if h.asked || f.Up == nil {
		f.Down = h.down.transfer()
	}
	return f
}

// maxAttributes bounds what a record says was set while a file was open, in bytes.
const maxAttributes = 256

// set adds what was set.
func (h *handle) set(attrs string) {
	switch {
	case h.attrs == "":
		h.attrs = attrs
	case len(h.attrs)+len(attrs) < maxAttributes:
		h.attrs += "; " + attrs
	}
}

// fail keeps the first failure.
func (h *handle) fail(s Status) {
	if h.status == OK && s != EOF {
		h.status = s
	}
}

// table is what is open and what waits for an answer. Its methods may be called at the same time.
type table struct {
	mu      sync.Mutex
	room    sync.Cond // one less waits, or over
	over    bool
	orders  uint64
	waiting map[uint32]*request
	own     []own
	opening int // requests that would open something
	handles map[string]*handle
}

func newTable() *table {
	t := &table{waiting: map[uint32]*request{}, handles: map[string]*handle{}}
	t.room.L = &t.mu
	return t
}

// full says whether a request would have to wait.
func (t *table) full() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.fullLocked()
}

func (t *table) fullLocked() bool { return len(t.waiting)+len(t.own) >= maxRequests && !t.over }

// add has a request wait for its answer, once there is room.
func (t *table) add(r *request) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.fullLocked() {
		t.room.Wait()
	}
	if t.waiting[r.id] != nil {
		return wire.Errorf(wire.Protocol, "the SFTP client used the id %d for a request while another one with it was not answered yet", r.id)
	}
	r.order = t.nextLocked()
	if r.opened != nil {
		r.opened.order = r.order
		t.opening++
	}
	if r.close {
		delete(t.handles, r.handle.name) // the server may give it again before it answers
	}
	t.waiting[r.id] = r
	return nil
}

func (t *table) nextLocked() uint64 {
	t.orders++
	return t.orders
}

// addOwn has an answer of our own wait for those of the server's that come before it.
func (t *table) addOwn(packet []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.fullLocked() {
		t.room.Wait()
	}
	t.own = append(t.own, own{t.nextLocked(), packet})
}

// answered takes a request out; nil: nobody asked. ready are answers of our own whose turn it is behind it.
func (t *table) answered(id uint32) (r *request, ready [][]byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r = t.waiting[id]; r == nil {
		return nil, nil
	}
	delete(t.waiting, id)
	if r.opened != nil {
		t.opening--
	}
	t.room.Signal()
	return r, t.readyLocked()
}

// ready are answers of our own whose turn it is.
func (t *table) ready() [][]byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.readyLocked()
}

func (t *table) readyLocked() (ready [][]byte) {
	if len(t.own) == 0 {
		return nil
	}
	first := ^uint64(0)
	for _, r := range t.waiting {
		first = min(first, r.order)
	}
	for len(t.own) > 0 && t.own[0].order < first {
		ready = append(ready, t.own[0].packet)
		t.own = t.own[1:]
		t.room.Signal()
	}
	return ready
}

// find is what a client's handle is; nil: nothing.
func (t *table) find(name []byte) *handle {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.handles[string(name)]
}

// roomy says whether one more may be opened.
func (t *table) roomy() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.handles)+t.opening < maxHandles
}

// open keeps what the server opened.
func (t *table) open(name []byte, h *handle) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(name) > maxHandle || t.handles[string(name)] != nil {
		return wire.Errorf(wire.Protocol, "the machine's SFTP server gave a handle that is too long, or open already")
	}
	h.name = string(name)
	t.handles[h.name] = h
	return nil
}

// end lets nobody wait any more.
func (t *table) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over = true
	t.room.Broadcast()
}

// left are, when both directions have ended, what was not closed or not answered, in the order of the requests.
func (t *table) left() (handles []*handle, waiting []*request) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range t.waiting {
		waiting = append(waiting, r)
	}
	slices.SortFunc(waiting, func(a, b *request) int { return cmp.Compare(a.order, b.order) })
	for _, h := range t.handles {
		handles = append(handles, h)
	}
	for _, r := range waiting {
		if r.close {
			handles = append(handles, r.handle)
		}
	}
	slices.SortFunc(handles, func(a, b *handle) int { return cmp.Compare(a.order, b.order) })
	return handles, waiting
}
