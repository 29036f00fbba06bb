package builtin

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"scrier/agent/become"
)

// A process is the first process of a session with the files that lead to it. Its pid is also
// the number of its process group and of its session. The kernel may give a pid to another process
// once the process is reaped; so it is reaped last, when no more signals are sent to that number.
type process struct {
	groups  *groups // the server's
	guard   *guard  // the server's
	cmd     *exec.Cmd
	pty     *pty     // nil without a terminal
	stdin   *os.File // the terminal's master, or a pipe
	outputs []output
	notice  string // shown before the process's own output

	cut    chan struct{} // closed when the peer is gone
	exited chan struct{} // closed when the first process has ended (it is not reaped yet)
	done   chan struct{} // closed when run is over

	mu     sync.Mutex
	reaped bool // the pid may be another process's from now on
}

// A program is what a session runs.
type program struct {
	path string
	args []string
	own  bool // this program itself, as a worker: it goes to the home by itself
}

// start runs a program for a session. The caller must then call run.
func (s *Server) start(what program, session *session) (*process, error) {
	p := &process{
		groups: s.groups,
		guard:  s.guard,
		cut:    make(chan struct{}),
		exited: make(chan struct{}),
		done:   make(chan struct{}),
	}
	attr := &syscall.SysProcAttr{Setsid: true}
	if u := s.user(); u != nil {
		attr.Credential = &syscall.Credential{Uid: u.UID, Gid: u.GID, Groups: u.Groups}
	}
	p.cmd = &exec.Cmd{Path: what.path, Args: what.args, SysProcAttr: attr}
	open := s.openPipes
	if session.pty != nil {
		open = s.openTerminal
	}
	ends, err := open(p, session)
	if err != nil {
		p.closeFiles()
		return nil, err
	}
	defer func() {
		for _, f := range ends {
			f.Close()
		}
	}()
	if what.own {
		p.cmd.Env = append(p.cmd.Env, s.workerEnv...)
		if err := become.Start(p.cmd, s.user()); err != nil {
			p.closeFiles()
			return nil, fmt.Errorf("start worker: %w", err)
		}
		return p, nil
	}
	p.cmd.Dir = s.account.Home
	if err := p.cmd.Start(); err != nil {
		// The home may be missing, or closed to the account. This process cannot tell, as root may
		// enter everywhere; so the start as the account is tried, and then once more in /.
		again := &exec.Cmd{Path: p.cmd.Path, Args: what.args, SysProcAttr: attr, Env: p.cmd.Env,
			Stdin: p.cmd.Stdin, Stdout: p.cmd.Stdout, Stderr: p.cmd.Stderr, Dir: "/"}
		p.cmd = again
		if err := again.Start(); err != nil {
			p.closeFiles()
			return nil, fmt.Errorf("start %s: %w", what.path, err)
		}
		p.notice = "could not enter the home " + s.account.Home + "; starting in /\r\n"
	}
	return p, nil
}

// user is whom programs become; nil, if that is whom this process runs as. The primary group is in the list as well, as
// a login has it: newgrp must not lose it.
func (s *Server) user() *become.User {
	if !s.asRoot {
		return nil
	}
	return &become.User{UID: s.account.UID, GID: s.account.GID, Groups: append([]uint32{s.account.GID}, s.account.Groups...)}
}

// openTerminal gives the process a terminal. This side keeps the slave open until the process has
// ended: whenever nobody has the slave open, reading from the master fails.
func (s *Server) openTerminal(p *process, session *session) ([]*os.File, error) {
	t, err := openPTY(session.size, session.pty.Modes)
	if err != nil {
		return nil, err
	}
	p.pty, p.stdin = t, t.master
	p.outputs = []output{{t.master, session.channel}}
	if s.asRoot {
		if err := t.give(s.account, s.ttyGroup); err != nil {
			return nil, err
		}
	}
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = t.slave, t.slave, t.slave
	p.cmd.SysProcAttr.Setctty = true // of file descriptor 0
	p.cmd.Env = session.environ(t.name)
	return nil, nil
}

// openPipes gives the process three pipes and returns its ends of them.
func (s *Server) openPipes(p *process, session *session) (ends []*os.File, err error) {
	defer func() {
		if err != nil {
			for _, f := range ends {
				f.Close()
			}
		}
	}()
	open := func() (r, w *os.File, err error) {
		if r, w, err = os.Pipe(); err != nil {
			return nil, nil, fmt.Errorf("open pipe: %w", err)
		}
		// A program that opens /dev/stdout opens the pipe by its name, and needs the right to.
		if s.asRoot {
			if err := w.Chown(int(s.account.UID), int(s.account.GID)); err != nil {
				r.Close()
				w.Close()
				return nil, nil, fmt.Errorf("give pipe away: %w", err)
			}
		}
		return r, w, nil
	}
	in, stdin, err := open()
	if err != nil {
		return ends, err
	}
	ends, p.stdin, p.cmd.Stdin = append(ends, in), stdin, in
	stdout, out, err := open()
	if err != nil {
		return ends, err
	}
	ends, p.outputs, p.cmd.Stdout = append(ends, out), append(p.outputs, output{stdout, session.channel}), out
	stderr, errs, err := open()
	if err != nil {
		return ends, err
	}
	ends, p.outputs, p.cmd.Stderr = append(ends, errs), append(p.outputs, output{stderr, session.channel.Stderr()}), errs
	p.cmd.Env = session.environ("")
	return ends, nil
}

func (p *process) closeFiles() {
	if p.pty != nil {
		p.pty.close()
	}
	if p.stdin != nil {
		p.stdin.Close()
	}
	for _, o := range p.outputs {
		o.from.Close()
	}
}

// run carries the process's input and output, waits for its end and tells the peer of it.
func (p *process) run(channel ssh.Channel) {
	defer close(p.done)
	p.guard.watch(p.cmd.Process.Pid)
	if p.notice != "" {
		_, _ = channel.Stderr().Write([]byte(p.notice))
	}
	var in, out, wait sync.WaitGroup
	in.Go(func() { p.feed(channel) })
	for _, o := range p.outputs {
		out.Go(func() { o.drain(p.exited) })
	}
	wait.Go(p.await)
	select {
	case <-p.exited:
	case <-p.cut:
		p.end()
	}
	wait.Wait()
	out.Wait() // the process has ended: bounded by lingerWait and by how fast the peer reads
	state := p.reap()

	// Each of these fails only when the peer is gone, and then there is nobody to tell.
	_ = channel.CloseWrite()
	kind, payload := exitRequest(state)
	_, _ = channel.SendRequest(kind, false, payload)
	_ = channel.Close()
	p.closeFiles()
	in.Wait() // until the peer closes its side
}

// await waits until the process has ended, without reaping it.
func (p *process) await() {
	for {
		err := unix.Waitid(unix.P_PID, p.cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	close(p.exited)
	if p.pty != nil {
		p.pty.slave.Close()
	}
	for _, o := range p.outputs {
		o.hurry()
	}
}

func (p *process) reap() syscall.WaitStatus {
	p.guard.forget(p.cmd.Process.Pid)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reaped = true
	_ = p.cmd.Wait() // its error says nothing that ProcessState does not say
	state, _ := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return state
}

// exitRequest is the request that tells the peer how the process ended.
func exitRequest(state syscall.WaitStatus) (kind string, payload []byte) {
	if state.Signaled() {
		return "exit-signal", ssh.Marshal(exitSignal{
			Name: signalName(unix.Signal(state.Signal())),
			Core: state.CoreDump(),
		})
	}
	return "exit-status", ssh.Marshal(exitStatus{Status: uint32(state.ExitStatus())})
}

// closeOutput has what the process writes from now on fail as in a broken pipe. A terminal has no such end.
func (p *process) closeOutput() {
	if p.pty == nil {
		_ = p.outputs[0].from.Close() // drain ends with it
	}
}

func (p *process) resize(size unix.Winsize) error {
	if p.pty == nil {
		return errors.ErrUnsupported
	}
	return p.pty.resize(size)
}

// keepFiles closes this process's files to the programs that it starts. Go does so with every file
// that it opens, but not with those that were open when it was started, such as a listening socket
// of the service manager's.
func keepFiles() error {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return fmt.Errorf("list open files: %w", err)
	}
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil || fd <= 2 {
			continue
		}
		_, err = unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC)
		if err != nil && !errors.Is(err, unix.EBADF) { // EBADF: closed meanwhile, as ReadDir's own file is
			return fmt.Errorf("keep file %d: %w", fd, err)
		}
	}
	return nil
}

// hearSignals lets the programs that this process starts hear SIGHUP and Ctrl-C. What a process ignores, as under nohup or in
// the background of a script, is ignored by those that it starts; what it catches is not.
func hearSignals() {
	for _, s := range []os.Signal{unix.SIGHUP, unix.SIGINT} { // Go itself catches the others
		if signal.Ignored(s) {
			signal.Notify(make(chan os.Signal, 1), s) // and nobody looks into it
		}
	}
}
