package wire

import (
	"errors"
	"fmt"
	"io"

	"github.com/quic-go/quic-go/quicvarint"
)

// FrameType tells what a frame's payload is.
type FrameType uint64

// The frames. Messages are CBOR maps, see the type of the same name in message.go; the others
// give their payload here. Numbers below 0x40 are fatal to a peer that does not know them.
const (
	frameHello         FrameType = 0x01 // agent -> relay, first on the control stream
	frameWelcome       FrameType = 0x02 // relay -> agent, the answer
	frameHeartbeat     FrameType = 0x03 // agent -> relay, every Welcome.Interval
	framePing          FrameType = 0x04 // relay -> agent, viewer -> relay
	framePong          FrameType = 0x05 // the answer, same number
	frameRenew         FrameType = 0x06 // agent -> relay
	frameRenewed       FrameType = 0x07 // relay -> agent
	frameKept          FrameType = 0x08 // agent -> relay
	frameAuthenticated FrameType = 0x09 // relay -> agent

	frameOpen    FrameType = 0x10 // relay -> agent, first on a session's stream
	frameOpened  FrameType = 0x11 // agent -> relay; raw bytes follow
	frameRefused FrameType = 0x12 // the answer no, to anything; FIN follows

	frameConnect  FrameType = 0x20 // CLI -> relay
	frameAttached FrameType = 0x21 // relay -> viewer
	frameData     FrameType = 0x22 // terminal bytes, both ways, at most MaxData
	frameResize   FrameType = 0x23 // viewer -> relay
	frameEOF      FrameType = 0x24 // viewer -> relay, empty: no more input
	frameNotice   FrameType = 0x25 // relay -> viewer
	frameExit     FrameType = 0x26 // relay -> viewer, the last frame
	frameAttach   FrameType = 0x27 // viewer -> relay, first on its stream
	frameAck      FrameType = 0x28 // both ways
	frameWatchers FrameType = 0x29 // relay -> viewer
	frameSkip     FrameType = 0x2a // relay -> a viewer that said Skip
	frameClosed   FrameType = 0x2b // viewer -> relay, empty: no output is taken any more
	frameSaid     FrameType = 0x2c // relay -> a viewer that said Answers, before Attached
	frameAsk      FrameType = 0x2d // relay -> a viewer that said Answers, before Attached
	frameAnswer   FrameType = 0x2e // viewer -> relay, before Attached
	frameErrors   FrameType = 0x2f // relay -> viewer, bytes of standard error, at most MaxData

	frameEnrol     FrameType = 0x30 // agent without a certificate -> relay
	frameEnrolled  FrameType = 0x31
	frameLogin     FrameType = 0x32 // CLI without a certificate -> relay
	frameChallenge FrameType = 0x33
	frameProof     FrameType = 0x34
	frameCertified FrameType = 0x35
	frameCall      FrameType = 0x36 // CLI -> relay, empty; HTTP/1.1 follows
	frameArrived   FrameType = 0x37 // relay -> CLI, on a channel that listens
	frameLane      FrameType = 0x38 // on a connection of its own: whose lane it is; the answer is the same, empty
	frameAside     FrameType = 0x39 // both ways, of a viewer that said Asides

	firstOptional FrameType = 0x40 // from here on unknown types are skipped

	frameSpread FrameType = 0x40 // relay -> agent
	frameMove   FrameType = 0x42 // agent -> relay, to one that said Welcome.Moves
	frameGates  FrameType = 0x44 // relay -> a CLI that said Connect.Gates, before Attached

	// Between relays. Who does not know Join, and gets it as the first frame of a stream, refuses it all the same.
	frameJoin   FrameType = 0x50 // a relay that is no member -> a member of a cluster, first on its stream
	frameJoined FrameType = 0x51 // the answer

	// On links with [ALPNPeer], each first on its stream, but for the answer.
	framePeerOpen          FrameType = 0x52
	framePeerAuthenticated FrameType = 0x53
	framePeerAsk           FrameType = 0x54
	framePeerAnswer        FrameType = 0x55
)

// Sizes of payloads, in bytes.
const (
	MaxControl = 64 << 10 // a message
	MaxData    = 32 << 10 // a Data frame; also SSH's packet size, so neither splits the other's
)

// maxSkipped bounds what a peer can make us read in frames that we ignore, per message.
const maxSkipped = 16

// DataHeader is the room that [DataFrame] needs in front of the bytes.
const DataHeader = 5

// DataFrame turns buf, whose bytes from [DataHeader] to DataHeader+n are terminal bytes, into a
// whole Data frame without copying them. n must be at most [MaxData].
func DataFrame(buf []byte, n int) []byte { return bytesFrame(frameData, buf, n) }

// ErrorsFrame is DataFrame for [Errors].
func ErrorsFrame(buf []byte, n int) []byte { return bytesFrame(frameErrors, buf, n) }

func bytesFrame(t FrameType, buf []byte, n int) []byte {
	b := quicvarint.Append(buf[:0], uint64(t))
	quicvarint.AppendWithLen(b, uint64(n), 4)
	return buf[:DataHeader+n]
}

// holdsBytes says that a frame's payload is not CBOR.
func holdsBytes(t FrameType) bool { return t == frameData || t == frameErrors }

// appendFrame appends one frame to b.
func appendFrame(b []byte, t FrameType, payload []byte) []byte {
	b = quicvarint.Append(b, uint64(t))
	b = quicvarint.Append(b, uint64(len(payload)))
	return append(b, payload...)
}

// readFrame reads one frame into buf, growing it when it is too small, and returns the payload.
// It reads not one byte more than the frame. io.EOF means that the stream ended between frames.
func readFrame(r io.Reader, buf []byte) (FrameType, []byte, error) {
	return readFrameUpTo(r, buf, MaxControl)
}

func readFrameUpTo(r io.Reader, buf []byte, limit uint64) (FrameType, []byte, error) {
	br, ok := r.(io.ByteReader)
	if !ok {
		br = &byteReader{r: r}
	}
	t, err := quicvarint.Read(br)
	if err != nil {
		return 0, nil, err // io.EOF between frames
	}
	n, err := quicvarint.Read(br)
	if err != nil {
		return 0, nil, cut(err)
	}
	if holdsBytes(FrameType(t)) {
		limit = min(limit, MaxData)
	}
	if n > limit {
		return 0, nil, Errorf(Protocol, "frame 0x%x of %d bytes, at most %d", t, n, limit)
	}
	if uint64(cap(buf)) < n {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	if _, err := io.ReadFull(r, buf); err != nil {
		return 0, nil, cut(err)
	}
	return FrameType(t), buf, nil
}

// cut says that a stream ended inside a frame, which no ordinary end does.
func cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("read frame: %w", io.ErrUnexpectedEOF)
	}
	return err
}

// byteReader reads byte by byte, so that what follows a frame stays in the stream.
type byteReader struct {
	r io.Reader
	b [1]byte
}

func (b *byteReader) ReadByte() (byte, error) {
	_, err := io.ReadFull(b.r, b.b[:])
	return b.b[0], err
}
