package client

import "golang.org/x/sys/unix"

const (
	getModes     = unix.TCGETS
	setModes     = unix.TCSETS
	setModesDrop = unix.TCSETSF // what was typed ahead is dropped
	iutf8        = unix.IUTF8
)
