// Package desktop is the kinds rdp and vnc: a connection of guacd's to the machine's desktop server,
// through the session's tunnel.
//
//	viewer's screen <-> user -- guacd -- callback -- tunnel <-> agent <-> desktop server
//
// The first user is the root: its connection lives as long as the desktop, because guacd ends a
// desktop without users, asks its first user alone for passwords, and tells it how the desktop ended.
// Whoever sees the desktop first has the root; when they leave, the root is parked, which means that
// it is read and answered here. Everybody else joins as a user of their own, and gets a whole
// picture at once.
package desktop

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"scrier/relay/guac"
	"scrier/relay/session"
	"scrier/relay/session/display"
	"scrier/wire"
)

const (
	dialTime = 5 * time.Second // for one address of guacd

	// settle is how long after ready the desktop server is not heard yet. guacd drops what it says to its
	// first user before that one is registered, the question for a password among it.
	settle = 20 * time.Millisecond

	// guacd shows the drive before it calls back; shownWithin is how much later that may arrive.
	tries       = 8
	shownWithin = 100 * time.Millisecond

	// verdict is how long one half of a desktop may be behind the other with the reason for the end.
	verdict = time.Second
)

// limits are the times that tests shorten. All but the first say how long the others wait for one that is
// gone, or says nothing.
type limits struct {
	// firstViewer is how long the root waits for its viewer, unread, so that nothing of the first
	// picture is lost: a little longer than the right to attach is good for.
	firstViewer time.Duration
	callback    time.Duration // for guacd to call back after it was told where
	greeting    time.Duration // for the desktop server's first byte
	parting     time.Duration // for guacd to say what it means that the callback has ended
	silence     time.Duration // of guacd that was asked for a word
	quiet       time.Duration // of guacd that cannot be asked: it says nop every five to ten seconds
	take        time.Duration // for guacd to take what it is sent
}

var usual = limits{
	firstViewer: 12 * time.Second, callback: 10 * time.Second, greeting: 10 * time.Second, parting: 5 * time.Second,
	silence: 10 * time.Second, quiet: 15 * time.Second, take: 10 * time.Second,
}

// Params is what a desktop is started with.
type Params struct {
	Guacd    *Guacd
	Hostname string // where guacd reaches this relay
	Kind     wire.Kind
	Tunnel   *session.Tunnel

	Username, Domain string
	Password         wire.Secret
	Keyboard         string
	Timezone         string
	Security         wire.Security
	Certificate      []byte // SHA-256 of the RDP server's
	Width, Height    int    // pixels
	DPI              int
	Policy           guac.Policy
	Console          bool
	DrivePath        string // on guacd's host; empty: no drive

	Log *slog.Logger
	// Guard calls what a goroutine of the desktop's does, and outlives its panics; nil: it is just called.
	Guard func(func())
}

// Desktop is a running desktop. It is a [display.Desktop].
type Desktop struct {
	Params
	limits limits
	id     string // guacd's name of the connection, to join it
	root   *user
	ctx    context.Context // ends with the desktop
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup

	tunnelled chan struct{} // closed when callback and tunnel have ended
	tunnelErr error         // why, before that
	parted    sync.Once     // done by the first of their four ends
	called    atomic.Bool   // guacd has called back
	answered  atomic.Bool   // the desktop server has sent something
	pictured  atomic.Bool   // and guacd has drawn it
	closed    atomic.Bool   // the desktop server has closed the connection
	back      chan struct{} // closed when guacd has called back
	ready     chan struct{} // closed when guacd has its first user

	mu    sync.Mutex
	taken bool     // the root has, or had, a viewer
	asked []string // what guacd wants to know, and nobody has answered
	drive drive
	over  bool // nothing is started any more
}

// Start asks a guacd for the desktop behind the tunnel, which it owns from now on.
func Start(ctx context.Context, p Params) (*Desktop, error) { return start(ctx, p, usual) }

// start begins anew, a few times, if guacd has lost the drive: it shows that once, to its first user, and
// loses it if that one is not registered yet. The desktop server has not been spoken to by then.
func start(ctx context.Context, p Params, l limits) (_ *Desktop, err error) {
	defer func() {
		if err != nil { // guacd makes the folder when it is asked, also for one that is abandoned
			p.removeDrive()
		}
	}()
	for try := 1; ; try++ {
		d, err := once(ctx, p, l)
		if err != nil || d.DrivePath == "" || try == tries || d.driven(ctx) {
			if err == nil {
				d.open()
			}
			return d, err
		}
		d.Log.Debug("guacd has lost the drive", "connection", d.id, "try", try)
		d.abandon()
		if p.Guacd, err = Dial(ctx, []string{p.Guacd.addr}); err != nil {
			p.Tunnel.Reset(wire.CodeOf(err))
			return nil, err
		}
	}
}

// once asks for it once. The tunnel is not used before open.
func once(ctx context.Context, p Params, l limits) (_ *Desktop, err error) {
	d := &Desktop{Params: p, limits: l, tunnelled: make(chan struct{}), back: make(chan struct{}), ready: make(chan struct{}), drive: newDrive()}
	d.ctx, d.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	conn := p.Guacd.conn
	back, err := listen(ctx, p.Hostname)
	if err != nil {
		p.Guacd.Close()
		p.Tunnel.Reset(wire.CodeOf(err))
		return nil, err
	}
	d.begin(func() { d.carry(back, conn) })
	defer func() {
		if err != nil {
			d.end(err)
			_ = conn.Close()
			d.wg.Wait()
		}
	}()
	if d.root, err = d.user(ctx, conn, d.params(back.port()), d.Policy); err != nil {
		return nil, d.blame(err)
	}
	d.id = d.root.id
	d.expect(&d.called, d.limits.callback, wire.Errorf(wire.GuacdUnavailable,
		"guacd did not connect to %s within %s; is scrier.proxy_hostname right?", d.Hostname, d.limits.callback))
	return d, nil
}

// open lets the desktop server be heard, and waits for viewers.
func (d *Desktop) open() {
	time.AfterFunc(settle, func() { close(d.ready) })
	d.begin(d.root.keepAlive)
	d.begin(d.wait)
}

// driven says whether guacd has shown the drive. It does so before it calls back, or not at all.
func (d *Desktop) driven(ctx context.Context) bool {
	select {
	case <-d.back:
	case <-d.ctx.Done():
		return true // that it has ended says more
	case <-ctx.Done():
		return true
	}
	return d.root.peek(time.Now().Add(shownWithin))
}

// abandon ends a desktop that was not opened; its tunnel is for the next one.
func (d *Desktop) abandon() {
	d.cancel(errAbandoned)
	d.root.hangUp()
	d.wg.Wait()
}

// Guacd is a connection to a guacd that nothing was asked of yet.
type Guacd struct {
	conn net.Conn
	addr string
}

// Close gives it up.
func (g *Guacd) Close() { _ = g.conn.Close() } // nothing was written

// Dial connects to the first guacd that answers.
func Dial(ctx context.Context, addrs []string) (*Guacd, error) {
	var errs []error
	for _, addr := range addrs {
		try, cancel := context.WithTimeout(ctx, dialTime)
		conn, err := new(net.Dialer).DialContext(try, "tcp", addr)
		cancel()
		if err == nil {
			return &Guacd{conn: conn, addr: addr}, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			return nil, wire.Cause(ctx, wire.Cancelled)
		}
	}
	return nil, &wire.Error{Code: wire.GuacdUnavailable, Detail: "nothing answers at " + strings.Join(addrs, ", "), Err: errors.Join(errs...)}
}

// expect ends the desktop if what is to happen has not happened in time.
func (d *Desktop) expect(happened *atomic.Bool, within time.Duration, why error) {
	time.AfterFunc(within, func() {
		if !happened.Load() {
			d.end(why)
		}
	})
}

// carry joins guacd's call back to the tunnel, until either ends.
func (d *Desktop) carry(back *callback, guacd net.Conn) {
	defer close(d.tunnelled)
	target, err := back.accept(d.ctx, guacd)
	if err != nil {
		d.tunnelErr = err
		d.Tunnel.Reset(wire.CodeOf(err))
		if d.ctx.Err() == nil {
			d.end(err)
		}
		return
	}
	defer target.Close()
	d.called.Store(true)
	close(d.back)
	select {
	case <-d.ready:
	case <-d.ctx.Done():
		if errors.Is(context.Cause(d.ctx), errAbandoned) {
			return // nothing was said on it
		}
	}
	d.expect(&d.answered, d.limits.greeting, wire.Errorf(wire.DesktopFailed, "it takes connections and says nothing for %s", d.limits.greeting))
	byServer, byGuacd := wire.Errorf(wire.DesktopFailed, "it closed the connection"), wire.Errorf(wire.GuacdUnavailable, "guacd broke off")
	d.watch(byServer)
	_, _, err = wire.Splice(d.ctx, &session.Tunnel{Stream: wire.Conn(target), Ended: func(error) { d.part(byGuacd) }}, d.Tunnel)
	if err != nil && d.ctx.Err() == nil {
		d.tunnelErr = err
	}
	if d.known() {
		d.end(d.tunnelErr)
	} else {
		d.part(byGuacd) // unless one of them saw an end before Splice reset both
	}
}

// known says whether the tunnel has ended for a reason that guacd cannot know. A server's connection that broke
// is none: that is also what becomes of one that is closed in order while the server has something unread.
func (d *Desktop) known() bool {
	switch wire.CodeOf(d.tunnelErr) {
	case wire.None, wire.Internal, wire.DesktopFailed:
		return false
	}
	return true
}

// part is called at the end of either side of the callback. Whichever is first is why: the other one ends
// because of it. guacd sees the end of its connection, and says in its own words what that means; if it
// does not in time, it has not noticed, and that was the end. guacd 1.6.0 never notices an RDP server's.
func (d *Desktop) part(why error) {
	d.parted.Do(func() { time.AfterFunc(d.limits.parting, func() { d.end(d.refused(why)) }) })
}

// watch has the tunnel tell whether the desktop server has said anything, and of its end.
func (d *Desktop) watch(ended error) {
	count := d.Tunnel.Count
	d.Tunnel.Ended = func(err error) {
		if errors.Is(err, io.EOF) || wire.CodeOf(err) == wire.DesktopFailed { // see known
			d.closed.Store(true)
		}
		d.part(ended)
	}
	d.Tunnel.Count = func(sent, received int) {
		if received > 0 {
			d.answered.Store(true)
		}
		if count != nil {
			count(sent, received)
		}
	}
}

// wait parks the root when no viewer comes for it.
func (d *Desktop) wait() {
	select {
	case <-d.ctx.Done():
	case <-time.After(d.limits.firstViewer):
		if d.take() {
			d.root.park()
		}
	}
}

// take makes the caller the one who reads the root, if nobody does or did.
func (d *Desktop) take() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.taken {
		return false
	}
	d.taken = true
	return true
}

// Join implements [display.Desktop].
func (d *Desktop) Join(ctx context.Context, view bool) (display.Screen, error) {
	if d.ctx.Err() != nil {
		return nil, d.ended()
	}
	if !view && d.take() {
		d.root.begin(d.hold(d.root))
		return d.root, nil
	}
	u, err := d.join(ctx, view)
	if err != nil {
		return nil, err
	}
	return u, nil
}

// join makes another user of guacd's connection.
func (d *Desktop) join(ctx context.Context, view bool) (*user, error) {
	policy := d.Policy
	policy.View = policy.View || view
	dialCtx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(dialCtx, "tcp", d.Guacd.addr)
	if err != nil {
		return nil, &wire.Error{Code: wire.GuacdUnavailable, Detail: "it takes no more connections", Err: err}
	}
	stop := context.AfterFunc(d.ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	u, err := d.user(ctx, conn, guac.Params{Protocol: d.id, Width: d.Width, Height: d.Height, DPI: d.DPI, Timezone: d.Timezone, Audio: d.audio(), Image: images(), ReadOnly: policy.View}, policy)
	if !stop() && err == nil {
		err = d.ended()
	}
	if err != nil {
		_ = conn.Close() // err says more
		return nil, err
	}
	if !policy.View {
		u.fromViewer.Borrow(d.root.fromGuacd)
		u.begin(append(d.askAgain(u), d.hold(u)...))
	}
	d.start(u.keepAlive)
	return u, nil
}

// start runs f, which ends with the desktop, unless that is closed.
func (d *Desktop) start(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.over {
		d.begin(f)
	}
}

// begin runs f beside the caller, and has Close wait for it.
func (d *Desktop) begin(f func()) {
	d.wg.Go(func() {
		if d.Guard == nil {
			f()
			return
		}
		d.Guard(f)
	})
}

// askAgain is what guacd wants to know, for a viewer who comes back: it asked the root alone.
func (d *Desktop) askAgain(u *user) []byte {
	d.mu.Lock()
	names := d.asked
	d.mu.Unlock()
	if len(names) == 0 {
		return nil
	}
	u.fromViewer.Required(names...)
	return guac.Append(nil, "required", names...)
}

// Allows implements [display.Desktop].
func (d *Desktop) Allows() wire.Desktop {
	p := d.Policy
	return wire.Desktop{ToEnvoy: p.ToEnvoy, FromEnvoy: p.FromEnvoy, Upload: p.Upload, Download: p.Download, Audio: p.Audio, View: p.View, Console: d.Console}
}

// Done implements [display.Desktop].
func (d *Desktop) Done() <-chan struct{} { return d.ctx.Done() }

// Err implements [display.Desktop].
func (d *Desktop) Err() error {
	if err := context.Cause(d.ctx); !errors.Is(err, errOver) {
		return err
	}
	return nil
}

// ended is why there is nothing to join.
func (d *Desktop) ended() error {
	if err := d.Err(); err != nil {
		return err
	}
	return wire.Errorf(wire.NotFound, "the desktop has ended")
}

// errOver is an end in order; errAbandoned is the end of one that was begun anew.
var (
	errOver      = errors.New("the desktop ended")
	errAbandoned = errors.New("guacd has lost the drive")
)

// end ends the desktop; the first reason counts, and nil is an end in order.
func (d *Desktop) end(why error) {
	if why == nil {
		why = errOver
	}
	d.cancel(why)
}

// Close implements [display.Desktop].
func (d *Desktop) Close() {
	d.mu.Lock()
	d.over = true
	d.mu.Unlock()
	d.end(nil)
	d.root.hangUp()
	d.wg.Wait()
	d.removeDrive()
}

// removeDrive removes the folder behind the drive, if it is on this host.
func (p *Params) removeDrive() {
	if p.DrivePath == "" {
		return
	}
	if err := os.RemoveAll(p.DrivePath); err != nil {
		p.Log.Warn("the files of a desktop's drive stay on guacd's host", "path", p.DrivePath, "err", err)
	}
}

// errClosed is the end of a desktop that was drawn and whose server then closed the connection in order. No
// server says why to all versions of guacd.
var errClosed = &wire.Error{Code: wire.None, Detail: "the desktop server ended it: somebody logged off there or opened it from elsewhere, or the server was stopped"}

// blame finds the reason for what guacd reports: the tunnel's end, if that came first.
func (d *Desktop) blame(err error) error {
	select {
	case <-d.tunnelled:
	case <-d.ctx.Done(): // that was the reason
	case <-time.After(verdict):
	}
	select {
	case <-d.tunnelled:
		if d.known() {
			return d.tunnelErr
		}
	default:
	}
	if errors.Is(err, guac.ErrLost) && d.pictured.Load() && d.closed.Load() && (d.Kind != wire.KindRDP || !d.root.tellsLogOff) {
		d.Log.Info("the desktop server has closed the connection", "guacd", err)
		return errClosed
	}
	// guacd has one word for a wrong password and a server that is not there; ours was there.
	if wire.CodeOf(err) == wire.TargetRefused && d.answered.Load() {
		return d.refused(&wire.Error{Code: wire.DesktopFailed, Detail: wire.DetailOf(err), Err: err})
	}
	return err
}

// refused is why a server closed the connection that had begun to speak: of a VNC server without a picture it
// is known, else it is why.
func (d *Desktop) refused(why error) error {
	if wire.CodeOf(why) == wire.DesktopFailed && d.Kind == wire.KindVNC && d.answered.Load() && !d.pictured.Load() {
		return wire.Errorf(wire.DesktopLogin, "the VNC server refused: the password may be wrong or missing, or its security is of another kind")
	}
	return why
}

// rootEnded ends the desktop as its root did.
func (d *Desktop) rootEnded(err error) {
	if d.ctx.Err() != nil {
		return
	}
	switch {
	case !errors.Is(err, io.EOF) || wire.CodeOf(err) != wire.Internal:
		err = d.blame(err)
	case !d.pictured.Load():
		err = d.blame(wire.Errorf(wire.TargetRefused, "guacd ended the connection before there was a picture"))
	case d.closed.Load():
		err = errClosed
	default:
		err = nil
	}
	d.end(err)
}
