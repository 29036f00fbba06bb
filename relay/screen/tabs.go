package screen

const tabWidth = 8

func (g *grid) hasTab(x int) bool {
	return x >= 0 && x < 64*len(g.tabs) && g.tabs[x/64]&(1<<(x%64)) != 0
}

func (g *grid) setTab(x int)   { g.tabs[x/64] |= 1 << (x % 64) }
func (g *grid) clearTab(x int) { g.tabs[x/64] &^= 1 << (x % 64) }

func (g *grid) resetTabs(cols int) {
	clear(g.tabs[:])
	for x := 0; x < cols; x += tabWidth {
		g.setTab(x)
	}
}

// growTabs goes on with the stops behind the last one when a screen has become wider.
func (g *grid) growTabs(cols int) {
	x := cols
	if !g.hasTab(x) {
		x = g.tabBefore(x, cols)
	}
	for ; x < cols; x += tabWidth {
		g.setTab(x)
	}
}

func (g *grid) tabAfter(x, cols int) int {
	for x++; !g.hasTab(x) && x < cols; x++ {
	}
	return min(x, cols-1)
}

func (g *grid) tabBefore(x, cols int) int {
	for x--; !g.hasTab(x) && x > 0; x-- {
	}
	return max(min(x, cols-1), 0)
}
