package screen

// escDispatch does what ESC and a letter ask for.
func (s *Screen) escDispatch(final byte) {
	s.dropped = false
	switch s.collect {
	case 0:
		s.escPlain(final)
	case '#':
		if final == '8' {
			s.align()
		}
	case '%':
		if final == '@' || final == 'G' {
			s.touch(touchedCharset)
			s.charset.shift(0)
			s.charset.designate(0, 0)
		}
	case '(', ')', '*', '+', '-', '.':
		set, ok := known(final)
		if !ok {
			return
		}
		s.touch(touchedCharset)
		level := map94(byte(s.collect))
		s.charset.designate(level, set)
	}
}

// map94 is which of G0 to G3 an intermediate byte designates.
func map94(c byte) int {
	switch c {
	case ')', '-':
		return 1
	case '*', '.':
		return 2
	case '+':
		return 3
	}
	return 0
}

func (s *Screen) escPlain(final byte) {
	switch final {
	case '7':
		s.save()
	case '8':
		s.restore()
	case 'D':
		s.index()
	case 'E':
		s.g.x = 0
		s.index()
	case 'H':
		s.touch(touchedTabs)
		s.g.setTab(s.g.x)
	case 'M':
		s.reverseIndex()
	case '=', '>':
		s.set(&s.modes.keypad, final == '=', touchedKeypad)
	case 'c':
		s.reset()
	case 'n', '}':
		s.shift(2)
	case 'o', '|':
		s.shift(3)
	case '~':
		s.shift(1)
	}
}

// shift is SI, SO, LS2 and LS3.
func (s *Screen) shift(level int) {
	s.touch(touchedCharset)
	s.charset.shift(level)
}
