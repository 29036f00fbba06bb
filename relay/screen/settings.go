package screen

// settings sets what is not on the screen: the modes of the viewer's keys and mouse, the title, colours.
func (p *painter) settings() {
	m := &p.modes
	if p.title.ever {
		p.str("\x1b]2;")
		if p.title.icon {
			p.buf[len(p.buf)-2] = '0'
		}
		p.buf = append(p.buf, p.title.text[:p.title.n]...)
		p.str("\x1b\\")
	}
	if p.palette != nil {
		p.colors()
	}
	p.mode(touchedCursorKeys, "?1", m.cursorKeys)
	p.mode(touchedBlink, "?12", m.blink)
	p.mode(touchedCursor, "?25", m.cursor)
	p.mode(touchedFocus, "?1004", m.focus)
	p.mode(touchedPaste, "?2004", m.paste)
	if p.touched&touchedKeypad != 0 {
		p.buf = append(p.buf, esc, pick(m.keypad, '=', '>'))
	}
	if p.touched&touchedMouse != 0 {
		p.str("\x1b[?9;1000;1002;1003l")
		if m.mouse != 0 {
			p.csi("?", "h", int(m.mouse))
		}
	}
	if p.touched&touchedEncoding != 0 {
		p.str("\x1b[?1006;1016l")
		if m.encoding != 0 {
			p.csi("?", "h", int(m.encoding))
		}
	}
	for i, mode := range otherModes() {
		if p.touched&(touchedOthers<<i) != 0 {
			p.csi("?", string(pick(m.others&(1<<i) != 0, 'h', 'l')), int(mode))
		}
	}
	if p.touched&touchedStyle != 0 {
		if m.style > 6 {
			p.str("\x1b[0 q")
		}
		p.csi("", " q", int(m.style))
	}
	if p.touched&touchedOtherKeys != 0 {
		p.csi(">", "m", 4, int(m.otherKeys))
	}
}

func pick(on bool, yes, no byte) byte {
	if on {
		return yes
	}
	return no
}

func (p *painter) mode(t touched, mode string, on bool) {
	if p.touched&t != 0 {
		p.str("\x1b[")
		p.str(mode)
		p.buf = append(p.buf, pick(on, 'h', 'l'))
		p.join = join{}
	}
}

// colors makes the viewer's the terminal's own again, but for those that a program has changed.
func (p *painter) colors() {
	p.str("\x1b]104\x1b\\\x1b]110\x1b\\\x1b]111\x1b\\\x1b]112\x1b\\")
	for i, c := range p.palette {
		if c == 0 {
			continue
		}
		p.str("\x1b]")
		if i < 256 {
			p.str("4;")
			p.buf = appendInt(p.buf, i)
		} else {
			p.buf = appendInt(p.buf, 10+i-256)
		}
		p.str(";rgb:")
		for shift := 16; shift >= 0; shift -= 8 {
			const digits = "0123456789abcdef"
			v := c >> shift & 255
			p.buf = append(p.buf, digits[v>>4], digits[v&15])
			if shift > 0 {
				p.buf = append(p.buf, '/')
			}
		}
		p.str("\x1b\\")
	}
}

// keyboard sets kitty's flags of the buffer that is shown.
func (p *painter) keyboard(k keyboard) {
	p.csi("<", "u", len(k.aside)+1)
	first := k.flags
	if k.n > 0 {
		first = k.aside[0]
	}
	p.csi("=", "u", int(first), 1)
	for i := range int(k.n) {
		flags := k.flags
		if i+1 < int(k.n) {
			flags = k.aside[i+1]
		}
		p.csi(">", "u", int(flags))
	}
}
