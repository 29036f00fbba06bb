// Package display is a stage: a remote desktop, shown to an owner and to watchers, each of whom is a
// user of the desktop's own.
package display

import (
	"bytes"
	"context"
	"io"
	"sync"
	"time"

	"scrier/relay/session"
	"scrier/relay/session/audience"
	"scrier/wire"
)

// Desktop is a remote desktop that runs. Each viewer sees it as a user of its own.
type Desktop interface {
	// Join makes a user of the desktop; with view, one that cannot type.
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

	joinTime = 10 * time.Second // for guacd to take another user
)

// Display joins a desktop to those who see it. It implements [session.Stage].
//
//	desktop -- a screen each --> spool -- each viewer's own pace --> viewers
//	desktop <-- screen.Type <--- typed <-------------------------- owner (watchers: answers only)
//
// Viewers come and go; the desktop goes on without any until the grace is over.
type Display struct {
	session  *session.Channel
	desktop  Desktop
	audience *audience.Audience

	mu     sync.Mutex    // guards the audience too
	met    chan struct{} // closed when somebody has attached
	client []byte        // what the last owner calls itself; nil: there was none
}

// New makes a session's display of a desktop, which it owns from now on.
func New(s *session.Channel, d Desktop) *Display {
	t := &Display{session: s, desktop: d, met: make(chan struct{})}
	t.audience = audience.New(s, &t.mu)
	return t
}

// Audience implements [session.Stage].
func (d *Display) Audience() session.Audience { return d.audience }

// Run implements [session.Stage].
func (d *Display) Run(ctx context.Context) *wire.Exit {
	defer d.desktop.Close()
	d.audience.Open()
	select {
	case <-ctx.Done():
	case <-d.desktop.Done():
		select { // who has just opened it hears why
		case <-d.met:
		case <-ctx.Done():
		case <-time.After(session.TicketLife):
		}
	}
	why := d.desktop.Err()
	if ctx.Err() != nil { // it was ended, and the desktop's end is the effect
		why = context.Cause(ctx)
	}
	return wire.ExitOf(why)
}

// Admit implements [session.Stage]: who sits at a screen said yes to one operator, whose name they were
// shown.
func (d *Display) Admit(who session.Viewer) error {
	if d.desktop.Allows().Console && who.OperatorID != d.session.OperatorID() {
		return wire.Errorf(wire.Forbidden, "the user at the screen let %s see it, and nobody else", d.session.Operator()).
			Advise("ask the user for a session of your own")
	}
	return nil
}

// Serve implements [session.Stage].
func (d *Display) Serve(ctx context.Context, f *wire.Framed, who session.Viewer, a *wire.Attach) error {
	if d.elsewhere(who, a) {
		return &wire.Error{Code: wire.TakenOver}
	}
	screen, err := d.screen(ctx, who.Watch)
	if err != nil {
		return err
	}
	v := &seat{display: d, screen: screen, room: make(chan struct{}, 1), fed: make(chan struct{}, 1), closed: make(chan struct{})}
	v.Seat = d.audience.Seat(who, f, v)
	v.Asides = a.Asides
	attached, err := d.join(v, a)
	if err != nil {
		screen.Close()
		return err
	}
	defer d.audience.Stay()()
	var wg sync.WaitGroup
	wg.Go(func() { d.session.Guard(v.show) })
	wg.Go(func() { d.session.Guard(v.feed) })
	d.audience.Attend(f, v.Seat, attached)
	close(v.closed)
	screen.Close()
	wg.Wait()
	return nil
}

// elsewhere says whether a viewer that comes back by itself finds that somebody else has the desktop.
func (d *Display) elsewhere(who session.Viewer, a *wire.Attach) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return a.Back && !who.Watch && d.client != nil && !bytes.Equal(d.client, a.Client)
}

// screen joins the desktop. Whoever comes just after its end sees nothing, and hears why.
func (d *Display) screen(ctx context.Context, view bool) (Screen, error) {
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
func (d *Display) join(v *seat, a *wire.Attach) (joined *wire.Attached, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	defer func() {
		if joined == nil {
			d.audience.ForgetLocked(v.Seat)
		}
	}()
	if err := d.audience.EnterLocked(v.Seat); err != nil {
		return nil, err
	}
	if !v.Watch {
		d.client = append([]byte{}, a.Client...)
	}
	select {
	case <-d.met:
	default:
		close(d.met)
	}
	allows := d.desktop.Allows()
	allows.View = allows.View || v.Watch
	attached := d.session.Attached()
	attached.Window, attached.Watching, attached.Size, attached.Desktop = wire.ViewerWindow, v.Watch, wire.Size{}.Clamp(), &allows
	return attached, nil
}
