package guac

// number reads a decimal number of at most 10 digits, with a minus sign or none: what C's atoi,
// which guacd uses, and JavaScript's parseInt, which the page uses, read alike.
func number(b []byte) (n int, ok bool) {
	negative := len(b) > 0 && b[0] == '-'
	if negative {
		b = b[1:]
	}
	if !digits(b, 10) {
		return 0, false
	}
	for _, c := range b {
		n = 10*n + int(c-'0')
	}
	if negative {
		n = -n
	}
	return n, true
}

// between is number within bounds.
func between(b []byte, low, high int) (n int, ok bool) {
	n, ok = number(b)
	return n, ok && low <= n && n <= high
}

// digits says whether b is 1 to most digits and nothing else.
func digits(b []byte, most int) bool {
	if len(b) == 0 || len(b) > most {
		return false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// decimal says whether b is a number as C's %g and JavaScript print it, NaN and infinity apart.
func decimal(b []byte) bool {
	if len(b) == 0 || len(b) > 32 {
		return false
	}
	seen := false
	for n, c := range b {
		switch {
		case c >= '0' && c <= '9':
			seen = true
		case c == '.':
		case c == '-' || c == '+':
			if n > 0 && b[n-1] != 'e' && b[n-1] != 'E' {
				return false
			}
		case c == 'e' || c == 'E':
			if !seen {
				return false
			}
		default:
			return false
		}
	}
	return seen
}

// label says whether b can be a name or a mimetype: at most most bytes, no control characters.
// guacd's strings end at a NUL.
func label(b []byte, most int) bool {
	if len(b) > most {
		return false
	}
	for _, c := range b {
		if c < 0x20 || c == 0x7f {
			return false
		}
	}
	return true
}

// base64 says whether b has base64's letters only.
func base64(b []byte) bool {
	for _, c := range b {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '+', c == '/', c == '=':
		default:
			return false
		}
	}
	return true
}
