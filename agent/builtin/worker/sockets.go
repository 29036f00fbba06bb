package worker

import (
	"errors"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Sockets connects and listens for one connection of a guest's: standard input is a socket (SOCK_SEQPACKET) on which [Request]
// comes and [Reply] goes. Whatever it made goes when that ends.
const Sockets = "sockets"

// acceptPause is how long a listener rests when a connection cannot be taken, as when there are no file descriptors.
const acceptPause = 50 * time.Millisecond

type sockets struct {
	agent *net.UnixConn

	mu        sync.Mutex // also held while sockets are made, as the umask is the process's
	over      bool
	listeners map[uint32]*listener // by the number of the request
}

func serveSockets() error {
	c, err := net.FileConn(os.Stdin)
	if err != nil {
		return err
	}
	agent, ok := c.(*net.UnixConn)
	if !ok {
		return errors.New("standard input is no unix socket")
	}
	s := &sockets{agent: agent, listeners: make(map[uint32]*listener)}
	defer s.end()
	unix.Umask(0o077)
	// The service manager or an administrator may end this process by itself.
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, unix.SIGTERM, unix.SIGHUP, unix.SIGINT)
	go func() {
		<-stop
		agent.Close()
	}()
	for {
		var q Request
		c, err := Receive(agent, &q)
		if err != nil {
			return nil // the agent has closed it, or is gone
		}
		if c != nil {
			c.Close() // it sends none
		}
		go s.do(q)
	}
}

func (s *sockets) do(q Request) {
	switch q.Do {
	case DialTCP, DialUnix:
		s.dial(q)
	case ListenTCP, ListenUnix, ListenAgent:
		s.listen(q)
	case Close:
		s.close(q.Number)
	}
}

// dial connects. The connection is the agent's when it is sent. Sending fails when the agent is gone, and then this
// process ends.
func (s *sockets) dial(q Request) {
	c, err := connect(q)
	if err != nil {
		_ = Send(s.agent, Reply{Number: q.Number, Error: reason(err)}, nil)
		return
	}
	_ = Send(s.agent, Reply{Number: q.Number}, c.(syscall.Conn))
	c.Close()
}

// listen tells where it listens before it tells of the first connection.
func (s *sockets) listen(q Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := Reply{Number: q.Number}
	l, err := newListener(q)
	switch {
	case err != nil:
		r.Error = reason(err)
	case s.over || s.listeners[q.Number] != nil:
		l.close()
		return
	default:
		r.Port, r.Path = l.port, []byte(l.path)
		s.listeners[q.Number] = l
	}
	if Send(s.agent, r, nil) != nil || err != nil {
		return
	}
	for _, at := range l.at {
		go s.accept(q.Number, at)
	}
}

func (s *sockets) close(number uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.listeners[number]; l != nil {
		delete(s.listeners, number)
		l.close()
	}
}

func (s *sockets) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	for _, l := range s.listeners {
		l.close()
	}
}

// accept hands what comes to the agent, until the listener is closed.
func (s *sockets) accept(number uint32, at net.Listener) {
	for {
		c, err := at.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			r := Reply{Number: number, Arrived: true}
			if from, ok := c.RemoteAddr().(*net.TCPAddr); ok {
				r.Origin, r.OriginPort = from.IP.String(), uint16(from.Port)
			}
			err = Send(s.agent, r, c.(syscall.Conn))
			c.Close()
		}
		if err != nil {
			time.Sleep(acceptPause)
		}
	}
}

// reason is what SSH tells of an error: the kernel's words alone, as sshd has them.
func reason(err error) string {
	var errno unix.Errno
	var dns *net.DNSError
	text := err.Error()
	switch {
	case errors.As(err, &errno):
		text = errno.Error()
	case errors.As(err, &dns):
		text = "name or service not known"
	case errors.Is(err, os.ErrDeadlineExceeded):
		text = unix.ETIMEDOUT.Error()
	}
	return strings.ToUpper(text[:1]) + text[1:]
}
