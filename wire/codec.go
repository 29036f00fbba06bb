package wire

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/fxamacker/cbor/v2"
)

// strictDecoder and canonicalEncoder are immutable after their making; they are the codec's
// whole configuration.
var strictDecoder = mustMode(cbor.DecOptions{
	DupMapKey:        cbor.DupMapKeyEnforcedAPF,
	IndefLength:      cbor.IndefLengthForbidden,
	TagsMd:           cbor.TagsForbidden,
	MaxNestedLevels:  8,
	MaxArrayElements: 1024,
	MaxMapPairs:      256,
}.DecMode())

var canonicalEncoder = mustMode(cbor.CoreDetEncOptions().EncMode())

func mustMode[M any](m M, err error) M {
	if err != nil {
		panic(err) // options are constants: this cannot depend on input
	}
	return m
}

// Marshal encodes v as deterministic CBOR (RFC 8949, 4.2.1).
func Marshal(v any) ([]byte, error) { return canonicalEncoder.Marshal(v) }

// Unmarshal decodes strict CBOR: no duplicate keys, tags, indefinite lengths or trailing bytes;
// unknown keys are ignored.
func Unmarshal(data []byte, v any) error { return strictDecoder.Unmarshal(data, v) }

// Send writes one message as one frame in one Write. It does not lock.
func Send(w io.Writer, m Message) error {
	frame, err := appendMessage(nil, m)
	if err != nil {
		return err
	}
	_, err = w.Write(frame)
	return err
}

// appendMessage appends one message as one frame to b.
// Append appends a message to b as Send writes it.
func Append(b []byte, m Message) ([]byte, error) { return appendMessage(b, m) }

func appendMessage(b []byte, m Message) ([]byte, error) {
	payload, err := Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", m, err)
	}
	if len(payload) > MaxControl {
		return nil, Errorf(BadRequest, "a message of %d bytes is too long, at most %d", len(payload), MaxControl)
	}
	return appendFrame(slices.Grow(b, len(payload)+16), m.frame(), payload), nil
}

// Receive reads one message and not one byte more, skipping frames that may be ignored. The
// result is a pointer to one of the types in message.go; io.EOF means that the peer said no
// more.
func Receive(r io.Reader) (Message, error) {
	for range maxSkipped {
		t, payload, err := readFrame(r, nil)
		if err != nil {
			return nil, err
		}
		if m, err := decode(t, payload); m != nil || err != nil {
			return m, err
		}
	}
	return nil, Errorf(Protocol, "more than %d frames in a row that this version does not know", maxSkipped)
}

// decode returns nil, nil for a frame that is to be skipped.
func decode(t FrameType, payload []byte) (Message, error) {
	m := newMessage(t)
	if m == nil {
		if t >= firstOptional {
			return nil, nil
		}
		return nil, Errorf(Protocol, "frame 0x%x is not known here", uint64(t))
	}
	switch m := m.(type) {
	case *Data:
		m.Bytes = payload
		return m, nil
	case *Errors:
		m.Bytes = payload
		return m, nil
	}
	if len(payload) == 0 {
		payload = emptyMap // Call, EOF and Closed have nothing to say
	}
	if err := Unmarshal(payload, m); err != nil {
		return nil, &Error{Code: Protocol, Detail: fmt.Sprintf("malformed %T", m), Err: err}
	}
	return m, nil
}

var emptyMap = []byte{0xa0}

// Expect reads one message that must be an M. A [Refused] comes back as an [Error] with the
// peer's code and detail.
func Expect[M any, P interface {
	*M
	Message
}](r io.Reader) (*M, error) {
	m, err := Receive(r)
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("the peer ended the stream before its answer: %w", io.ErrUnexpectedEOF)
		}
		return nil, err
	}
	switch m := m.(type) {
	case P:
		return (*M)(m), nil
	case *Refused:
		return nil, m.Err()
	}
	return nil, Errorf(Protocol, "got %T, expected %T", m, P(nil))
}
