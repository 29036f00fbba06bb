package builtin

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"scrier/agent/builtin/worker"
)

const (
	hangupGrace = worker.HangupGrace

	// killGrace is how long they are waited for after SIGKILL. A process that waits for a dead disk
	// may need longer; it is not waited for.
	killGrace = 2 * time.Second

	groupPoll = worker.GroupPoll
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
	group, _, err := p.foregroundLocked()
	if err != nil {
		return err
	}
	return unix.Kill(-group, sig)
}

// foregroundLocked is the terminal's foreground group, if it is one of the session's groups, which are members. The
// terminal remembers only a number: the group may have ended, and a group of somebody else may have
// the number now.
func (p *process) foregroundLocked() (group int, members []int, err error) {
	group, err = p.pty.foreground()
	members = p.membersLocked(time.Now()) // after that: a group that is new would not be among those of before
	if err == nil && (group <= 0 || !slices.Contains(members, group)) {
		err = unix.ESRCH
	}
	return group, members, err
}

// hangup tells run that the peer is gone. It may be called once.
func (p *process) hangup() { close(p.cut) }

// end hangs up: SIGHUP to the session's group and the terminal's foreground group, and SIGKILL to
// what is left of them five seconds later. Groups in the background get SIGHUP from their shell, and
// go on if they ignore it (nohup).
func (p *process) end() {
	p.mu.Lock()
	groups := []int{p.cmd.Process.Pid}
	var members []int
	if p.pty == nil {
		members = p.membersLocked(time.Now())
	} else {
		g, all, err := p.foregroundLocked()
		if members = all; err == nil && g != groups[0] {
			groups = append(groups, g)
		}
	}
	p.killLocked(groups, members, unix.SIGHUP)
	p.killLocked(groups, members, unix.SIGCONT) // a stopped process handles SIGHUP only when it goes on
	p.mu.Unlock()
	if p.pty != nil {
		p.pty.master.Close() // reads and writes of the terminal fail from now on
	}

	if p.gone(groups, hangupGrace) {
		return
	}
	p.mu.Lock()
	p.killLocked(groups, p.membersLocked(time.Now()), unix.SIGKILL)
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

// killLocked signals those of the groups that still have processes of this session: members.
func (p *process) killLocked(groups, members []int, sig unix.Signal) {
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
	return slices.ContainsFunc(p.membersLocked(time.Now().Add(-groupPoll)), func(g int) bool { return slices.Contains(groups, g) })
}

// membersLocked lists the groups of the session's living processes, see [groups.of]. The session's number is the pid of
// its first process, which is not reaped yet, so it is nobody else's.
func (p *process) membersLocked(since time.Time) []int {
	return p.groups.of(p.cmd.Process.Pid, since)
}
