package screen

import (
	"strconv"

	"scrier/wire"
)

// maxSize is the most columns, and the most rows, of a screen; as wire.Size.Clamp has it.
const maxSize = 1000

// Screen is what a terminal shows that has been given the same bytes. Its methods must not run at the same time.
type Screen struct {
	cols, rows  int
	normal, alt grid
	g           *grid // the one that is shown

	pen attr
	charset
	modes
	clusters clusters
	one      [1]rune

	parser
	title   title
	palette *palette // nil until a program changes a colour
	left    uint64
	hollow  uint64 // until so many lines have left there may be empty ones on the screen that are not empty
}

// New gives the screen of a terminal that has just been opened.
func New(size wire.Size) *Screen {
	s := &Screen{}
	s.size(size)
	s.modes.reset()
	s.modes.cursor = true
	s.renew()
	return s
}

func (s *Screen) size(size wire.Size) {
	size = size.Clamp()
	s.cols, s.rows = max(int(size.Cols), 2), int(size.Rows) // a wide character needs two; xterm.js has no fewer
}

// Size is the screen's size; a terminal has two columns or more.
func (s *Screen) Size() wire.Size { return wire.Size{Cols: uint16(s.cols), Rows: uint16(s.rows)} }

// Left is how many lines have left the normal screen at its top so far. The difference between two moments
// is how many lines a viewer lacks who is shown the screen of the first and then that of the second.
func (s *Screen) Left() uint64 { return s.left }

// Hollow says that lines on the screen may not be known: a resize has brought them down from far above it, and they
// are empty here.
func (s *Screen) Hollow() bool { return s.g == &s.normal && s.left < s.hollow }

// renew makes both buffers new.
func (s *Screen) renew() {
	s.g = &s.normal
	s.normal.saved, s.alt.saved = saved{}, saved{}
	s.normal.allot(s.cols, s.rows, historyOf(s.rows), cell{})
	s.normal.base, s.normal.limit = 0, scrollback
	s.normal.x, s.normal.y = 0, 0
	s.normal.top, s.normal.bottom = 0, s.rows-1
	s.normal.resetTabs(s.cols)
	s.alt.release(s.cols, s.rows)
}

// enterAlt shows the alternate screen, which is empty whenever it comes.
func (s *Screen) enterAlt() {
	if s.g == &s.alt {
		return
	}
	s.touch(touchedAlt)
	a := &s.alt
	if a.empty() {
		keep := *a
		a.allot(s.cols, s.rows, 0, s.pen.erased())
		a.base, a.limit = keep.base, keep.limit
		a.top, a.bottom, a.tabs = keep.top, keep.bottom, keep.tabs
	}
	a.x, a.y = s.normal.x, s.normal.y
	s.g = a
}

func (s *Screen) leaveAlt() {
	if s.g == &s.normal {
		return
	}
	s.normal.x, s.normal.y = s.alt.x, s.alt.y
	s.alt.release(s.cols, s.rows)
	s.g = &s.normal
}

func (s *Screen) scroll(wrapped bool) {
	if s.g == &s.normal && s.g.top == 0 {
		s.left++
	}
	s.g.scroll(s.pen.erased(), wrapped)
}

// reset is RIS. As in xterm.js the title, the colours, whether the cursor is seen and how it blinks, and LNM stay.
func (s *Screen) reset() {
	s.pen = attr{}
	s.renew()
	s.charset.reset()
	s.modes.reset()
	s.modes.mouse, s.modes.encoding = 0, 0
	s.join = join{}
}

// softReset is DECSTR.
func (s *Screen) softReset() {
	s.modes.cursor = true
	s.g.top, s.g.bottom = 0, s.rows-1
	s.pen = attr{}
	s.modes.reset()
	s.charset.reset()
	s.g.saved = saved{y: s.g.base}
}

func (s *Screen) save() {
	g := s.g
	if g == &s.alt {
		s.touch(touchedAltSaved)
	}
	g.saved = saved{x: g.x, y: g.base + g.y, fg: s.pen.fg, bg: s.pen.bg, charset: s.charset.current}
}

func (s *Screen) restore() {
	g := s.g
	g.x, g.y = g.saved.x, max(g.saved.y-g.base, 0)
	s.pen.fg, s.pen.bg = g.saved.fg, g.saved.bg
	s.charset.current = g.saved.charset
	s.restrict(s.cols - 1)
}

// restrict keeps the cursor on the screen, and within the region in origin mode.
func (s *Screen) restrict(maxX int) {
	g := s.g
	g.x = min(maxX, max(0, g.x))
	if s.modes.origin {
		g.y = min(g.bottom, max(g.top, g.y))
	} else {
		g.y = min(s.rows-1, max(0, g.y))
	}
}

func (s *Screen) moveTo(x, y int) {
	if s.modes.origin {
		y += s.g.top
	}
	s.g.x, s.g.y = x, y
	s.restrict(s.cols - 1)
}

func (s *Screen) moveBy(dx, dy int) {
	s.restrict(s.cols - 1)
	if s.modes.origin { // as xterm.js: a relative move counts from the region's top, too
		dy += s.g.top
	}
	s.g.x += dx
	s.g.y += dy
	s.restrict(s.cols - 1)
}

func appendInt(buf []byte, n int) []byte { return strconv.AppendInt(buf, int64(n), 10) }
