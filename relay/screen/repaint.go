package screen

// Repaint appends what makes any viewer's terminal that has been given a part of this output, or nothing, equal
// to one that was given all of it, and goes on where the output stopped. The viewer's terminal must have the
// screen's size. It is told of nothing that the output never touched.
//
// lines is how many of the lines that the viewer shows on its normal screen are moved to the lines above it
// first: those that the screen has lost since then, which Left tells. So nothing is lost that the person has
// seen, and nothing is there twice. For a viewer that has just come it is 0. The note, unless it is empty, is the
// line behind them, above the screen: it says what is missing there.
//
// A repaint that would be longer than most bytes is nil, and most of its work is not done.
//
// In it is no question and no bell, and nothing that makes a terminal answer; but for one mode that programs
// can ask for, of which terminals tell at once whether they have the focus.
func (s *Screen) Repaint(buf []byte, most int, lines uint64, note string) []byte {
	p := &painter{Screen: s, buf: buf, most: len(buf) + most}
	p.begin()
	p.push(int(min(lines, uint64(s.rows))), note)
	p.grid(&s.normal, s.kitty[0])
	if s.g == &s.alt {
		p.save(&s.normal, "\x1b[?1049h") // it saves the cursor by itself
		p.neutral()
		p.grid(&s.alt, s.kitty[1])
	}
	p.save(s.g, "\x1b7")
	p.neutralCharset()
	p.settings()
	p.end()
	p.unfinished()
	if len(p.buf) > p.most {
		return nil
	}
	return p.buf
}

// painter writes a repaint.
type painter struct {
	*Screen
	buf  []byte
	most int  // where buf must end
	look attr // of the viewer's pen
	join join // of the viewer's parser
}

func (p *painter) str(s string) { p.buf = append(p.buf, s...) }

// csi writes a control sequence with numbers.
func (p *painter) csi(prefix, final string, n ...int) {
	p.join = join{}
	p.str("\x1b[")
	p.str(prefix)
	for i, v := range n {
		if i > 0 {
			p.buf = append(p.buf, ';')
		}
		p.buf = appendInt(p.buf, v)
	}
	p.str(final)
}

// at moves the viewer's cursor, without origin mode.
func (p *painter) at(x, y int) { p.csi("", "H", y+1, x+1) }

// begin leads every parser to its ground, and shows the normal screen.
func (p *painter) begin() {
	p.str("\x18\x1b\\\x1b[?2026h") // CAN ends a sequence and half a character, ST what knows no CAN
	p.neutral()
	if p.touched&touchedAltSaved != 0 && p.g == &p.normal {
		p.str("\x1b[?1049h")
		p.save(&p.alt, "\x1b7")
	}
	if p.touched&touchedAlt != 0 {
		p.str("\x1b[?1049l")
		p.neutral()
	}
}

// neutral switches off what would change how the screen is painted.
func (p *painter) neutral() {
	if p.touched&touchedInsert != 0 {
		p.str("\x1b[4l")
	}
	if p.touched&touchedNewline != 0 {
		p.str("\x1b[20l")
	}
	if p.touched&touchedOrigin != 0 {
		p.str("\x1b[?6l")
	}
	if p.touched&touchedWrap != 0 {
		p.str("\x1b[?7h")
	}
	if p.touched&touchedReverseWrap != 0 {
		p.str("\x1b[?45l")
	}
	p.neutralCharset()
	if p.touched&touchedProtection != 0 {
		p.str("\x1b[0\"q")
	}
	if p.touched&touchedRegion != 0 {
		p.str("\x1b[r")
	}
	p.str("\x1b[m")
	p.look = attr{}
}

// push moves lines of the viewer's normal screen to those above it, and then the note.
func (p *painter) push(lines int, note string) {
	if lines > 0 {
		p.up(lines)
	}
	if note != "" {
		p.at(0, 0)
		p.str("\x1b[K")
		p.str(note)
		p.up(1)
	}
}

func (p *painter) up(lines int) {
	p.at(0, p.rows-1)
	for range lines {
		p.buf = append(p.buf, '\n')
	}
}

func (p *painter) neutralCharset() {
	if p.touched&touchedCharset != 0 {
		p.str("\x0f\x1b(B")
	}
}

// save saves the cursor as the output did in this buffer.
func (p *painter) save(g *grid, with string) {
	v := &g.saved
	if v.charset != 0 {
		p.designate('(', v.charset)
	}
	p.dress(attr{fg: v.fg, bg: v.bg})
	p.at(min(v.x, p.cols-1), min(max(v.y-g.base, 0), p.rows-1))
	p.str(with)
}

func (p *painter) designate(level byte, set byte) {
	if set == 0 {
		set = 'B'
	}
	p.buf = append(p.buf, esc, level, set)
}
