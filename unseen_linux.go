package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"scrier/wire"
)

// askUnseen asks for a line in a terminal, which is not shown: the echo is off before the prompt tells anybody to type. It is on
// again when this returns, which it does with ctx too.
func askUnseen(ctx context.Context, in *os.File, out io.Writer, prompt string) (line []byte, err error) {
	fd := int(in.Fd())
	was, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, err
	}
	hidden := *was
	hidden.Lflag = hidden.Lflag&^(unix.ECHO|unix.ECHONL) | unix.ICANON | unix.ISIG
	hidden.Iflag |= unix.ICRNL
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &hidden); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unix.IoctlSetTermios(fd, unix.TCSETS, was)) }()
	if _, err := io.WriteString(out, prompt); err != nil {
		return nil, err
	}
	type typed struct {
		line []byte
		err  error
	}
	done := make(chan typed, 1)
	go func() { // one that nobody waits for any more ends with the program; it leaves the terminal's modes alone
		line := make([]byte, maxToken) // the longest line that a terminal's driver edits
		n, err := in.Read(line)
		done <- typed{bytes.TrimRight(line[:n], "\r\n"), err}
	}()
	select {
	case t := <-done:
		line, err = t.line, t.err
	case <-ctx.Done():
		err = &wire.Error{Code: wire.Cancelled, Detail: "ended by a signal", Err: ctx.Err()}
	}
	_, werr := io.WriteString(out, "\n")
	return line, errors.Join(err, werr)
}
