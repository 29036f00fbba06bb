//go:build unix

package client

import (
	"errors"
	"syscall"
)

// NoReader says that a write failed as nobody reads the pipe any more.
func NoReader(err error) bool { return errors.Is(err, syscall.EPIPE) }
