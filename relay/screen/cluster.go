package screen

const (
	// maxCluster is how many code points one cell may hold: the longest emoji have ten, and languages that
	// stack marks have fewer. Further marks are dropped.
	maxCluster = 15
	// maxClusters bounds the memory of cells with more than one code point, at 2 MiB a screen. When the
	// screen holds more, further marks are dropped.
	maxClusters = 1 << 15
)

// cluster is the text of a cell that has more than one code point. It is not changed once another cell may have it.
type cluster struct {
	n    uint32
	code [maxCluster]rune
}

// clusters holds the texts of all cells of a screen. Nobody counts who uses which: when there is no room, the
// screen is searched.
type clusters struct {
	all  []cluster
	used []bool // parallel to all
	next int    // where to look for a free one
	last int    // the newest, which one cell alone has, plus one
	wait int    // how many more to refuse before it is worth searching again
}

// codes is a cell's text.
func (s *Screen) codes(c cell) []rune {
	if c.text&clustered != 0 {
		k := &s.clusters.all[c.text&codeMask]
		return k.code[:k.n]
	}
	s.one[0] = rune(c.text & codeMask)
	return s.one[:1]
}

// join adds a code point to a cell, which is width cells wide then.
func (s *Screen) joinTo(c *cell, code rune, width int) {
	switch {
	case c.text&clustered != 0:
		id := int(c.text & codeMask)
		k := &s.clusters.all[id]
		if k.n == maxCluster {
			break
		}
		if s.clusters.last != id+1 {
			old := *k
			if id = s.newCluster(); id < 0 {
				break
			}
			k = &s.clusters.all[id]
			*k = old
			c.text = c.text&^codeMask | uint32(id)
		}
		k.code[k.n] = code
		k.n++
	case c.filled():
		id := s.newCluster()
		if id < 0 {
			break
		}
		s.clusters.all[id] = cluster{2, [maxCluster]rune{rune(c.text & codeMask), code}}
		c.text = c.text&^codeMask | clustered | uint32(id)
	default: // there is nothing to join to
		c.text = text(code, 1)
	}
	c.text = c.text&hasContent | uint32(width^1)<<widthShift
}

// newCluster finds a free one; -1: there is none.
func (s *Screen) newCluster() int {
	k := &s.clusters
	for range 2 {
		for ; k.next < len(k.all); k.next++ {
			if !k.used[k.next] {
				k.used[k.next] = true
				k.last = k.next + 1
				return k.next
			}
		}
		if k.wait > 0 {
			k.wait--
			return -1
		}
		s.sweep()
	}
	return -1
}

// sweep finds out which clusters are in use, and makes room if they are more than half of all.
func (s *Screen) sweep() {
	k := &s.clusters
	clear(k.used)
	n, cells := 0, 0
	for _, g := range []*grid{&s.normal, &s.alt} {
		if g.empty() {
			continue
		}
		for _, r := range g.lines {
			cells += len(r)
			for _, c := range r {
				if id := c.text & codeMask; c.text&clustered != 0 && !k.used[id] {
					k.used[id] = true
					n++
				}
			}
		}
	}
	k.next, k.last = 0, 0
	size := min(max(2*len(k.all), 64, cells/32), maxClusters)
	if more := size - len(k.all); 2*n >= len(k.all) && more > 0 {
		k.all = append(k.all, make([]cluster, more)...)
		k.used = append(k.used, make([]bool, more)...)
	} else if 4*n > 3*len(k.all) {
		k.wait = maxClusters // a search costs as much as there are cells
	}
}
