package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// far is the program in the shell that the pages' keys go to. It keeps the bottom row to itself,
// as a package manager does for its progress: a key's echo comes there, and stays in sight however
// much output scrolls above it.
const (
	farRole  = "far"
	farFlood = 'F' // this key asks for floodSize bytes of output
	farQuit  = 'Q'

	floodSize = 20_000_000
	floodLine = 80 // bytes, with the newline's two
	farWrite  = 50 * floodLine

	// Echoes go into these columns in turns, so that one does not hide another that came just
	// before; static/bench/page.mjs and probe.mjs count along.
	farColumns = 100
	farFirst   = 8
)

// farMain runs it in the terminal that it was started in.
func farMain() error {
	old, err := term.MakeRaw(int(os.Stdin.Fd()))
	if err != nil {
		return err
	}
	_, rows, err := term.GetSize(int(os.Stdin.Fd()))
	if err == nil {
		err = far(os.Stdin, os.Stdout, rows, floodSize)
	}
	return errors.Join(err, term.Restore(int(os.Stdin.Fd()), old))
}

// far answers keys until farQuit. Echoes and the output do not wait for one another here: each
// write is whole, whoever makes it.
func far(keys io.Reader, screen io.Writer, rows, size int) error {
	if _, err := fmt.Fprintf(screen, "\x1b[1;%dr\x1b[2J\x1b[%d;1Hready\x1b[1;1H", rows-1, rows); err != nil {
		return err
	}
	say := func(column int, text string) error {
		_, err := fmt.Fprintf(screen, "\x1b7\x1b[%d;%dH%s\x1b8", rows, column, text)
		return err
	}
	var flood chan error // of the output under way
	wait := func() error {
		if flood == nil {
			return nil
		}
		return <-flood
	}
	in, echoes := bufio.NewReader(keys), 0
	for {
		key, err := in.ReadByte()
		if err != nil {
			return errors.Join(err, wait())
		}
		switch key {
		case farQuit:
			err = wait()
			_, werr := io.WriteString(screen, "\x1b[r\x1b[2J\x1b[H")
			return errors.Join(err, werr)
		case farFlood:
			if err := errors.Join(wait(), say(1, "more ")); err != nil {
				return err
			}
			flood = make(chan error, 1)
			go func(done chan<- error) {
				err := pour(screen, size)
				done <- errors.Join(err, say(1, "over "))
			}(flood)
		default:
			if err := say(farFirst+echoes%farColumns, string(rune(key))); err != nil {
				return errors.Join(err, wait())
			}
			echoes++
		}
	}
}

// pour writes size bytes of text.
func pour(screen io.Writer, size int) error {
	text := strings.Repeat(strings.Repeat("0123456789abcdef", 5)[:floodLine-2]+"\r\n", farWrite/floodLine)
	for left := size; left > 0; left -= len(text) {
		if _, err := io.WriteString(screen, text[:min(left, len(text))]); err != nil {
			return err
		}
	}
	return nil
}
