package sftp

import (
	"encoding/binary"
	"errors"
)

// The types of packets.
const (
	fxpInit          = 1
	fxpVersion       = 2
	fxpOpen          = 3
	fxpClose         = 4
	fxpRead          = 5
	fxpWrite         = 6
	fxpLstat         = 7
	fxpFstat         = 8
	fxpSetstat       = 9
	fxpFsetstat      = 10
	fxpOpendir       = 11
	fxpReaddir       = 12
	fxpRemove        = 13
	fxpMkdir         = 14
	fxpRmdir         = 15
	fxpRealpath      = 16
	fxpStat          = 17
	fxpRename        = 18
	fxpReadlink      = 19
	fxpSymlink       = 20
	fxpStatus        = 101
	fxpHandle        = 102
	fxpData          = 103
	fxpName          = 104
	fxpAttrs         = 105
	fxpExtended      = 200
	fxpExtendedReply = 201
)

var errMalformed = errors.New("malformed sftp packet")

// A request is a packet whose fields are taken one after the other. What is missing reads as zero and
// makes it bad.
type request struct {
	kind byte
	rest []byte
	bad  bool
}

func (r *request) take(n uint32) []byte {
	if r.bad || uint64(n) > uint64(len(r.rest)) {
		r.bad = true
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *request) uint32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *request) uint64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (r *request) bytes() []byte  { return r.take(r.uint32()) }
func (r *request) string() string { return string(r.bytes()) }

// name is a file's: bytes, with no meaning but what the kernel sees in them. One with a NUL is no name.
func (r *request) name() string { return r.string() }

// A reply grows by its fields; its length is filled in when it is sent.
type reply []byte

func newReply(kind byte, id uint32) reply { return reply{0, 0, 0, 0, kind}.uint32(id) }

func (p reply) uint32(n uint32) reply { return binary.BigEndian.AppendUint32(p, n) }
func (p reply) uint64(n uint64) reply { return binary.BigEndian.AppendUint64(p, n) }
func (p reply) string(s string) reply { return append(p.uint32(uint32(len(s))), s...) }
