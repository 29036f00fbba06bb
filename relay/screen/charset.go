package screen

// charset is the sets of characters that are designated as G0 to G3, by the letter that designates them, and the
// one that is in use. Zero is ASCII.
type charset struct {
	sets    [4]byte
	level   int
	current byte // sets[level], but for what DECRC brings back
}

func (c *charset) reset() { *c = charset{} }

func (c *charset) shift(level int) {
	c.level = level
	c.current = c.sets[level]
}

func (c *charset) designate(level int, set byte) {
	c.sets[level] = set
	if c.level == level {
		c.current = set
	}
}

// known gives the name that a set is kept under, as some have two.
func known(set byte) (byte, bool) {
	switch set {
	case 'B':
		return 0, true
	case '5':
		return 'C', true
	case '6':
		return 'E', true
	case '7':
		return 'H', true
	}
	return set, replaced(set) != ""
}

// replaced is which characters of ASCII a set has others for; replacement is those others, in the same order.
func replaced(set byte) string {
	switch set {
	case '0':
		return "`abcdefghijklmnopqrstuvwxyz{|}~"
	case 'A':
		return "#"
	case '4':
		return `#@[\]{|}~`
	case 'C':
		return "[\\]^`{|}~"
	case 'R', 'Y':
		if set == 'Y' {
			return "#@[\\]`{|}~"
		}
		return `#@[\]{|}~`
	case 'Q':
		return "@[\\]^`{|}~"
	case 'K':
		return `@[\]{|}~`
	case 'E', 'H':
		return "@[\\]^`{|}~"
	case 'Z':
		return `#@[\]{|}`
	case '=':
		return "#@[\\]^_`{|}~"
	}
	return ""
}

func replacement(set byte) string {
	switch set {
	case '0':
		return "◆▒␉␌␍␊°±␤␋┘┐┌└┼⎺⎻─⎼⎽├┤┴┬│≤≥π≠£·"
	case 'A':
		return "£"
	case '4':
		return "£¾i½|¨f¼´" // xterm.js has the ligature as two letters, and uses the first
	case 'C':
		return "ÄÖÅÜéäöåü"
	case 'R':
		return "£à°ç§éùè¨"
	case 'Y':
		return "£§°çéùàòèì"
	case 'Q':
		return "àâçêîôéùèû"
	case 'K':
		return "§ÄÖÜäöüß"
	case 'E':
		return "ÄÆØÅÜäæøåü"
	case 'H':
		return "ÉÄÖÅÜéäöåü"
	case 'Z':
		return "£§¡Ñ¿°ñç"
	case '=':
		return "ùàéçêîèôäöüû"
	}
	return ""
}

// shown is the character that is shown for c, which is below 127.
func shown(set byte, c rune) rune {
	for i, from := range []byte(replaced(set)) {
		if rune(from) != c {
			continue
		}
		for _, to := range replacement(set) {
			if i == 0 {
				return to
			}
			i--
		}
	}
	return c
}

// typed is the character for which c is shown.
func typed(set byte, c rune) (rune, bool) {
	i := 0
	for _, to := range replacement(set) {
		if to == c {
			return rune(replaced(set)[i]), true
		}
		i++
	}
	return c, c >= 127 || shown(set, c) == c
}
