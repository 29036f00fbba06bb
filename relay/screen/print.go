package screen

// printASCII prints the characters at the begin of p that are plain, and says how many these were. It is print
// for many, as most output is.
func (s *Screen) printASCII(p []byte) int {
	if s.charset.current != 0 || s.modes.insert || s.dropped || s.join.width != 0 && s.join.kind != breakOther {
		s.print(rune(p[0]))
		return 1
	}
	n := 1
	for n < len(p) && p[n]-' ' < del-' ' {
		n++
	}
	g := s.g
	pen := s.pen.made(0)
	for rest := p[:n]; len(rest) > 0; {
		r := g.row(g.y)
		if g.x == s.cols {
			if s.modes.wrap {
				r = s.wrapLine()
				g.x = 0
			} else {
				g.x = s.cols - 1
			}
		} else if g.x > 0 && r[g.x-1].width() == 2 {
			r[g.x-1] = pen
		}
		to := r[g.x:]
		k := min(len(to), len(rest))
		to = to[:k]
		for i, c := range rest[:k] {
			to[i] = cell{uint32(c), pen.attr}
		}
		g.x += k
		rest = rest[k:]
		if g.x < s.cols && r[g.x].width() == 0 && !r[g.x].filled() {
			r[g.x] = pen
		}
	}
	s.join = join{kind: breakOther, width: 1}
	return n
}

// wrapLine goes to the begin of the next line, which goes on from this one.
func (s *Screen) wrapLine() row {
	g := s.g
	g.y++
	if g.y == g.bottom+1 {
		g.y--
		s.scroll(true)
	} else {
		g.y = min(g.y, s.rows-1)
		g.setWraps(g.y, true)
	}
	return g.row(g.y)
}

// print shows one character.
func (s *Screen) print(c rune) {
	if s.charset.current != 0 && c < 127 {
		c = shown(s.charset.current, c)
	}
	g := s.g
	r := g.row(g.y)
	empty := s.pen.made(0)
	if g.x > 0 && !s.dropped && r[g.x-1].width() == 2 { // half of it is about to be overwritten
		r[g.x-1] = empty
	}
	s.dropped = false
	next, joins := s.join.after(c)
	old := 0 // how much of the width is there already
	if joins {
		old = int(s.join.width)
	}
	s.join = next
	width := int(next.width)

	if g.x+width-old > s.cols {
		if s.modes.wrap {
			from := g.x - old
			before := r
			r = s.wrapLine()
			copy(r[:old], before[max(from, 0):])
			g.x = old
			for i := max(from, 0); i < s.cols; i++ {
				before[i] = empty
			}
		} else {
			g.x = s.cols - 1
			if width == 2 {
				s.dropped = true
				return
			}
		}
	}

	if joins && g.x > 0 {
		at := g.x - 1
		if r[at].width() == 0 {
			at--
		}
		if at >= 0 {
			s.joinTo(&r[at], c, width)
		}
		for range width - old {
			r[g.x] = s.pen.made(text(0, 0))
			g.x++
		}
	} else {
		if s.modes.insert {
			r.insert(g.x, width-old, empty)
			if last := s.cols - 1; r[last].width() == 2 {
				r[last] = empty
			}
		}
		r[g.x] = s.pen.made(text(c, width))
		g.x++
		for range width - 1 {
			r[g.x] = s.pen.made(text(0, 0))
			g.x++
		}
	}
	if g.x < s.cols && r[g.x].width() == 0 && !r[g.x].filled() {
		r[g.x] = empty
	}
}

// repeat is REP, which repeats a whole cluster, as xterm.js does. It repeats a plain character no more than fill
// the screen, and others no more than fill a few lines: a few bytes must not cost a long time.
func (s *Screen) repeat(n int) {
	width := int(s.join.width)
	if width == 0 {
		return
	}
	at := s.g.x - width
	if at < 0 || at >= s.cols {
		return
	}
	c := s.g.row(s.g.y)[at]
	if !c.filled() {
		return
	}
	if c.text > ' ' && c.text < del {
		var some [128]byte
		for i := range some {
			some[i] = byte(c.text)
		}
		for n = min(n, max(s.cols*s.rows, 1000)); n > 0; {
			n -= s.printASCII(some[:min(n, len(some))])
		}
		return
	}
	var codes [maxCluster]rune
	k := copy(codes[:], s.codes(c))
	for range min(n, max(4*s.cols, 200)) {
		for _, code := range codes[:k] {
			s.print(code)
		}
	}
}
