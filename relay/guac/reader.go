package guac

import (
	"encoding/binary"
	"errors"
	"io"
	"unicode/utf8"

	"scrier/wire"
)

// Reader takes instructions off a stream. It is strict: lengths are 1 to 5 digits without
// leading zeros, elements are valid UTF-8 of exactly the length that they claim, and only a
// comma or a semicolon stands behind them. It holds one buffer of 64 KiB, which is also the
// longest instruction; it takes no other memory, whatever comes. One goroutine uses it.
type Reader struct {
	r          io.Reader
	buf        []byte
	start, end int   // what was read and not yet returned lies in buf[start:end]
	err        error // once set, every Next returns it

	// The instruction that begins at start, as far as it was looked at. A slow peer that sends
	// one byte at a time costs one look at each byte.
	in     *Instruction
	state  state
	scan   int // offset from start of what is looked at next
	first  int // offset from start of the element
	length int // the element's, as far as the digits were read
	left   int // code points of the element still missing
	digits int

	out *Instruction // what Next returned last
}

// state says what the Reader expects next.
//
//	length --'.'--> text --(left == 0)--> terminator --','--> length
//	                                          '--';'--> whole
type state uint8

const (
	length state = iota
	text
	terminator
	whole // in is complete: Next returns it
)

// NewReader reads from r.
func NewReader(r io.Reader) *Reader {
	return &Reader{r: r, buf: make([]byte, maxInstruction), in: new(Instruction), out: new(Instruction)}
}

// Next returns the next instruction, valid until Next is called again. At the stream's end it
// returns io.EOF if that lies between two instructions, else io.ErrUnexpectedEOF. What breaks
// the rules is a [*wire.Error] of code [wire.Protocol]. Errors are final, except that those of
// the stream itself, such as a deadline, may be tried again.
func (r *Reader) Next() (*Instruction, error) {
	for reads := 0; ; {
		if err := r.advance(); err != nil {
			return nil, err
		}
		if r.state == whole {
			return r.take(), nil
		}
		if r.end == len(r.buf) {
			if r.start == 0 {
				r.err = wire.Errorf(wire.Protocol, "a Guacamole instruction is longer than %d bytes", maxInstruction)
				return nil, r.err
			}
			copy(r.buf, r.buf[r.start:r.end])
			r.end -= r.start
			r.start = 0
		}
		n, err := r.r.Read(r.buf[r.end:])
		if n > 0 {
			r.end += n
			reads = 0
			continue // err comes again, if it matters
		}
		switch {
		case errors.Is(err, io.EOF):
			if r.end > r.start {
				err = io.ErrUnexpectedEOF
			}
			r.err = err
			return nil, err
		case err != nil:
			return nil, err
		}
		if reads++; reads == 100 { // as package bufio has it
			return nil, io.ErrNoProgress
		}
	}
}

// More says whether Next would return without reading: a whole instruction is here already, or
// an error. A caller who gathers instructions flushes when there is no more.
func (r *Reader) More() bool { return r.advance() != nil || r.state == whole }

// take returns the whole instruction and begins the next.
func (r *Reader) take() *Instruction {
	r.in, r.out = r.out, r.in
	r.out.raw = r.buf[r.start : r.start+r.scan : r.start+r.scan]
	r.start += r.scan
	if r.start == r.end {
		// What is returned stays where it is: the buffer is written to in the next call of Next.
		r.start, r.end = 0, 0
	}
	r.state, r.scan, r.first, r.length, r.left, r.digits = length, 0, 0, 0, 0, 0
	r.in.count = 0
	return r.out
}

// advance looks at what is in the buffer until an instruction is whole or the buffer ends.
func (r *Reader) advance() error {
	if r.err != nil {
		return r.err
	}
	b := r.buf[r.start:r.end]
	for r.state != whole && r.scan < len(b) {
		c := b[r.scan]
		switch r.state {
		case length:
			r.scan++
			switch {
			case c == '.' && r.digits > 0:
				if r.length > maxElement {
					return r.fail("an element of %d characters is too long", r.length)
				}
				r.state, r.first, r.left = text, r.scan, r.length
				if r.left == 0 {
					r.endElement()
				}
			case c < '0' || c > '9':
				return r.fail("a length holds the byte 0x%02x", c)
			case r.digits == maxDigits:
				return r.fail("a length has more than %d digits", maxDigits)
			case r.digits == 1 && r.length == 0:
				return r.fail("a length begins with a zero")
			default:
				r.length = 10*r.length + int(c-'0')
				r.digits++
			}
		case text:
			size, points := count(b[r.scan:], r.left)
			r.scan += size
			r.left -= points
			if r.left == 0 {
				r.endElement()
				continue
			}
			if rest := b[r.scan:]; len(rest) > 0 {
				if utf8.FullRune(rest) {
					return r.fail("an element is not valid UTF-8")
				}
				return nil // the rest of a character is still to come
			}
		case terminator:
			r.scan++
			switch {
			case c == ';':
				r.state = whole
			case c != ',':
				return r.fail("an element ends with the byte 0x%02x", c)
			case r.in.count == maxElements:
				return r.fail("an instruction has more than %d elements", maxElements)
			default:
				r.state, r.length, r.digits = length, 0, 0
			}
		}
	}
	return nil
}

// endElement notes the element that was read to its end.
func (r *Reader) endElement() {
	r.in.elements[r.in.count] = span{int32(r.first), int32(r.scan)}
	r.in.count++
	r.state = terminator
}

func (r *Reader) fail(format string, args ...any) error {
	r.err = wire.Errorf(wire.Protocol, "not a Guacamole instruction: "+format, args...)
	return r.err
}

// count returns how many bytes the first most code points of b take, and how many there are. It
// stops in front of what is not valid UTF-8 and of a character that is cut off. Nearly all of the
// protocol is ASCII (base64), which it takes eight bytes at a time.
func count(b []byte, most int) (size, points int) {
	const high = 0x8080808080808080
	for points < most {
		for most-points >= 32 && len(b)-size >= 32 {
			w := b[size : size+32]
			if (binary.LittleEndian.Uint64(w)|binary.LittleEndian.Uint64(w[8:])|
				binary.LittleEndian.Uint64(w[16:])|binary.LittleEndian.Uint64(w[24:]))&high != 0 {
				break
			}
			size, points = size+32, points+32
		}
		for most-points >= 8 && len(b)-size >= 8 && binary.LittleEndian.Uint64(b[size:])&high == 0 {
			size, points = size+8, points+8
		}
		// What is left of a word that is not all ASCII, or the end of the element.
		for n := 0; n < 8 && points < most; n++ {
			if size == len(b) {
				return size, points
			}
			if b[size] < utf8.RuneSelf {
				size, points = size+1, points+1
				continue
			}
			_, width := utf8.DecodeRune(b[size:])
			if width == 1 {
				return size, points
			}
			size, points = size+width, points+1
		}
	}
	return size, points
}
