package console

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"scrier/wire"
)

const (
	leaveTime = time.Second     // to end by itself; x11vnc needs some milliseconds
	termTime  = 2 * time.Second // from SIGTERM to SIGKILL: x11vnc frees its shared memory in 3 ms
	killTime  = 5 * time.Second // after SIGKILL; a process that lives longer is stuck in the kernel and given up
	maxLines  = 50              // of one process that are logged
	maxPrint  = 1 << 20         // what a program that is only asked something may print: xdpyinfo names hundreds of visuals
)

// job is a program to be started as the screen's user.
type job struct {
	argv   []string
	env    []string
	stdin  *os.File // nil: /dev/null
	stdout *os.File // nil: the log
	death  syscall.Signal
	// linger runs when the process has ended, before the rest of its group is killed; it may be nil.
	linger func()
}

// child is a process of the user's, in a process group of its own. When done is closed, the whole
// group has ended.
type child struct {
	name string
	cmd  *exec.Cmd
	done chan struct{} // closed when it is over; then code is set
	code int           // the exit status, or -1 for a signal

	mu     sync.Mutex
	reaped bool // the pid may be another process's from now on
}

// start starts j as the user of the screen. The caller must stop it or wait for done.
func (c *Console) start(p person, j job) (*child, error) {
	if j.death == 0 {
		j.death = unix.SIGKILL
	}
	name := j.argv[0]
	cmd := &exec.Cmd{
		Path: name, Args: j.argv, Env: j.env,
		SysProcAttr: &syscall.SysProcAttr{Pdeathsig: j.death},
		WaitDelay:   time.Second, // a descendant may keep a pipe open
	}
	if j.stdin != nil {
		cmd.Stdin = j.stdin
	}
	log := &lines{log: c.log, program: name, left: maxLines}
	cmd.Stderr = log
	if j.stdout != nil {
		cmd.Stdout = j.stdout
	} else {
		cmd.Stdout = log
	}
	if err := c.begin(cmd, p); err != nil {
		return nil, fmt.Errorf("start %s as %s: %w", name, p.login, err)
	}
	ch := &child{name: name, cmd: cmd, done: make(chan struct{})}
	go ch.wait(j.linger)
	return ch, nil
}

func (ch *child) wait(linger func()) {
	defer close(ch.done)
	for {
		err := unix.Waitid(unix.P_PID, ch.cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if linger != nil {
		linger()
	}
	ch.signal(unix.SIGKILL) // what is left of its group
	ch.mu.Lock()
	ch.reaped = true
	ch.mu.Unlock()
	_ = ch.cmd.Wait() // its error says nothing that ProcessState does not say
	ch.code = ch.cmd.ProcessState.ExitCode()
}

// signal sends s to the whole group.
func (ch *child) signal(s unix.Signal) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if !ch.reaped {
		_ = unix.Kill(-ch.cmd.Process.Pid, s) // it may have ended
	}
}

// leave waits for a process that has been told to end in its own way.
func (ch *child) leave() {
	select {
	case <-ch.done:
	case <-time.After(leaveTime):
	}
}

// stop ends the process and its group and waits for them.
func (ch *child) stop() error {
	ch.signal(unix.SIGTERM)
	select {
	case <-ch.done:
		return nil
	case <-time.After(termTime):
	}
	ch.signal(unix.SIGKILL)
	select {
	case <-ch.done:
		return nil
	case <-time.After(killTime):
		return wire.Errorf(wire.Internal, "%s does not die", ch.name)
	}
}

// output runs a program as the person (the zero person: as the agent) and returns what it prints.
func (c *Console) output(ctx context.Context, p person, env []string, argv ...string) (text []byte, status int, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, 0, fmt.Errorf("make pipe: %w", err)
	}
	defer r.Close()
	ch, err := c.start(p, job{argv: argv, env: env, stdout: w})
	w.Close()
	if err != nil {
		return nil, 0, err
	}
	stop := context.AfterFunc(ctx, func() { _ = r.SetReadDeadline(time.Unix(1, 0)) })
	text, err = io.ReadAll(io.LimitReader(r, maxPrint+1))
	stop()
	if err == nil && len(text) > maxPrint {
		err = fmt.Errorf("%s prints more than %d bytes", argv[0], maxPrint)
	}
	if err == nil {
		select {
		case <-ch.done:
			return text, ch.code, nil
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	ch.signal(unix.SIGKILL)
	select {
	case <-ch.done:
	case <-time.After(killTime):
	}
	return nil, 0, fmt.Errorf("run %s: %w", argv[0], err)
}

// lines logs what a process prints, line by line: at most maxLines lines of maxLine bytes, without
// control characters.
type lines struct {
	log     *slog.Logger
	program string
	left    int
	rest    []byte
}

const maxLine = 512

func (l *lines) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 && l.left > 0 {
		line, rest, whole := bytes.Cut(b, []byte{'\n'})
		l.rest = append(l.rest, line[:min(len(line), maxLine-len(l.rest))]...)
		b = rest
		if !whole {
			break
		}
		if len(l.rest) > 0 {
			l.log.Debug("console", "program", l.program, "says", wire.Printable(string(l.rest)))
			l.left--
		}
		l.rest = l.rest[:0]
	}
	return n, nil
}

// fields reads KEY=VALUE lines as loginctl prints them.
func fields(text []byte) map[string]string {
	all := map[string]string{}
	for s := bufio.NewScanner(bytes.NewReader(text)); s.Scan(); {
		if k, v, ok := bytes.Cut(s.Bytes(), []byte{'='}); ok {
			all[string(k)] = string(v)
		}
	}
	return all
}
