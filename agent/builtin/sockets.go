package builtin

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"scrier/agent/builtin/worker"
)

const (
	// askTime is how long a worker may take to answer. It is longer than it waits for a connection by itself, which
	// it does twice for localhost.
	askTime = 2*worker.DialTime + 5*time.Second

	// listenTime is the same where there is nothing to wait for. The requests of a connection are answered in order, so
	// others wait for this one.
	listenTime = 5 * time.Second
)

var errWorkerGone = errors.New("the process that connects and listens has ended")

// An arrival is a connection that came to a listener.
type arrival struct {
	net.Conn
	origin string // who connected; empty with a unix socket
	port   uint16
}

// sockets is the worker of one connection that dials and listens. Its methods may be called concurrently.
type sockets struct {
	*peer
	gone chan struct{} // closed when it answers no more

	mu    sync.Mutex
	last  uint32 // number of a request
	calls map[uint32]call
	on    map[uint32]func(arrival) // what to do with what arrives, by the number of the listener's request
}

// A call is a request that is not answered yet.
type call struct {
	answer chan<- answer // has room for one
	arrive func(arrival) // of a listener
}

type answer struct {
	worker.Reply
	conn net.Conn
}

// startSockets starts a worker. The caller must then call run and, at last, end.
func (s *Server) startSockets() (*sockets, error) {
	p, err := s.startPeer(worker.Sockets)
	if err != nil {
		return nil, err
	}
	return &sockets{peer: p, gone: make(chan struct{}), calls: make(map[uint32]call), on: make(map[uint32]func(arrival))}, nil
}

// run takes what the worker says, until it is gone.
func (s *sockets) run() {
	defer s.quit()
	for {
		var r worker.Reply
		c, err := worker.Receive(s.conn, &r)
		if err != nil {
			return
		}
		if s.take(answer{r, c}) {
			continue
		}
		if c != nil {
			c.Close() // nobody waits for it any more
		}
	}
}

// take says whether somebody wanted what came.
func (s *sockets) take(a answer) bool {
	s.mu.Lock()
	if a.Arrived {
		arrive := s.on[a.Number]
		s.mu.Unlock()
		if arrive == nil || a.conn == nil {
			return false
		}
		arrive(arrival{a.conn, a.Origin, a.OriginPort})
		return true
	}
	defer s.mu.Unlock()
	c, ok := s.calls[a.Number]
	if !ok {
		return false
	}
	delete(s.calls, a.Number)
	if c.arrive != nil && a.Error == "" {
		s.on[a.Number] = c.arrive
	}
	c.answer <- a
	return true
}

func (s *sockets) quit() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.gone)
	clear(s.on)
}

// ask has the worker do something. Of what listens, arrive gets each connection; it must not wait.
func (s *sockets) ask(ctx context.Context, q worker.Request, arrive func(arrival)) (answer, error) {
	got := make(chan answer, 1)
	s.mu.Lock()
	s.last++
	q.Number = s.last
	s.calls[q.Number] = call{got, arrive}
	s.mu.Unlock()
	long := askTime
	if arrive != nil {
		long = listenTime
	}
	timer := time.NewTimer(long)
	defer timer.Stop()
	err := s.send(q)
	if err == nil {
		select {
		case a := <-got:
			return a.check()
		case <-s.gone:
			err = errWorkerGone
		case <-ctx.Done():
			err = context.Cause(ctx)
		case <-timer.C:
			err = unix.ETIMEDOUT
			if arrive != nil {
				s.conn.Close() // or it would listen later, for nobody
			}
		}
	}
	s.mu.Lock()
	delete(s.calls, q.Number)
	s.mu.Unlock()
	select {
	case a := <-got: // it came meanwhile
		if a.conn != nil {
			a.conn.Close()
		}
	default:
	}
	return answer{}, err
}

// check makes an error of an answer that is one.
func (a answer) check() (answer, error) {
	if a.Error == "" {
		return a, nil
	}
	if a.conn != nil {
		a.conn.Close()
	}
	return answer{}, errors.New(a.Error)
}

// unlisten ends a listener.
func (s *sockets) unlisten(number uint32) {
	s.mu.Lock()
	delete(s.on, number)
	s.mu.Unlock()
	_ = s.send(worker.Request{Number: number, Do: worker.Close}) // fails if it is gone, and the listener with it
}
