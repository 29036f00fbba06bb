package store

import (
	"strconv"
	"strings"
)

// Owner is a relay as rows name it, and which of its leases it had then. The zero Owner is the only relay of a state, which
// has no lease.
type Owner struct {
	Name  string
	Epoch uint64
}

// OwnerOf is the relay that a change belongs to: the change takes effect only while that relay has its lease. It is the
// zero Owner where one relay has the state for itself.
func OwnerOf(tx Tx) Owner {
	if t, ok := tx.(interface{ Owner() Owner }); ok {
		return t.Owner()
	}
	return Owner{}
}

// value is an owner as an index has it; the zero Owner is none.
func (o Owner) value() []byte {
	if o == (Owner{}) {
		return nil
	}
	return strconv.AppendUint([]byte(o.Name+"\x00"), o.Epoch, 10)
}

// ownerIn is the owner in an index. A value that is none is nobody's.
func ownerIn(value []byte) Owner {
	name, epoch, _ := strings.Cut(string(value), "\x00")
	n, err := strconv.ParseUint(epoch, 10, 64)
	if err != nil {
		return Owner{}
	}
	return Owner{name, n}
}
