//go:build darwin || freebsd

package client

import "golang.org/x/sys/unix"

const (
	getModes     = unix.TIOCGETA
	setModes     = unix.TIOCSETA
	setModesDrop = unix.TIOCSETAF // what was typed ahead is dropped
	iutf8        = 0x4000         // sys/_termios.h; an older FreeBSD never sets it
)
