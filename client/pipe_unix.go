//go:build unix

package client

import (
	"errors"
	"syscall"
)

// noReader says that a write failed as nobody reads the pipe any more.
func noReader(err error) bool { return errors.Is(err, syscall.EPIPE) }
