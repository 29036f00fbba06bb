package screen

import (
	"fmt"
	"slices"
)

// Reachable says that a terminal can be brought to this state without all of the output. These are the states
// of which it cannot:
//   - DECRC has brought back a set of characters that nothing designates any more, and the other buffer saved it;
//   - DECRC has brought back a pen without underline, and the underline's style, which it does not save, is there
//     still, or the other way round: what comes next may show it;
//   - the cursor is outside of the scroll region in origin mode, as it can be after a change of buffers;
//   - the last line ends in two cells that have lost a wide character, each with a look of its own;
//   - the second half of a wide character stands alone, and not behind an erased cell as inserting leaves it;
//   - a resize has cut a wide character in two, left the saved cursor below the screen, or moved the cursor away
//     from the last character, which the next may still join.
func (s *Screen) Reachable() bool {
	if s.charset.current != s.charset.sets[s.charset.level] && s.charset.current != s.g.saved.charset {
		return false
	}
	if underlined := s.pen.fg&fgUnderline != 0; underlined != (s.pen.bg&bgExtended != 0) || underlined != (s.pen.ext>>styleShift != 0) {
		return false
	}
	if s.modes.origin && !s.g.inRegion() {
		return false
	}
	if w := int(s.join.width); w != 0 && (w == 1 || s.modes.wrap || s.g.x < s.cols-1) {
		if s.g.x < w {
			return false
		}
		c := s.g.row(s.g.y)[s.g.x-w]
		if j, ok := replay(s.codes(c)); !ok || j != s.join || c.width() != w || c.attr != s.pen.made(0).attr {
			return false
		}
	}
	for _, g := range []*grid{&s.normal, &s.alt} {
		if g.saved.y-g.base >= s.rows || (g.saved.fg&fgUnderline != 0) != (g.saved.bg&bgExtended != 0) {
			return false
		}
		for y := range g.rows {
			if r := g.row(y); y == s.rows-1 && r[s.cols-1].odd() && r[s.cols-2].odd() {
				return false
			}
			for x, c := range g.row(y) {
				if r := g.row(y); r.orphan(x) && (x < 2 || r[x-1].filled() || r[x-1].width() != 1 || r[x-1].odd()) {
					return false
				}
				if c.width() == 2 && (x == s.cols-1 || g.row(y)[x+1].width() != 0 && (x < s.cols-2 || !g.row(y)[x+1].filled())) {
					return false
				}
			}
		}
	}
	return true
}

// Short says that the viewer has more lines above its screen than are kept here, so that a resize may bring
// some back that are not known any more.
func (s *Screen) Short() bool { return s.normal.base > s.normal.have }

// Spaced says that a repaint has a space where nothing is: under a cursor that stands behind the last column,
// where only printing leads it.
func (s *Screen) Spaced() bool {
	r := s.g.row(s.g.y)
	c := r[s.cols-1]
	return s.g.x == s.cols && !c.filled() && c.width() == 1 && !(r.all(c) && c == c.erased())
}

// Bytes is how much memory the screen has.
func (s *Screen) Bytes() int {
	n := 0
	for _, g := range []*grid{&s.normal, &s.alt} {
		n += 24*cap(g.lines) + cap(g.wrapped) + 2*cap(g.order)
		for _, r := range g.lines[:cap(g.lines)] {
			n += 16 * cap(r)
		}
	}
	return n + 64*cap(s.clusters.all) + cap(s.clusters.used) + 4*1024
}

// Differs says in what two screens are not the same, "" if in nothing that is shown or has an effect later.
func (s *Screen) Differs(o *Screen) string {
	if (s.g == &s.alt) != (o.g == &o.alt) || s.cols != o.cols || s.rows != o.rows {
		return "another buffer"
	}
	for i, pair := range [][2]*grid{{&s.normal, &o.normal}, {&s.alt, &o.alt}} {
		a, b := pair[0], pair[1]
		if i == 1 && s.g != &s.alt {
			continue
		}
		for y := range s.rows {
			if y > 0 && a.wraps(y) != b.wraps(y) {
				return fmt.Sprintf("line %d of buffer %d is wrapped: %v %v", y, i, a.wraps(y), b.wraps(y))
			}
			for x := range s.cols {
				c, d := a.row(y)[x], b.row(y)[x]
				if c.width() != d.width() || c.attr.visible() != d.attr.visible() || !slices.Equal(slices.Clone(s.codes(c)), o.codes(d)) {
					return fmt.Sprintf("%d,%d of buffer %d: %#v %#v", x, y, i, c, d)
				}
			}
		}
		if a.top != b.top || a.bottom != b.bottom {
			return "another region"
		}
		for x := range s.cols {
			if a.hasTab(x) != b.hasTab(x) {
				return fmt.Sprintf("tab at %d", x)
			}
		}
		if max(a.saved.y-a.base, 0) != max(b.saved.y-b.base, 0) || min(a.saved.x, s.cols-1) != b.saved.x || a.saved.charset != b.saved.charset {
			return fmt.Sprintf("saved in %d: %+v, %+v", i, a.saved, b.saved)
		}
	}
	m, n := s.modes, o.modes
	m.touched, n.touched = 0, 0
	if s.g != &s.alt {
		m.kitty[1], n.kitty[1] = keyboard{}, keyboard{}
	}
	for i := range m.kitty { // how it came about
		for k := range m.kitty[i].aside {
			if k >= int(m.kitty[i].n) {
				m.kitty[i].aside[k], n.kitty[i].aside[k] = 0, 0
			}
		}
	}
	switch {
	case m != n:
		return fmt.Sprintf("modes: %+v, %+v", m, n)
	case s.g.x != o.g.x || s.g.y != o.g.y:
		return fmt.Sprintf("cursor: %d,%d, %d,%d", s.g.x, s.g.y, o.g.x, o.g.y)
	case s.pen.visible() != o.pen.visible():
		return fmt.Sprintf("pen: %#v, %#v", s.pen, o.pen)
	case s.charset != o.charset:
		return fmt.Sprintf("charset: %v, %v", s.charset, o.charset)
	case string(s.title.text[:s.title.n]) != string(o.title.text[:o.title.n]):
		return "title"
	case s.palette != nil && *s.palette != *o.palette:
		return "palette"
	case s.join != o.join:
		return fmt.Sprintf("join: %v, %v", s.join, o.join)
	case s.have != o.have || s.AtGround() != o.AtGround():
		return "parser"
	}
	return ""
}

// visible leaves out what has no effect.
func (a attr) visible() attr {
	style := a.underlineStyle()
	a.bg &^= bgExtended
	if style == 0 {
		a.ext = 0
	} else {
		a.ext = a.ext&colorMask | style<<styleShift
	}
	return a
}

// Odd says that there are halves of wide characters, or marks that belong to nothing, which xterm.js can be
// made to leave behind and which are not all painted again.
func (s *Screen) Odd() bool {
	for _, g := range []*grid{&s.normal, &s.alt} {
		for y := range g.rows {
			r := g.row(y)
			for x, c := range r {
				j, ok := replay(s.codes(c))
				switch {
				case r.orphan(x), c.width() == 2 && (x == s.cols-1 || r[x+1].width() != 0), c.filled() && (!ok || int(j.width) != c.width()), c.odd():
					return true
				}
			}
		}
	}
	return s.join.width == 2 && !s.modes.wrap
}
