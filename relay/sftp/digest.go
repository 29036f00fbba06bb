package sftp

import (
	"crypto/sha256"
	"hash"
)

// maxHeld is how much of contents is kept in one direction of a connection because it came too early, in bytes: clients
// that send from several threads let some blocks overtake others.
const maxHeld = 4 << 20

// heldCost is what a piece costs besides its bytes, so that many small ones are bounded too.
const heldCost = 256

// digest hashes a file's content while it passes. It is used by one goroutine.
type digest struct {
	room *int // what is left of maxHeld

	bytes  uint64
	next   uint64            // offset up to which all is hashed
	held   map[uint64][]byte // pieces behind next, by their offsets
	hash   hash.Hash         // nil: nothing yet
	broken bool              // there is no telling
}

// add counts a piece of content.
func (d *digest) add(offset uint64, p []byte) {
	d.bytes += uint64(len(p))
	switch {
	case d.broken || len(p) == 0:
	case offset == d.next:
		d.write(p)
		for p, found := d.held[d.next]; found; p, found = d.held[d.next] {
			delete(d.held, d.next)
			*d.room += len(p) + heldCost
			d.write(p)
		}
	case offset < d.next || d.held[offset] != nil || *d.room < len(p)+heldCost:
		d.spoil()
	default:
		if d.held == nil {
			d.held = map[uint64][]byte{}
		}
		*d.room -= len(p) + heldCost
		d.held[offset] = append([]byte(nil), p...)
	}
}

func (d *digest) write(p []byte) {
	if d.hash == nil {
		d.hash = sha256.New()
	}
	d.hash.Write(p)
	d.next += uint64(len(p))
}

// spoil gives up: the content that passed is not that of the file from its begin.
func (d *digest) spoil() {
	d.broken = true
	for _, p := range d.held {
		*d.room += len(p) + heldCost
	}
	d.held = nil
}

// transfer is what the record says, at the end.
func (d *digest) transfer() *Transfer {
	if len(d.held) > 0 {
		d.spoil()
	}
	t := &Transfer{Bytes: d.bytes}
	switch {
	case d.broken:
	case d.hash == nil:
		empty := sha256.Sum256(nil)
		t.SHA256 = empty[:]
	default:
		t.SHA256 = d.hash.Sum(nil)
	}
	return t
}
