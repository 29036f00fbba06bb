package screen

import "scrier/wire"

// line is one of a grid that is being resized.
type line struct {
	cells   row
	wrapped bool
}

// resizing is a grid as a list of lines, some of them above the screen. It is xterm.js's way to resize, step
// by step, as what it shows afterwards depends on it.
type resizing struct {
	*grid
	lines   []line
	above   int  // how many of the lines are above the screen
	missing int  // how many more the viewer has above those
	keep    int  // how many the viewer keeps in all
	hollow  bool // a line came down that is not known
	oldCols int
	newCols int
	newRows int
}

// Resize is what a terminal does when its window changes. Lines that come down from far above, more than are
// kept here, come as empty ones.
func (s *Screen) Resize(size wire.Size) {
	oldCols, oldRows := s.cols, s.rows
	s.size(size)
	if s.cols == oldCols && s.rows == oldRows {
		return
	}
	s.clusters.last = 0
	if s.normal.resize(s.cols, s.rows, oldRows, true) {
		s.hollow = s.left + uint64(s.rows)
	}
	if s.alt.empty() {
		a := &s.alt // xterm.js leaves more room in it than the screen needs
		a.limit = max(oldRows+a.limit, s.rows) - s.rows
		a.bottom = s.rows - 1
	} else {
		s.alt.resize(s.cols, s.rows, oldRows, false)
	}
	s.normal.growTabs(s.cols)
	s.alt.growTabs(s.cols)
}

// resize says whether lines came down that are not known here.
func (g *grid) resize(cols, rows, oldRows int, reflow bool) (hollow bool) {
	z := &resizing{grid: g, above: g.have, missing: g.base - g.have, keep: oldRows + g.limit, oldCols: g.cols, newCols: cols, newRows: rows}
	for y := -g.have; y < oldRows; y++ {
		r := make(row, max(g.cols, cols))
		copy(r, g.row(y))
		z.lines = append(z.lines, line{r[:max(g.cols, cols)], g.wraps(y)})
	}
	added := z.changeRows(oldRows)
	z.trim(reflow)
	g.x = min(g.x, cols-1)
	g.y = min(g.y, rows-1) + added
	g.saved.x = min(g.saved.x, cols-1)
	if reflow && cols > g.cols {
		z.reflowLarger()
	} else if reflow && cols < g.cols {
		z.reflowSmaller()
	}
	z.finish()
	return z.hollow
}

// changeRows makes the screen higher or lower, and says how far the cursor's line has moved down.
func (z *resizing) changeRows(oldRows int) (added int) {
	for y := oldRows; y < z.newRows; y++ {
		if len(z.lines) >= z.newRows+z.above {
			continue
		}
		if z.above+z.missing > 0 && len(z.lines) <= z.above+z.y+added+1 {
			z.down()
			added++
		} else {
			z.lines = append(z.lines, z.blank())
		}
	}
	for y := oldRows; y > z.newRows; y-- {
		if len(z.lines) <= z.newRows+z.above {
			continue
		}
		if len(z.lines) > z.above+z.y+1 {
			z.lines = z.lines[:len(z.lines)-1]
		} else {
			z.above++
		}
	}
	return added
}

func (z *resizing) blank() line { return line{cells: make(row, max(z.oldCols, z.newCols))} }

// down moves the screen's begin up, so that the last line above it comes onto it.
func (z *resizing) down() {
	if z.above > 0 {
		z.above--
		return
	}
	z.missing--
	z.hollow = true
	z.lines = append([]line{z.blank()}, z.lines...)
}

// trim forgets the first lines when there are more than a viewer keeps.
func (z *resizing) trim(scrolls bool) {
	keep := z.newRows
	if scrolls {
		keep += scrollback
	}
	if keep >= z.keep {
		z.keep = keep
		return
	}
	z.keep = keep
	n := len(z.lines) + z.missing - keep
	if n <= 0 {
		return
	}
	z.saved.y = max(z.saved.y-n, 0)
	known := max(n-z.missing, 0)
	z.missing = max(z.missing-n, 0)
	z.lines = z.lines[known:]
	z.above = max(z.above-known, 0)
}

// finish gives the grid its lines back.
func (z *resizing) finish() {
	g := z.grid
	history := 0
	if g.history > 0 {
		history = historyOf(z.newRows)
	}
	x, y, base := g.x, min(g.y, z.newRows-1), z.above+z.missing
	g.allot(z.newCols, z.newRows, history, cell{})
	g.have = min(z.above, history)
	for i := -g.have; i < z.newRows && z.above+i < len(z.lines); i++ {
		l := z.lines[z.above+i]
		copy(g.row(i), l.cells)
		g.setWraps(i, l.wrapped)
	}
	g.x, g.y, g.base, g.limit = x, y, base, z.keep-z.newRows
	g.top, g.bottom = 0, z.newRows-1
}
