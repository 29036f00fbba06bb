package shell

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"scrier/relay/fleet"
	"scrier/relay/session"
	"scrier/relay/session/hold"
	"scrier/relay/session/program"
	"scrier/relay/session/raw"
	"scrier/relay/session/ssh"
	"scrier/relay/session/terminal"
	"scrier/relay/session/transfer"
	"scrier/relay/sftp"
	"scrier/wire"
)

// connection is a session's SSH connection, on which its channels are. It implements [session.Connection].
type connection struct {
	kind   *Kind
	client *ssh.Client
	tunnel *fleet.Tunnel
	login  string // on the machine
	rights []wire.Right

	// What it was opened with: who joins it has asked for the same.
	asked    string // the login that was named
	wished   []wire.Right
	keys     [][]byte
	named    bool
	hostKeys []string

	// agent says that programs may reach an SSH agent there, also those that did not ask for that: sshd grants it to a whole
	// connection.
	agent atomic.Bool

	arrivals arrivals
}

func newConnection(k *Kind, req *session.Request, client *ssh.Client, tunnel *fleet.Tunnel, login string, rights []wire.Right) *connection {
	needed, liked := k.wanted(req)
	c := &connection{
		kind: k, client: client, tunnel: tunnel, login: login, rights: rights,
		asked: req.Login, wished: append(needed, liked...), keys: sorted(marshal(req.Keys)), named: req.Named, hostKeys: req.HostKeys,
	}
	c.agent.Store(has(needed, wire.MayAgent))
	return c
}

func sorted(keys [][]byte) [][]byte {
	slices.SortFunc(keys, bytes.Compare)
	return keys
}

// Rights implements [session.Connection].
func (c *connection) Rights() []wire.Right { return c.rights }

// Fits implements [session.Connection]. Which login the keys belong to is not found out again, so who names none joins only
// who named none. Who likes to have more than this session was opened for has one of their own: they would find out too late,
// when the first channel that needs it is refused.
func (c *connection) Fits(req *session.Request) bool {
	if c.agent.Load() || req.Kind != wire.KindSSH || req.Port != 0 || req.Channel != nil && req.Channel.Kind == wire.Tunnel {
		return false
	}
	needed, _ := c.kind.wanted(req)
	allowed := c.kind.Allow.rights()
	for _, r := range req.Likes {
		if r != wire.MayRaw && slices.Contains(allowed, r) && !has(c.wished, r) {
			return false
		}
	}
	return req.Login == c.asked && req.Named == c.named && has(c.rights, needed...) && slices.Equal(req.HostKeys, c.hostKeys) &&
		slices.EqualFunc(sorted(marshal(req.Keys)), c.keys, bytes.Equal)
}

// Check implements [session.Connection].
func (c *connection) Check(req *session.Request) error {
	if err := checkChannel(req.Channel); err != nil {
		return err
	}
	needed := append(needs(req.Channel), req.Needs...)
	if err := c.kind.Allow.check(needed); err != nil {
		return err
	}
	for _, r := range needed {
		if !has(c.rights, r) {
			return wire.Errorf(wire.ChannelNotAllowed, "the session was not opened for %s", r).Advise("open a session that needs it; `scrier ssh --new` does not join one that is open")
		}
	}
	if req.Channel != nil && req.Channel.Kind == wire.SFTP && !has(c.rights, wire.MayUpload) && !has(c.rights, wire.MayDownload) {
		return wire.Errorf(wire.ChannelNotAllowed, "the session was opened for neither upload nor download of files")
	}
	return nil
}

// Intent implements [session.Connection].
func (c *connection) Intent(req *session.Request) map[string]string {
	fields := map[string]string{}
	c.kind.Commands.channelIntent(fields, req.Channel)
	return fields
}

// Open implements [session.Connection].
func (c *connection) Open(ctx context.Context, s *session.Channel, req *session.Request) (session.Stage, error) {
	stage, err := c.open(ctx, s, req)
	if err != nil {
		return nil, c.tunnel.Why(err)
	}
	return stage, nil
}

func (c *connection) open(ctx context.Context, s *session.Channel, req *session.Request) (session.Stage, error) {
	what := req.Channel
	if what == nil {
		what = &wire.Channel{}
	}
	if what.Agent || what.Kind == wire.ForwardAgent {
		c.agent.Store(true)
	}
	target := ssh.Target{Host: what.Host, Port: what.Port, Origin: what.Origin, OriginPort: what.OriginPort}
	switch what.Kind {
	case wire.Program, wire.System:
		return c.program(ctx, s, req, what)
	case wire.SFTP:
		process, err := c.client.Start(ctx, ssh.Program{Subsystem: true, Command: []byte("sftp")})
		if err != nil {
			return nil, err
		}
		return transfer.New(s, process, sftp.Rights{Upload: has(c.rights, wire.MayUpload), Download: has(c.rights, wire.MayDownload)}), nil
	case wire.Hold:
		release, err := c.client.Hold()
		if err != nil {
			return nil, err
		}
		go s.Guard(func() {
			select {
			case <-c.client.Ended(): // nothing else of the stage would notice
				s.End(c.tunnel.Why(c.client.Err()))
			case <-s.Context().Done():
			}
		})
		return hold.New(s, nil, req.Client, release), nil
	case wire.DialTCP, wire.DialUnix:
		target.Unix = what.Kind == wire.DialUnix
		conn, err := c.client.Dial(ctx, target)
		if err != nil {
			return nil, err
		}
		return c.tunnelled(s, conn, req), nil
	case wire.ListenTCP, wire.ListenUnix:
		target.Unix = what.Kind == wire.ListenUnix
		l, err := c.client.Listen(ctx, target)
		if err != nil {
			return nil, err
		}
		return c.listen(s, l, req.Client)
	case wire.ForwardAgent:
		l, err := c.client.ListenAgent()
		if err != nil {
			return nil, err
		}
		return c.listen(s, l, req.Client)
	case wire.Accept:
		conn := c.arrivals.take(what.Number)
		if conn == nil {
			return nil, wire.Errorf(wire.NotFound, "no connection %d waits", what.Number)
		}
		return c.tunnelled(s, conn, req), nil
	}
	return nil, wire.Errorf(wire.BadRequest, "channels of kind %q are not served", wire.Printable(string(what.Kind)))
}

// tunnelled shows a connection, to which its viewer can come back if they have asked for that and there is memory.
func (c *connection) tunnelled(s *session.Channel, conn *ssh.Conn, req *session.Request) session.Stage {
	tunnel := &session.Tunnel{Stream: conn, Count: s.Count}
	if req.Numbered {
		if l := raw.NewLasting(s, tunnel, req.Client, c.kind.Memory); l != nil {
			return l
		}
	}
	return raw.New(s, tunnel)
}

// program starts a program, with a terminal or without.
func (c *connection) program(ctx context.Context, s *session.Channel, req *session.Request, what *wire.Channel) (session.Stage, error) {
	size := req.Terminal.Size
	p := ssh.Program{
		Command: what.Command, Subsystem: what.Kind == wire.System, Agent: what.Agent,
		Env: ssh.Env(req.Terminal.Env), PTY: &ssh.PTY{Term: req.Terminal.Term, Size: size, Modes: req.Terminal.Modes},
	}
	plain := what.Plain || p.Subsystem
	if plain {
		p.PTY = nil
	}
	process, err := c.client.Start(ctx, p)
	if err != nil {
		return nil, err
	}
	if plain && req.Numbered {
		if n := program.NewNumbered(s, process, req.Client, c.kind.Memory); n != nil {
			return n, nil
		}
	}
	if plain {
		return program.New(s, process, req.Client), nil
	}
	return terminal.New(s, process, size), nil
}

// listen shows a listener, whose connections wait to be taken.
func (c *connection) listen(s *session.Channel, l *ssh.Listener, client []byte) (session.Stage, error) {
	release, err := c.client.Hold()
	if err != nil {
		l.Close()
		return nil, err
	}
	return hold.New(s, listener{l, c, make(chan struct{}, maxTold)}, client, func() {
		l.Close()
		release()
	}), nil
}

// listener gives what arrives numbers, and hands out no more of them than are being taken: the others wait at the SSH
// connection. It implements [hold.Listener].
type listener struct {
	*ssh.Listener
	connection *connection
	room       chan struct{} // holds one for each that was told and not taken
}

// Accept implements [hold.Listener].
func (l listener) Accept(ctx context.Context) (*wire.Arrived, error) {
	select {
	case l.room <- struct{}{}:
	case <-ctx.Done():
		return nil, wire.Cause(ctx, wire.Cancelled)
	}
	conn, origin, port, err := l.Listener.Accept(ctx)
	if err != nil {
		return nil, err
	}
	number := l.connection.arrivals.put(conn, func() { <-l.room })
	return &wire.Arrived{Number: number, Origin: wire.Printable(origin), OriginPort: port}, nil
}

const (
	// maxTold is how many connections of a listener are told at a time, before they are taken: as many as a CLI takes
	// at a time.
	maxTold = 64

	// arrivalTime is how long a connection waits to be taken, when it has been told.
	arrivalTime = 15 * time.Second
)

// arrivals are connections to what a session listens at, which nobody has taken yet.
type arrivals struct {
	mu   sync.Mutex
	last uint32
	by   map[uint32]arrival
}

type arrival struct {
	conn *ssh.Conn
	gone func() // called when it waits no more
	late *time.Timer
}

// put has a connection wait, and gives its number. One that nobody takes is ended.
func (a *arrivals) put(conn *ssh.Conn, gone func()) uint32 {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.by == nil {
		a.by = map[uint32]arrival{}
	}
	a.last++
	n := a.last
	a.by[n] = arrival{conn, gone, time.AfterFunc(arrivalTime, func() {
		if conn := a.take(n); conn != nil {
			conn.Reset(wire.Busy)
		}
	})}
	return n
}

// take gives a connection that waits; nil: there is none.
func (a *arrivals) take(n uint32) *ssh.Conn {
	a.mu.Lock()
	w, found := a.by[n]
	delete(a.by, n)
	a.mu.Unlock()
	if !found {
		return nil
	}
	w.late.Stop()
	w.gone()
	return w.conn
}
