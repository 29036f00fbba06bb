package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/ssh"

	"scrier/wire"
)

// SessionRequest is what [Relay.Open] needs.
type SessionRequest struct {
	Envoy    string
	Login    string
	Key      ssh.Signer   // only this key counts; nil: all that are registered
	Needs    []wire.Right // what the channels will need: one that is not allowed is an error
	Likes    []wire.Right // what they may need: [Session.Rights] says what is allowed
	New      bool         // a session of its own; else one of the operator's that is open already will do
	Lasting  bool         // its connections go on when its link is lost, with the session that takes its place: see [Session.Succeed]
	Terminal *Terminal    // for what the machine may ask before it lets the person in; nil: it cannot ask
	Messages io.Writer    // for what else is said to the person, usually standard error
}

const (
	// openWait is how long a session may take to open: a person may be asked several things.
	openWait = 10 * time.Minute

	// channelWait is how long a channel may take to open: a machine's connect gives up behind some two minutes.
	channelWait = 150 * time.Second

	// closeWait is how long the end of a session may take to reach the relay.
	closeWait = 2 * time.Second
)

// Session is an open session of kind ssh, and holds it open until Close. Its channels end with it. All methods may be
// called at the same time.
type Session struct {
	life     wire.Life // what it ended with, see [Session.Err]
	relay    *Relay
	link     wire.Link // which the relay had when the session was opened
	links    links
	hold     *wire.Framed
	is       *wire.Attached
	messages io.Writer
	gone     chan struct{} // closed when nobody reads hold any more
	kept     *budget       // what its connections may keep; nil: they do not last
	heir     heir
}

// errClosed is how what this side has closed ended.
var errClosed = &wire.Error{Code: wire.Cancelled, Detail: "the session was closed"}

// Open opens a session, or joins one of the operator's that is open.
func (r *Relay) Open(ctx context.Context, req SessionRequest) (*Session, error) {
	c := &wire.Connect{
		Envoy: req.Envoy, Kind: wire.KindSSH, Login: req.Login, Answers: true, Share: !req.New, Needs: req.Needs, Likes: req.Likes,
	}
	if req.Key != nil {
		if err := r.prove(c, req.Key); err != nil {
			return nil, err
		}
	}
	var kept *budget
	if req.Lasting {
		kept = &budget{free: maxKept}
	}
	return r.hold(ctx, c, req.Terminal, req.Messages, kept)
}

// hold opens the stream that a session is held by.
func (r *Relay) hold(ctx context.Context, c *wire.Connect, terminal *Terminal, messages io.Writer, kept *budget) (*Session, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, openWait, wire.Errorf(wire.RelayUnreachable, "the session did not open within %s", wire.Period(openWait)))
	defer cancel()
	if messages == nil {
		messages = io.Discard
	}
	c.Channel = &wire.Channel{Kind: wire.Hold}
	f, attached, err := r.join(ctx, c, dialogue{terminal: terminal, messages: messages})
	if err != nil {
		return nil, err
	}
	if len(attached.Rights) > wire.MaxRights {
		attached.Rights = attached.Rights[:wire.MaxRights]
	}
	s := &Session{life: wire.NewLife(), relay: r, link: r.link, hold: f, is: attached, messages: messages, gone: make(chan struct{}), kept: kept, heir: newHeir()}
	s.links.first, s.links.dial, s.links.beats, s.links.found = r.link, r.redial, r.beats, r.prober
	go s.watch()
	return s, nil
}

// errOther says that a relay gives a channel of something else than it was asked for.
var errOther = &wire.Error{Code: wire.Protocol, Detail: "the relay opened a channel of another session"}

// watch reads what the relay says of the session until its end.
func (s *Session) watch() {
	defer close(s.gone)
	s.life.End(s.listen())
	s.hold.Reset(wire.None)
	s.links.close(s.Lost())
}

func (s *Session) listen() error {
	for {
		m, err := s.hold.Receive()
		if err != nil {
			return s.failed(lostEnd(err))
		}
		switch m := m.(type) {
		case *wire.Notice:
			fmt.Fprintf(s.messages, "scrier: %s\n", wire.Printable(m.Text))
		case *wire.Pong, *wire.Watchers:
		case *wire.Exit:
			if m.Code == wire.None {
				return &wire.Error{Code: wire.Cancelled, Detail: "the session has ended"}
			}
			return ended(m.Code, m.Detail)
		default:
			return wire.Errorf(wire.Protocol, "unexpected %T from the relay", m)
		}
	}
}

// lostEnd is what err, the end of a stream on which an Exit was to come, means.
func lostEnd(err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return lost(err)
}

// ID names the session among the relay's.
func (s *Session) ID() wire.SessionID { return s.is.Session }

// Rights is what the session may be used for.
func (s *Session) Rights() []wire.Right { return slices.Clone(s.is.Rights) }

// Envoy is the machine's hostname, and Login the account there. Both are the machine's words.
func (s *Session) Envoy() string { return s.is.Envoy }

// Login is the account on the machine.
func (s *Session) Login() string { return s.is.Login }

// Shared says that the session was open before.
func (s *Session) Shared() bool { return s.is.Shared }

// Done is closed when the session has ended.
func (s *Session) Done() <-chan struct{} { return s.life.Context().Done() }

// Err is why the session has ended; nil: it is open.
func (s *Session) Err() error { return s.life.Err() }

// Lost says that the session has ended for this side because its link was lost. At the relay it may be open still.
func (s *Session) Lost() bool { return s.relay.redial != nil && broke(s.link) }

// Again gives the session over another link, after [Session.Lost]; if the relay keeps it no more, and req is not nil, it gives
// another one that is opened as req says. It tries for as long as a relay keeps a session that nobody has. Several sessions of one
// relay are to be asked for one after the other, and nothing else may use the relay meanwhile.
func (s *Session) Again(ctx context.Context, req *SessionRequest) (*Session, error) {
	return again(ctx, s.patience(), func(ctx context.Context) (*Session, error) {
		if broke(s.relay.link) || s.relay.pulse.isSilent() {
			if err := s.relay.relink(ctx); err != nil {
				return nil, err
			}
		}
		next, err := s.relay.hold(ctx, &wire.Connect{Kind: wire.KindSSH, Session: s.is.Session}, nil, s.messages, s.kept)
		if wire.CodeOf(err) != wire.NotFound || req == nil {
			return next, err
		}
		anew := *req
		anew.Terminal = nil // nobody waits for a question any more
		next, err = s.relay.Open(ctx, anew)
		if code := wire.CodeOf(err); code == wire.EnvoyOffline || code == wire.AgentLost { // it comes back too
			err = &wire.Error{Code: wire.RelayUnreachable, Err: err}
		}
		return next, err
	})
}

// again tries until something works, or cannot work any more, or for a time.
func again[T any](ctx context.Context, limit time.Duration, try func(context.Context) (T, error)) (T, error) {
	pause := time.Duration(0)
	for began := time.Now(); ; {
		attempt, cancel := context.WithTimeout(ctx, dialTimeout+attachWait)
		v, err := try(attempt)
		late := attempt.Err() != nil
		cancel()
		switch {
		case err == nil:
			return v, nil
		case ctx.Err() != nil:
			return v, wire.Cause(ctx, wire.Cancelled)
		case !passing(err) && !late:
			return v, err
		case time.Since(began) > limit:
			return v, lost(fmt.Errorf("it did not come back within %s: %w", limit.Round(time.Second), err))
		}
		pause = min(pause+500*time.Millisecond, maxPause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// Close ends the session for this side, with all of its channels but those that go on with another one ([Session.Succeed]). Others that share it keep it.
func (s *Session) Close() error {
	s.life.End(errClosed)
	s.heir.none()
	if s.hold.SetDeadline(time.Now().Add(closeWait)) != nil || s.hold.CloseWrite() != nil {
		s.hold.Reset(wire.None)
	}
	<-s.gone
	return nil
}

// failed tells why something of the session failed with err: because the link has ended, or the session, or else err.
func (s *Session) failed(err error) error {
	if s.link.Err() != nil {
		return s.relay.whyOf(s.link)
	}
	if ended := s.life.Err(); ended != nil {
		return ended
	}
	return err
}

// connect opens a stream of the session and asks for a channel. What follows the answer is the channel's.
func (s *Session) connect(ctx context.Context, c *wire.Connect, within time.Duration) (wire.Stream, *wire.Attached, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, within, wire.Errorf(wire.RelayUnreachable, "the relay did not open the channel within %s", wire.Period(within)))
	defer cancel()
	if err := s.life.Err(); err != nil {
		return nil, nil, err
	}
	defer context.AfterFunc(s.life.Context(), cancel)()
	stream, link, err := s.links.open(ctx)
	if err != nil {
		return nil, nil, s.unopened(ctx, err)
	}
	abandoned := wire.Cancelled
	if c.Channel != nil && c.Channel.Kind == wire.Back {
		abandoned = wire.Internal // the connection itself goes on, with the next attempt
	}
	if carries(c.Channel) {
		stream = s.relay.lanes.laned(link, stream, c)
	}
	stop := context.AfterFunc(ctx, func() { stream.Reset(abandoned) })
	defer stop()
	c.Kind, c.Session = wire.KindSSH, s.is.Session
	if err := wire.Send(stream, c); err != nil {
		stream.Reset(abandoned)
		return nil, nil, s.unopened(ctx, err)
	}
	a, err := attachedTo(stream, func(m *wire.Gates) error { return s.relay.lanes.gates(stream, c, m) })
	if err == nil && a.Session != s.is.Session {
		err = errOther
	}
	if err == nil && stop() {
		return stream, a, nil
	}
	stream.Reset(abandoned)
	return nil, nil, s.unopened(ctx, err)
}

// unopened is why a channel did not open.
func (s *Session) unopened(ctx context.Context, err error) error {
	if e, ok := errors.AsType[*wire.Error](err); ok && e.Code != wire.None && e.Code != wire.Cancelled && s.life.Err() == nil && s.link.Err() == nil {
		return err
	}
	if err = s.failed(err); ctx.Err() != nil && s.life.Err() == nil && s.link.Err() == nil {
		return wire.Cause(ctx, wire.Cancelled)
	}
	return err
}

// attachedTo reads the answer to Connect and not one byte more. gates hears what the relay says before it.
func attachedTo(stream wire.Stream, gates func(*wire.Gates) error) (*wire.Attached, error) {
	m, err := wire.Receive(stream)
	if g, ok := m.(*wire.Gates); ok && err == nil {
		if err = gates(g); err == nil {
			m, err = wire.Receive(stream)
		}
	}
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("the peer ended the stream before its answer: %w", io.ErrUnexpectedEOF)
		}
		return nil, err
	}
	switch m := m.(type) {
	case *wire.Attached:
		return m, nil
	case *wire.Refused:
		return nil, m.Err()
	case *wire.Exit:
		if m.Code != wire.None {
			return nil, ended(m.Code, m.Detail)
		}
	}
	return nil, wire.Errorf(wire.Protocol, "got %T, expected %T", m, (*wire.Attached)(nil))
}

// SFTP opens a channel that speaks SFTP, version 3.
func (s *Session) SFTP(ctx context.Context) (Conn, error) {
	return s.open(ctx, &wire.Channel{Kind: wire.SFTP}, channelWait)
}

// Dial connects from the machine: to host and port over "tcp", or to the socket at the path host over "unix". origin is
// who wants it, for the machine's log; nil: nobody says.
func (s *Session) Dial(ctx context.Context, network, host string, port uint16, origin net.Addr) (Conn, error) {
	c := &wire.Channel{Kind: wire.DialTCP, Host: host, Port: port}
	if network == "unix" {
		c.Kind, c.Port = wire.DialUnix, 0
	}
	if err := targeted(host); err != nil {
		return nil, err
	}
	if a, ok := origin.(*net.TCPAddr); ok {
		c.Origin, c.OriginPort = a.IP.String(), uint16(a.Port)
	}
	return s.open(ctx, c, channelWait)
}

// targeted checks what may be the Host of a channel.
func targeted(host string) error {
	if host == "" || len(host) > wire.MaxTarget {
		return wire.Errorf(wire.BadRequest, "a host, or the path of a socket, has from 1 to %d bytes", wire.MaxTarget)
	}
	if !utf8.ValidString(host) {
		return wire.Errorf(wire.BadRequest, "a host, or the path of a socket, is UTF-8")
	}
	return nil
}

// open opens a channel of raw bytes.
func (s *Session) open(ctx context.Context, c *wire.Channel, within time.Duration) (channel, error) {
	req := &wire.Connect{Channel: c}
	if s.kept != nil && c.Kind != wire.SFTP {
		req.Numbered, req.Client = true, newClient()
	}
	stream, a, err := s.connect(ctx, req, within)
	if err != nil {
		return nil, err
	}
	if a.Numbered && req.Numbered {
		return newLasting(s, req.Client, stream, a), nil
	}
	return newConn(s, stream), nil
}

// Program opens a channel for a program.
func (s *Session) Program(ctx context.Context, req ProgramRequest) (*Program, error) {
	c := &wire.Connect{Env: req.Env, Channel: &wire.Channel{Command: req.Command, Plain: req.PTY == nil, Agent: req.Agent}}
	switch {
	case req.Subsystem != "" && (req.PTY != nil || len(req.Command) > 0):
		return nil, wire.Errorf(wire.BadRequest, "a subsystem has no terminal and no command")
	case req.Subsystem != "":
		c.Channel.Kind, c.Channel.Command = wire.System, []byte(req.Subsystem)
	case req.PTY != nil:
		c.Term, c.Size, c.Modes, c.Prompt = req.PTY.Term, req.PTY.Size.Clamp(), req.PTY.Modes, true
	}
	if len(c.Channel.Command) > wire.MaxCommand {
		return nil, wire.Errorf(wire.BadRequest, "a command has at most %d bytes", wire.MaxCommand)
	}
	if c.Env == nil {
		c.Env = language(os.Environ())
	}
	stream, attached, err := s.connect(ctx, c, channelWait)
	if err != nil {
		return nil, err
	}
	return newProgram(s, stream, attached, req.PTY != nil), nil
}

// Listen listens at the machine: at host and port over "tcp", where port 0 is any that is free, or at the path host over
// "unix".
func (s *Session) Listen(ctx context.Context, network, host string, port uint16) (*Listener, error) {
	c := &wire.Channel{Kind: wire.ListenTCP, Host: host, Port: port}
	if network == "unix" {
		c.Kind, c.Port = wire.ListenUnix, 0
	}
	if network == "unix" || host != "" { // an empty host is all addresses
		if err := targeted(host); err != nil {
			return nil, err
		}
	}
	return s.arrivals(ctx, c)
}

// ListenAgent takes the connections that the machine's programs make to the operator's SSH agent.
func (s *Session) ListenAgent(ctx context.Context) (*Listener, error) {
	return s.arrivals(ctx, &wire.Channel{Kind: wire.ForwardAgent})
}

func (s *Session) arrivals(ctx context.Context, c *wire.Channel) (*Listener, error) {
	stream, attached, err := s.connect(ctx, &wire.Connect{Channel: c}, channelWait)
	if err != nil {
		return nil, err
	}
	port := attached.Port
	switch {
	case c.Kind != wire.ListenTCP:
		port = 0
	case port == 0 && c.Port != 0:
		port = c.Port
	case port == 0, c.Port != 0 && port != c.Port:
		stream.Reset(wire.Protocol)
		return nil, wire.Errorf(wire.Protocol, "the relay listens at port %d, and was asked for port %d", port, c.Port)
	}
	return newListener(s, stream, port), nil
}
