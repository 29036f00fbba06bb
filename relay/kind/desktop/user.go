package desktop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"scrier/relay/guac"
	"scrier/wire"
)

const (
	// keepAliveEvery: guacd drops a user that says nothing for 15 s.
	keepAliveEvery = 5 * time.Second

	// takeTime is how long guacd may take to take what a viewer typed.
	takeTime = 15 * time.Second

	goodbye = 200 * time.Millisecond

	typeBuffer = 16 << 10 // bytes of input that are gathered before they are written
)

// user is one connection to guacd, and what one viewer sees. It is a [display.Screen].
type user struct {
	desktop    *Desktop
	id         string
	conn       *interruptible
	in         *guac.Reader
	fromGuacd  *guac.FromGuacd
	fromViewer *guac.FromViewer
	rest       []byte // of the instruction that Read is at
	active     atomic.Bool
	left       atomic.Bool // its viewer has

	place   sync.Mutex           // orders Close and rejoin
	instead atomic.Pointer[user] // what the root's viewer sees and types, if guacd lost the root's beginning

	asking sync.Mutex
	ask    []string // what the root was asked meanwhile, and the viewer has to hear; Read is broken off for it

	gone chan struct{} // closed by hangUp
	hung sync.Once

	mu      sync.Mutex // one write at a time
	reading sync.Mutex // held by who reads: Read, or the parked root
	typing  sync.Mutex // held by Type
}

// interruptible is a connection whose Read has a deadline of its own each time, and can be broken off.
type interruptible struct {
	net.Conn
	mu     sync.Mutex
	limit  time.Duration // 0: none of its own
	broken bool
}

func (p *interruptible) Read(b []byte) (int, error) {
	p.mu.Lock()
	limit, broken := p.limit, p.broken
	var err error
	if limit > 0 && !broken {
		err = p.SetReadDeadline(time.Now().Add(limit))
	}
	p.mu.Unlock()
	if broken {
		return 0, os.ErrDeadlineExceeded
	}
	if err != nil {
		return 0, err
	}
	return p.Conn.Read(b)
}

// breakOff makes the Read under way fail, and all others until it is allowed again.
func (p *interruptible) breakOff(yes bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.broken = yes; yes {
		_ = p.SetReadDeadline(time.Unix(1, 0)) // a closed connection is broken off as well
	}
}

// user makes one of a fresh connection.
func (d *Desktop) user(ctx context.Context, conn net.Conn, p guac.Params, policy guac.Policy) (*user, error) {
	slow := &interruptible{Conn: conn}
	c, err := guac.Handshake(ctx, slow, p)
	if err != nil {
		return nil, err
	}
	slow.limit = d.limits.silence
	u := &user{
		desktop: d, id: c.ID, conn: slow, in: c.Reader, gone: make(chan struct{}),
		fromGuacd: guac.NewFromGuacd(policy), fromViewer: guac.NewFromViewer(policy),
	}
	u.fromViewer.Follow(u.fromGuacd)
	return u, nil
}

func (u *user) root() bool { return u == u.desktop.root }

// next reads one instruction and gives it if the viewer may see it, else nil. io.EOF is an orderly end;
// every other error is an end, too.
func (u *user) next() (*guac.Instruction, error) {
	i, err := u.in.Next()
	if err != nil {
		return nil, u.broken(err)
	}
	switch {
	case i.Is("error"):
		return nil, guac.StatusOf(i)
	case i.Is("disconnect"):
		return nil, io.EOF
	case i.Is("sync"):
		u.desktop.pictured.Store(true)
	case i.Is("required"):
		names := guac.RequiredNames(i)
		u.fromViewer.Required(names...)
		u.desktop.mu.Lock()
		u.desktop.asked = names
		typist := u.desktop.typist
		u.desktop.mu.Unlock()
		if typist != nil && typist != u {
			typist.tell(names)
		}
	}
	pass, reply, err := u.fromGuacd.Pass(i)
	if err == nil && len(reply) > 0 {
		err = u.write(reply)
	}
	if err != nil || !pass {
		return nil, err
	}
	return i, nil
}

// tell has the viewer of u hear what guacd asked the root.
func (u *user) tell(names []string) {
	u.fromViewer.Required(names...)
	u.asking.Lock()
	defer u.asking.Unlock()
	u.ask = names
	u.conn.breakOff(true)
}

// told takes the questions that the viewer has to be asked.
func (u *user) told() (names []string) {
	u.asking.Lock()
	defer u.asking.Unlock()
	if names, u.ask = u.ask, nil; names != nil && !u.left.Load() {
		u.conn.breakOff(false)
	}
	return names
}

// errBrokenOff is the end of a Read because the viewer has left.
var errBrokenOff = errors.New("the viewer has left")

// broken gives an error of the connection its meaning.
func (u *user) broken(err error) error {
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		if u.left.Load() {
			return errBrokenOff
		}
		return wire.Errorf(wire.GuacdUnavailable, "guacd has said nothing for %s", u.desktop.limits.silence)
	}
	switch {
	case wire.CodeOf(err) != wire.Internal:
		return err
	case errors.Is(err, io.EOF):
		return wire.Errorf(wire.GuacdUnavailable, "guacd broke off")
	}
	return &wire.Error{Code: wire.GuacdUnavailable, Detail: "the connection to guacd broke", Err: err}
}

// Read gives what the viewer is to see. It returns what there is rather than wait for more.
func (u *user) Read(p []byte) (n int, err error) {
	if v := u.instead.Load(); v != nil {
		return v.Read(p)
	}
	u.reading.Lock()
	defer u.reading.Unlock()
	if u.left.Load() { // the root is parked, or about to be
		return 0, io.EOF
	}
	for n < len(p) {
		if len(u.rest) > 0 {
			k := copy(p[n:], u.rest)
			n, u.rest = n+k, u.rest[k:]
			continue
		}
		if names := u.told(); len(names) > 0 {
			u.rest = guac.Append(nil, "required", names...)
			continue
		}
		if n > 0 && !u.in.More() {
			return n, nil
		}
		i, err := u.next()
		if err != nil {
			if errors.Is(err, errBrokenOff) || u.left.Load() && !u.root() {
				return n, io.EOF
			}
			if names := u.told(); len(names) > 0 { // broken off for it
				u.rest = guac.Append(nil, "required", names...)
				continue
			}
			if u.root() {
				u.desktop.rootEnded(err)
			} else if u.desktop.root.write(guac.Append(nil, "nop")) != nil {
				// If it is the desktop that ended, guacd tells the root when it hears of it. Who reads the root
				// sees that this one broke.
				u.desktop.Log.Debug("the root does not take a word", "connection", u.desktop.id)
			}
			return n, err
		}
		if i != nil && i.Is("sync") && u.root() && !u.fromGuacd.Sized() {
			if err := u.rejoin(); err != nil {
				return n, err
			}
			return n, nil // what comes next comes from the other one
		}
		if i != nil {
			u.rest = i.Raw()
		}
	}
	return n, nil
}

// Type gives guacd what the viewer sends.
func (u *user) Type(r io.Reader) error { return u.typeAll(guac.NewReader(r)) }

func (u *user) typeAll(in *guac.Reader) error {
	u.typing.Lock()
	defer u.typing.Unlock()
	out := make([]byte, 0, typeBuffer)
	routes := route{user: u}
	for {
		if v := u.instead.Load(); v != nil {
			if err := u.write(u.fromViewer.Release(out)); err != nil {
				return err
			}
			return v.typeAll(in)
		}
		i, err := in.Next()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil // the viewer has gone
		}
		if err == nil {
			err = u.fromViewer.Check(i)
		}
		if err != nil {
			return err
		}
		switch {
		case i.Is("disconnect"): // a page that closes; the desktop stays
			continue
		case i.Is("key"), i.Is("mouse"), i.Is("touch"):
			u.active.Store(true)
		}
		if to := routes.of(i); to != u {
			if err := to.write(i.Raw()); err != nil {
				return err
			}
			continue
		}
		out = append(out, i.Raw()...)
		if !in.More() || len(out) > typeBuffer/2 {
			if err := u.write(out); err != nil {
				return err
			}
			out = out[:0]
		}
	}
}

// route finds whose connection an instruction of a viewer's belongs on. It is the viewer's own but
// for the answer to what guacd asked the root.
type route struct {
	user  *user
	asked []string // open streams of such answers; guac.FromViewer bounds them
}

func (r *route) of(i *guac.Instruction) *user {
	root := r.user.desktop.root
	if i.Is("argv") {
		d := r.user.desktop
		d.mu.Lock()
		d.asked = nil // one answer is all that it takes; guacd asks again if it is not
		d.mu.Unlock()
	}
	if r.user == root {
		return root
	}
	switch {
	case i.Is("argv"):
		r.asked = append(r.asked, string(i.Arg(0)))
		return root
	case i.Is("blob"), i.Is("end"):
		for n, stream := range r.asked {
			if stream == string(i.Arg(0)) {
				if i.Is("end") {
					r.asked = append(r.asked[:n], r.asked[n+1:]...)
				}
				return root
			}
		}
	}
	return r.user
}

// Active implements [display.Screen].
func (u *user) Active() bool {
	active := u.active.Swap(false)
	if v := u.instead.Load(); v != nil {
		return v.Active() || active
	}
	return active
}

func (u *user) write(p []byte) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := u.conn.SetWriteDeadline(time.Now().Add(takeTime)); err != nil {
		return fmt.Errorf("write to guacd: %w", err)
	}
	if _, err := u.conn.Write(p); err != nil {
		return fmt.Errorf("write to guacd: %w", err)
	}
	return nil
}

// keepAlive tells guacd that the user is there, until the user has gone.
func (u *user) keepAlive() {
	nop := guac.Append(nil, "nop")
	tick := time.NewTicker(keepAliveEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if u.write(nop) != nil {
				return // who reads sees the end
			}
		case <-u.gone:
			return
		case <-u.desktop.ctx.Done():
			u.hangUp()
			return
		}
	}
}

// Close ends what one viewer sees, once Type has returned, and releases the keys that it held down. The
// root is parked and stays.
func (u *user) Close() {
	u.place.Lock()
	u.left.Store(true)
	v := u.instead.Load()
	u.place.Unlock()
	if v != nil { // the root is parked already
		v.Close()
		return
	}
	u.conn.breakOff(true)
	u.typing.Lock()
	release := u.fromViewer.Release(nil)
	u.typing.Unlock()
	if len(release) > 0 && u.write(release) != nil {
		u.desktop.Log.Debug("guacd does not take the last words of a viewer", "connection", u.desktop.id)
	}
	if !u.root() {
		u.hangUp()
		return
	}
	u.reading.Lock() // Read has returned
	u.conn.breakOff(false)
	u.reading.Unlock()
	u.park()
}

// hangUp tells guacd goodbye and closes the connection. Without a goodbye guacd would keep the user for
// another 15 s.
func (u *user) hangUp() {
	u.hung.Do(func() {
		close(u.gone)
		if u.mu.TryLock() { // otherwise guacd takes nothing anyway
			if u.conn.SetWriteDeadline(time.Now().Add(goodbye)) == nil {
				_, _ = u.conn.Write(guac.Append(nil, "disconnect")) // it may have gone before us
			}
			u.mu.Unlock()
		}
		_ = u.conn.Close() // both directions end; nothing is kept
	})
}
