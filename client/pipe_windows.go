package client

import (
	"errors"

	"golang.org/x/sys/windows"
)

// NoReader says that a write failed as nobody reads the pipe any more.
func NoReader(err error) bool {
	return errors.Is(err, windows.ERROR_BROKEN_PIPE) || errors.Is(err, windows.ERROR_NO_DATA)
}
