package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// terminal is a program in a terminal of its own. Its file is read and written by plain system
// calls, without the runtime's poller between, as that would be measured too.
type terminal struct {
	tty  *os.File
	fd   int
	cmd  *exec.Cmd
	done chan struct{}
	buf  []byte
	seen []byte // the end of what was shown, behind what was expected
}

// openTerminal starts a command in a namespace with a terminal.
func openTerminal(namespace string, c *exec.Cmd) (*terminal, error) {
	tty, far, err := pty.Open()
	if err != nil {
		return nil, err
	}
	defer far.Close()
	if err := pty.Setsize(tty, &pty.Winsize{Cols: 80, Rows: 24}); err != nil {
		return nil, errors.Join(err, tty.Close())
	}
	c.Stdin, c.Stdout, c.Stderr = far, far, far
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Pdeathsig: syscall.SIGHUP}
	if err := within(namespace, c.Start); err != nil {
		return nil, errors.Join(err, tty.Close())
	}
	t := &terminal{tty: tty, fd: int(tty.Fd()), cmd: c, done: make(chan struct{}), buf: make([]byte, 64<<10)}
	go func() {
		defer close(t.done)
		_ = c.Wait() // its exit status is that of the shell, or of a hang-up
	}()
	return t, nil
}

// read waits for output. What it returns is valid until the next call.
func (t *terminal) read(ctx context.Context, end time.Time) ([]byte, error) {
	for {
		p, err := t.next(100*time.Millisecond, len(t.buf))
		if err != nil || len(p) > 0 {
			return p, err
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if time.Now().After(end) {
			return nil, fmt.Errorf("%s shows nothing more; it showed %q", t.cmd.Path, t.seen)
		}
	}
}

// next takes at most so many bytes of output, and waits at most so long for them; none are no error.
// What it returns is valid until the next call.
func (t *terminal) next(wait time.Duration, most int) ([]byte, error) {
	fds := []unix.PollFd{{Fd: int32(t.fd), Events: unix.POLLIN}}
	// Upwards, as a wait of less than a millisecond would be none.
	n, err := unix.Poll(fds, int((wait+time.Millisecond-1)/time.Millisecond))
	if n <= 0 || err != nil {
		if errors.Is(err, unix.EINTR) {
			err = nil
		}
		return nil, err
	}
	n, err = unix.Read(t.fd, t.buf[:min(most, len(t.buf))])
	if err != nil || n == 0 {
		return nil, fmt.Errorf("%s ended: %w; it showed %q", t.cmd.Path, err, t.seen)
	}
	return t.buf[:n], nil
}

// expect waits until text is shown.
func (t *terminal) expect(ctx context.Context, text string) error {
	const enough = 4 << 10 // for messages of errors
	for end := time.Now().Add(patience); ; {
		if _, after, ok := bytes.Cut(t.seen, []byte(text)); ok {
			t.seen = bytes.Clone(after)
			return nil
		}
		t.seen = t.seen[max(0, len(t.seen)-enough):]
		p, err := t.read(ctx, end)
		if err != nil {
			return fmt.Errorf("expect %q: %w", text, err)
		}
		t.seen = append(t.seen, p...)
	}
}

func (t *terminal) send(text string) error {
	_, err := unix.Write(t.fd, []byte(text))
	return err
}

// echo types one character and waits for it to come back.
func (t *terminal) echo(ctx context.Context) (time.Duration, error) {
	begin := time.Now()
	if _, err := unix.Write(t.fd, []byte{'x'}); err != nil {
		return 0, err
	}
	p, err := t.read(ctx, begin.Add(patience))
	took := time.Since(begin)
	if err == nil && string(p) != "x" {
		err = fmt.Errorf("typed x, got back %q", p)
	}
	return took, err
}

// close hangs up and waits for the program's end.
func (t *terminal) close() error {
	err := t.tty.Close()
	select {
	case <-t.done:
		return err
	case <-time.After(patience / 3):
	}
	_ = t.cmd.Process.Kill()
	<-t.done
	return errors.Join(err, fmt.Errorf("%s had to be killed", t.cmd.Path))
}

// leave ends the shell from within, so that the next session finds nothing under way.
func (t *terminal) leave() error {
	if err := t.send("exit\r"); err != nil {
		return errors.Join(err, t.close())
	}
	select {
	case <-t.done:
		return t.tty.Close()
	case <-time.After(patience / 3):
	}
	return errors.Join(errors.New("the shell does not end"), t.close())
}
