package wire

import (
	"sync"
	"sync/atomic"
)

// A lane that may break keeps what the peer has not acknowledged, and takes no more than what its reader has room for. Each of the
// two begins with laneLeast bytes and grows to laneMost, if what is carried is held up by it, and if there is memory.
const (
	laneLeast = 256 << 10
	laneMost  = 4 << 20

	laneMemory = 256 << 20 // of all lanes of a program together
)

// LaneMemory bounds what all lanes of a program hold, and counts them. The zero value is ready for use.
type LaneMemory struct {
	taken      atomic.Int64
	open       atomic.Int64
	all, fell  atomic.Uint64
	turnedAway atomic.Uint64
}

// LaneCount is how it stands with the lanes of a program: those whose streams can go back, see [Laned.Gates].
type LaneCount struct {
	Open             int    // now
	Taken            uint64 // in all
	WentBack         uint64 // that broke while their stream was needed, which went on over the link
	Refused          uint64 // for want of memory
	Bytes, MostBytes int64  // of memory: taken, and all that there is
}

// Count is how it stands now.
func (m *LaneMemory) Count() LaneCount {
	return LaneCount{
		Open: int(m.open.Load()), Taken: m.all.Load(), WentBack: m.fell.Load(), Refused: m.turnedAway.Load(),
		Bytes: m.taken.Load(), MostBytes: laneMemory,
	}
}

// began and left count a lane.
func (m *LaneMemory) began() {
	m.open.Add(1)
	m.all.Add(1)
}

func (m *LaneMemory) left(needed bool) {
	m.open.Add(-1)
	if needed {
		m.fell.Add(1)
	}
}

// take takes n bytes. Lanes grow into three fourths; the last one is for new ones.
func (m *LaneMemory) take(n int64, grow bool) bool {
	most := int64(laneMemory)
	if grow {
		most -= most / 4
	}
	for {
		taken := m.taken.Load()
		if taken+n > most {
			return false
		}
		if m.taken.CompareAndSwap(taken, taken+n) {
			return true
		}
	}
}

func (m *LaneMemory) give(n int64) { m.taken.Add(-n) }

// full says that no lane begins now.
func (m *LaneMemory) full() bool { return m.taken.Load()+2*laneLeast > laneMemory }

// laneChunk is a piece of a lane's bytes. What is before them has room for a piece's header: so it is written with them at once.
type laneChunk struct {
	b    [laneBuffer]byte // whole records of TLS, header and all
	r, w int              // of a laneQueue: what is there, behind the header's room
}

const laneHolds = laneBuffer - laneHeader

var laneChunks = sync.Pool{New: func() any { return new(laneChunk) }}

func newLaneChunk() *laneChunk {
	c := laneChunks.Get().(*laneChunk)
	c.r, c.w = 0, 0
	return c
}

// laneRing is what one side writes to a lane, from what the peer has not acknowledged on. All numbers are of bytes since the
// direction moved.
type laneRing struct {
	chunks []*laneChunk // all but the last are full
	base   int64        // of the first chunk's first byte
	acked  int64
	sent   int64
	end    int64
	pinned bool  // what is before sent is being written: no chunk is to be used anew
	room   int64 // how much it may hold
}

// take copies as much of p as there is room for.
func (r *laneRing) take(p []byte) (n int) {
	for len(p) > 0 {
		free := r.room - (r.end - r.acked)
		if free <= 0 {
			return n
		}
		at := int(r.end-r.base) % laneHolds
		if int(r.end-r.base) == len(r.chunks)*laneHolds {
			r.chunks = append(r.chunks, newLaneChunk())
		}
		c := r.chunks[len(r.chunks)-1]
		some := copy(c.b[laneHeader+at:], p[:min(int64(len(p)), free)])
		p, n, r.end = p[some:], n+some, r.end+int64(some)
	}
	return n
}

// next gives bytes behind sent of one chunk, up to limit: c.b[laneHeader+from : laneHeader+to]. It counts them as sent, and pins them.
func (r *laneRing) next(limit int64) (c *laneChunk, from, to int) {
	limit = min(limit, r.end)
	if r.sent >= limit {
		return nil, 0, 0
	}
	at := r.sent - r.base
	from = int(at % laneHolds)
	to = int(min(laneHolds, int64(from)+limit-r.sent))
	r.sent += int64(to - from)
	r.pinned = true
	return r.chunks[at/laneHolds], from, to
}

// wrote says that what next gave is written.
func (r *laneRing) wrote() {
	r.pinned = false
	r.trim()
}

// ack lets go what the peer has.
func (r *laneRing) ack(n int64) {
	r.acked = max(r.acked, min(n, r.end))
	r.trim()
}

func (r *laneRing) trim() {
	if r.pinned {
		return
	}
	for len(r.chunks) > 0 && (r.base+laneHolds <= r.acked || r.acked == r.end) {
		laneChunks.Put(r.chunks[0])
		r.chunks[0], r.chunks = nil, r.chunks[1:]
		r.base += laneHolds
	}
	if len(r.chunks) == 0 {
		r.chunks, r.base = nil, r.end
	}
}

// laneQueue is what has come over a lane and was not read yet.
type laneQueue struct {
	chunks []*laneChunk
	got    int64 // bytes, since the direction moved
	read   int64
	pinned bool // the last chunk is being filled
}

// space is where the next bytes go. It is pinned until fill.
func (q *laneQueue) space() []byte {
	if n := len(q.chunks); n == 0 || q.chunks[n-1].w == laneHolds {
		q.chunks = append(q.chunks, newLaneChunk())
	}
	q.pinned = true
	return q.chunks[len(q.chunks)-1].b[laneHeader+q.chunks[len(q.chunks)-1].w:]
}

// fill says that n bytes are there.
func (q *laneQueue) fill(n int) {
	q.pinned = false
	q.chunks[len(q.chunks)-1].w += n
	q.got += int64(n)
	q.trim()
}

// take reads.
func (q *laneQueue) take(p []byte) (n int) {
	for len(p) > 0 && q.read < q.got {
		c := q.chunks[0]
		some := copy(p, c.b[laneHeader+c.r:laneHeader+c.w])
		c.r += some
		p, n, q.read = p[some:], n+some, q.read+int64(some)
		q.trim()
	}
	return n
}

// drop forgets what is there.
func (q *laneQueue) drop() {
	for _, c := range q.chunks {
		c.r = c.w
	}
	q.read = q.got
	for q.trim() {
	}
}

// trim lets go of the first chunk when it was read.
func (q *laneQueue) trim() bool {
	if len(q.chunks) == 0 {
		return false
	}
	c := q.chunks[0]
	if c.r < c.w || q.pinned && len(q.chunks) == 1 {
		return false
	}
	laneChunks.Put(c)
	q.chunks[0], q.chunks = nil, q.chunks[1:]
	if len(q.chunks) == 0 {
		q.chunks = nil
	}
	return true
}
