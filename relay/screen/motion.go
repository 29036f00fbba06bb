package screen

func (s *Screen) lineFeed() {
	g := s.g
	if s.modes.newline {
		g.x = 0
	}
	g.y++
	if g.y == g.bottom+1 {
		g.y--
		s.scroll(false)
	} else if g.y >= s.rows {
		g.y = s.rows - 1
	} else {
		g.setWraps(g.y, false)
	}
	if g.x >= s.cols {
		g.x--
	}
}

// index is IND.
func (s *Screen) index() {
	s.restrict(s.cols - 1)
	g := s.g
	g.y++
	if g.y == g.bottom+1 {
		g.y--
		s.scroll(false)
	} else if g.y >= s.rows {
		g.y = s.rows - 1
	}
	s.restrict(s.cols - 1)
}

// reverseIndex is RI.
func (s *Screen) reverseIndex() {
	s.restrict(s.cols - 1)
	g := s.g
	if g.y == g.top {
		g.lower(g.top, g.bottom, 1, s.pen.erased())
		return
	}
	g.y--
	s.restrict(s.cols - 1)
}

func (s *Screen) backspace() {
	g := s.g
	if !s.modes.reverseWrap {
		s.restrict(s.cols - 1)
		if g.x > 0 {
			g.x--
		}
		return
	}
	s.restrict(s.cols)
	if g.x > 0 {
		g.x--
	} else if g.y > g.top && g.y <= g.bottom && g.wraps(g.y) {
		g.setWraps(g.y, false)
		g.y--
		g.x = s.cols - 1
		if c := g.row(g.y)[g.x]; c.width() != 0 && !c.filled() {
			g.x-- // a wide character had no room there
		}
	}
	s.restrict(s.cols - 1)
}

func (s *Screen) up(n int) {
	if d := s.g.y - s.g.top; d >= 0 {
		n = min(n, d)
	}
	s.moveBy(0, -n)
}

func (s *Screen) down(n int) {
	if d := s.g.bottom - s.g.y; d >= 0 {
		n = min(n, d)
	}
	s.moveBy(0, n)
}

// region is DECSTBM.
func (s *Screen) region(top, bottom int) {
	top = max(top, 1)
	if bottom == 0 || bottom > s.rows {
		bottom = s.rows
	}
	if bottom > top {
		s.g.top, s.g.bottom = top-1, bottom-1
		s.moveTo(0, 0)
	}
}

// inRegion says that the cursor is in the lines that scroll.
func (g *grid) inRegion() bool { return g.y >= g.top && g.y <= g.bottom }
