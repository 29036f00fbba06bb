package wire

import "encoding/binary"

// tcpHeader begins each frame of a TCP link: version, kind, flags (2 bytes), stream (4), value (4), as yamux has it.
// yamux's own frames pass through; the others never reach it.
type tcpHeader [12]byte

// The kinds of frames. yamux has two more, of which a link has no use.
const (
	tcpData   = 0x00 // yamux's; value bytes of the stream follow
	tcpWindow = 0x01 // yamux's; the stream may have value bytes more

	tcpReset   = 0x10 // the stream's directions that the flags name end with the code that is the value
	tcpStreams = 0x11 // value more streams may be opened
	tcpRoom    = 0x12 // value more bytes of all streams' data may be sent
	tcpAlive   = 0x13 // nothing
	tcpClose   = 0x14 // the link ends with the code that is the value; as many bytes of detail follow as "stream" says
)

// Flags of yamux's frames. RST is for a backlog that is full, which credit prevents.
const (
	tcpSYN = 1 << iota
	tcpACK
	tcpFIN
)

// Flags of tcpReset.
const (
	tcpResetWrites = 1 << iota // the sender sends no more, and what it sent may be dropped
	tcpResetReads              // the sender reads no more
)

func newTCPHeader(kind byte, flags uint16, stream, value uint32) (h tcpHeader) {
	h[1] = kind
	binary.BigEndian.PutUint16(h[2:], flags)
	binary.BigEndian.PutUint32(h[4:], stream)
	binary.BigEndian.PutUint32(h[8:], value)
	return h
}

func (h *tcpHeader) version() byte  { return h[0] }
func (h *tcpHeader) kind() byte     { return h[1] }
func (h *tcpHeader) flags() uint16  { return binary.BigEndian.Uint16(h[2:]) }
func (h *tcpHeader) stream() uint32 { return binary.BigEndian.Uint32(h[4:]) }
func (h *tcpHeader) value() uint32  { return binary.BigEndian.Uint32(h[8:]) }

// body is how many bytes follow the header.
func (h *tcpHeader) body() int {
	switch h.kind() {
	case tcpData:
		return int(h.value())
	case tcpClose:
		return int(h.stream())
	}
	return 0
}
