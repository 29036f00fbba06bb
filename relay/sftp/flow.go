package sftp

import (
	"encoding/binary"
	"errors"
	"io"
)

// window is how much of one direction is looked at at a time, in bytes. Two SSH packets' worth costs few calls, and a
// request is held in it whole.
const window = 64 << 10

// flow reads packets in one direction, and passes on those that may go, as many at a time as have come.
type flow struct {
	from io.Reader
	to   io.Writer
	buf  []byte
	// buf[run:at] may go and has not gone yet; buf[at:end] has not been looked at.
	run, at, end int
}

// errInside is the end of a stream inside a packet.
var errInside = errors.New("the stream ended inside a packet")

// fill waits until n bytes from f.at on are there, at most window. What may go goes before it waits. At the end of the
// stream it gives io.EOF, or errInside if a part of the n is there.
func (f *flow) fill(n int) error {
	if f.end-f.at >= n {
		return nil
	}
	if err := f.flush(); err != nil {
		return err
	}
	f.end = copy(f.buf, f.buf[f.at:f.end]) // a packet's begin at most
	f.run, f.at = 0, 0
	for f.end-f.at < n {
		r, err := f.from.Read(f.buf[f.end:])
		f.end += r
		switch {
		case f.end-f.at >= n:
		case errors.Is(err, io.EOF) && f.end > f.at:
			return errInside
		case err != nil:
			return &readError{err}
		}
	}
	return nil
}

// readError tells what reading gave from what passing on gave.
type readError struct{ error }

func (e *readError) Unwrap() error { return e.error }

// flush passes on what may go.
func (f *flow) flush() error {
	if f.run == f.at {
		return nil
	}
	_, err := f.to.Write(f.buf[f.run:f.at])
	f.run = f.at
	return err
}

// put passes on bytes of our own, behind what may go.
func (f *flow) put(b []byte) error {
	if err := f.flush(); err != nil {
		return err
	}
	_, err := f.to.Write(b)
	return err
}

// skip leaves out the next n bytes, behind what may go.
func (f *flow) skip(n int) error {
	if err := f.flush(); err != nil {
		return err
	}
	return f.pass(n, func([]byte) { f.run = f.at })
}

// pass lets the next n bytes go, and shows them to look as they come; nil shows nobody.
func (f *flow) pass(n int, look func([]byte)) error {
	for n > 0 {
		if err := f.fill(1); err != nil {
			return inside(err)
		}
		b := f.buf[f.at:min(f.end, f.at+n)]
		f.at += len(b)
		n -= len(b)
		if look != nil {
			look(b)
		}
	}
	return nil
}

// inside is err of a place where the stream must not end.
func inside(err error) error {
	if errors.Is(err, io.EOF) {
		return errInside
	}
	return err
}

// header is the begin of a packet.
const header = 5

// next waits for the next packet's begin, and gives its type and how many bytes follow the type. It does not go behind it.
func (f *flow) next() (packet, int, error) {
	if err := f.fill(header); err != nil {
		return 0, 0, err
	}
	length := binary.BigEndian.Uint32(f.buf[f.at:])
	if length < 1 || length > maxPacket {
		return 0, 0, errLength
	}
	return packet(f.buf[f.at+4]), int(length) - 1, nil
}

// errLength is a packet that is too long, or has no type.
var errLength = errors.New("a packet's length is none that passes")
