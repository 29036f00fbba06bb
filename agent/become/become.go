// Package become starts processes as a user of this machine, with no way back to the privileges of
// the agent. It looks up no accounts: its callers say whom to become.
package become

import (
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// User is whom a process becomes.
type User struct {
	UID, GID uint32
	Groups   []uint32 // supplementary; none if empty
}

// Start starts cmd as u, or as the agent's own user if u is nil. The process has its own session
// and process group, can gain no privileges by an exec, gets only the environment that is in
// cmd.Env (nothing, if that is nil), and starts in the root folder if cmd.Dir is empty.
//
// If cmd.SysProcAttr.Pdeathsig is set, the process gets that signal when the agent dies. For this
// Start keeps a thread until the process ends, so the caller must wait for cmd.
func Start(cmd *exec.Cmd, u *User) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setsid = true
	if u != nil {
		if u.UID == 0 {
			return errors.New("become nobody but ordinary users")
		}
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: u.UID, Gid: u.GID, Groups: u.Groups}
	}
	if cmd.Env == nil {
		cmd.Env = []string{} // nil would be the agent's own
	}
	if cmd.Dir == "" {
		cmd.Dir = "/"
	}
	return start(cmd)
}

// start starts cmd from a thread that can gain no privileges by an exec; the child inherits that.
// The thread is not used again: it ends with its goroutine.
func start(cmd *exec.Cmd) error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() { // the process's first thread must not end: take another
			started <- start(cmd)
			runtime.UnlockOSThread()
			return
		}
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			started <- fmt.Errorf("set no_new_privs: %w", err)
			return
		}
		err := cmd.Start()
		pid := 0
		if err == nil {
			pid = cmd.Process.Pid
		}
		started <- err
		if err == nil && cmd.SysProcAttr.Pdeathsig != 0 {
			outlive(pid)
		}
	}()
	return <-started
}

// outlive keeps this thread until the child has ended. For the kernel the parent is the thread that
// forked, and the child would get its death signal when that thread ends.
func outlive(pid int) {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return // it has ended, or its owner has reaped it
		}
	}
}
