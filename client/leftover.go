package client

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
)

// leftover follows what a session does to the person's terminal that outlives it: modes, the alternate screen, margins,
// the cursor, the title. What a program that was cut off has left so is undone at the end. The zero value is ready;
// it is not for concurrent use.
//
// It knows the sequences of xterm's ctlseqs, and only as much of them as it takes to find these.
type leftover struct {
	state   leftoverState
	seq     []byte // of the sequence that is being read, without ESC and its second byte
	modes   map[int]bool
	margins bool
	shape   bool // of the cursor
	keypad  bool
	charset bool
	keys    int // levels of the keyboard protocol that were pushed
	title   bool
	here    bool // the sequence began in the output that is being fed
}

type leftoverState byte

const (
	inText leftoverState = iota
	inEsc
	inCSI
	inString    // OSC, DCS, APC, PM, SOS: to ST, or BEL
	inStringEsc // ESC in it
	inCharset   // that of G0: one byte follows
)

// maxSeq is how much of a sequence is kept: all that count here are shorter.
const maxSeq = 64

// What is followed, with how it is without a program. Mouse, focus, paste, cursor keys, screens, wrapping, the cursor.
var private = map[int]bool{
	1: false, 5: false, 6: false, 7: true, 9: false, 25: true, 45: false, 47: false, 66: false, 1000: false, 1001: false, 1002: false, 1003: false,
	1004: false, 1005: false, 1006: false, 1015: false, 1016: false, 1047: false, 1049: false, 2004: false, 2026: false, 2031: false,
}

// saveTitle and restoreTitle are XTWINOPS: the title goes to a stack, and comes back.
const (
	saveTitle    = "\x1b[22;0t"
	restoreTitle = "\x1b[23;0t"
)

// feed takes output, and returns what is to be written before it.
func (l *leftover) feed(p []byte) (before string) {
	l.here = false
	for len(p) > 0 {
		if l.state == inText {
			i := bytes.IndexByte(p, 0x1b)
			if i < 0 {
				return before
			}
			l.state, p, l.here = inEsc, p[i+1:], true
			continue
		}
		b := p[0]
		p = p[1:]
		switch l.state {
		case inEsc:
			l.escape(b)
		case inCharset:
			if l.state = inText; b != 0x18 && b != 0x1a {
				l.charset = b != 'B'
			}
		case inCSI:
			switch {
			case b == 0x1b:
				l.state = inEsc
			case b == 0x18 || b == 0x1a:
				l.state = inText
			case b >= 0x40 && b <= 0x7e:
				l.state = inText
				l.control(b)
			case b >= 0x20 && len(l.seq) < maxSeq:
				l.seq = append(l.seq, b)
			}
		case inString, inStringEsc:
			switch {
			case b == 0x07, b == '\\' && l.state == inStringEsc, b == 0x18, b == 0x1a:
				if l.state = inText; l.titled() && !l.title && l.here { // else it is too late to write before it
					l.title = true
					before = saveTitle
				}
			case b == 0x1b:
				l.state = inStringEsc
			default:
				l.state = inString
				if len(l.seq) < maxSeq {
					l.seq = append(l.seq, b)
				}
			}
		}
	}
	return before
}

// titled says whether the string that has ended sets the title.
func (l *leftover) titled() bool {
	return bytes.HasPrefix(l.seq, []byte("]0;")) || bytes.HasPrefix(l.seq, []byte("]2;")) || bytes.HasPrefix(l.seq, []byte("]1;"))
}

// escape is the byte behind ESC.
func (l *leftover) escape(b byte) {
	l.seq = l.seq[:0]
	switch b {
	case '[':
		l.state = inCSI
	case ']', 'P', '_', '^', 'X':
		l.seq = append(l.seq, b)
		l.state = inString
	case '(':
		l.state = inCharset
	case 0x1b:
	default:
		l.state = inText
		switch b {
		case '=':
			l.keypad = true
		case '>':
			l.keypad = false
		case 'c':
			l.reset()
		}
	}
}

// control is the end of a CSI sequence.
func (l *leftover) control(final byte) {
	s := string(l.seq)
	switch {
	case final == 'p' && s == "!":
		l.reset()
	case (final == 'h' || final == 'l') && len(s) > 0 && s[0] == '?':
		for _, field := range bytes.Split(l.seq[1:], []byte(";")) {
			n, err := strconv.Atoi(string(field))
			if usual, known := private[n]; err == nil && known {
				if l.modes == nil {
					l.modes = map[int]bool{}
				}
				if l.modes[n] = final == 'h'; l.modes[n] == usual {
					delete(l.modes, n)
				}
			}
		}
	case final == 'r' && (s == "" || s[0] >= '0' && s[0] <= '9' || s[0] == ';'):
		l.margins = s != ""
	case final == 'q' && len(s) > 0 && s[len(s)-1] == ' ':
		l.shape = s != " " && s != "0 "
	case final == 'u' && len(s) > 0 && s[0] == '>':
		l.keys++
	case final == 'u' && len(s) > 0 && s[0] == '<':
		n, err := strconv.Atoi(s[1:])
		if err != nil {
			n = 1
		}
		l.keys = max(0, l.keys-n)
	}
}

// reset is the terminal's own, which leaves the title.
func (l *leftover) reset() { *l = leftover{title: l.title} }

// undo is what brings the terminal back; empty if nothing is left over.
func (l *leftover) undo() string {
	var out []byte
	if l.state != inText {
		out = append(out, 0x18) // CAN ends what was cut off
	}
	modes := make([]int, 0, len(l.modes))
	for n := range l.modes {
		modes = append(modes, n)
	}
	slices.Sort(modes)
	for _, n := range modes { // the alternate screens last of those that are off: they bring the cursor back
		final := 'l'
		if private[n] {
			final = 'h'
		}
		out = fmt.Appendf(out, "\x1b[?%d%c", n, final)
	}
	if l.margins {
		out = append(out, "\x1b7\x1b[r\x1b8"...) // it moves the cursor
	}
	if l.keypad {
		out = append(out, "\x1b>"...)
	}
	if l.charset {
		out = append(out, "\x1b(B\x0f"...)
	}
	if l.shape {
		out = append(out, "\x1b[0 q"...)
	}
	if l.keys > 0 {
		out = fmt.Appendf(out, "\x1b[<%du", min(l.keys, 1000))
	}
	if l.title {
		out = append(out, restoreTitle...)
	}
	if len(out) > 0 {
		out = append(out, "\x1b[0m"...)
	}
	return string(out)
}
