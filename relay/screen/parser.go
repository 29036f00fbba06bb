package screen

import "unicode/utf8"

// state is where the parser is in a sequence. The machine is that of https://vt100.net/emu/dec_ansi_parser, with
// xterm.js's ways on malformed sequences.
//
//	ground -- ESC --> escape -- [ --> csiEntry --> csiParam --> csiIntermediate -- final --> ground
//	                         -- ] --> osc .................................. BEL, ST --> ground
//	                         -- P --> dcsEntry --> dcsParam --> dcsIntermediate --> dcs -- ST --> ground
//	                         -- X ^ _ --> ignored string ........................ ST --> ground
//	                         -- intermediates --> escapeIntermediate ......... final --> ground
//
// CAN and SUB lead to ground from everywhere, ESC to escape; csiIgnore and dcsIgnore swallow what is malformed.
type state uint8

const (
	ground state = iota
	escape
	escapeIntermediate
	csiEntry
	csiParam
	csiIntermediate
	csiIgnore
	ignoredString // SOS, PM, APC
	oscString
	dcsEntry
	dcsParam
	dcsIntermediate
	dcsIgnore
	dcsString
)

const (
	nul = 0x00
	bel = 0x07
	can = 0x18
	sub = 0x1A
	esc = 0x1B
	del = 0x7F
)

// parser is the part of a Screen that knows what was not complete yet.
type parser struct {
	state   state
	params  params
	collect uint32 // the prefix and the intermediate bytes, the last in the lowest eight bits
	osc     osc
	join    join
	partial [utf8.UTFMax]byte // of a character
	have    int               // how much of partial
	dropped bool              // the character before this one was too wide for the line's end
}

// Write takes output, cut anywhere. It keeps nothing of p.
func (s *Screen) Write(p []byte) {
	s.dropped = false
	for i := 0; i < len(p); {
		c := p[i]
		switch {
		case s.have > 0:
			i += s.continued(c)
		case c >= 0x80:
			i += s.multibyte(p[i:])
		case s.state == ground && c >= ' ' && c != del:
			i += s.printASCII(p[i:])
		case c == esc && i+1 < len(p) && p[i+1] == '[' && s.state <= csiIgnore: // most sequences
			s.state = csiEntry
			s.clear()
			i += 2
			for i < len(p) && p[i] >= '0' && p[i] <= ';' {
				s.params.put(p[i])
				s.state = csiParam
				i++
			}
		default:
			s.step(rune(c))
			i++
		}
	}
}

// AtGround says that the output so far ends neither within a sequence nor within a character.
func (s *Screen) AtGround() bool { return s.state == ground && s.have == 0 }

// multibyte takes a character from the begin of p, and says how many bytes it took. What is not UTF-8 is
// skipped, as xterm.js does, and so is a byte order mark.
func (s *Screen) multibyte(p []byte) int {
	n := length(p[0])
	if n == 0 {
		return 1
	}
	if n > len(p) {
		s.partial[0], s.have = p[0], 1
		return 1
	}
	for i := 1; i < n; i++ {
		if p[i]&0xC0 != 0x80 {
			return i // the byte that does not belong to it begins the next
		}
	}
	s.decoded(p[:n])
	return n
}

// length is how many bytes a character has that begins with c; 0: none does.
func length(c byte) int {
	switch {
	case c&0xE0 == 0xC0:
		return 2
	case c&0xF0 == 0xE0:
		return 3
	case c&0xF8 == 0xF0:
		return 4
	}
	return 0
}

// continued takes the next byte of a character that was cut.
func (s *Screen) continued(c byte) int {
	if c&0xC0 != 0x80 {
		s.have = 0
		return 0
	}
	s.partial[s.have] = c
	s.have++
	if n := length(s.partial[0]); s.have == n {
		s.have = 0
		s.decoded(s.partial[:n])
	}
	return 1
}

func (s *Screen) decoded(p []byte) {
	if c, n := utf8.DecodeRune(p); n > 1 && c != 0xFEFF {
		s.step(c)
	}
}

// clear begins a sequence.
func (s *Screen) clear() {
	s.params.reset()
	s.collect = 0
}

// step takes one character.
func (s *Screen) step(c rune) {
	switch {
	case c == esc:
		if s.state == oscString {
			s.endOSC(true)
		} else if s.state == dcsString {
			s.join = join{}
		}
		s.state = escape
		s.clear()
		return
	case c == can || c == sub:
		if s.state == oscString {
			s.endOSC(false)
		}
		s.execute(c)
		s.state = ground
		return
	case c >= 0x80 && c < 0xA0:
		s.c1(c)
		return
	}
	switch s.state {
	case ground:
		switch {
		case c < ' ':
			s.execute(c)
		case c != del:
			s.print(c)
		}
	case escape:
		s.inEscape(c)
	case escapeIntermediate:
		switch {
		case c < ' ':
			s.execute(c)
		case c < '0':
			s.collect = s.collect<<8 | uint32(c)
		default:
			s.state = ground
			if c < del {
				s.escDispatch(byte(c))
				s.join = join{}
			}
		}
	case csiEntry, csiParam, csiIntermediate, csiIgnore:
		s.inCSI(c)
	case ignoredString:
		if c >= 0xA0 { // an error to xterm.js
			s.state = ground
		}
	case oscString:
		switch {
		case c == bel:
			s.endOSC(true)
			s.state = ground
		case c >= ' ':
			s.osc.put(c)
		}
	case dcsEntry, dcsParam, dcsIntermediate:
		s.inDCS(c)
	}
}

// c1 takes the eight-bit forms of ESC and a letter, which lead out of every state.
func (s *Screen) c1(c rune) {
	switch c {
	case 0x9B:
		s.state = csiEntry
		s.clear()
	case 0x9D:
		s.state = oscString
		s.osc.begin()
	case 0x90:
		s.state = dcsEntry
		s.clear()
	case 0x98, 0x9E, 0x9F:
		s.state = ignoredString
	case 0x9C:
		if s.state == oscString {
			s.endOSC(true)
		} else if s.state == dcsString {
			s.join = join{}
		}
		s.state = ground
	default:
		s.execute(c)
		s.state = ground
	}
}

func (s *Screen) inEscape(c rune) {
	switch {
	case c < ' ':
		s.execute(c)
	case c < '0':
		s.collect = s.collect<<8 | uint32(c)
		s.state = escapeIntermediate
	case c == '[':
		s.state = csiEntry
		s.clear()
	case c == ']':
		s.state = oscString
		s.osc.begin()
	case c == 'P':
		s.state = dcsEntry
		s.clear()
	case c == 'X' || c == '^' || c == '_':
		s.state = ignoredString
	case c == del:
	case c < del:
		s.state = ground
		s.escDispatch(byte(c))
		s.join = join{}
	default:
		s.state = ground
	}
}

func (s *Screen) inCSI(c rune) {
	switch {
	case c < ' ':
		s.execute(c)
	case c == del:
	case c > del:
		if s.state != csiIgnore {
			s.state = ground
		}
	case s.state == csiIgnore:
		if c >= '@' {
			s.state = ground
		}
	case c >= '@':
		s.state = ground
		s.csiDispatch(byte(c))
		s.join = join{}
	case c < '0':
		s.collect = s.collect<<8 | uint32(c)
		s.state = csiIntermediate
	case s.state == csiIntermediate:
		s.state = csiIgnore
	case c < '<':
		s.params.put(byte(c))
		s.state = csiParam
	case s.state == csiEntry:
		s.collect = s.collect<<8 | uint32(c)
		s.state = csiParam
	default:
		s.state = csiIgnore
	}
}

func (s *Screen) inDCS(c rune) {
	switch {
	case c < ' ' || c == del:
	case c > del:
		s.state = ground
	case c >= '@':
		s.state = dcsString
		s.join = join{} // its end will say so
	case c < '0':
		s.collect = s.collect<<8 | uint32(c)
		s.state = dcsIntermediate
	case s.state == dcsIntermediate:
		s.state = dcsIgnore
	case c < '<':
		s.state = dcsParam
	case s.state == dcsEntry:
		s.collect = s.collect<<8 | uint32(c)
		s.state = dcsParam
	default:
		s.state = dcsIgnore
	}
}

// execute takes a control character.
func (s *Screen) execute(c rune) {
	switch c {
	case '\n', '\v', '\f':
		s.lineFeed()
	case '\r':
		s.g.x = 0
	case '\b':
		s.backspace()
	case '\t':
		if s.g.x < s.cols {
			s.g.x = s.g.tabAfter(s.g.x, s.cols)
		}
	case 0x0E:
		s.shift(1)
	case 0x0F:
		s.shift(0)
	case 0x84:
		s.index()
	case 0x85:
		s.g.x = 0
		s.index()
	case 0x88:
		s.touch(touchedTabs)
		s.g.setTab(s.g.x)
	}
	s.join = join{}
	s.dropped = false
}
