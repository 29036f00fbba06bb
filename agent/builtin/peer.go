package builtin

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"scrier/agent/become"
	"scrier/agent/builtin/worker"
)

const (
	// sendTime is how long a worker may take to read a message.
	sendTime = 5 * time.Second

	// workerGrace is how long a worker may take to clean up, before it is killed.
	workerGrace = 5 * time.Second
)

// A peer is a worker at the other end of a socket. It ends when that is closed.
type peer struct {
	cmd  *exec.Cmd
	conn *net.UnixConn
}

// startPeer starts a worker as the account. The caller must end it.
func (s *Server) startPeer(work string) (*peer, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open socket pair: %w", err)
	}
	near, far := os.NewFile(uintptr(fds[0]), "worker"), os.NewFile(uintptr(fds[1]), "agent")
	defer near.Close()
	defer far.Close()
	c, err := net.FileConn(near)
	if err != nil {
		return nil, fmt.Errorf("open socket pair: %w", err)
	}
	args := append(slices.Clone(s.worker), work)
	p := &peer{&exec.Cmd{Path: args[0], Args: args, Stdin: far, Env: append([]string{}, s.workerEnv...)}, c.(*net.UnixConn)}
	if err := become.Start(p.cmd, s.user()); err != nil {
		c.Close()
		return nil, fmt.Errorf("start worker: %w", err)
	}
	return p, nil
}

// send ends a worker that does not even read: it is stopped, or worse.
func (p *peer) send(q worker.Request) error {
	_ = p.conn.SetWriteDeadline(time.Now().Add(sendTime)) // fails if it is gone, and then so does Send
	err := worker.Send(p.conn, q, nil)
	if err != nil {
		p.conn.Close()
	}
	return err
}

// end ends the worker, and returns when it is gone with what it made.
func (p *peer) end() {
	p.conn.Close()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = p.cmd.Wait() // whatever it says, it has ended
	}()
	select {
	case <-ended:
		return
	case <-time.After(workerGrace):
	}
	_ = p.cmd.Process.Kill()
	select {
	case <-ended:
	case <-time.After(killGrace): // it waits for a dead disk
	}
}
