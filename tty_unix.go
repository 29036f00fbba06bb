//go:build unix && !agentonly

package main

import "os"

// A tty is the person's terminal, for a question that must reach them even when standard input or output is
// a file.
type tty struct{ in, out *os.File }

// openTTY is an error if this process has no terminal.
func openTTY() (*tty, error) {
	f, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return &tty{f, f}, nil
}

func (t *tty) Close() error { return t.in.Close() }
