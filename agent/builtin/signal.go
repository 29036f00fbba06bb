package builtin

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// hangupGrace is the time that a session's processes have to end by themselves after SIGHUP.
	hangupGrace = 5 * time.Second

	// killGrace is how long they are waited for after SIGKILL. A process that waits for a dead disk
	// may need longer; it is not waited for.
	killGrace = 2 * time.Second

	// groupPoll is how often it is looked whether they have ended.
	groupPoll = 50 * time.Millisecond
)

// signal sends sig to the running command: the terminal's foreground group, or the session's group if
// there is no terminal.
func (p *process) signal(sig unix.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reaped {
		return unix.ESRCH
	}
	if p.pty == nil {
		return unix.Kill(-p.cmd.Process.Pid, sig)
	}
	if sig == unix.SIGINT || sig == unix.SIGQUIT {
		return p.pty.interrupt(sig)
	}
	group, err := p.foregroundLocked()
	if err != nil {
		return err
	}
	return unix.Kill(-group, sig)
}

// foregroundLocked is the terminal's foreground group, if processes of this session are in it. The
// terminal remembers only a number: the group may have ended, and a group of somebody else may have
// the number now.
func (p *process) foregroundLocked() (int, error) {
	group, err := p.pty.foreground()
	if err != nil {
		return 0, err
	}
	if group <= 0 || !slices.Contains(p.membersLocked(), group) {
		return 0, unix.ESRCH
	}
	return group, nil
}

// hangup tells run that the peer is gone. It may be called once.
func (p *process) hangup() { close(p.cut) }

// end hangs up: SIGHUP to the session's group and the terminal's foreground group, and SIGKILL to
// what is left of them five seconds later. Groups in the background get SIGHUP from their shell, and
// go on if they ignore it (nohup).
func (p *process) end() {
	p.mu.Lock()
	groups := []int{p.cmd.Process.Pid}
	if p.pty != nil {
		if g, err := p.foregroundLocked(); err == nil && g != groups[0] {
			groups = append(groups, g)
		}
	}
	p.killLocked(groups, unix.SIGHUP)
	p.killLocked(groups, unix.SIGCONT) // a stopped process handles SIGHUP only when it goes on
	p.mu.Unlock()
	if p.pty != nil {
		p.pty.master.Close() // reads and writes of the terminal fail from now on
	}

	if p.gone(groups, hangupGrace) {
		return
	}
	p.mu.Lock()
	p.killLocked(groups, unix.SIGKILL)
	p.mu.Unlock()
	p.gone(groups, killGrace)
}

// gone waits until the first process has ended and no process lives in groups, but no longer than
// long. It says whether that was so.
func (p *process) gone(groups []int, long time.Duration) bool {
	deadline := time.NewTimer(long)
	defer deadline.Stop()
	tick := time.NewTicker(groupPoll)
	defer tick.Stop()
	exited := p.exited
	for {
		select {
		case <-exited:
			exited = nil
		case <-tick.C:
		case <-deadline.C:
			return false
		}
		if exited == nil && !p.lives(groups) {
			return true
		}
	}
}

// killLocked signals those of the groups that still have processes of this session.
func (p *process) killLocked(groups []int, sig unix.Signal) {
	members := p.membersLocked()
	for _, g := range groups {
		// Nobody else can have the number of the session's own group before its first process is
		// reaped.
		if g == p.cmd.Process.Pid || slices.Contains(members, g) {
			_ = unix.Kill(-g, sig)
		}
	}
}

func (p *process) lives(groups []int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.membersLocked(), func(g int) bool { return slices.Contains(groups, g) })
}

// membersLocked lists the groups of the session's living processes, from /proc. The session's
// number is the pid of its first process, which is not reaped yet, so it is nobody else's.
func (p *process) membersLocked() []int {
	var groups []int
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue // gone meanwhile
		}
		state, group, session, err := parseStat(stat)
		if err == nil && session == p.cmd.Process.Pid && state != 'Z' && state != 'X' && !slices.Contains(groups, group) {
			groups = append(groups, group)
		}
	}
	return groups
}

// parseStat reads a process's state, group and session from /proc/PID/stat. The second field is
// its name in parentheses. A process chooses that name, and it may hold parentheses too.
func parseStat(stat []byte) (state byte, group, session int, err error) {
	i := bytes.LastIndexByte(stat, ')')
	f := bytes.Fields(stat[i+1:])
	if i < 0 || len(f) < 4 || len(f[0]) != 1 {
		return 0, 0, 0, errors.New("malformed stat")
	}
	if group, err = strconv.Atoi(string(f[2])); err != nil {
		return 0, 0, 0, err
	}
	if session, err = strconv.Atoi(string(f[3])); err != nil {
		return 0, 0, 0, err
	}
	return f[0][0], group, session, nil
}
