package client

import "golang.org/x/sys/unix"

const (
	getModes = unix.TCGETS
	iutf8    = unix.IUTF8
)
