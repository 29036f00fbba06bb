package screen

// csiDispatch does what a control sequence asks for. Questions are the viewer's terminal's to answer.
func (s *Screen) csiDispatch(final byte) {
	s.dropped = false
	p := &s.params
	if s.collect != 0 {
		s.csiPrefixed(final)
		return
	}
	g := s.g
	switch final {
	case 'm':
		s.sgr()
	case '@':
		s.restrict(s.cols - 1)
		g.row(g.y).insert(g.x, p.count(), s.pen.erased())
	case 'A':
		s.up(p.count())
	case 'B':
		s.down(p.count())
	case 'C', 'a':
		s.moveBy(p.count(), 0)
	case 'D':
		s.moveBy(-p.count(), 0)
	case 'E':
		s.down(p.count())
		g.x = 0
	case 'F':
		s.up(p.count())
		g.x = 0
	case 'G', '`':
		s.moveTo(p.count()-1, g.y)
	case 'H', 'f':
		s.moveTo(max(p.at(1), 1)-1, p.count()-1)
	case 'I':
		for range min(p.count(), s.cols) {
			if g.x < s.cols {
				g.x = g.tabAfter(g.x, s.cols)
			}
		}
	case 'J':
		s.eraseDisplay(p.at(0), false)
	case 'K':
		s.eraseLine(p.at(0), false)
	case 'L':
		s.insertLines(p.count())
	case 'M':
		s.deleteLines(p.count())
	case 'P':
		s.restrict(s.cols - 1)
		g.row(g.y).delete(g.x, p.count(), s.pen.erased())
	case 'S':
		g.raise(g.top, g.bottom, p.count(), s.pen.erased())
	case 'T':
		g.lower(g.top, g.bottom, p.count(), cell{})
	case 'X':
		s.restrict(s.cols - 1)
		g.row(g.y).replace(g.x, g.x+min(p.count(), s.cols), s.pen.erased())
	case 'Z':
		for range min(p.count(), s.cols) {
			if g.x < s.cols {
				g.x = g.tabBefore(g.x, s.cols)
			}
		}
	case 'b':
		s.repeat(p.count())
	case 'd':
		s.moveTo(g.x, p.count()-1)
	case 'e':
		s.moveBy(0, p.count())
	case 'g':
		s.touch(touchedTabs)
		switch p.at(0) {
		case 0:
			g.clearTab(g.x)
		case 3:
			clear(g.tabs[:])
		}
	case 'h', 'l':
		for i := range p.n {
			s.setMode(p.at(i), final == 'h')
		}
	case 'r':
		s.touch(touchedRegion)
		s.region(p.at(0), p.at(1))
	case 's':
		s.save()
	case 'u':
		s.restore()
	}
}

// csiPrefixed does those with a prefix or an intermediate byte.
func (s *Screen) csiPrefixed(final byte) {
	p := &s.params
	switch s.collect<<8 | uint32(final) {
	case '?'<<8 | 'h', '?'<<8 | 'l':
		for i := range p.n {
			s.setPrivate(p.at(i), final == 'h')
		}
	case '?'<<8 | 'J':
		s.eraseDisplay(p.at(0), true)
	case '?'<<8 | 'K':
		s.eraseLine(p.at(0), true)
	case ' '<<8 | '@':
		s.deleteColumns(0, p.count())
	case ' '<<8 | 'A':
		s.insertColumns(0, p.count())
	case '\''<<8 | '}':
		s.insertColumns(s.g.x, p.count())
	case '\''<<8 | '~':
		s.deleteColumns(s.g.x, p.count())
	case '!'<<8 | 'p':
		s.softReset()
	case ' '<<8 | 'q':
		s.cursorStyle(p.at(0))
	case '"'<<8 | 'q':
		s.touch(touchedProtection)
		switch p.at(0) {
		case 0, 2:
			s.pen.bg &^= bgProtected
		case 1:
			s.pen.bg |= bgProtected
		}
	case '>'<<8 | 'm':
		if p.at(0) == 4 || p.n == 1 && p.at(0) == 0 {
			s.modes.otherKeys = uint8(p.at(1) & 3)
			s.touch(touchedOtherKeys)
		}
	case '>'<<8 | 'u', '<'<<8 | 'u', '='<<8 | 'u':
		s.keys(byte(s.collect), p)
	}
}

// cursorStyle is DECSCUSR. xterm.js takes every number above 6 for a change of whether it blinks.
func (s *Screen) cursorStyle(n int) {
	s.touch(touchedStyle)
	style := &s.modes.style
	switch {
	case n <= 6:
		*style = uint8(n)
	case *style == 0 || *style > 6:
		*style = 8 - uint8(n%2)
	default:
		*style = (*style+1)/2*2 - uint8(n%2)
	}
}
