package ssh

import (
	"context"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"scrier/wire"
)

const (
	maxListeners = 64 // of a connection

	// acceptWait is how long a connection waits for somebody who accepts it, behind all that came before it.
	acceptWait = 2 * time.Minute

	// cancelWait is how long a Close waits until the server is told: a later Listen is to come behind it.
	cancelWait = 2 * time.Second
)

// Kinds of channels that a server opens.
const (
	forwardedTCP  = "forwarded-tcpip"                   // RFC 4254, 7.2
	forwardedUnix = "forwarded-streamlocal@openssh.com" // OpenSSH's PROTOCOL, 2.4
	authAgent     = "auth-agent@openssh.com"            // draft-ietf-sshm-ssh-agent
)

// address is where a listener listens, as it was asked for, but for a port that the server chose.
type address struct {
	unix bool
	host string
	port uint16
}

// request is a global request about it.
func (a address) request(name string) (string, []byte) {
	if a.unix {
		return name + "streamlocal-forward@openssh.com", ssh.Marshal(struct{ Path string }{a.host})
	}
	return name + "tcpip-forward", ssh.Marshal(struct {
		Host string
		Port uint32
	}{a.host, uint32(a.port)})
}

// Listener takes connections that the server passes on. Its methods may be called at the same time. It keeps the
// SSH connection until it is closed.
type Listener struct {
	client  *Client
	address address // the port that it asks for, then the one that it has
	came    chan struct{}
	closed  chan struct{}
	closing sync.Once
	leave   func()

	// The client's mutex guards them.
	waiting []*arrival
	over    bool // nobody waits any more
}

// arrival is a connection that nobody has accepted.
type arrival struct {
	ssh.NewChannel
	port       uint16 // at which it came
	origin     string
	originPort uint16
	late       *time.Timer
}

func newListener(c *Client) *Listener {
	return &Listener{client: c, came: make(chan struct{}, 1), closed: make(chan struct{}), leave: sync.OnceFunc(c.leave)}
}

// Listen has the server listen; port 0 is any. It fails with [wire.ForwardFailed] when the server does not do that,
// which gives no reason, with [wire.Conflict] when there is such a listener, with [wire.Busy] when there are 64, and
// else as [Client.Dial].
func (c *Client) Listen(ctx context.Context, t Target) (*Listener, error) {
	if err := t.check(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, openTimeout, tooLate("the SSH server to listen at "+t.String(), openTimeout)())
	defer cancel()
	l := newListener(c)
	l.address = address{t.Unix, t.Host, t.Port}
	if t.Unix {
		l.address.port = 0
	}
	if err := c.count(ctx, l.addLocked); err != nil {
		return nil, err
	}
	err := l.listen(ctx, t.String())
	if err != nil {
		return nil, err
	}
	return l, nil
}

// any says that the server chooses the port.
func (a address) any() bool { return !a.unix && a.port == 0 }

func (l *Listener) addLocked() error {
	c := l.client
	if c.listening >= maxListeners {
		return wire.Errorf(wire.Busy, "the SSH connection has %d listeners already", maxListeners).Advise("close some of them, or open another session")
	}
	if !l.address.any() {
		if c.listeners[l.address] != nil {
			return wire.Errorf(wire.Conflict, "the session listens there already")
		}
		c.listeners[l.address] = l
	}
	c.listening++
	return nil
}

// listen asks the server, and waits for its answer for as long as ctx.
func (l *Listener) listen(ctx context.Context, where string) (err error) {
	c := l.client
	select {
	case c.asks <- struct{}{}:
	case <-c.ended:
		l.drop()
		return c.Err()
	case <-ctx.Done():
		l.drop()
		return wire.Cause(ctx, wire.Cancelled)
	}
	answered, given := make(chan error), make(chan struct{})
	if !c.run(func() { // it goes on when nobody waits any more: the answer must not be taken for another's
		err := l.ask(where)
		<-c.asks
		if err != nil {
			l.drop()
		}
		select {
		case answered <- err:
		case <-given:
			if err == nil {
				l.Close()
			}
		}
	}) {
		<-c.asks
		l.drop()
		return c.Err()
	}
	select {
	case err := <-answered:
		return err
	case <-c.ended:
		err = c.Err()
	case <-ctx.Done():
		err = wire.Cause(ctx, wire.Cancelled)
	}
	close(given)
	l.refuse(l.stop())
	l.leave()
	return err
}

func (l *Listener) ask(where string) error {
	c := l.client
	if l.address.any() {
		c.mu.Lock()
		c.asking = l
		c.mu.Unlock()
	}
	name, payload := l.address.request("")
	ok, reply, err := c.conn.SendRequest(name, true, payload)
	if err != nil {
		<-c.ended // nothing else leaves it without an answer
		return c.Err()
	}
	if !ok {
		return wire.Errorf(wire.ForwardFailed, "the SSH server does not listen at %s", where).
			Advise("see that nothing else listens there, and AllowTcpForwarding, AllowStreamLocalForwarding and PermitListen in sshd_config on that machine; ports below 1024 are root's")
	}
	if !l.address.any() {
		return nil
	}
	var chosen struct{ Port uint32 }
	if ssh.Unmarshal(reply, &chosen) != nil || chosen.Port == 0 || chosen.Port > 1<<16-1 {
		return wire.Errorf(wire.ForwardFailed, "the SSH server does not say at which port it listens")
	}
	elsewhere, err := l.at(uint16(chosen.Port))
	l.refuse(elsewhere)
	return err
}

// at notes which port the server chose, and gives what has come to others.
func (l *Listener) at(port uint16) (elsewhere []*arrival, err error) {
	c := l.client
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asking = nil
	a := l.address
	a.port = port
	if c.listeners[a] != nil {
		return nil, wire.Errorf(wire.ForwardFailed, "the SSH server says that it listens twice at port %d", port)
	}
	l.address = a
	c.listeners[a] = l
	here := l.waiting[:0]
	for _, w := range l.waiting {
		if w.port == port {
			here = append(here, w)
			continue
		}
		elsewhere = append(elsewhere, w)
	}
	l.waiting = here
	return elsewhere, nil
}

// ListenAgent takes the connections of programs that were started with [Program.Agent]. There is one such listener at
// a time: while there is, it fails with [wire.Conflict], and else with [wire.Busy] as [Client.Listen], or [Client.Err].
func (c *Client) ListenAgent() (*Listener, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch err := c.Err(); {
	case err != nil:
		return nil, err
	case c.agent != nil:
		return nil, wire.Errorf(wire.Conflict, "the session has an agent already")
	case c.listening >= maxListeners:
		return nil, wire.Errorf(wire.Busy, "the SSH connection has %d listeners already", maxListeners)
	}
	c.agent = newListener(c)
	c.listening++
	c.uses++
	return c.agent, nil
}

// Port is where a TCP listener listens.
func (l *Listener) Port() uint16 { return l.address.port }

// arrived takes or refuses a channel that the server opens.
func (c *Client) arrived(n ssh.NewChannel) {
	a := &arrival{NewChannel: n}
	reason, text := ssh.Prohibited, "this client opens its own channels only"
	c.mu.Lock()
	if l := c.listenerLocked(a); l != nil && !l.over {
		if c.channels < maxArrivals {
			defer c.mu.Unlock()
			c.channels++
			l.waiting = append(l.waiting, a)
			a.late = time.AfterFunc(acceptWait, func() { l.expire(a) })
			l.poke()
			return
		}
		reason, text = ssh.ResourceShortage, "too many connections wait"
	}
	c.mu.Unlock()
	c.quiet()
	_ = a.Reject(reason, text) // the peer may be gone
}

// listenerLocked is whom a channel is for, if it is what that expects.
func (c *Client) listenerLocked(a *arrival) *Listener {
	switch a.ChannelType() {
	case forwardedTCP:
		var m struct {
			Host       string
			Port       uint32
			Origin     string
			OriginPort uint32
		}
		if ssh.Unmarshal(a.ExtraData(), &m) != nil || m.Port > 1<<16-1 {
			return nil
		}
		a.port, a.origin, a.originPort = uint16(m.Port), origin(m.Origin), uint16(m.OriginPort)
		if l := c.listeners[address{false, m.Host, a.port}]; l != nil {
			return l
		}
		if l := c.asking; l != nil && l.address.host == m.Host {
			return l
		}
	case forwardedUnix:
		var m struct{ Path, Reserved string }
		if ssh.Unmarshal(a.ExtraData(), &m) == nil {
			return c.listeners[address{true, m.Path, 0}]
		}
	case authAgent:
		return c.agent
	}
	return nil
}

// origin is who connected, as the server says.
func origin(s string) string {
	const most = 64 // bytes; an address of IPv6 with a zone has room
	if len(s) > most {
		s = s[:most]
	}
	return wire.Printable(s)
}

// poke wakes one who waits in Accept.
func (l *Listener) poke() {
	select {
	case l.came <- struct{}{}:
	default:
	}
}

// next takes the connection that has waited longest.
func (l *Listener) next() *arrival {
	l.client.mu.Lock()
	defer l.client.mu.Unlock()
	if len(l.waiting) == 0 {
		return nil
	}
	a := l.waiting[0]
	l.waiting = l.waiting[1:]
	a.late.Stop()
	if len(l.waiting) > 0 {
		l.poke()
	}
	return a
}

// expire refuses a connection that has waited too long.
func (l *Listener) expire(a *arrival) {
	l.client.mu.Lock()
	i := slices.Index(l.waiting, a)
	if i >= 0 {
		l.waiting = slices.Delete(l.waiting, i, i+1)
	}
	l.client.mu.Unlock()
	if i >= 0 {
		l.refuse([]*arrival{a})
	}
}

// refuse refuses connections that wait no more, beside the caller.
func (l *Listener) refuse(all []*arrival) {
	if len(all) == 0 {
		return
	}
	l.client.run(func() {
		for _, a := range all {
			a.late.Stop()
			_ = a.Reject(ssh.ConnectionFailed, "nobody takes the connection") // the peer may be gone
			l.client.exit()
		}
	})
}

// Accept gives the next connection, and who the server says has connected; nothing for a unix socket or an agent. One
// that is not accepted within two minutes is refused, and so is one that comes when the connection has 1024 channels,
// with those that wait. It fails when the listener is closed, with [Client.Err], or with the cause of ctx.
func (l *Listener) Accept(ctx context.Context) (conn *Conn, origin string, originPort uint16, err error) {
	for {
		if a := l.next(); a != nil {
			conn, err = l.accept(ctx, a)
			return conn, a.origin, a.originPort, err
		}
		select {
		case <-l.came:
		case <-l.closed:
			return nil, "", 0, errListenerClosed
		case <-l.client.ended:
			return nil, "", 0, l.client.Err()
		case <-ctx.Done():
			return nil, "", 0, wire.Cause(ctx, wire.Cancelled)
		}
	}
}

var errListenerClosed = wire.Errorf(wire.Cancelled, "the listener is closed")

// accept tells the server that somebody takes a connection, which it may be slow to read.
func (l *Listener) accept(ctx context.Context, a *arrival) (*Conn, error) {
	c := l.client
	if _, err := c.Hold(); err != nil { // the channel leaves
		return nil, err
	}
	type answer struct {
		*channel
		err error
	}
	done, given := make(chan answer), make(chan struct{})
	if !c.run(func() {
		ch, requests, err := a.Accept()
		answer := answer{err: err}
		if err == nil {
			answer.channel = c.adopt(ch, requests, func(*ssh.Request) {})
		} else {
			c.exit()
			c.leave()
			answer.err = c.fault(err)
		}
		select {
		case done <- answer:
		case <-given:
			if answer.channel != nil {
				answer.end()
				answer.leave()
			}
		}
	}) {
		return nil, c.Err()
	}
	select {
	case answer := <-done:
		if answer.err != nil {
			return nil, answer.err
		}
		return newConn(answer.channel), nil
	case <-ctx.Done():
		close(given)
		return nil, wire.Cause(ctx, wire.Cancelled)
	}
}

// stop has nobody wait any more, and gives those who did.
func (l *Listener) stop() []*arrival {
	l.client.mu.Lock()
	defer l.client.mu.Unlock()
	all := l.waiting
	l.waiting, l.over = nil, true
	return all
}

// drop takes the listener off the connection.
func (l *Listener) drop() {
	l.refuse(l.stop())
	c := l.client
	c.mu.Lock()
	if c.listeners[l.address] == l {
		delete(c.listeners, l.address)
	}
	if c.asking == l {
		c.asking = nil
	}
	if c.agent == l {
		c.agent = nil
	}
	c.listening--
	c.mu.Unlock()
	l.leave()
}

// Close has the server listen no more, and refuses the connections that wait; those that were accepted go on. When it
// returns, the server has usually been told; what it answers does not matter.
func (l *Listener) Close() {
	l.closing.Do(func() {
		close(l.closed)
		l.refuse(l.stop())
		c := l.client
		told := make(chan struct{})
		if l.address == (address{}) || !c.run(func() { // an agent has no address
			defer close(told)
			defer l.drop()
			name, payload := l.address.request("cancel-")
			_, _, _ = c.conn.SendRequest(name, false, payload) // the peer may be gone
		}) {
			l.drop()
			return
		}
		select {
		case <-told:
		case <-time.After(cancelWait):
			l.leave() // a server that reads nothing keeps nobody
		}
	})
}
