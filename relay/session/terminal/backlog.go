package terminal

// backlogSize is how much output a session keeps: what a viewer sees that comes late or again.
const backlogSize = 1 << 20

// backlog is the last output of a session, numbered by bytes from the session's beginning. It
// grows with the output up to [backlogSize] and then forgets the oldest, but for what is still to be
// sent to the owner.
type backlog struct {
	ring []byte // len is a power of two
	head uint64 // of the next byte
}

// firstRing is how large a shell's ring is with its first output: a greeting and a prompt.
const firstRing = 4 << 10

// start is the number of the oldest byte that is kept.
func (b *backlog) start() uint64 { return b.head - min(b.head, uint64(len(b.ring))) }

// add appends p, which is far shorter than [backlogSize], and keeps what stands from kept on.
func (b *backlog) add(p []byte, kept uint64) {
	for end := b.head + uint64(len(p)); uint64(len(b.ring)) < max(min(end, backlogSize), end-kept); {
		b.resize(max(firstRing, 2*len(b.ring)))
	}
	for len(p) > 0 {
		n := copy(b.ring[b.head%uint64(len(b.ring)):], p)
		p, b.head = p[n:], b.head+uint64(n)
	}
}

// trim gives back what the ring has grown beyond [backlogSize], and forgets what was there.
func (b *backlog) trim() {
	if len(b.ring) > backlogSize {
		b.resize(backlogSize)
	}
}

func (b *backlog) resize(size int) {
	next := backlog{ring: make([]byte, size), head: max(b.start(), b.head-min(b.head, uint64(size)))}
	old := make([]byte, b.head-next.head)
	b.read(old, next.head)
	for len(old) > 0 {
		n := copy(next.ring[next.head%uint64(len(next.ring)):], old)
		old, next.head = old[n:], next.head+uint64(n)
	}
	*b = next
}

// read copies into p what stands from offset on, which must be kept still; it returns how much.
func (b *backlog) read(p []byte, offset uint64) (n int) {
	p = p[:min(uint64(len(p)), b.head-offset)]
	for n < len(p) {
		n += copy(p[n:], b.ring[(offset+uint64(n))%uint64(len(b.ring)):])
	}
	return n
}
