// Package forward carries connections between this machine and another one over a session, as ssh's -L, -R, -D, -W and -A do.
//
// Choose [New] for forwards that stand beside a shell, a command or nothing, and [Stdio] for the one connection of -W. The
// package opens no session, and reads no configuration of ssh's.
package forward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"scrier/client"
	"scrier/wire"
)

const (
	// maxOpen bounds the connections at a time, those through all forwards together. Further ones wait.
	maxOpen = 1000

	// socksWait is how long a SOCKS client may take to say what it wants.
	socksWait = 30 * time.Second

	// targetWait is how long a connection on this machine may take to open.
	targetWait = 30 * time.Second

	// againWait is how long it is tried to listen again when a session has come back: the relay and the machine may still
	// know of the connection that is gone.
	againWait  = 60 * time.Second
	againPause = 2 * time.Second
)

// Config says what is forwarded.
type Config struct {
	Local  []Spec // taken here, of -L and -D
	Remote []Spec // taken at the machine, of -R
	Agent  string // where the operator's ssh-agent listens; empty: it is not forwarded
	// Strict makes a forward that cannot be set up an error. Else it is a message, and the others work, as with ssh.
	Strict   bool
	Messages io.Writer
}

// Forwards are a session's. Their methods may be called at the same time.
type Forwards struct {
	Config
	listeners []taker
	ports     []uint16 // of Remote, as the machine listens at them
	session   atomic.Pointer[client.Session]
	ctx       context.Context // ends all of them; of Close
	cancel    context.CancelFunc
	wg        sync.WaitGroup
	slots     chan struct{}

	saying sync.Mutex // one message at a time

	mu      sync.Mutex
	open    int           // connections
	changed chan struct{} // closed when open falls to 0
}

// taker is a listener of this machine's and what it is for.
type taker struct {
	net.Listener
	spec Spec
}

// New listens at this machine. Nothing is taken before Start. Close must be called in the end.
func New(ctx context.Context, c Config) (*Forwards, error) {
	f := &Forwards{Config: c, ports: make([]uint16, len(c.Remote)), slots: make(chan struct{}, maxOpen), changed: make(chan struct{})}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	for i, s := range c.Remote {
		f.ports[i] = s.Listen.Port
	}
	for _, s := range c.Local {
		found, err := bind(ctx, s.Listen)
		for _, l := range found {
			f.listeners = append(f.listeners, taker{l, s})
		}
		if err != nil && c.Strict && len(found) == 0 {
			f.Close()
			return nil, wire.Errorf(wire.Usage, "%s: %w", s, err).Advise("%s", instead(s.Listen, err))
		}
		if err != nil {
			f.say("%s: %v", s, err)
		}
	}
	return f, nil
}

// Start begins to forward over a session.
func (f *Forwards) Start(ctx context.Context, s *client.Session) error {
	f.session.Store(s)
	if f.Agent != "" {
		l, err := s.ListenAgent(ctx)
		if err := f.began(err, f.agent()); err != nil {
			return err
		}
		if l != nil {
			f.wg.Go(func() { f.takeRemote(s, l, f.agent(), dialAgent) })
		}
	}
	for i, spec := range f.Remote {
		l, err := s.Listen(ctx, spec.Listen.Network(), remoteHost(spec.Listen), f.ports[i])
		if err := f.began(err, spec); err != nil {
			return err
		}
		if l == nil {
			continue
		}
		if spec.Listen.Path == "" && spec.Listen.Port == 0 {
			f.ports[i] = l.Port()
			f.say("Allocated port %d for remote forward to %s", l.Port(), targetOf(spec))
		}
		f.wg.Go(func() { f.takeRemote(s, l, spec, dial) })
	}
	for _, l := range f.listeners {
		f.wg.Go(func() { f.takeLocal(l) })
	}
	return nil
}

// began looks at how a forward at the machine began.
func (f *Forwards) began(err error, spec Spec) error {
	if err == nil {
		return nil
	}
	if !f.Strict && f.session.Load().Err() == nil && f.ctx.Err() == nil {
		f.unforwarded(spec, err)
		return nil
	}
	if e, ok := errors.AsType[*wire.Error](err); ok {
		told := *e
		told.Detail = spec.String() + ": " + e.Detail
		return &told
	}
	return err
}

// unforwarded says that a forward at the machine is none.
func (f *Forwards) unforwarded(spec Spec, err error) {
	f.say("%s: remote port forwarding failed: %s", spec, why(err))
}

// agent is what carries the machine's connections to the operator's ssh-agent.
func (f *Forwards) agent() Spec { return Spec{Connect: Address{Path: f.Agent}, text: "ssh-agent"} }

// dial connects on this machine.
func dial(ctx context.Context, to Address) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, to.Network(), to.String())
}

// dialAgent connects to the ssh-agent, which may listen at a pipe.
func dialAgent(ctx context.Context, to Address) (net.Conn, error) {
	return client.DialSSHAgent(ctx, to.Path)
}

// Resume goes on over another connection to the session, when the one before is gone, and with another session when that is gone too. What
// becomes of connections that were open is the sessions' ([client.Session.Succeed]). The machine may still hold the listening ports for a while.
func (f *Forwards) Resume(s *client.Session) {
	f.session.Store(s)
	if f.Agent != "" {
		f.wg.Go(func() { f.again(s, f.agent(), s.ListenAgent, dialAgent) })
	}
	for i, spec := range f.Remote {
		f.wg.Go(func() {
			f.again(s, spec, func(ctx context.Context) (*client.Listener, error) {
				return s.Listen(ctx, spec.Listen.Network(), remoteHost(spec.Listen), f.ports[i])
			}, dial)
		})
	}
}

// again listens at the machine once more, and takes what arrives.
func (f *Forwards) again(s *client.Session, spec Spec, listen func(context.Context) (*client.Listener, error), dial dialer) {
	ctx, cancel := context.WithTimeout(f.ctx, againWait)
	defer cancel()
	for {
		l, err := listen(ctx)
		if err == nil {
			f.takeRemote(s, l, spec, dial)
			return
		}
		if s.Err() != nil || f.ctx.Err() != nil {
			return
		}
		select {
		case <-time.After(againPause):
		case <-s.Done():
			return
		case <-ctx.Done():
			f.unforwarded(spec, err)
			return
		}
	}
}

// remoteHost is where the machine is to listen, in SSH's words (RFC 4254, 7.1).
func remoteHost(a Address) string {
	switch {
	case a.Path != "":
		return a.Path
	case !a.Given:
		return "localhost"
	case a.Everywhere():
		return ""
	}
	return a.Host
}

func targetOf(s Spec) string {
	if s.Socks() {
		return "socks"
	}
	return s.Connect.String()
}

// takeLocal takes connections here until the listener is closed.
func (f *Forwards) takeLocal(l taker) {
	for pause := time.Duration(0); ; {
		c, err := l.Accept()
		switch {
		case err == nil:
			pause = 0
		case f.ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			return
		default: // no more files, for example: it passes
			if pause == 0 {
				f.say("%s: %v", l.spec, err)
			}
			pause = min(pause+100*time.Millisecond, 2*time.Second)
			select {
			case <-time.After(pause):
			case <-f.ctx.Done():
			}
			continue
		}
		if !f.enter() {
			_ = c.Close()
			return
		}
		f.wg.Go(func() {
			defer f.leave()
			f.local(newSocket(c), l.spec)
		})
	}
}

// local carries one connection to the machine.
func (f *Forwards) local(c *socket, spec Spec) {
	defer c.Close()
	defer context.AfterFunc(f.ctx, c.Reset)()
	var r request
	to := spec.Connect
	if spec.Socks() {
		var ok bool
		if r, ok = f.ask(c); !ok {
			return
		}
		to = r.to
	}
	host := to.Host
	if to.Path != "" {
		host = to.Path
	}
	far, err := f.session.Load().Dial(f.ctx, to.Network(), host, to.Port, c.RemoteAddr())
	if err != nil {
		if f.ctx.Err() == nil {
			f.say("%s: open failed: %s", goal(spec, r), why(err))
		}
		if spec.Socks() {
			_ = r.answer(c, reason(err)) // the client may have gone
		}
		return
	}
	if spec.Socks() {
		if err := r.answer(c, 0); err != nil {
			_ = far.Close()
			return
		}
	}
	f.pass(c, far)
}

// goal names where a connection was to go.
func goal(spec Spec, r request) string {
	if spec.Socks() {
		return spec.String() + " to " + r.String()
	}
	return spec.String()
}

// ask reads what a SOCKS client wants.
func (f *Forwards) ask(c *socket) (request, bool) {
	if c.SetDeadline(time.Now().Add(socksWait)) != nil {
		return request{}, false
	}
	r, err := readRequest(c)
	if err != nil || c.SetDeadline(time.Time{}) != nil {
		return r, false
	}
	if !r.valid() {
		_ = r.answer(c, socksFailed) // the client may have gone
		return r, false
	}
	return r, true
}

// takeRemote takes connections that arrive at the machine, until nobody listens there any more.
func (f *Forwards) takeRemote(s *client.Session, l *client.Listener, spec Spec, dial dialer) {
	defer l.Close()
	for {
		far, origin, _, err := l.Accept(f.ctx)
		if err != nil {
			if f.ctx.Err() == nil && s.Err() == nil {
				f.unforwarded(spec, err)
			}
			return
		}
		if !f.enter() {
			_ = far.Close()
			return
		}
		f.wg.Go(func() {
			defer f.leave()
			f.remote(far, origin, spec, dial)
		})
	}
}

// A dialer connects on this machine.
type dialer func(ctx context.Context, to Address) (net.Conn, error)

// remote carries one connection that arrived at the machine.
func (f *Forwards) remote(far client.Conn, origin string, spec Spec, dial dialer) {
	defer far.Close()
	ctx, cancel := context.WithTimeout(f.ctx, targetWait)
	defer cancel()
	var r request
	to := spec.Connect
	if spec.Socks() {
		stop := context.AfterFunc(ctx, func() { _ = far.Close() }) // it has no deadlines
		var err error
		if r, err = readRequest(far); !stop() || err != nil {
			return
		}
		if !r.valid() {
			_ = r.answer(far, socksFailed) // the client may have gone
			return
		}
		to = r.to
	}
	near, err := dial(ctx, to)
	if err != nil {
		if f.ctx.Err() == nil {
			from := ""
			if origin != "" {
				from = " for " + origin
			}
			f.say("%s: connect%s failed: %v", goal(spec, r), from, err)
		}
		if spec.Socks() {
			_ = r.answer(far, reason(err))
			_ = far.CloseWrite()
		}
		return
	}
	if spec.Socks() {
		if err := r.answer(far, 0); err != nil {
			_ = near.Close()
			return
		}
	}
	c := newSocket(near)
	defer c.Close()
	defer context.AfterFunc(f.ctx, c.Reset)()
	f.pass(c, far)
}

// enter waits for a place, and is false at the end.
func (f *Forwards) enter() bool {
	select {
	case f.slots <- struct{}{}:
	case <-f.ctx.Done():
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open++
	return true
}

func (f *Forwards) leave() {
	<-f.slots
	f.less()
}

// less counts one connection less.
func (f *Forwards) less() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open--; f.open == 0 {
		close(f.changed)
		f.changed = make(chan struct{})
	}
}

// Open is how many connections there are now.
func (f *Forwards) Open() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.open
}

// Wait waits until there is no connection any more, or ctx ends.
func (f *Forwards) Wait(ctx context.Context) error {
	for {
		f.mu.Lock()
		n, changed := f.open, f.changed
		f.mu.Unlock()
		if n == 0 {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return wire.Cause(ctx, wire.Cancelled)
		}
	}
}

// Close ends the listening, and resets what is open.
func (f *Forwards) Close() {
	f.cancel()
	for _, l := range f.listeners {
		_ = l.Close() // a socket's path goes with it
	}
	f.wg.Wait()
}

// say tells the person something.
func (f *Forwards) say(format string, args ...any) {
	f.saying.Lock()
	defer f.saying.Unlock()
	fmt.Fprintf(f.Messages, "scrier: %s\n", wire.Printable(fmt.Sprintf(format, args...)))
}

// why says what is wrong in ssh's words where the machine's server has some.
func why(err error) string {
	e, ok := errors.AsType[*wire.Error](err)
	switch {
	case !ok:
		return err.Error()
	case e.Code == wire.ForwardFailed && e.Detail != "":
		return e.Detail
	case e.Code == wire.ChannelNotAllowed, e.Code == wire.KeyRestricted:
		return "administratively prohibited: " + strings.TrimSuffix(e.Text(), ".") + " (" + e.Code.String() + ")"
	}
	return e.Text() + " (" + e.Code.String() + ")"
}
