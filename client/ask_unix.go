//go:build unix

package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"

	"golang.org/x/sys/unix"

	"scrier/wire"
)

// Ask shows a prompt and reads one line, which the caller wipes; echo says whether it is seen while it is typed. What was
// typed ahead does not count where it is not. It ends with ctx, and gives the terminal back as it was in each case.
// It is for a terminal that is not raw.
func (t *Terminal) Ask(ctx context.Context, prompt string, echo bool) (line []byte, err error) {
	wake, wakeUp, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("ask: %w", err)
	}
	defer wake.Close()
	defer wakeUp.Close()
	defer context.AfterFunc(ctx, func() { _, _ = wakeUp.Write([]byte{0}) })() // one that is closed needs none
	// Signals come first: one behind the change of the terminal would leave it so.
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGQUIT, unix.SIGTSTP, unix.SIGCONT)
	if !signal.Ignored(unix.SIGHUP) { // under nohup it stays ignored
		signal.Notify(signals, unix.SIGHUP)
	}
	defer signal.Stop(signals)
	q := &asking{in: int(t.in.Fd()), echo: echo}
	if err := q.begin(); err != nil {
		return nil, err
	}
	defer q.end()
	say := func(text string) {
		if _, err := t.in.Write([]byte(text)); err != nil { // standard output may be a file
			_, _ = t.out.Write([]byte(text))
		}
	}
	say(prompt)
	defer func() {
		if !echo || err != nil {
			say("\n")
		}
	}()
	typed := make(chan typedLine, 1)
	var reading sync.WaitGroup
	reading.Go(func() {
		l, err := q.read(wake)
		typed <- typedLine{l, err}
	})
	defer func() {
		_, _ = wakeUp.Write([]byte{0})
		reading.Wait()
	}()
	for {
		select {
		case l := <-typed:
			if ctx.Err() != nil {
				clear(l.text)
				return nil, wire.Cause(ctx, wire.Cancelled)
			}
			return l.text, l.err
		case s := <-signals:
			switch s {
			case unix.SIGTSTP:
				q.end()
				if session, err := unix.Getsid(0); err == nil && session != unix.Getpgrp() { // else no shell could continue it
					_ = unix.Kill(0, unix.SIGSTOP) // not SIGTSTP, see Terminal.stop
					continue
				}
				fallthrough
			case unix.SIGCONT: // a shell has changed the terminal meanwhile
				if err := q.begin(); err != nil {
					return nil, err
				}
				say(prompt)
			default:
				return nil, wire.Errorf(wire.Cancelled, "ended by a signal")
			}
		}
	}
}

type typedLine struct {
	text []byte
	err  error
}

// asking is a terminal in which one line is typed.
type asking struct {
	in   int
	echo bool
	was  *unix.Termios // how the terminal was found
}

// begin switches the echo off, if it has to be.
func (q *asking) begin() error {
	was, err := unix.IoctlGetTermios(q.in, getModes)
	if err != nil {
		return fmt.Errorf("ask: %w", err)
	}
	if q.was == nil {
		q.was = was
	}
	now := *q.was
	now.Lflag |= unix.ICANON | unix.ISIG | unix.ECHO
	now.Iflag |= unix.ICRNL
	set := uint(setModes)
	if !q.echo {
		now.Lflag &^= unix.ECHO | unix.ECHONL
		set = setModesDrop // what was typed ahead is dropped
	}
	if err := unix.IoctlSetTermios(q.in, set, &now); err != nil {
		return fmt.Errorf("ask: %w", err)
	}
	return nil
}

func (q *asking) end() {
	_ = unix.IoctlSetTermios(q.in, setModes, q.was) // a terminal that is gone needs nothing
}

// read reads a line, or up to the end of the input, until wake is readable.
func (q *asking) read(wake *os.File) ([]byte, error) {
	fds := []unix.PollFd{{Fd: int32(q.in), Events: unix.POLLIN}, {Fd: int32(wake.Fd()), Events: unix.POLLIN}}
	buf := make([]byte, 4<<10) // the longest line that a terminal's driver edits
	for {
		_, err := unix.Poll(fds, -1)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("wait for the terminal: %w", err)
		}
		if fds[1].Revents != 0 {
			return nil, os.ErrClosed
		}
		n, err := unix.Read(q.in, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read the terminal: %w", err)
		}
		if n == 0 {
			return nil, io.EOF
		}
		return bytes.TrimRight(buf[:n], "\r\n"), nil
	}
}
