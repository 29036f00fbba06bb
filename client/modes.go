//go:build unix

package client

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// The terminal modes that ssh sends, with their opcodes (RFC 4254, 8; RFC 8160).
var (
	modeChars = []struct {
		op byte
		at int // in Cc
	}{
		{1, unix.VINTR}, {2, unix.VQUIT}, {3, unix.VERASE}, {4, unix.VKILL}, {5, unix.VEOF}, {6, unix.VEOL}, {7, unix.VEOL2},
		{8, unix.VSTART}, {9, unix.VSTOP}, {10, unix.VSUSP}, {12, unix.VREPRINT}, {13, unix.VWERASE}, {14, unix.VLNEXT}, {18, unix.VDISCARD},
	}
	modeInput = []modeFlag{
		{30, unix.IGNPAR}, {31, unix.PARMRK}, {32, unix.INPCK}, {33, unix.ISTRIP}, {34, unix.INLCR}, {35, unix.IGNCR}, {36, unix.ICRNL},
		{38, unix.IXON}, {39, unix.IXANY}, {40, unix.IXOFF}, {41, unix.IMAXBEL}, {42, iutf8},
	}
	modeLocal = []modeFlag{
		{50, unix.ISIG}, {51, unix.ICANON}, {53, unix.ECHO}, {54, unix.ECHOE}, {55, unix.ECHOK}, {56, unix.ECHONL}, {57, unix.NOFLSH},
		{58, unix.TOSTOP}, {59, unix.IEXTEN}, {60, unix.ECHOCTL}, {61, unix.ECHOKE}, {62, unix.PENDIN},
	}
	modeOutput = []modeFlag{
		{70, unix.OPOST}, {72, unix.ONLCR}, {73, unix.OCRNL}, {74, unix.ONOCR}, {75, unix.ONLRET},
	}
	modeControl = []modeFlag{{90, unix.CS7}, {91, unix.CS8}, {92, unix.PARENB}, {93, unix.PARODD}}
)

type modeFlag struct {
	op   byte
	flag uint64
}

// Modes are the terminal's modes as it was found, as RFC 4254, 8 encodes them; none if it does not tell them.
func (t *Terminal) Modes() []byte {
	tio, err := unix.IoctlGetTermios(int(t.in.Fd()), getModes)
	if err != nil {
		return nil
	}
	return encodeModes(tio)
}

func encodeModes(tio *unix.Termios) []byte {
	var b []byte
	put := func(op byte, v uint32) { b = binary.BigEndian.AppendUint32(append(b, op), v) }
	for _, c := range modeChars {
		v := uint32(tio.Cc[c.at])
		if v == 0 { // _POSIX_VDISABLE: no key does it
			v = 255
		}
		put(c.op, v)
	}
	flags := func(word uint64, all []modeFlag) {
		for _, f := range all {
			v := uint32(0)
			if word&f.flag == f.flag {
				v = 1
			}
			put(f.op, v)
		}
	}
	flags(uint64(tio.Iflag), modeInput)
	flags(uint64(tio.Lflag), modeLocal)
	flags(uint64(tio.Oflag), modeOutput)
	flags(uint64(tio.Cflag), modeControl)
	return append(b, 0)
}
