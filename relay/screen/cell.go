package screen

// A cell is one place of the screen, 16 bytes. The numbers are laid out as xterm.js does it, so that the two
// can be held against each other; only the width is stored differently, so that an empty cell is all zeros.
//
//	text:  bits 0–20 a code point, or the number of a cluster; bit 21 it is a cluster; bits 22–23 width xor 1
//	fg:    bits 0–23 colour, 24–25 kind of colour, 26–31 flags
//	bg:    the same with other flags
//	ext:   bits 0–25 the underline's colour, 26–28 its style; only with bgExtended
type cell struct {
	text uint32
	attr
}

// attr is how a cell looks.
type attr struct{ fg, bg, ext uint32 }

const (
	codeMask   = 1<<21 - 1
	clustered  = 1 << 21
	hasContent = 1<<22 - 1
	widthShift = 22

	colorMask   = 1<<26 - 1 // with its kind
	rgbMask     = 1<<24 - 1
	kindMask    = 3 << 24
	kindPalette = 1 << 24 // one of 16
	kind256     = 2 << 24
	kindRGB     = 3 << 24

	fgInverse       = 1 << 26
	fgBold          = 1 << 27
	fgUnderline     = 1 << 28
	fgBlink         = 1 << 29
	fgInvisible     = 1 << 30
	fgStrikethrough = 1 << 31

	bgItalic    = 1 << 26
	bgDim       = 1 << 27
	bgExtended  = 1 << 28 // ext counts
	bgProtected = 1 << 29
	bgOverline  = 1 << 30

	styleShift = 26
)

// width is 1 or 2; 0 for what lies under the second half of a wide character.
func (c cell) width() int { return int(c.text>>widthShift&3) ^ 1 }

// filled says that there is a character, be it a space.
func (c cell) filled() bool { return c.text&hasContent != 0 }

func (c cell) protected() bool { return c.bg&bgProtected != 0 }

// text packs a character and its width.
func text(code rune, width int) uint32 { return uint32(code) | uint32(width^1)<<widthShift }

// made is a cell with this text in the look of a.
func (a attr) made(text uint32) cell {
	if a.bg&bgExtended == 0 {
		a.ext = 0
	}
	return cell{text, a}
}

// erased is the cell that erasing leaves: the background's colour and nothing else.
func (a attr) erased() cell { return cell{attr: attr{bg: a.bg & colorMask}} }

func (a attr) underlineStyle() uint32 {
	if a.fg&fgUnderline == 0 {
		return 0
	}
	if s := a.ext >> styleShift; a.bg&bgExtended != 0 && s != 0 {
		return s
	}
	return 1
}
