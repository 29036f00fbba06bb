package proxy

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/semaphore"

	"scrier/wire"
)

// maxChannels is how many channels there may be at a time.
const maxChannels = 4096

// server serves one client that was let in.
type server struct {
	Config
	end     context.CancelCauseFunc
	once    sync.Once
	saying  sync.Mutex // one message at a time
	said    string     // what the person was told last
	session Session    // set when the client is let in
	conn    *ssh.ServerConn
	wg      sync.WaitGroup
	slots   *semaphore.Weighted // of channels
	reverse reverse
	agent   agent
}

func newServer(c Config, end context.CancelCauseFunc) *server {
	return &server{Config: c, end: end, slots: semaphore.NewWeighted(maxChannels)}
}

// errGone says that the client has ended the connection.
var errGone = errors.New("the SSH client has gone")

// failure is the cause of a context that ended with an error of which the person was told.
type failure struct{ error }

// fail ends everything, and tells the person why unless it was the client. The first reason counts.
func (s *server) fail(err error) {
	s.once.Do(func() {
		if errors.Is(err, errGone) {
			s.end(errGone)
			return
		}
		s.report(err)
		s.end(&failure{err})
	})
}

// report tells the person about an error. What ends several channels is said once.
func (s *server) report(err error) {
	s.saying.Lock()
	defer s.saying.Unlock()
	if text := words(err); text != s.said {
		s.said = text
		s.Report(s.Messages, err)
	}
}

// note tells the person a line about what goes on without it.
func (s *server) note(format string, args ...any) {
	s.saying.Lock()
	defer s.saying.Unlock()
	fmt.Fprintf(s.Messages, "scrier: "+format+"\n", args...)
}

// serve runs until the connection has ended and nothing of it is left.
func (s *server) serve(ctx context.Context, conn *ssh.ServerConn, channels <-chan ssh.NewChannel, requests <-chan *ssh.Request) {
	s.conn = conn
	s.wg.Go(func() { s.requests(ctx, requests) })
	s.wg.Go(func() {
		select {
		case <-s.session.Done():
			s.fail(s.session.Err())
		case <-ctx.Done():
		}
	})
	for c := range channels {
		if !s.slots.TryAcquire(1) {
			s.refuse(c, wire.Errorf(wire.Busy, "there are %d channels already", maxChannels))
			continue
		}
		s.wg.Go(func() {
			defer s.slots.Release(1)
			s.channel(ctx, c)
		})
	}
	s.fail(errGone)
	s.wg.Wait()
}

// channel serves a channel that the client opens, to its end.
func (s *server) channel(ctx context.Context, c ssh.NewChannel) {
	switch c.ChannelType() {
	case "session":
		s.program(ctx, c)
	case "direct-tcpip":
		s.dialTCP(ctx, c)
	case "direct-streamlocal@openssh.com":
		s.dialUnix(ctx, c)
	default:
		_ = c.Reject(ssh.UnknownChannelType, "scrier has no channels of this type") // fails only on a connection that has ended
	}
}

// refuse tells the client why a channel does not open.
func (s *server) refuse(c ssh.NewChannel, err error) {
	reason := ssh.ConnectionFailed
	switch wire.CodeOf(err) {
	case wire.ChannelNotAllowed, wire.KeyRestricted, wire.Forbidden:
		reason = ssh.Prohibited
	case wire.Busy, wire.Limit:
		reason = ssh.ResourceShortage
	}
	_ = c.Reject(reason, words(err)) // fails only on a connection that has ended
}

// words are an error on one line, with its code.
func words(err error) string {
	if e, ok := errors.AsType[*wire.Error](err); ok {
		return fmt.Sprintf("%s (%s)", wire.Printable(e.Text()), e.Code)
	}
	return wire.Printable(err.Error())
}

// requests answers what the client asks of the connection as such, in its order.
func (s *server) requests(ctx context.Context, requests <-chan *ssh.Request) {
	replies := newReplies(s)
	defer replies.close()
	for r := range requests {
		switch r.Type {
		case "tcpip-forward", "streamlocal-forward@openssh.com":
			replies.later(r, s.listen(ctx, r))
		case "cancel-tcpip-forward", "cancel-streamlocal-forward@openssh.com":
			replies.add(r, func() (bool, []byte) { return s.cancel(r), nil })
		default: // keepalive@openssh.com is answered so, and what nobody knows
			replies.add(r, func() (bool, []byte) { return false, nil })
		}
	}
}
