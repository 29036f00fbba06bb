package screen

import "unicode/utf8"

const maxOSC = 1 << 10 // bytes that are kept of an operating system command

// osc is the operating system command that is coming in.
type osc struct {
	id   int // -1 before its first digit
	part oscPart
	data [maxOSC]byte
	n    int
	cut  bool // there was more than data holds
}

type oscPart uint8

const (
	oscNumber oscPart = iota
	oscText
	oscBroken
)

func (o *osc) begin() { o.id, o.part, o.n, o.cut = -1, oscNumber, 0, false }

func (o *osc) put(c rune) {
	switch {
	case o.part == oscBroken:
	case o.part == oscText:
		if o.cut = o.cut || o.n+utf8.UTFMax > len(o.data); !o.cut && o.wanted() {
			o.n = len(utf8.AppendRune(o.data[:o.n], c))
		}
	case c == ';':
		o.part = oscText
	case c < '0' || c > '9':
		o.part = oscBroken
	default:
		o.id = min(max(o.id, 0)*10+int(c-'0'), 1<<20)
	}
}

// wanted says that the text means something here: titles and colours. Everything else, as are links, the
// clipboard and notifications, is not the screen's.
func (o *osc) wanted() bool {
	switch o.id {
	case 0, 2, 4, 10, 11, 12, 104:
		return true
	}
	return false
}

// endOSC does what the command asks for, unless it was cancelled.
func (s *Screen) endOSC(done bool) {
	o := &s.osc
	s.join = join{}
	s.dropped = false
	if !done || o.part == oscBroken {
		return
	}
	text := o.data[:o.n]
	switch o.id {
	case 0, 2:
		s.title.set(text, o.id == 0)
	case 4, 10, 11, 12, 104, 110, 111, 112:
		if !o.cut {
			s.colors(o.id, string(text))
		}
	}
}
