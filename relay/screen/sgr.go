package screen

// sgr changes how the next characters look.
func (s *Screen) sgr() {
	p := &s.params
	a := &s.pen
	for i := 0; i < p.n; i++ {
		switch v := p.value[i]; {
		case v == 0:
			*a = attr{}
		case v >= 30 && v <= 37:
			a.fg = a.fg&^colorMask | kindPalette | uint32(v-30)
		case v >= 40 && v <= 47:
			a.bg = a.bg&^colorMask | kindPalette | uint32(v-40)
		case v >= 90 && v <= 97:
			a.fg = a.fg&^colorMask | kindPalette | uint32(v-90) | 8
		case v >= 100 && v <= 107:
			a.bg = a.bg&^colorMask | kindPalette | uint32(v-100) | 8
		case v == 38 || v == 48 || v == 58:
			i += a.color(p, i)
		case v == 4:
			style := int32(1)
			if subs := p.subsOf(i); len(subs) > 0 {
				style = subs[0]
			}
			a.underline(style)
		case v == 21:
			a.underline(2)
		case v == 24:
			a.underline(0)
		case v == 59:
			a.ext |= colorMask // xterm.js has white there
			a.extend()
		default:
			a.flag(v)
		}
	}
}

func (a *attr) flag(v int32) {
	switch v {
	case 1:
		a.fg |= fgBold
	case 2:
		a.bg |= bgDim
	case 3:
		a.bg |= bgItalic
	case 5:
		a.fg |= fgBlink
	case 7:
		a.fg |= fgInverse
	case 8:
		a.fg |= fgInvisible
	case 9:
		a.fg |= fgStrikethrough
	case 22:
		a.fg &^= fgBold
		a.bg &^= bgDim
	case 23:
		a.bg &^= bgItalic
	case 25:
		a.fg &^= fgBlink
	case 27:
		a.fg &^= fgInverse
	case 28:
		a.fg &^= fgInvisible
	case 29:
		a.fg &^= fgStrikethrough
	case 39:
		a.fg &^= colorMask
	case 49:
		a.bg &^= colorMask
	case 53:
		a.bg |= bgOverline
	case 55:
		a.bg &^= bgOverline
	}
}

func (a *attr) underline(style int32) {
	if style < 0 || style > 5 {
		style = 1
	}
	a.ext = a.ext&colorMask | uint32(style)<<styleShift
	a.fg |= fgUnderline
	if style == 0 {
		a.fg &^= fgUnderline
	}
	a.extend()
}

// extend says whether ext counts.
func (a *attr) extend() {
	a.bg &^= bgExtended
	if a.ext>>styleShift != 0 {
		a.bg |= bgExtended
	}
}

// color takes the colour of SGR 38, 48 or 58 at parameter i, in one of its spellings (38;5;n, 38:5:n, 38;2;r;g;b,
// 38:2::r:g:b), and says how many parameters more it took. Broken ones are read as xterm.js does.
func (a *attr) color(p *params, i int) int {
	// what is meant: target, kind, colour space, and three values
	var v [2*maxParams + 8]int32
	v[2] = -1
	size := 6
	put := func(at int, x int32) {
		v[at] = x
		size = max(size, at+1)
	}
	space, more := 0, 0
	for {
		put(more+space, p.value[i+more])
		if subs := p.subsOf(i + more); len(subs) > 0 {
			for k := 0; ; {
				if v[1] == 5 {
					space = 1
				}
				put(more+k+1+space, subs[k])
				if k++; k >= len(subs) || k+more+1+space >= size {
					break
				}
			}
			break
		}
		if v[1] == 5 && more+space >= 2 || v[1] == 2 && more+space >= 5 {
			break
		}
		if v[1] != 0 {
			space = 1
		}
		if more++; more+i >= p.n || more+space >= size {
			break
		}
	}
	for k := 2; k < size; k++ {
		if v[k] == -1 {
			v[k] = 0
		}
	}
	target := &a.fg
	switch v[0] {
	case 48:
		target = &a.bg
	case 58:
		target = &a.ext
	}
	switch v[1] {
	case 2:
		*target = *target&^colorMask | kindRGB | uint32(v[3]&255)<<16 | uint32(v[4]&255)<<8 | uint32(v[5]&255)
	case 5:
		*target = *target&^colorMask | kind256 | uint32(v[3]&255)
	}
	return more
}
