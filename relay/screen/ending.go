package screen

// end sets the modes that painting would have suffered from, and puts the cursor where it is.
func (p *painter) end() {
	m := &p.modes
	p.mode(touchedNewline, "20", m.newline)
	p.mode(touchedReverseWrap, "?45", m.reverseWrap)
	p.mode(touchedWrap, "?7", m.wrap)
	p.mode(touchedInsert, "4", m.insert)
	p.mode(touchedOrigin, "?6", m.origin)
	if !m.sync {
		p.str("\x1b[?2026l")
	}
	g := p.g
	r := g.row(g.y)
	brought := p.charset.current != p.charset.sets[p.charset.level]
	if brought { // by DECRC, so it takes one to get there
		p.charsets()
	}
	if at := g.x - int(p.Screen.join.width); p.Screen.join.width != 0 && at >= 0 {
		c := r[at]
		codes := p.codes(c)
		first, possible := typed(p.charset.current, codes[0])
		if j, ok := replay(codes); ok && possible && j == p.Screen.join && int(j.width) == c.width() && c.attr == p.Screen.pen.made(0).attr {
			// What comes next may join the last character, or repeat it: so it is printed last.
			if !brought {
				p.charsets()
			}
			p.reach(r, at, g.y)
			p.dress(p.Screen.pen)
			if m.insert && g.x < p.cols {
				p.csi("", "P", int(property(codes[0])>>4)) // as much as it will insert
			}
			p.codesAs([]rune{first})
			p.codesAs(codes[1:])
			return
		}
	}
	if dropped := p.tooWide(r); dropped != 0 {
		if !brought {
			p.charsets()
		}
		p.dress(p.Screen.pen)
		p.place(g.x, g.y)
		p.codesAs([]rune{dropped})
		return
	}
	if g.x < p.cols {
		p.place(g.x, g.y)
	} else { // only printing leads behind the last column
		at := p.cols - 1
		if r[at].width() == 0 && r[at-1].width() == 2 {
			at--
		}
		p.reach(r, at, g.y)
		switch c := r[at]; {
		case c.filled():
			p.cell(r, at, g.y)
		case r.all(c) && c == c.erased():
			p.codesAs([]rune{'x'})
			p.dress(c.attr)
			p.str("\x1b[1K")
		default: // as near as can be
			p.dress(c.attr)
			p.codesAs([]rune{' '})
		}
	}
	if !brought {
		p.charsets()
	}
	if p.join != (join{}) { // nothing may join what was printed: a sequence must come behind it
		p.look = attr{ext: ^uint32(0)}
	}
	p.dress(p.Screen.pen)
}

// reach moves the viewer's cursor to where a character can be printed at x. If half of a wide one stands before
// it, that must be printed again: without autowrap the cursor then stays at the line's end.
func (p *painter) reach(r row, x, y int) {
	if x > 0 && x == p.cols-1 && r[x-1].width() == 2 && !p.modes.wrap {
		p.place(x-1, y)
		p.dress(r[x-1].attr)
		p.codesAs(p.codes(r[x-1]))
		return
	}
	p.place(x, y)
}

// tooWide is a character like the last one if that had no room at the line's end, without autowrap; or 0.
// What comes next may join it all the same.
func (p *painter) tooWide(r row) rune {
	if p.modes.wrap || p.g.x != p.cols-1 || p.Screen.join.width != 2 || r[p.g.x-1].width() == 2 {
		return 0
	}
	for _, c := range "\u3042\uFE0F\U0001F600\u1100\uAC00\uAC01" {
		if j, _ := (join{}).after(c); j == p.Screen.join {
			return c
		}
	}
	return 0
}

// place moves the viewer's cursor, in origin mode if that is on.
func (p *painter) place(x, y int) {
	if p.origin {
		y = max(y-p.g.top, 0)
	}
	p.at(x, y)
}

// charsets designates the sets and shifts to the one in use.
func (p *painter) charsets() {
	if p.touched&touchedCharset == 0 {
		return
	}
	c := &p.charset
	for i, level := range []byte("()*+") {
		p.designate(level, c.sets[i])
	}
	p.str([...]string{"\x0f", "\x0e", "\x1bn", "\x1bo"}[c.level])
	p.join = join{}
	if c.current != c.sets[c.level] && p.g.saved.charset == c.current {
		p.str("\x1b8")
		p.look = attr{fg: p.g.saved.fg, bg: p.g.saved.bg}
	}
}

// unfinished begins what the output ended within: a sequence, a character or both. The text of a string that
// is not the screen's is not sent again: what is still to come of it is swallowed by the viewer.
func (p *painter) unfinished() {
	switch p.state {
	case ground:
	case escape, escapeIntermediate:
		p.buf = append(p.buf, esc)
		p.intermediates()
	case csiEntry, csiParam, csiIntermediate:
		p.str("\x1b[")
		if first := p.first(); first >= '<' {
			p.buf = append(p.buf, first)
		}
		n := len(p.buf)
		if p.buf = p.params.appendTo(p.buf); len(p.buf) == n && p.state == csiParam && p.collect == 0 {
			p.buf = append(p.buf, '0') // a prefix has no place any more
		}
		p.intermediates()
	case csiIgnore:
		p.str("\x1b[0<")
	case ignoredString:
		p.str("\x1b^")
	case oscString:
		o := &p.osc
		switch {
		case o.part == oscNumber:
			p.str("\x1b]")
			if o.id >= 0 {
				p.buf = appendInt(p.buf, o.id)
			}
		case o.part == oscText && o.wanted():
			p.str("\x1b]")
			p.buf = appendInt(p.buf, o.id)
			p.buf = append(p.buf, ';')
			p.buf = append(p.buf, o.data[:o.n]...)
		default:
			p.str("\x1b]!")
		}
	case dcsEntry, dcsParam, dcsIntermediate:
		p.str("\x1bP")
		if first := p.first(); first >= '<' {
			p.buf = append(p.buf, first)
		} else if p.state == dcsParam {
			p.buf = append(p.buf, '0')
		}
		p.intermediates()
	case dcsIgnore, dcsString:
		p.str("\x1bP0<")
	}
	p.buf = append(p.buf, p.partial[:p.have]...)
}

// first is the first byte that was collected.
func (p *painter) first() byte {
	c := p.collect
	for c > 255 {
		c >>= 8
	}
	return byte(c)
}

// intermediates writes what was collected but for a prefix; more than three have the same effect as three.
func (p *painter) intermediates() {
	for shift := 24; shift >= 0; shift -= 8 {
		if c := byte(p.collect >> shift); c >= ' ' && c < '0' {
			p.buf = append(p.buf, c)
		}
	}
}
