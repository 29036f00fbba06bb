package worker

import (
	"errors"
	"net"
	"os"
	"os/signal"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Guard ends what the agent runs for guests if the agent itself cannot, because it was killed: standard input is a socket
// (SOCK_SEQPACKET) on which [Request] comes, with [Watch] and [Forget].
const Guard = "guard"

// The things that [Guard] is told; there are no answers.
const (
	Watch  = "watch"  // Number is the pid of a session's first process, which is not reaped yet
	Forget = "forget" // it is about to be reaped
)

const (
	// HangupGrace is the time that a session's processes have to end by themselves after SIGHUP.
	HangupGrace = 5 * time.Second

	// GroupPoll is how often it is looked whether they have ended.
	GroupPoll = 50 * time.Millisecond
)

func serveGuard() error {
	c, err := net.FileConn(os.Stdin)
	if err != nil {
		return err
	}
	agent, ok := c.(*net.UnixConn)
	if !ok {
		return errors.New("standard input is no unix socket")
	}
	// What ends the agent in order shall not end this one before.
	signal.Ignore(unix.SIGTERM, unix.SIGHUP, unix.SIGINT)
	var sessions []int
	for {
		var q Request
		c, err := Receive(agent, &q)
		if err != nil {
			hangup(sessions)
			return nil
		}
		if c != nil {
			c.Close() // it sends none
		}
		pid := int(q.Number)
		if sessions = slices.DeleteFunc(sessions, func(s int) bool { return s == pid }); q.Do == Watch {
			sessions = append(sessions, pid)
		}
	}
}

// hangup ends sessions as the agent does: their own groups get SIGHUP, and SIGKILL if they do not end. Whoever has a
// terminal has got SIGHUP from the kernel too.
func hangup(sessions []int) {
	left := func() (groups []int) {
		by := Groups()
		for _, s := range sessions {
			if slices.Contains(by[s], s) {
				groups = append(groups, s)
			}
		}
		return groups
	}
	for _, g := range left() {
		_ = unix.Kill(-g, unix.SIGHUP) // fails for what has ended, or is not the account's any more
		_ = unix.Kill(-g, unix.SIGCONT)
	}
	for end := time.Now().Add(HangupGrace); time.Now().Before(end); time.Sleep(GroupPoll) {
		if len(left()) == 0 {
			return
		}
	}
	for _, g := range left() {
		_ = unix.Kill(-g, unix.SIGKILL)
	}
}
