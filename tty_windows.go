//go:build !agentonly

package main

import (
	"errors"
	"os"
)

// A tty is the person's console, for a question that must reach them even when standard input or output is
// a file.
type tty struct{ in, out *os.File }

// openTTY is an error if this process has no console.
func openTTY() (*tty, error) {
	in, err := os.OpenFile("CONIN$", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	out, err := os.OpenFile("CONOUT$", os.O_RDWR, 0)
	if err != nil {
		return nil, errors.Join(err, in.Close())
	}
	return &tty{in, out}, nil
}

func (t *tty) Close() error { return errors.Join(t.in.Close(), t.out.Close()) }
