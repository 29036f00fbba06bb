//go:build unix

package client

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"scrier/wire"
)

// A console is what a Terminal needs on a system with signals and job control.
//
//	cooked --Raw--> raw --restore, signal--> cooked, for good
//	                |  ^
//	 Suspend, TSTP  v  | CONT
//	              stopped
type console struct {
	state   terminalState
	signals chan os.Signal
	wake    *os.File      // readable when a Read must return; set by Raw
	resumed chan struct{} // closed when a stop is over; set while stopped
}

type terminalState int

const (
	isCooked terminalState = iota
	isRaw
	isStopped
)

func openControlling() (in, out *os.File, err error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	return tty, tty, err
}

// Raw makes the terminal raw until restore is called, which may be done often and from anywhere,
// best by defer. From here on SIGTERM, SIGHUP, SIGINT and SIGQUIT give the terminal back and close
// [Terminal.Done]; a second one of them then ends the process. SIGTSTP suspends.
func (t *Terminal) Raw() (restore func(), err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cooked != nil {
		return nil, errors.New("make terminal raw: it was before")
	}
	wake, wakeUp, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make terminal raw: %w", err)
	}
	// Signals come first: a signal after MakeRaw and before Notify would leave the terminal raw.
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGQUIT, unix.SIGTSTP, unix.SIGCONT)
	if !signal.Ignored(unix.SIGHUP) { // under nohup it stays ignored
		signal.Notify(signals, unix.SIGHUP)
	}
	was, err := term.MakeRaw(int(t.in.Fd()))
	if err != nil {
		signal.Stop(signals)
		wake.Close()
		wakeUp.Close()
		return nil, fmt.Errorf("make terminal raw: %w", err)
	}
	t.cooked, t.state, t.wake, t.signals = was, isRaw, wake, signals
	quit, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		t.watch(quit)
	}()
	return sync.OnceFunc(func() {
		t.giveBack()
		signal.Stop(signals)
		close(quit)
		<-over
		wakeUp.Close()
	}), nil
}

// watch handles signals until quit is closed.
func (t *Terminal) watch(quit <-chan struct{}) {
	ended := false
	for {
		select {
		case <-quit:
			return
		case s := <-t.signals:
			switch s {
			case unix.SIGCONT:
				t.resume()
			case unix.SIGTSTP:
				_, _ = t.stop() // if it cannot stop, it goes on
			default:
				t.giveBack()
				signal.Stop(t.signals)
				if !ended { // more may have come before Stop
					close(t.done)
				}
				ended = true
			}
		}
	}
}

// giveBack restores the terminal for good.
func (t *Terminal) giveBack() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state == isRaw {
		t.restoreLocked()
	}
	t.state = isCooked
	t.resumedLocked()
}

// restoreLocked sets the terminal as it was, unless this process is in the background. Then the
// terminal belongs to the program in the foreground, which has set it as it needs it; and changing it
// would stop this process.
func (t *Terminal) restoreLocked() {
	fd := int(t.in.Fd())
	if group, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP); err == nil && group != unix.Getpgrp() {
		return
	}
	_ = term.Restore(fd, t.cooked) // a terminal that is gone needs nothing
}

// Read reads what is typed. It returns [os.ErrClosed] once the terminal was restored.
func (t *Terminal) Read(b []byte) (int, error) {
	t.mu.Lock()
	wake := t.wake
	t.mu.Unlock()
	fds := []unix.PollFd{{Fd: int32(t.in.Fd()), Events: unix.POLLIN}}
	if wake != nil {
		fds = append(fds, unix.PollFd{Fd: int32(wake.Fd()), Events: unix.POLLIN})
	}
	for {
		_, err := unix.Poll(fds, -1)
		runtime.KeepAlive(wake)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return 0, fmt.Errorf("wait for terminal: %w", err)
		case len(fds) == 2 && fds[1].Revents != 0:
			return 0, os.ErrClosed
		}
		return t.in.Read(b)
	}
}

// Resizes yields the present size, and every later one, until ctx ends; then the channel is
// closed. Only the latest size is kept for a reader that is slow.
func (t *Terminal) Resizes(ctx context.Context) <-chan wire.Size {
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, unix.SIGWINCH, unix.SIGCONT)
	return sizes(ctx, t, changed, func() { signal.Stop(changed) })
}

// Suspend gives the terminal back and stops the program, as Ctrl-Z does to others, until a shell
// continues it; then the terminal is raw again. Where no shell could continue it, as there is
// none or it has no job control, it does nothing and says so.
func (t *Terminal) Suspend() error {
	resumed, err := t.stop()
	if err != nil || resumed == nil {
		return err
	}
	<-resumed // by SIGCONT, or because the terminal was restored for good
	return nil
}

// stop stops the whole job, as the keyboard would: a shell does not notice when a program that was
// started by a script stops alone. The job is stopped by one signal, so that nobody can continue
// a half of it; it may take effect a moment later, and nothing here touches the terminal before
// SIGCONT. resumed is nil if there was nothing to stop.
func (t *Terminal) stop() (resumed <-chan struct{}, err error) {
	if session, err := unix.Getsid(0); err != nil || session == unix.Getpgrp() {
		return nil, errors.New("suspend: there is no shell that could continue this program")
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state != isRaw {
		return t.resumed, nil
	}
	t.restoreLocked()
	t.state = isStopped
	t.resumed = make(chan struct{})
	// Not SIGTSTP: Go keeps its handler for it installed even after signal.Reset, and would swallow
	// it.
	return t.resumed, unix.Kill(0, unix.SIGSTOP)
}

// resume makes the terminal raw again after any stop, also after a SIGSTOP from outside, as the shell
// has changed the terminal meanwhile. If the program is continued in the background, this stops it
// again until it is in the foreground.
func (t *Terminal) resume() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state == isCooked {
		return
	}
	_, _ = term.MakeRaw(int(t.in.Fd())) // a terminal that is gone fails the next Read
	t.state = isRaw
	t.resumedLocked()
}

func (t *Terminal) resumedLocked() {
	if t.resumed != nil {
		close(t.resumed)
		t.resumed = nil
	}
}
