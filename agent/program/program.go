// Package program asks a program of this machine (getent, sshd -T, ssh-keygen) one question: it
// runs it as the agent itself, with a fixed environment, and bounds its time and its answer.
//
// It is not for programs that run as a user: those start through package become.
package program

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	runTime   = 5 * time.Second
	maxErrors = 4 << 10 // bytes of standard error that are kept
)

// Answer is what a program has said.
type Answer struct {
	Stdout []byte
	Stderr []byte // only the first 4 KiB
	Status int
}

// Ask runs argv, whose first element is a path, and returns what it prints. An answer of more
// than limit bytes is an error, and so is one that takes more than five seconds; the program and
// what it has started are killed then. A status that is not 0 is no error.
//
// The environment is fixed: no locale, no LD_ variables, no TZ.
func Ask(ctx context.Context, limit int64, argv ...string) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, runTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { // its children too
		if err := unix.Kill(-cmd.Process.Pid, unix.SIGKILL); !errors.Is(err, unix.ESRCH) {
			return err
		}
		return os.ErrProcessDone
	}
	cmd.WaitDelay = time.Second
	var errText bytes.Buffer
	cmd.Stderr = &capped{w: &errText, left: maxErrors}
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return Answer{}, fmt.Errorf("make pipe: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return Answer{}, fmt.Errorf("run %s: %w", argv[0], err)
	}
	a := Answer{}
	a.Stdout, err = io.ReadAll(io.LimitReader(pipe, limit+1))
	if err == nil && int64(len(a.Stdout)) > limit {
		err = fmt.Errorf("it prints more than %d bytes", limit)
	}
	if err != nil {
		cancel()
	}
	werr := cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](werr); ok && exit.Exited() {
		a.Status, werr = exit.ExitCode(), nil
	}
	if errors.Is(werr, exec.ErrWaitDelay) {
		werr = nil // the whole answer was read; another process has its standard error open, as a child before its exec has
	}
	if ctx.Err() != nil && err == nil {
		err = context.Cause(ctx)
	}
	if err = errors.Join(err, werr); err != nil {
		return Answer{}, fmt.Errorf("run %s: %w", argv[0], err)
	}
	a.Stderr = errText.Bytes()
	return a, nil
}

// Find is the path of a program in the first of the folders that has it, and empty if none has.
// Folders that are not absolute do not count.
func Find(name string, folders ...string) string {
	for _, dir := range folders {
		full := filepath.Join(dir, name)
		if !filepath.IsAbs(full) {
			continue
		}
		if st, err := os.Stat(full); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return full
		}
	}
	return ""
}

// capped drops what is over its limit.
type capped struct {
	w    io.Writer
	left int
}

func (c *capped) Write(b []byte) (int, error) {
	n := min(len(b), c.left)
	c.left -= n
	if _, err := c.w.Write(b[:n]); err != nil {
		return 0, err
	}
	return len(b), nil
}
