package sftp

import (
	"encoding/binary"
	"fmt"
)

// packet is a packet's type.
type packet byte

// The types of packets (draft-ietf-secsh-filexfer-02, 3).
const (
	initPacket     packet = 1
	versionPacket  packet = 2
	openPacket     packet = 3
	closePacket    packet = 4
	readPacket     packet = 5
	writePacket    packet = 6
	lstatPacket    packet = 7
	fstatPacket    packet = 8
	setstatPacket  packet = 9
	fsetstatPacket packet = 10
	opendirPacket  packet = 11
	readdirPacket  packet = 12
	removePacket   packet = 13
	mkdirPacket    packet = 14
	rmdirPacket    packet = 15
	realpathPacket packet = 16
	statPacket     packet = 17
	renamePacket   packet = 18
	readlinkPacket packet = 19
	symlinkPacket  packet = 20

	statusPacket   packet = 101
	handlePacket   packet = 102
	dataPacket     packet = 103
	namePacket     packet = 104
	attrsPacket    packet = 105
	extendedPacket packet = 200
	replyPacket    packet = 201 // SSH_FXP_EXTENDED_REPLY
)

// version is that of the protocol: in later ones packets mean something else.
const version = 3

// The bounds of packets, in bytes.
const (
	// maxPacket is the longest packet. OpenSSH's are at most 256 KiB long. It passes in pieces.
	maxPacket = 1 << 20
	// maxRequest is the longest request that is looked at whole: servers must take 34,000 bytes.
	maxRequest = 34_000
	// maxVersion is the longest VERSION.
	maxVersion = 32 << 10
	// maxHandle is the draft's own bound for a handle.
	maxHandle = 256
)

// Status is how a request ended (SSH_FX_*).
type Status uint32

// The statuses.
const (
	OK               Status = 0
	EOF              Status = 1
	NoSuchFile       Status = 2
	PermissionDenied Status = 3
	Failure          Status = 4
	BadMessage       Status = 5
	NoConnection     Status = 6
	ConnectionLost   Status = 7
	Unsupported      Status = 8
	// Unanswered is none of the protocol's: the connection ended before the answer.
	Unanswered Status = 1<<32 - 1
)

// String gives it as records have it.
func (s Status) String() string {
	names := [...]string{"ok", "eof", "no_such_file", "permission_denied", "failure", "bad_message", "no_connection", "connection_lost", "op_unsupported"}
	switch {
	case int64(s) < int64(len(names)):
		return names[s]
	case s == Unanswered:
		return "unanswered"
	}
	return fmt.Sprintf("status_%d", uint32(s))
}

// fields reads a packet's fields. What is read behind the end is empty, and bad says so.
type fields struct {
	rest []byte
	bad  bool
}

func (f *fields) take(n int) []byte {
	if n > len(f.rest) {
		f.rest, f.bad = nil, true
		return make([]byte, 8)[:min(n, 8)]
	}
	b := f.rest[:n]
	f.rest = f.rest[n:]
	return b
}

func (f *fields) uint32() uint32 { return binary.BigEndian.Uint32(f.take(4)) }
func (f *fields) uint64() uint64 { return binary.BigEndian.Uint64(f.take(8)) }

// string shares memory with the packet.
func (f *fields) string() []byte {
	n := f.uint32()
	if int64(n) > int64(len(f.rest)) {
		f.rest, f.bad = nil, true
		return nil
	}
	return f.take(int(n))
}

func appendString(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
}

// appendPacket appends a packet with what body appends.
func appendPacket(b []byte, p packet, body func([]byte) []byte) []byte {
	start := len(b)
	b = body(append(b, 0, 0, 0, 0, byte(p)))
	binary.BigEndian.PutUint32(b[start:], uint32(len(b)-start-4))
	return b
}

// appendStatus appends an answer of our own.
func appendStatus(b []byte, id uint32, s Status, text string) []byte {
	return appendPacket(b, statusPacket, func(b []byte) []byte {
		b = binary.BigEndian.AppendUint32(b, id)
		b = binary.BigEndian.AppendUint32(b, uint32(s))
		return appendString(appendString(b, text), "en")
	})
}
