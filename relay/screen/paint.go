package screen

import "unicode/utf8"

// wide is a character of two cells, which some cells can only be made with.
const wide = "\u3042"

// grid paints a buffer that the viewer shows, and sets what belongs to it.
func (p *painter) grid(g *grid, k keyboard) {
	p.str("\x1b[H\x1b[J") // not ED 2, with which some terminals keep the old screen above
	for y := range p.rows {
		if len(p.buf) > p.most {
			return
		}
		r := g.row(y)
		below := y+1 < p.rows
		odd := below && r[p.cols-1].odd()
		if below && !odd && g.wraps(y+1) {
			p.wrap(r, y, g.row(y+1))
		}
		p.row(r, y)
		if odd {
			p.oddEnd(r, y, g.wraps(y+1))
		}
	}
	p.dress(attr{})
	if p.touched&touchedTabs != 0 {
		p.str("\x1b[3g")
		for x := range p.cols {
			if g.hasTab(x) {
				p.csi("", "G", x+1)
				p.str("\x1bH")
			}
		}
	}
	if p.touched&touchedRegion != 0 {
		p.csi("", "r", g.top+1, g.bottom+1)
	}
	if p.touched&touchedKitty != 0 {
		p.keyboard(k)
	}
}

// odd says that a cell is empty and yet looks like more than erasing leaves: xterm.js leaves such ones where
// half of a wide character was overwritten, or where one had no room at the line's end.
func (c cell) odd() bool { return !c.filled() && c.width() == 1 && c != c.erased() }

// wrap makes the line below r one that goes on from it, by writing over its end.
func (p *painter) wrap(r row, y int, below row) {
	p.dress(attr{})
	p.at(p.cols-1, y)
	p.str("xx")
	if !below[0].filled() {
		p.str("\b\x1b[X")
	}
	if !r[p.cols-1].filled() {
		p.at(p.cols-1, y)
		p.str("\x1b[X")
	}
}

// oddEnd makes the last cell of r an odd one: where a wide character had no room.
func (p *painter) oddEnd(r row, y int, wrapped bool) {
	p.dress(r[p.cols-1].attr)
	p.at(p.cols-1, y)
	p.str(wide)
	p.dress(attr{})
	if wrapped {
		p.str("\r\x1b[2X")
	} else {
		p.str("\r\x1b[K")
	}
}

// row paints a line, which is empty but for what wrap and oddEnd have left.
func (p *painter) row(r row, y int) {
	p.orphans(r, y)
	last := len(r) - 1
	if y == p.rows-1 && r[last].odd() && !r[last-1].odd() { // there is no line below to wrap to
		p.dress(r[last].attr)
		p.at(last-1, y)
		p.str(wide)
		p.at(last-1, y)
		p.str("x")
	}
	cursor := -1              // where the viewer's is; -1: anywhere
	garbage, before := -1, -1 // what has been written over and must be painted, even if empty
	if y == p.rows-1 && r[last].odd() {
		before = last - 1
	}
	for x := 0; x < len(r); {
		c := r[x]
		w := max(c.width(), 1)
		switch {
		case c.filled():
			if cursor != x {
				p.at(x, y)
			}
			p.cell(r, x, y)
			if cursor = x + w; cursor >= len(r) {
				cursor = -1
			}
			x += w
		case c.width() == 0: // an orphan
			x++
		case c.odd() && x < last:
			p.dress(c.attr)
			p.at(x, y)
			p.str(wide)
			p.at(x+1, y)
			p.str("x")
			garbage = x + 1
			cursor = -1
			x++
		case c.odd():
			if y == p.rows-1 && r[last-1].odd() { // as near as can be
				p.at(x, y)
				p.dress(c.attr)
				p.str(" ")
			}
			x++
		case c == cell{} && garbage != x && before != x:
			x++
		default:
			n := 1
			for x+n < len(r) && r[x+n] == c {
				n++
			}
			if cursor != x {
				p.at(x, y)
				cursor = x
			}
			p.dress(attr{bg: c.bg})
			p.csi("", "X", n)
			x += n
		}
	}
}

// orphans leaves second halves of wide characters without their first, as inserting into the middle of one does.
func (p *painter) orphans(r row, y int) {
	for x := 2; x < len(r); x++ {
		if !r.orphan(x) || r[x-1].filled() || r[x-1].width() != 1 || r[x-1].odd() {
			continue
		}
		p.dress(r[x].attr)
		p.at(x-2, y)
		p.str(wide)
		p.dress(attr{})
		p.at(x-1, y)
		p.str("\x1b[@")
	}
}

// orphan says that what is at x belongs to no wide character.
func (r row) orphan(x int) bool {
	return r[x].width() == 0 && !r[x].filled() && (x == 0 || r[x-1].width() != 2)
}

// cell prints one cell, at the viewer's cursor.
func (p *painter) cell(r row, x, y int) {
	c := r[x]
	codes := p.codes(c)
	if j, ok := replay(codes); !ok || int(j.width) != c.width() || x+c.width() > len(r) {
		p.dress(c.attr)
		p.str("  "[:min(c.width(), len(r)-x)]) // what no output can make
		p.join = join{kind: breakOther, width: 1}
		return
	}
	p.dress(c.attr)
	if _, joins := p.join.after(codes[0]); joins {
		p.at(x, y)
	}
	if c.width() == 2 && x+2 == len(r) && r[x+1].width() != 0 && r[x+1].filled() { // cut at the end without autowrap
		p.str("\x1b[?7l")
		p.codesAs(codes)
		p.dress(r[x+1].attr)
		p.codesAs(p.codes(r[x+1]))
		p.str("\x1b[?7h")
		p.join = join{}
		return
	}
	p.codesAs(codes)
}

func (p *painter) codesAs(codes []rune) {
	for _, code := range codes {
		p.buf = utf8.AppendRune(p.buf, code)
		p.join, _ = p.join.after(code)
	}
}

// replay says what holds after a cell's text; false: it would need more than one cell.
func replay(codes []rune) (j join, ok bool) {
	for i, code := range codes {
		next, joins := j.after(code)
		if i > 0 && !joins {
			return j, false
		}
		j = next
	}
	return j, len(codes) > 0 && codes[0] != nul
}

// dress makes the viewer's pen look like a.
func (p *painter) dress(a attr) {
	if a == p.look {
		return
	}
	protected := p.look.bg&bgProtected != 0
	p.look = a
	p.str("\x1b[")
	if a != (attr{}) {
		p.str("0")
		p.attributes(a)
	}
	p.str("m")
	p.join = join{}
	switch {
	case a.bg&bgProtected != 0:
		p.str("\x1b[1\"q")
	case protected:
		p.str("\x1b[0\"q")
	}
}

func (p *painter) attributes(a attr) {
	for _, f := range [...]struct {
		on   bool
		code string
	}{
		{a.fg&fgBold != 0, ";1"}, {a.bg&bgDim != 0, ";2"}, {a.bg&bgItalic != 0, ";3"}, {a.fg&fgBlink != 0, ";5"},
		{a.fg&fgInverse != 0, ";7"}, {a.fg&fgInvisible != 0, ";8"}, {a.fg&fgStrikethrough != 0, ";9"}, {a.bg&bgOverline != 0, ";53"},
	} {
		if f.on {
			p.str(f.code)
		}
	}
	switch style := a.underlineStyle(); style {
	case 0:
	case 1:
		p.str(";4")
	default:
		p.str(";4:")
		p.buf = append(p.buf, '0'+byte(style))
	}
	p.color(a.fg, 30)
	p.color(a.bg, 40)
	p.color(a.ext, 50)
}

// color writes a colour; base is 30 for text, 40 for the background, 50 for the underline.
func (p *painter) color(v uint32, base int) {
	kind, n := v&kindMask, int(v&rgbMask)
	sep := byte(';')
	if base == 50 {
		sep = ':' // terminals that have no such colours would take the numbers for others
	}
	put := func(numbers ...int) {
		for i, n := range numbers {
			if i == 0 {
				p.buf = append(p.buf, ';')
			} else {
				p.buf = append(p.buf, sep)
			}
			if n >= 0 {
				p.buf = appendInt(p.buf, n)
			}
		}
	}
	switch {
	case kind == kindPalette && n < 8:
		put(base + n)
	case kind == kindPalette:
		put(base + 60 + n - 8)
	case kind == kind256:
		put(base+8, 5, n)
	case kind == kindRGB && base == 50:
		put(base+8, 2, -1, n>>16, n>>8&255, n&255)
	case kind == kindRGB:
		put(base+8, 2, n>>16, n>>8&255, n&255)
	}
}
