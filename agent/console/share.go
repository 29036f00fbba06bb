package console

import (
	"context"
	"sync"
	"time"

	"scrier/wire"
)

// Share is a screen that is being shared.
//
//	shared --(the window is closed, the server ends)--> ended --(Close)--> closed
//	   \-----------------------(Close)---------------------------------------^
//
// When it is ended or closed, nothing of it runs any more.
type Share struct {
	Login string
	View  bool
	Conn  wire.HalfCloser // RFB bytes; Close closes it

	console *Console
	server  *child // nil: the desktop's own
	notice  *child

	stop     chan struct{}
	stopOnce sync.Once
	done     chan struct{} // closed when it ended by itself; then err is set
	ended    chan struct{} // closed when nothing of it is left
	err      error
}

// begun shows the notice, starts the server and watches both.
func (c *Console) begun(ctx context.Context, s *screen, q Request) (*Share, error) {
	share := &Share{
		Login: s.login, View: c.view(q), console: c,
		stop: make(chan struct{}), done: make(chan struct{}), ended: make(chan struct{}),
	}
	var err error
	if share.notice, err = c.notify(ctx, s, newPrompt(q, share.View, 0)); err != nil {
		return nil, err
	}
	switch s.kind {
	case x11:
		share.server, share.Conn, err = c.serveX11(s, share.View)
	case wlroots:
		share.server, share.Conn, err = c.serveWlroots(ctx, s, share.View)
	default:
		share.Conn, err = dialOwnServer(ctx, s, q)
	}
	if err != nil {
		if err := share.notice.stop(); err != nil {
			c.log.Warn("a notice does not go away", "err", err)
		}
		return nil, err
	}
	go share.watch()
	return share, nil
}

// Done is closed when the sharing ended by itself: the user ended it or logged out, or the server
// died.
func (s *Share) Done() <-chan struct{} { return s.done }

// Err says why, once Done is closed.
func (s *Share) Err() error {
	select {
	case <-s.done:
		return s.err
	default:
		return nil
	}
}

// Close ends everything: the server, the window and the connection. It returns when they are gone,
// and may be called more than once.
func (s *Share) Close() {
	s.stopOnce.Do(func() { close(s.stop) })
	<-s.ended
	_ = s.Conn.Close() // it may be closed already
}

func (s *Share) watch() {
	defer close(s.ended)
	var server chan struct{} // nil for the desktop's own server: that its connection ends is enough
	if s.server != nil {
		server = s.server.done
	}
	select {
	case <-s.stop:
	case <-s.notice.done:
		s.err = &wire.Error{Code: wire.ConsoleEnded, Detail: s.Login}
	case <-server:
		s.err = wire.Errorf(wire.DesktopFailed, "the server of the screen ended: its user may have logged out")
	}
	// The server ends first: while anybody sees the screen, the notice must say so. It is asked by the end of its connection: then it lets go
	// of the keys that are held. In the middle of a signal it may wait for itself, and has to be killed with them held.
	if s.server != nil {
		_ = s.Conn.CloseRead() // nobody sees anything from here on, however long it takes
		_ = s.Conn.CloseWrite()
		s.server.leave()
	}
	for _, ch := range []*child{s.server, s.notice} {
		if ch == nil {
			continue
		}
		if err := ch.stop(); err != nil {
			s.console.log.Error("sharing goes on against its user's will", "err", err, "login", s.Login)
		}
	}
	if s.server == nil {
		past := time.Unix(1, 0)
		_ = s.Conn.SetDeadline(past) // ends a read or write that is under way
		_ = s.Conn.Close()
	}
	s.console.release()
	if s.err != nil {
		close(s.done)
	}
}
