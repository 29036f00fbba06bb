package builtin

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// applyModes sets what RFC 4254 section 8 encodes: pairs of an opcode and a number, ended by 0.
// Opcodes from 160 on have no known length, so they end it too; unknown ones below are skipped.
func applyModes(t *unix.Termios, modes string) {
	for b := []byte(modes); len(b) >= 5 && b[0] != 0 && b[0] < 160; b = b[5:] {
		value := binary.BigEndian.Uint32(b[1:5])
		if i, ok := modeChar(b[0]); ok {
			t.Cc[i] = uint8(value)
			if value == 255 { // this means "no such character" in the RFC; Linux writes 0 for it
				t.Cc[i] = 0
			}
			continue
		}
		if word, bit := modeFlag(t, b[0]); word != nil {
			*word &^= bit
			if value != 0 {
				*word |= bit
			}
		}
	}
}

// modeChar finds the control character of an opcode of RFC 4254 section 8. Some of the RFC's
// (VDSUSP, VFLUSH, VSTATUS) do not exist on Linux.
func modeChar(opcode byte) (index int, ok bool) {
	switch opcode {
	case 1:
		return unix.VINTR, true
	case 2:
		return unix.VQUIT, true
	case 3:
		return unix.VERASE, true
	case 4:
		return unix.VKILL, true
	case 5:
		return unix.VEOF, true
	case 6:
		return unix.VEOL, true
	case 7:
		return unix.VEOL2, true
	case 8:
		return unix.VSTART, true
	case 9:
		return unix.VSTOP, true
	case 10:
		return unix.VSUSP, true
	case 12:
		return unix.VREPRINT, true
	case 13:
		return unix.VWERASE, true
	case 14:
		return unix.VLNEXT, true
	case 16:
		return unix.VSWTC, true
	case 18:
		return unix.VDISCARD, true
	}
	return 0, false
}

// modeFlag finds the flag of an opcode, and the word of t that it is in. The character size
// (CS7, CS8) is left alone: a pty has eight bits. So are the speeds, which mean nothing.
func modeFlag(t *unix.Termios, opcode byte) (word *uint32, bit uint32) {
	switch opcode {
	case 30:
		return &t.Iflag, unix.IGNPAR
	case 31:
		return &t.Iflag, unix.PARMRK
	case 32:
		return &t.Iflag, unix.INPCK
	case 33:
		return &t.Iflag, unix.ISTRIP
	case 34:
		return &t.Iflag, unix.INLCR
	case 35:
		return &t.Iflag, unix.IGNCR
	case 36:
		return &t.Iflag, unix.ICRNL
	case 37:
		return &t.Iflag, unix.IUCLC
	case 38:
		return &t.Iflag, unix.IXON
	case 39:
		return &t.Iflag, unix.IXANY
	case 40:
		return &t.Iflag, unix.IXOFF
	case 41:
		return &t.Iflag, unix.IMAXBEL
	case 42: // RFC 8160
		return &t.Iflag, unix.IUTF8
	case 50:
		return &t.Lflag, unix.ISIG
	case 51:
		return &t.Lflag, unix.ICANON
	case 52:
		return &t.Lflag, unix.XCASE
	case 53:
		return &t.Lflag, unix.ECHO
	case 54:
		return &t.Lflag, unix.ECHOE
	case 55:
		return &t.Lflag, unix.ECHOK
	case 56:
		return &t.Lflag, unix.ECHONL
	case 57:
		return &t.Lflag, unix.NOFLSH
	case 58:
		return &t.Lflag, unix.TOSTOP
	case 59:
		return &t.Lflag, unix.IEXTEN
	case 60:
		return &t.Lflag, unix.ECHOCTL
	case 61:
		return &t.Lflag, unix.ECHOKE
	case 62:
		return &t.Lflag, unix.PENDIN
	case 70:
		return &t.Oflag, unix.OPOST
	case 71:
		return &t.Oflag, unix.OLCUC
	case 72:
		return &t.Oflag, unix.ONLCR
	case 73:
		return &t.Oflag, unix.OCRNL
	case 74:
		return &t.Oflag, unix.ONOCR
	case 75:
		return &t.Oflag, unix.ONLRET
	}
	return nil, 0
}
