package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// within calls f on a thread that is in a network namespace, "" for one's own. Children and
// sockets that f makes are born there, so that no helper program is part of what is measured.
func within(namespace string, f func() error) error {
	if namespace == "" {
		return f()
	}
	home, err := os.Open("/proc/self/ns/net")
	if err != nil {
		return err
	}
	defer home.Close()
	away, err := os.Open(filepath.Join("/run/netns", namespace))
	if err != nil {
		return err
	}
	defer away.Close()
	runtime.LockOSThread()
	if err := unix.Setns(int(away.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter namespace %s: %w", namespace, err)
	}
	err = f()
	if herr := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); herr != nil {
		return errors.Join(err, fmt.Errorf("leave namespace %s: %w", namespace, herr)) // the thread stays locked: nobody else gets it
	}
	runtime.UnlockOSThread()
	return err
}

// daemon is a process that runs until the world ends.
type daemon struct {
	name string
	cmd  *exec.Cmd
	log  string // a file with all that it says
	done chan struct{}
}

// daemon starts one in a namespace and waits until it says something that matches ready; it
// returns the match's groups.
func (w *world) daemon(ctx context.Context, namespace, name string, ready string, c *exec.Cmd) ([]string, error) {
	d := &daemon{name: name, cmd: c, log: filepath.Join(w.dir, name+".log"), done: make(chan struct{})}
	log, err := os.Create(d.log)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the child has its own
	c.Stdout, c.Stderr = log, log
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM} // Ctrl-C is ours to handle
	if err := within(namespace, c.Start); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		defer close(d.done)
		_ = c.Wait() // how it ends is told by its log
	}()
	w.later(d.stop)
	if w.running == nil {
		w.running = make(map[string]*daemon)
	}
	w.running[name] = d
	re := regexp.MustCompile(ready)
	for end := time.Now().Add(patience); ; {
		said, err := os.ReadFile(d.log)
		if err != nil {
			return nil, err
		}
		if m := re.FindSubmatch(said); m != nil {
			var groups []string
			for _, g := range m[1:] {
				groups = append(groups, string(g))
			}
			return groups, nil
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-d.done:
			return nil, fmt.Errorf("%s ended: %s", name, tail(said))
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(end) {
			return nil, fmt.Errorf("%s is not ready: %s", name, tail(said))
		}
	}
}

// stop ends it in order, or at all.
func (d *daemon) stop() error {
	_ = d.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-d.done:
		return nil
	case <-time.After(patience / 2):
	}
	_ = d.cmd.Process.Kill()
	<-d.done
	return fmt.Errorf("%s had to be killed", d.name)
}

func tail(said []byte) string {
	lines := strings.Split(strings.TrimSpace(string(said)), "\n")
	return strings.Join(lines[max(0, len(lines)-10):], "\n")
}
