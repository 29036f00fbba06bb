package screen

import "strings"

// palette is the colours that a program has changed: 256, then those of text, background and cursor.
type palette [256 + 3]uint32

const changed = 1 << 24 // beside the colour; 0 is one that was not changed

func (s *Screen) colors(id int, text string) {
	if strings.Contains(text, "?") {
		return // a question; the page takes no change together with one
	}
	if s.palette == nil {
		s.palette = new(palette)
	}
	p := s.palette
	switch id {
	case 4:
		for text != "" {
			var index, spec string
			index, text, _ = strings.Cut(text, ";")
			spec, text, _ = strings.Cut(text, ";")
			n, ok := number(index)
			if color, good := parseColor(spec); ok && good {
				p[n] = changed | color
			}
		}
	case 10, 11, 12:
		for i := id - 10; i < 3 && text != ""; i++ {
			var spec string
			spec, text, _ = strings.Cut(text, ";")
			if color, ok := parseColor(spec); ok {
				p[256+i] = changed | color
			}
		}
	case 104:
		if text == "" {
			clear(p[:256])
		}
		for text != "" {
			var index string
			index, text, _ = strings.Cut(text, ";")
			if n, ok := number(index); ok {
				p[n] = 0
			}
		}
	case 110, 111, 112:
		p[256+id-110] = 0
	}
}

// number is a colour's, below 256.
func number(s string) (n int, ok bool) {
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = min(n*10+int(c-'0'), 256)
	}
	return n, s != "" && n < 256
}

// parseColor reads rgb:r/g/b with one to four digits each, and #rgb with as many.
func parseColor(s string) (color uint32, ok bool) {
	var part [3]string
	if rest, found := cutPrefixFold(s, "rgb:"); found {
		var more bool
		part[0], rest, _ = strings.Cut(rest, "/")
		part[1], part[2], more = strings.Cut(rest, "/")
		ok = more
	} else if rest, found := strings.CutPrefix(s, "#"); found && len(rest)%3 == 0 {
		n := len(rest) / 3
		part = [3]string{rest[:n], rest[n : 2*n], rest[2*n:]}
		ok = true
	}
	if n := len(part[0]); !ok || n < 1 || n > 4 || len(part[1]) != n || len(part[2]) != n {
		return 0, false
	}
	for _, digits := range part {
		v, good := hex(digits)
		if !good {
			return 0, false
		}
		n := uint(len(digits))
		if s[0] == '#' { // the upper bits
			v = v << (4 * (4 - n)) >> 8
		} else {
			whole := uint32(1)<<(4*n) - 1
			v = (v*255*2 + whole) / (2 * whole)
		}
		color = color<<8 | v
	}
	return color, true
}

func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

func hex(s string) (v uint32, ok bool) {
	for _, c := range []byte(s) {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		v = v<<4 | uint32(c)
	}
	return v, true
}
