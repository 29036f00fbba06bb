package screen

// eraseDisplay is ED, and DECSED when it spares what is protected. Lines above the screen (ED 3) are the
// viewer's own.
func (s *Screen) eraseDisplay(what int, spare bool) {
	s.restrict(s.cols)
	g, fill := s.g, s.pen.erased()
	wipe := func(y int) {
		if spare {
			g.row(y).replaceUnprotected(0, s.cols, fill)
			g.setWraps(y, false)
		} else {
			g.wipe(y, fill)
		}
	}
	switch what {
	case 0:
		s.eraseCells(g.x, s.cols, g.x == 0, spare)
		for y := g.y + 1; y < s.rows; y++ {
			wipe(y)
		}
	case 1:
		s.eraseCells(0, g.x+1, true, spare)
		if g.x+1 >= s.cols {
			// The line below goes on from nothing now. xterm.js means it, but counts from the first
			// line that it has.
			if y := g.y + 1 - g.base; y >= -g.have && y < s.rows {
				g.setWraps(y, false)
			} else if y == s.rows && g.limit == 0 {
				g.setWraps(0, false)
			}
		}
		for y := range g.y {
			wipe(y)
		}
	case 2:
		for y := range s.rows {
			wipe(y)
		}
	case 3:
		g.base, g.have = 0, 0
	}
}

// eraseLine is EL, and DECSEL.
func (s *Screen) eraseLine(what int, spare bool) {
	s.restrict(s.cols)
	switch what {
	case 0:
		s.eraseCells(s.g.x, s.cols, s.g.x == 0, spare)
	case 1:
		s.eraseCells(0, s.g.x+1, false, spare)
	case 2:
		s.eraseCells(0, s.cols, true, spare)
	}
}

func (s *Screen) eraseCells(from, to int, unwrap, spare bool) {
	r := s.g.row(s.g.y)
	if spare {
		r.replaceUnprotected(from, to, s.pen.erased())
	} else {
		r.replace(from, to, s.pen.erased())
	}
	if unwrap {
		s.g.setWraps(s.g.y, false)
	}
}

// align is DECALN.
func (s *Screen) align() {
	s.moveTo(0, 0)
	look := s.pen
	look.ext = 0
	from := s.g.y
	if s.g.limit == 0 {
		from = 0 // below the last line xterm.js goes on with the first
	}
	for y := from; y < s.rows; y++ {
		s.g.wipe(y, look.made('E'))
	}
	s.moveTo(0, 0)
}

// insertLines is IL.
func (s *Screen) insertLines(n int) {
	s.restrict(s.cols - 1)
	if g := s.g; g.inRegion() {
		g.lower(g.y, g.bottom, n, s.pen.erased())
		g.x = 0
	}
}

// deleteLines is DL.
func (s *Screen) deleteLines(n int) {
	s.restrict(s.cols - 1)
	if g := s.g; g.inRegion() {
		g.raise(g.y, g.bottom, n, s.pen.erased())
		g.x = 0
	}
}

// insertColumns is SR and DECIC; deleteColumns SL and DECDC.
func (s *Screen) insertColumns(x, n int) { s.columns(func(r row, fill cell) { r.insert(x, n, fill) }) }
func (s *Screen) deleteColumns(x, n int) { s.columns(func(r row, fill cell) { r.delete(x, n, fill) }) }

func (s *Screen) columns(change func(row, cell)) {
	g := s.g
	if !g.inRegion() {
		return
	}
	for y := g.top; y <= g.bottom; y++ {
		change(g.row(y), s.pen.erased())
		g.setWraps(y, false)
	}
}
