package screen

import (
	"unicode"
	"unicode/utf8"
)

const maxTitle = 256 // bytes

// title is the window's.
type title struct {
	text [maxTitle]byte
	n    int
	icon bool // it is the icon's, too
	ever bool // there was one
}

// set keeps what can be printed of a title.
func (t *title) set(p []byte, icon bool) {
	t.n, t.icon, t.ever = 0, icon, true
	for len(p) > 0 {
		c, n := utf8.DecodeRune(p)
		p = p[n:]
		if !unicode.IsPrint(c) {
			continue
		}
		if t.n+n > len(t.text) {
			break
		}
		t.n = len(utf8.AppendRune(t.text[:t.n], c))
	}
}
