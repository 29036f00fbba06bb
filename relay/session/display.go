package session

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"scrier/wire"
)

// Desktop is a remote desktop that runs. Each viewer sees it as a user of its own.
type Desktop interface {
	// Join makes a user of it; view: one that only looks.
	Join(ctx context.Context, view bool) (Screen, error)
	// Allows is what the viewers may do.
	Allows() wire.Desktop
	// Done is closed when the desktop has ended. Err says why; nil: in order.
	Done() <-chan struct{}
	Err() error
	// Close ends it, and all its screens.
	Close()
}

// Screen is one user of a desktop: a stream of instructions each way, cut anywhere. Read gives what
// is to be shown. Read and Type may run at the same time; Close ends both.
type Screen interface {
	io.Reader
	// Type gives the desktop what it reads of r, until r ends. An error is what the viewer did wrong,
	// or the desktop's end.
	Type(r io.Reader) error
	// Active says whether a person has typed or pointed since the last call; answers of the viewer's
	// own do not count.
	Active() bool
	Close()
}

const (
	// A desktop may be ahead of its viewer by as much as a fast line with a long way holds: 10 MB/s
	// at 100 ms. Then guacd is not read any more, and slows down.
	displayAhead = 1 << 20

	// ownerSpool and watcherSpool are what waits between guacd and a viewer's connection, in bytes.
	// The owner's holds guacd back; a watcher must not, so it gets more, and is dropped when that is
	// full.
	ownerSpool   = 2 * wire.MaxData
	watcherSpool = 4 << 20

	joinTime = 15 * time.Second // for guacd to take another user
)

// display joins a desktop to those who see it.
//
//	desktop -- a screen each --> spool -- each viewer's own pace --> viewers
//	desktop <-- screen.Type <--- typed <-------------------------- owner (watchers: answers only)
//
// Viewers come and go; the desktop goes on without any until the grace is over.
type display struct {
	audience[*onlooker]
	desktop Desktop
	mu      sync.Mutex // guards the audience too
	final   *wire.Exit
	met     chan struct{} // closed when somebody has attached
}

// StartDesktop gives a session its desktop, which it owns from now on.
func (s *Session) StartDesktop(d Desktop) {
	t := &display{audience: audience[*onlooker]{session: s}, desktop: d, met: make(chan struct{})}
	s.shows(t)
	t.mu.Lock()
	t.waitLocked()
	t.mu.Unlock()
	go t.run() // the table waits for it: the session is live until its end
}

// run closes the session when it is over.
func (d *display) run() {
	s := d.session
	select {
	case <-s.ctx.Done():
	case <-d.desktop.Done():
		select { // who has just opened it hears why
		case <-d.met:
		case <-s.ctx.Done():
		case <-time.After(ticketLife):
		}
	}
	why := d.desktop.Err()
	if s.ctx.Err() != nil { // it was ended, and the desktop's end is the effect
		why = context.Cause(s.ctx)
	}
	d.desktop.Close()
	exit := &wire.Exit{Code: wire.CodeOf(why), Detail: wire.DetailOf(why)}
	err := s.Close(exit.Code, exit.Detail)
	s.table.Log.Info("session closed", "session", s.row.ID, "operator", s.row.Operator, "envoy", s.row.EnvoyName, "code", exit.Code, "err", errors.Join(why, err))
	d.mu.Lock()
	d.final = exit
	d.mu.Unlock()
	d.dismiss(&d.mu, exit.Code)
	s.table.forget(s)
}

func (d *display) endViewers(match func(Viewer) bool, why error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.endLocked(match, why)
}

// admits implements [stage]: who sits at a screen said yes to one operator, whose name they were shown.
func (d *display) admits(who Viewer) error {
	if row := d.session.row; d.desktop.Allows().Console && who.OperatorID != row.OperatorID {
		return wire.Errorf(wire.Forbidden, "the user at the screen let %s see it, and nobody else", row.Operator)
	}
	return nil
}

func (d *display) viewers() (attached bool, watchers []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.owner != nil, d.namesLocked()
}

// serve implements [stage].
func (d *display) serve(ctx context.Context, f *wire.Framed, who Viewer, _ *wire.Attach) error {
	screen, err := d.screen(ctx, who.Watch)
	if err != nil {
		return err
	}
	v := &onlooker{
		seat: newSeat(who, &d.mu, f), display: d, screen: screen,
		room: make(chan struct{}, 1), fed: make(chan struct{}, 1), closed: make(chan struct{}),
	}
	v.active = screen.Active
	attached, err := d.join(v)
	if err != nil {
		screen.Close()
		return err
	}
	defer d.gone.Done()
	var wg sync.WaitGroup
	wg.Go(v.show)
	wg.Go(v.feed)
	d.session.attend(f, &v.seat, attached, v.take, func() error { return v.serve(f) }, func(err error) { d.leave(v, err) })
	close(v.closed)
	screen.Close()
	wg.Wait()
	return nil
}

// screen joins the desktop. Whoever comes just after its end sees nothing, and hears why.
func (d *display) screen(ctx context.Context, view bool) (Screen, error) {
	ctx, cancel := context.WithTimeout(ctx, joinTime)
	defer cancel()
	screen, err := d.desktop.Join(ctx, view)
	if err == nil {
		return screen, nil
	}
	select {
	case <-d.desktop.Done():
		return dark{}, nil
	default:
		return nil, err
	}
}

// dark is the screen of a desktop that has ended.
type dark struct{}

func (dark) Read([]byte) (int, error) { return 0, io.EOF }
func (dark) Type(io.Reader) error     { return nil }
func (dark) Active() bool             { return false }
func (dark) Close()                   {}

// join makes v a viewer of the display.
func (d *display) join(v *onlooker) (*wire.Attached, error) {
	s := d.session
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.final != nil || s.ctx.Err() != nil {
		return nil, wire.Errorf(wire.NotFound, "the session has ended")
	}
	if err := d.enterLocked(v); err != nil {
		return nil, err
	}
	select {
	case <-d.met:
	default:
		close(d.met)
	}
	allows := d.desktop.Allows()
	allows.View = allows.View || v.Watch
	return &wire.Attached{
		Session: s.row.ID, Envoy: s.row.EnvoyName, EnvoyID: s.row.Envoy, Kind: wire.Kind(s.row.Kind), Login: s.loginName(),
		Window: wire.ViewerWindow, Watching: v.Watch, Size: wire.Size{}.Clamp(), Desktop: &allows,
	}, nil
}

// leave takes v out; err tells how it went.
func (d *display) leave(v *onlooker, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.exitLocked(v, err) && d.final == nil {
		d.waitLocked()
	}
}
