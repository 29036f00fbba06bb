package wire

// The buffer of a [Ring] has ringLeast bytes at first. Up to ringPieces it also grows to give larger pieces.
const (
	ringLeast  = 4 << 10
	ringPieces = 128 << 10
)

// Ring is a part of a stream of bytes that are counted from its beginning: what has come and is not acknowledged, so that it can
// be sent once more. It takes memory as it needs it, up to Most. It is not for concurrent use, but see Space and Next. The zero
// value holds nothing, and may hold nothing before Most is set.
type Ring struct {
	Most int // how many bytes it may hold; it may grow

	buf        []byte // byte n is at n modulo its length
	base, head uint64
	short      bool // the last piece of memory was used up
}

// Base is the number of the first byte that is held, and Head that behind the last one.
func (r *Ring) Base() uint64 { return r.base }

// Head is the number of the next byte.
func (r *Ring) Head() uint64 { return r.head }

// Len is how many bytes are held.
func (r *Ring) Len() int { return int(r.head - r.base) }

// Room is how many more may be.
func (r *Ring) Room() int { return max(r.Most-r.Len(), 0) }

// Space is memory for the next bytes, not all that there is room for; empty: there is no room. It may be written
// while others use the ring, until Came.
func (r *Ring) Space() []byte {
	if r.Room() == 0 {
		return nil
	}
	if r.Len() == len(r.buf) || r.short && len(r.buf) < min(ringPieces, r.Most) {
		r.grow(min(max(2*len(r.buf), ringLeast), r.Most))
	}
	at := int(r.head % uint64(len(r.buf)))
	return r.buf[at:min(len(r.buf), at+len(r.buf)-r.Len())]
}

func (r *Ring) grow(size int) {
	buf := make([]byte, size)
	for n := r.base; n < r.head; {
		part := r.Next(n)
		at := int(n % uint64(size))
		n += uint64(copy(buf[at:], part))
	}
	r.buf = buf
}

// Came counts n bytes that were written to Space.
func (r *Ring) Came(n int) {
	r.short = n > 0 && (r.head+uint64(n))%uint64(len(r.buf)) == 0
	r.head += uint64(n)
}

// Add takes as much of p as there is room for, and says how much that is.
func (r *Ring) Add(p []byte) (n int) {
	for n < len(p) {
		space := r.Space()
		if len(space) == 0 {
			break
		}
		c := copy(space, p[n:])
		r.Came(c)
		n += c
	}
	return n
}

// Next is what is held from a number on, not all of it; empty: nothing is. It stays as it
// is, also while others use the ring, until Release has passed it.
func (r *Ring) Next(from uint64) []byte {
	if from < r.base || from >= r.head {
		return nil
	}
	at := int(from % uint64(len(r.buf)))
	return r.buf[at:min(len(r.buf), at+int(r.head-from))]
}

// Copy fills p with what is held from a number on, and says how much that is.
func (r *Ring) Copy(p []byte, from uint64) (n int) {
	for n < len(p) {
		c := copy(p[n:], r.Next(from+uint64(n)))
		if c == 0 {
			break
		}
		n += c
	}
	return n
}

// Release forgets what stands before a number.
func (r *Ring) Release(to uint64) { r.base = min(max(r.base, to), r.head) }
