package screen

// historyOf is how many lines above the screen are kept for resizes: some of a screen of 24, and so few of a screen of
// a thousand that it does not become much larger.
func historyOf(rows int) int { return max(42-rows, min(rows*3/4, 100)) }

// scrollback is how many lines a viewer keeps above the screen, as the page is set. It matters for one
// thing: until they are full, xterm.js counts a saved cursor's line from the first of them.
const scrollback = 10_000

// grid is one of the two buffers: the lines of the screen, a few above it, and what belongs to it.
//
// The lines above the screen are there for resizes, which move lines both ways. The alternate screen has none.
type grid struct {
	cols, rows int
	lines      []row    // nil: nothing was written to it yet; many shells show a few lines, and then wait for days
	wrapped    []bool   // by line: it goes on from the line above
	order      []uint16 // which of the lines is where: the history, oldest first, then the screen
	history    int      // how many lines of history there is room for
	have       int      // how many there are
	base       int      // how many lines the viewer has above the screen
	limit      int      // and how many it keeps at most

	x, y        int // x is cols when the next character wraps
	top, bottom int // the scroll region
	tabs        [(maxSize + 64) / 64]uint64
	saved       saved
}

// saved is what DECSC keeps.
type saved struct {
	x, y    int // y counts from the first line that the viewer has
	fg, bg  uint32
	charset byte
}

// empty says that there are no lines: the alternate screen while it is not in use.
func (g *grid) empty() bool { return g.rows == 0 }

// allot gives the grid its lines, all of them fill.
func (g *grid) allot(cols, rows, history int, fill cell) {
	total := rows + history
	if have := g.lines[:cap(g.lines)]; len(have) < total || len(have) > 2*total {
		g.lines, g.order, g.wrapped = make([]row, total), make([]uint16, total), make([]bool, total)
		copy(g.lines, have)
	}
	clear(g.lines[total:cap(g.lines)])
	g.lines, g.order, g.wrapped = g.lines[:total], g.order[:total], g.wrapped[:total]
	for i, r := range g.lines {
		g.order[i] = uint16(i)
		if cap(r) < cols || cap(r) > 2*cols {
			g.lines[i] = nil
		} else {
			g.lines[i] = r[:cols]
		}
	}
	clear(g.wrapped)
	g.cols, g.rows, g.history, g.have = cols, rows, history, 0
	for i := range g.lines {
		g.fill(i, fill)
	}
}

// release empties the alternate screen, whose memory stays for the next time.
func (g *grid) release(cols, rows int) {
	*g = grid{lines: g.lines, wrapped: g.wrapped, order: g.order, saved: g.saved, cols: cols, bottom: rows - 1, limit: 0}
	g.resetTabs(cols)
}

func (g *grid) row(y int) row {
	i := g.order[g.history+y]
	if g.lines[i] == nil {
		g.lines[i] = make(row, g.cols)
	}
	return g.lines[i]
}

// fill makes all of a line c.
func (g *grid) fill(line int, c cell) {
	if g.lines[line] == nil {
		if c == (cell{}) {
			return
		}
		g.lines[line] = make(row, g.cols)
	}
	g.lines[line].fill(c)
}

func (g *grid) wraps(y int) bool       { return g.wrapped[g.order[g.history+y]] }
func (g *grid) setWraps(y int, b bool) { g.wrapped[g.order[g.history+y]] = b }

// wipe makes a whole line fill.
func (g *grid) wipe(y int, fill cell) {
	g.fill(int(g.order[g.history+y]), fill)
	g.setWraps(y, false)
}

// scroll moves the region up by a line, whose first becomes history if the region begins at the top.
func (g *grid) scroll(fill cell, wrapped bool) {
	from := g.history + g.top
	if g.top == 0 {
		from = 0
		g.have = min(g.have+1, g.history)
		if g.base < g.limit {
			g.base++
		}
	}
	g.rotateUp(from, g.history+g.bottom)
	g.wipe(g.bottom, fill)
	if wrapped {
		g.setWraps(g.bottom, true)
	}
}

// raise moves the lines from..to up by n; what is above is lost.
func (g *grid) raise(from, to, n int, fill cell) {
	for range min(n, to-from+1) {
		g.rotateUp(g.history+from, g.history+to)
		g.wipe(to, fill)
	}
}

// lower moves the lines from..to down by n.
func (g *grid) lower(from, to, n int, fill cell) {
	for range min(n, to-from+1) {
		o := g.order[g.history+from : g.history+to+1]
		last := o[len(o)-1]
		copy(o[1:], o)
		o[0] = last
		g.wipe(from, fill)
	}
}

func (g *grid) rotateUp(from, to int) {
	o := g.order[from : to+1]
	first := o[0]
	copy(o, o[1:])
	o[len(o)-1] = first
}
