package proxy

import (
	"context"
	"net"
	"slices"
	"sync"

	"scrier/client"
	"scrier/wire"
)

// maxSessions is how many sessions one connection of a client's may have: with 10 programs each, as sshd allows unless it is
// told otherwise (MaxSessions).
const maxSessions = 16

// relayed is a [Session] of sessions through a relay: of one, and of further ones when the machine's SSH server lets no more
// programs onto the connection of the first.
type relayed struct {
	*client.Session // the first
	open            func(context.Context) (*client.Session, error)

	growing sync.Mutex // one more is being opened
	mu      sync.Mutex
	more    []*client.Session
	closed  bool
}

// Relayed makes a [Session] of one through a relay. another opens a further one, of its own.
func Relayed(first *client.Session, another func(context.Context) (*client.Session, error)) Session {
	return &relayed{Session: first, open: another}
}

// sessions are those that there are.
func (r *relayed) sessions() []*client.Session {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.more = slices.DeleteFunc(r.more, func(s *client.Session) bool { return s.Err() != nil })
	return append([]*client.Session{r.Session}, r.more...)
}

// grow opens one more, unless somebody else has done so since known were all.
func (r *relayed) grow(ctx context.Context, known []*client.Session) error {
	r.growing.Lock()
	defer r.growing.Unlock()
	now := r.sessions()
	if slices.ContainsFunc(now, func(s *client.Session) bool { return !slices.Contains(known, s) }) {
		return nil
	}
	if len(now) >= maxSessions {
		return wire.Errorf(wire.Busy, "there are %d sessions already", len(now))
	}
	s, err := r.open(ctx)
	if err != nil {
		return err
	}
	r.mu.Lock()
	closed := r.closed
	if !closed {
		r.more = append(r.more, s)
	}
	r.mu.Unlock()
	if closed {
		return s.Close()
	}
	return nil
}

// somewhere tries all sessions, and then one more.
func somewhere[T any](ctx context.Context, r *relayed, try func(*client.Session) (T, error)) (v T, err error) {
	var full []*client.Session
	for {
		all := r.sessions()
		for _, s := range slices.Backward(all) { // the newest has most room
			if slices.Contains(full, s) {
				continue
			}
			if v, err = try(s); wire.CodeOf(err) != wire.Busy {
				return v, err
			}
			full = append(full, s)
		}
		if gerr := r.grow(ctx, all); gerr != nil {
			return v, err // the first word says more
		}
	}
}

// Program implements [Session]. One that wants the client's SSH agent has to be on the session where that listens.
func (r *relayed) Program(ctx context.Context, req client.ProgramRequest) (Program, error) {
	start := func(s *client.Session) (Program, error) {
		p, err := s.Program(ctx, req)
		if err != nil {
			return nil, err
		}
		return p, nil
	}
	if req.Agent {
		return start(r.Session)
	}
	return somewhere(ctx, r, start)
}

func (r *relayed) SFTP(ctx context.Context) (client.Conn, error) {
	return somewhere(ctx, r, func(s *client.Session) (client.Conn, error) { return s.SFTP(ctx) })
}

func (r *relayed) Dial(ctx context.Context, network, host string, port uint16, origin net.Addr) (client.Conn, error) {
	return r.Session.Dial(ctx, network, host, port, origin)
}

func (r *relayed) Listen(ctx context.Context, network, host string, port uint16) (Listener, error) {
	return listener(r.Session.Listen(ctx, network, host, port))
}

func (r *relayed) ListenAgent(ctx context.Context) (Listener, error) {
	return listener(r.Session.ListenAgent(ctx))
}

// listener keeps a nil from becoming none.
func listener(l *client.Listener, err error) (Listener, error) {
	if err != nil {
		return nil, err
	}
	return l, nil
}

// Close ends all of them, the first last.
func (r *relayed) Close() error {
	r.mu.Lock()
	r.closed = true
	more := r.more
	r.mu.Unlock()
	var wg sync.WaitGroup
	for _, s := range more {
		wg.Go(func() { _ = s.Close() })
	}
	wg.Wait()
	return r.Session.Close()
}
