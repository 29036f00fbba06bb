package screen

// keyboard is kitty's flags: what a program has set, and what it has put aside to set them. Each of the two
// buffers has its own.
type keyboard struct {
	flags uint8
	aside [8]uint8
	n     uint8
}

// keys is what kitty's keyboard protocol has: CSI > flags u puts the flags aside, CSI < n u brings them back,
// CSI = flags ; how u changes them.
func (s *Screen) keys(prefix byte, p *params) {
	k := &s.modes.kitty[0]
	if s.g == &s.alt {
		k = &s.modes.kitty[1]
	}
	s.touch(touchedKitty)
	flags := uint8(p.at(0) & 31)
	switch prefix {
	case '>':
		if int(k.n) == len(k.aside) {
			copy(k.aside[:], k.aside[1:])
			k.n--
		}
		k.aside[k.n] = k.flags
		k.n++
		k.flags = flags
	case '<':
		for range min(p.count(), len(k.aside)) {
			if k.n == 0 {
				k.flags = 0
				break
			}
			k.n--
			k.flags = k.aside[k.n]
		}
	case '=':
		switch p.at(1) {
		case 0, 1:
			k.flags = flags
		case 2:
			k.flags |= flags
		case 3:
			k.flags &^= flags
		}
	}
}
