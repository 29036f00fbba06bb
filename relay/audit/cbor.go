package audit

import (
	"cmp"
	"encoding/binary"
	"math"
)

// The part of CBOR (RFC 8949) that a record uses. Its encoding is written out here, as a record's hash
// depends on each of its bytes; a test compares it with a library's.
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
