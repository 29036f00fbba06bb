package desktop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"scrier/relay/guac"
	"scrier/wire"
)

const (
	// keepAliveEvery: guacd drops a user that says nothing for 15 s.
	keepAliveEvery = 5 * time.Second

	goodbye = 200 * time.Millisecond

	typeBuffer = 16 << 10 // bytes of input that are gathered before they are written

	// maxPosted is what may wait of what the root was told, in bytes. guacd sends a blob of a file when the
	// one before it was acknowledged, and has 64 streams.
	maxPosted = 1 << 20
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
	full       atomic.Bool // guacd takes nothing any more
	asks       atomic.Bool // guacd was asked for a word

	tellsLogOff bool // see [guac.Connection.TellsLogOff]

	place   sync.Mutex           // orders Close and rejoin
	instead atomic.Pointer[user] // what the root's viewer sees and types, if guacd lost the root's beginning

	posting sync.Mutex
	posted  []byte // what guacd has told the root, and the viewer has to hear; Read is broken off for it

	gone chan struct{} // closed by hangUp
	hung sync.Once

	mu      sync.Mutex // one write at a time
	reading sync.Mutex // held by Read; the parked root waits for it, and reads alone from then on
	typing  sync.Mutex // held by Type
}

// interruptible is a connection whose Read has a deadline of its own each time, and can be broken off.
type interruptible struct {
	net.Conn
	mu     sync.Mutex
	limit  time.Duration // 0: none of its own
	ask    func()        // asks the far side for a word, half way; nil: it cannot be asked
	broken bool
}

func (p *interruptible) Read(b []byte) (int, error) {
	for asked := false; ; asked = true {
		if err := p.prepare(); err != nil { // it was broken off, maybe
			return 0, err
		}
		if asked {
			p.ask()
		}
		n, err := p.Conn.Read(b)
		if asked || p.ask == nil || n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
	}
}

// prepare sets the deadline of the next Read.
func (p *interruptible) prepare() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.broken:
		return os.ErrDeadlineExceeded
	case p.limit == 0:
		return nil
	case p.ask != nil:
		return p.SetReadDeadline(time.Now().Add(p.limit / 2))
	}
	return p.SetReadDeadline(time.Now().Add(p.limit))
}

// bound sets how long each Read may take, and gives what it was.
func (p *interruptible) bound(limit time.Duration) (was time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	was, p.limit = p.limit, limit
	return was
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
	u := &user{
		desktop: d, id: c.ID, conn: slow, in: c.Reader, gone: make(chan struct{}), tellsLogOff: c.TellsLogOff(),
		fromGuacd: guac.NewFromGuacd(policy), fromViewer: guac.NewFromViewer(policy),
	}
	slow.limit = d.limits.quiet
	if question := c.Alive(policy); question != nil && d.root == nil {
		slow.limit = d.limits.silence
		slow.ask = func() {
			u.asks.Store(true)
			d.start(func() { _ = u.write(question) }) // who reads waits for the answer, and for no longer
		}
	}
	u.fromViewer.Follow(u.fromGuacd)
	return u, nil
}

func (u *user) root() bool { return u == u.desktop.root }

// next reads one instruction. shown is what the viewer sees of it, if anything. io.EOF is an orderly end;
// every other error is an end, too.
func (u *user) next() (i *guac.Instruction, shown []byte, err error) {
	if i, err = u.in.Next(); err != nil {
		return nil, nil, u.broken(err)
	}
	switch {
	case i.Is("error"):
		return nil, nil, guac.StatusOf(i)
	case i.Is("disconnect"):
		return nil, nil, io.EOF
	case guac.IsAlive(i) && u.asks.Swap(false):
		return i, nil, nil
	case i.Is("sync"):
		u.desktop.pictured.Store(true)
	case i.Is("required"):
		if err := u.desktop.ask(u, guac.RequiredNames(i)); err != nil {
			return nil, nil, err
		}
	}
	pass, reply, err := u.fromGuacd.Pass(i)
	if err == nil && pass {
		shown = i.Raw()
		if u.root() {
			shown, reply, err = u.desktop.lend(i)
		}
	}
	if err == nil && len(reply) > 0 {
		err = u.write(reply)
	}
	if err != nil {
		return nil, nil, err
	}
	return i, shown, nil
}

// begin has the viewer of u see b first.
func (u *user) begin(b []byte) {
	u.reading.Lock()
	defer u.reading.Unlock()
	u.rest = append(b, u.rest...)
}

// maxPeeked is what is kept of what guacd says before its first viewer is there, in bytes.
const maxPeeked = 256 << 10

// peek reads ahead until guacd has shown a drive, or the time is over, and keeps what it has read.
func (u *user) peek(until time.Time) bool {
	u.reading.Lock()
	defer u.reading.Unlock()
	limit := u.conn.bound(max(time.Until(until), time.Millisecond))
	defer u.conn.bound(limit)
	for {
		if u.desktop.hasDrive() {
			return true
		}
		if time.Now().After(until) && !u.in.More() || len(u.rest) > maxPeeked {
			return false
		}
		_, shown, err := u.next()
		if err != nil {
			return false // if it is no deadline it comes again
		}
		u.rest = append(u.rest[:len(u.rest):len(u.rest)], shown...)
	}
}

// ask notes what guacd wants to know of the root, and has it asked of who came last to type.
func (d *Desktop) ask(root *user, names []string) error {
	root.fromViewer.Required(names...)
	d.mu.Lock()
	d.asked = names
	to := d.drive.holder
	d.mu.Unlock()
	if to == nil || to == root {
		return nil
	}
	to.fromViewer.Required(names...)
	return to.post(guac.Append(nil, "required", names...))
}

// post has the viewer of u see b, between two instructions of its own.
func (u *user) post(b []byte) error {
	u.posting.Lock()
	defer u.posting.Unlock()
	if u.left.Load() {
		return nil
	}
	if len(u.posted)+len(b) > maxPosted {
		return wire.Errorf(wire.Protocol, "guacd sends more of files than was asked for")
	}
	u.posted = append(u.posted, b...)
	u.conn.breakOff(true)
	return nil
}

// mail takes what was posted.
func (u *user) mail() (b []byte) {
	u.posting.Lock()
	defer u.posting.Unlock()
	if b, u.posted = u.posted, nil; b != nil && !u.left.Load() {
		u.conn.breakOff(false)
	}
	return b
}

// errBrokenOff is the end of a Read because the viewer has left.
var errBrokenOff = errors.New("the viewer has left")

// broken gives an error of the connection its meaning.
func (u *user) broken(err error) error {
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		if u.left.Load() {
			return errBrokenOff
		}
		return wire.Errorf(wire.GuacdUnavailable, "guacd has said nothing for %s", u.conn.limit)
	}
	switch {
	case u.full.Load():
		return wire.Errorf(wire.GuacdUnavailable, "guacd has taken nothing for %s", u.desktop.limits.take)
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
		if u.rest = u.mail(); len(u.rest) > 0 {
			continue
		}
		if n > 0 && !u.in.More() {
			return n, nil
		}
		i, shown, err := u.next()
		if err != nil {
			if errors.Is(err, errBrokenOff) || u.left.Load() && !u.root() {
				return n, io.EOF
			}
			if u.rest = u.mail(); len(u.rest) > 0 { // broken off for it
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
		if i.Is("sync") && u.root() && !u.fromGuacd.Sized() {
			if err := u.rejoin(); err != nil {
				return n, err
			}
			return n, nil // what comes next comes from the other one
		}
		u.rest = shown
	}
	return n, nil
}

// Type gives guacd what the viewer sends.
func (u *user) Type(r io.Reader) error { return u.typeAll(guac.NewReader(r)) }

func (u *user) typeAll(in *guac.Reader) error {
	u.typing.Lock()
	defer u.typing.Unlock()
	out := make([]byte, 0, typeBuffer)
	routes := route{user: u, lent: map[string]bool{}}
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
			if !u.desktop.pictured.Load() { // there is nothing to type at; guacd 1.3 would hear nothing else until there is
				continue
			}
			u.active.Store(true)
		}
		to, b, err := routes.of(i)
		switch {
		case err != nil:
			return err
		case to == u:
			out = append(out, b...)
		case to != nil:
			if err := to.write(b); err != nil {
				return err
			}
		}
		if len(out) > 0 && (!in.More() || len(out) > typeBuffer/2) {
			if err := u.write(out); err != nil {
				return err
			}
			out = out[:0]
		}
	}
}

// route finds whose connection an instruction of a viewer's belongs on. It is the viewer's own but for
// what is the root's alone: the answer to what guacd asked, and the drive.
type route struct {
	user *user
	lent map[string]bool // streams that the viewer opened on the root, by its own numbers
}

// of gives b to be written to another connection, or the user's own. Nobody: it is for a drive that
// somebody else has by now.
func (r *route) of(i *guac.Instruction) (to *user, b []byte, err error) {
	d, root := r.user.desktop, r.user.desktop.root
	arg := 0
	switch {
	case i.Is("argv"):
		d.mu.Lock()
		d.asked = nil // one answer is all that it takes; guacd asks again if it is not
		d.mu.Unlock()
	case i.Is("clipboard"):
		if r.user != root {
			delete(r.lent, string(i.Arg(0))) // the index is used again
			return r.user, i.Raw(), nil
		}
	case i.Is("put"):
		arg = 1
	case i.Is("get"):
		if d.holds(r.user) {
			return root, i.Raw(), nil
		}
		return nil, nil, nil
	case i.Is("ack"):
		n := number(i.Arg(0))
		if n < guac.Lent && r.user != root {
			return r.user, i.Raw(), nil
		}
		n %= guac.Lent
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.drive.down[n] != r.user {
			if r.user == root {
				return root, i.Raw(), nil // of a picture
			}
			return nil, nil, nil
		}
		if number(i.Arg(2)) >= refused {
			delete(d.drive.down, n)
		}
		return root, renumbered(i, 0, strconv.Itoa(n)), nil
	case i.Is("blob"), i.Is("end"):
		index := string(i.Arg(0))
		if !r.lent[index] {
			return r.user, i.Raw(), nil
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		n, ok := d.drive.ofLocked(r.user, index)
		if !ok {
			return nil, nil, nil
		}
		if i.Is("end") {
			delete(r.lent, index)
			d.drive.endLocked(n)
		}
		return root, renumbered(i, 0, strconv.Itoa(n)), nil
	default:
		return r.user, i.Raw(), nil
	}
	// A stream is opened on the root.
	index := string(i.Arg(arg))
	r.lent[index] = true
	d.mu.Lock()
	defer d.mu.Unlock()
	if i.Is("put") && d.drive.holder != r.user {
		return nil, nil, nil
	}
	n, err := d.drive.openLocked(r.user, index)
	return root, renumbered(i, arg, strconv.Itoa(n)), err
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
	if err := u.conn.SetWriteDeadline(time.Now().Add(u.desktop.limits.take)); err != nil {
		return fmt.Errorf("write to guacd: %w", err)
	}
	if _, err := u.conn.Write(p); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) { // it may go on drawing
			u.full.Store(true)
			_ = u.conn.Close() // who reads sees it
		}
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
	if len(release) > 0 && u.desktop.pictured.Load() && u.write(release) != nil { // before that nothing was typed
		u.desktop.Log.Debug("guacd does not take the last words of a viewer", "connection", u.desktop.id)
	}
	u.desktop.leave(u)
	if !u.root() {
		u.hangUp()
		return
	}
	u.unread()
	u.conn.breakOff(false)
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
