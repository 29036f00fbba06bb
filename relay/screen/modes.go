package screen

// modes is what programs switch. What is listed under "of the viewer" does not change what the screen shows,
// but what the viewer's keys and mouse send.
type modes struct {
	insert      bool // IRM
	newline     bool // LNM
	origin      bool // DECOM
	wrap        bool // DECAWM
	reverseWrap bool
	cursor      bool // DECTCEM
	sync        bool // synchronized output

	// of the viewer
	cursorKeys bool // DECCKM
	keypad     bool // DECNKM
	paste      bool // bracketed
	focus      bool
	blink      bool
	mouse      uint16 // 9, 1000, 1002 or 1003
	encoding   uint16 // 1006 or 1016
	style      uint8  // DECSCUSR; 7 and 8 change only whether it blinks
	others     uint8  // of otherModes, by place
	otherKeys  uint8  // xterm's modifyOtherKeys
	kitty      [2]keyboard

	touched touched
}

// otherModes are those of xterm that xterm.js does not have; those who look on with another terminal may.
// Modes that make a terminal answer at once are not among them (2048), nor are left and right margins.
func otherModes() [6]uint16 { return [...]uint16{5, 1005, 1007, 1015, 1036, 1039} }

// touched is what a program has ever changed. A repaint does not speak of the rest, which may be as the person
// has set it.
type touched uint32

const (
	touchedInsert touched = 1 << iota
	touchedNewline
	touchedOrigin
	touchedWrap
	touchedReverseWrap
	touchedCursor
	touchedCursorKeys
	touchedKeypad
	touchedPaste
	touchedFocus
	touchedBlink
	touchedMouse
	touchedEncoding
	touchedStyle
	touchedOtherKeys
	touchedKitty
	touchedTabs
	touchedCharset
	touchedRegion
	touchedProtection
	touchedAlt
	touchedAltSaved
	touchedOthers // and one bit more for each
)

func (m *modes) touch(t touched) { m.touched |= t }

// reset is what DECSTR and RIS have in common.
func (m *modes) reset() {
	m.insert, m.origin, m.wrap, m.reverseWrap, m.sync = false, false, true, false, false
	m.cursorKeys, m.keypad, m.paste, m.focus = false, false, false, false
	m.style = 0
	m.kitty, m.otherKeys = [2]keyboard{}, 0
}

// setMode is SM and RM.
func (s *Screen) setMode(mode int, on bool) {
	switch mode {
	case 4:
		s.set(&s.modes.insert, on, touchedInsert)
	case 20:
		s.set(&s.modes.newline, on, touchedNewline)
	}
}

func (s *Screen) set(mode *bool, on bool, t touched) {
	*mode = on
	s.touch(t)
}

// setPrivate is DECSET and DECRST.
func (s *Screen) setPrivate(mode int, on bool) {
	m := &s.modes
	switch mode {
	case 1:
		s.set(&m.cursorKeys, on, touchedCursorKeys)
	case 2:
		if on {
			s.touch(touchedCharset)
			for i := range s.charset.sets {
				s.charset.designate(i, 0)
			}
		}
	case 6:
		s.set(&m.origin, on, touchedOrigin)
		s.moveTo(0, 0)
	case 7:
		s.set(&m.wrap, on, touchedWrap)
	case 9, 1000, 1002, 1003:
		m.mouse = 0
		if on {
			m.mouse = uint16(mode)
		}
		m.touch(touchedMouse)
	case 12:
		s.set(&m.blink, on, touchedBlink)
	case 25:
		s.set(&m.cursor, on, touchedCursor)
	case 45:
		s.set(&m.reverseWrap, on, touchedReverseWrap)
	case 66:
		s.set(&m.keypad, on, touchedKeypad)
	case 1004:
		s.set(&m.focus, on, touchedFocus)
	case 1006, 1016:
		m.encoding = 0
		if on {
			m.encoding = uint16(mode)
		}
		m.touch(touchedEncoding)
	case 47, 1047, 1049:
		if on {
			if mode == 1049 {
				s.save()
			}
			s.enterAlt()
			break
		}
		s.leaveAlt()
		if mode == 1049 {
			s.restore()
		}
	case 1048:
		if on {
			s.save()
		} else {
			s.restore()
		}
	case 2004:
		s.set(&m.paste, on, touchedPaste)
	case 2026:
		m.sync = on
	default:
		for i, other := range otherModes() {
			if mode == int(other) {
				m.others &^= 1 << i
				if on {
					m.others |= 1 << i
				}
				m.touch(touchedOthers << i)
			}
		}
	}
}
