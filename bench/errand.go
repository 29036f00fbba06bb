package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// errand is a program that runs beside what is measured.
type errand struct {
	cmd  *exec.Cmd
	said bytes.Buffer // to be read when it is done
	done chan struct{}
	err  error
}

// start starts one at the operator's place.
func (s *site) start(c *exec.Cmd) (*errand, error) {
	e := &errand{cmd: c, done: make(chan struct{})}
	c.Stdout, c.Stderr, c.WaitDelay = &e.said, &e.said, time.Second
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := within(s.net.operator, c.Start); err != nil {
		return nil, err
	}
	go func() {
		defer close(e.done)
		e.err = c.Wait()
	}()
	return e, nil
}

func (e *errand) ended() bool {
	select {
	case <-e.done:
		return true
	default:
		return false
	}
}

// failed is why it ended, when it has.
func (e *errand) failed() error {
	err := e.err
	if err == nil {
		err = errors.New("it ended too early")
	}
	return fmt.Errorf("%s: %w: %s", strings.Join(e.cmd.Args[:2], " "), err, tail(e.said.Bytes()))
}

// kill ends it with its children, whatever state the network is in.
func (e *errand) kill() {
	_ = syscall.Kill(-e.cmd.Process.Pid, syscall.SIGKILL) // it may have ended
	<-e.done
}

// finish waits until it has ended well.
func (e *errand) finish(ctx context.Context) error {
	select {
	case <-e.done:
		if e.err != nil {
			return e.failed()
		}
		return nil
	case <-ctx.Done():
		e.kill()
		return fmt.Errorf("%s does not end: %w", strings.Join(e.cmd.Args[:2], " "), context.Cause(ctx))
	}
}
