package audit

import (
	"cmp"
	"encoding/binary"
	"math"
)

// The part of CBOR (RFC 8949) that a record uses. It is written out here because a record's hash
// depends on each of its bytes: a general decoder accepts several spellings of one thing.
const (
	majorUint     byte = 0
	majorNegative byte = 1
	majorBytes    byte = 2
	majorText     byte = 3
	majorMap      byte = 5
)

// appendHead appends the head of an item in its shortest form.
func appendHead(b []byte, major byte, n uint64) []byte {
	major <<= 5
	switch {
	case n < 24:
		return append(b, major|byte(n))
	case n <= math.MaxUint8:
		return append(b, major|24, byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, major|25), uint16(n))
	case n <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(b, major|26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(b, major|27), n)
}

func appendText(b []byte, s string) []byte {
	return append(appendHead(b, majorText, uint64(len(s))), s...)
}

// compareKeys is the order of the bytes of two encoded texts: a shorter one has a smaller head.
func compareKeys(a, b string) int {
	return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
}

// decoder reads items off rest. After the first error everything it returns is zero.
type decoder struct {
	rest []byte
	err  error
}

// item reads a head, which must be in its shortest form.
func (d *decoder) item() (major byte, n uint64) {
	if d.err != nil {
		return 0, 0
	}
	if len(d.rest) == 0 {
		d.fail("it ends early")
		return 0, 0
	}
	major, n = d.rest[0]>>5, uint64(d.rest[0]&31)
	if n < 24 {
		d.rest = d.rest[1:]
		return major, n
	}
	size := 1 << (n - 24)
	if n > 27 || len(d.rest) < 1+size {
		d.fail("it ends early, or has an indefinite length")
		return 0, 0
	}
	var wide [8]byte
	copy(wide[8-size:], d.rest[1:1+size])
	n = binary.BigEndian.Uint64(wide[:])
	d.rest = d.rest[1+size:]
	if n < 24 || size > 1 && n < 1<<(4*size) {
		d.fail("a number is longer than it need be")
		return 0, 0
	}
	return major, n
}

// head reads a head of that major type.
func (d *decoder) head(want byte) uint64 {
	major, n := d.item()
	if d.err == nil && major != want {
		d.fail("a value is of another type")
		return 0
	}
	return n
}

// bytes reads a string; it is a part of the input.
func (d *decoder) bytes(major byte) []byte {
	n := d.head(major)
	if n > uint64(len(d.rest)) {
		d.fail("it ends early")
		return nil
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}
