package screen

// join is what the last printed character means for the next: whether the two share a cell. Zero: there was
// none, as a control function came after it.
type join struct {
	kind  uint8 // of grapheme break, as below
	width uint8 // of the cell so far
}

// The values of Unicode's Grapheme_Cluster_Break property, numbered as the page's add-on has them.
const (
	breakOther uint8 = iota // and all that is not below
	breakPrepend
	breakExtend
	breakRegional
	breakSpacing
	hangulL
	hangulV
	hangulT
	hangulLV
	hangulLVT
	breakZWJ
	breakPicture
)

// property is a character's break in the lower four bits, its width above.
func property(c rune) uint8 {
	switch {
	case c < 0x80:
		return 1 << 4
	case c >= 0x4E00 && c < 0xA000: // most of what is wide
		return 2 << 4
	}
	low, high := 0, len(widths)/4
	for high-low > 1 {
		mid := (low + high) / 2
		if r := widths[4*mid : 4*mid+4]; rune(r[0])<<16|rune(r[1])<<8|rune(r[2]) <= c {
			low = mid
		} else {
			high = mid
		}
	}
	return widths[4*low+3]
}

// after says how c follows a character: whether it joins the cell before it, and what holds for the next.
func (j join) after(c rune) (next join, joins bool) {
	p := property(c)
	next = join{kind: p & 15, width: p >> 4}
	if j.width == 0 || !joinable(j.kind, next.kind) {
		return next, false
	}
	if j.width > next.width {
		next.width = j.width
	} else if next.kind == breakRegional {
		next.width = 2
	}
	if next.kind == breakRegional {
		next.kind = breakOther // a flag is two of them; a third begins the next flag
	}
	return next, true
}

// joinable has the rules GB6 to GB13 of Unicode's annex 29, as far as the page's add-on follows them.
func joinable(before, after uint8) bool {
	switch before {
	case hangulL:
		if after == hangulL || after == hangulV || after == hangulLV || after == hangulLVT {
			return true
		}
	case hangulLV, hangulV:
		if after == hangulV || after == hangulT {
			return true
		}
	case hangulLVT, hangulT:
		if after == hangulT {
			return true
		}
	case breakPrepend:
		return true
	case breakZWJ:
		if after == breakPicture {
			return true
		}
	case breakRegional:
		if after == breakRegional {
			return true
		}
	}
	return after == breakExtend || after == breakZWJ || after == breakSpacing
}
