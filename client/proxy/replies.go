package proxy

import (
	"golang.org/x/crypto/ssh"

	"scrier/wire"
)

// maxReplies is how many requests may wait for their replies. A client that goes on asking is cut off: nothing else of what
// it says would be heard.
const maxReplies = 1024

// replies answers requests in their order, as SSH wants, also if what is asked takes its time. Who reads what the client
// sends does not wait for that.
type replies struct {
	queue chan func()
	done  <-chan struct{}
	full  func()
}

func newReplies(s *server) *replies {
	q := &replies{queue: make(chan func(), maxReplies)}
	q.full = func() {
		s.fail(wire.Errorf(wire.Protocol, "the SSH client has asked for more than %d things at once", maxReplies))
	}
	q.done = start(func() {
		for f := range q.queue {
			f()
		}
	})
	return q
}

// add answers with what get gives when it is the request's turn. What it returns is closed when the reply is on its way.
func (q *replies) add(r *ssh.Request, get func() (ok bool, payload []byte)) <-chan struct{} {
	sent := make(chan struct{})
	select {
	case q.queue <- func() {
		defer close(sent)
		ok, payload := get()
		_ = r.Reply(ok, payload) // fails only on a connection or a channel that has ended
	}:
	default:
		q.full()
		close(sent)
	}
	return sent
}

// reply is an answer.
type reply struct {
	ok      bool
	payload []byte
}

// later answers with what comes from the channel.
func (q *replies) later(r *ssh.Request, answer <-chan reply) <-chan struct{} {
	return q.add(r, func() (bool, []byte) {
		a := <-answer
		return a.ok, a.payload
	})
}

// close waits until all has been answered.
func (q *replies) close() {
	close(q.queue)
	<-q.done
}
