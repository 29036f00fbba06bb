// Package raw is a stage: a tunnel that one viewer has for itself: a native one, which speaks the desktop's own protocol, or a connection
// through a forward. It ends with that viewer, or, if it lasts ([Lasting]), when that viewer does not come back.
package raw

import (
	"context"
	"sync/atomic"
	"time"

	"scrier/relay/session"
	"scrier/relay/session/audience"
	"scrier/wire"
)

// Raw gives a tunnel to the first viewer that comes. It implements [session.Stage] and
// [session.Audience].
type Raw struct {
	session *session.Channel
	tunnel  wire.Stream
	taken   atomic.Bool   // somebody has it, or nobody may come any more
	over    chan struct{} // closed when that viewer has gone, or nobody came
	err     error         // why, before over
}

// New makes a session's stage of a tunnel, which it owns from now on.
func New(s *session.Channel, tunnel wire.Stream) *Raw {
	return &Raw{session: s, tunnel: tunnel, over: make(chan struct{})}
}

// Audience implements [session.Stage].
func (r *Raw) Audience() session.Audience { return r }

// Admit implements [session.Stage]: what is for one viewer is for none who watches. Serve refuses whoever comes too late.
func (r *Raw) Admit(who session.Viewer) error {
	if who.Watch {
		return errAlone
	}
	return nil
}

// errAlone is told to all but the viewer.
var errAlone = wire.Errorf(wire.Conflict, "the session belongs to one native viewer, or to one connection, which cannot be joined").Advise("open a session of your own")

// Run implements [session.Stage]. A viewer that was lost before it came here has the usual grace.
func (r *Raw) Run(ctx context.Context) *wire.Exit {
	nobody := time.NewTimer(r.session.Grace())
	defer nobody.Stop()
	select {
	case <-ctx.Done():
		r.leave(nil)
	case <-nobody.C:
		r.leave(&wire.Error{Code: wire.ViewerLost})
	case <-r.over:
	}
	<-r.over
	exit := wire.ExitOf(r.err)
	if ctx.Err() != nil {
		exit = audience.Ended(ctx)
	}
	r.tunnel.Reset(exit.Code)
	return exit
}

// leave ends the stage if nobody came, and nobody may come any more.
func (r *Raw) leave(why error) {
	if r.taken.CompareAndSwap(false, true) {
		r.err = why
		close(r.over)
	}
}

// Serve implements [session.Stage]: the viewer's stream is raw behind Attached.
func (r *Raw) Serve(ctx context.Context, f *wire.Framed, _ session.Viewer, _ *wire.Attach) error {
	if !r.taken.CompareAndSwap(false, true) {
		return errAlone
	}
	defer close(r.over)
	r.err = &wire.Error{Code: wire.Internal} // of a panic
	r.err = r.carry(ctx, f)
	return nil
}

func (r *Raw) carry(ctx context.Context, f *wire.Framed) error {
	if err := f.StopAhead(); err != nil { // from here on nobody else reads it
		f.Reset(wire.ViewerLost)
		return &wire.Error{Code: wire.ViewerLost, Err: err}
	}
	attached := r.session.Attached()
	attached.Size = wire.Size{}.Clamp()
	if err := f.Send(attached); err != nil {
		f.Reset(wire.ViewerLost)
		return &wire.Error{Code: wire.ViewerLost, Err: err}
	}
	r.session.Changed()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(r.session.Context(), func() { cancel(context.Cause(r.session.Context())) })()
	_, _, err := wire.Splice(ctx, f, r.tunnel)
	return err
}

// End implements [session.Audience]: the session ends with its only viewer.
func (r *Raw) End(match func(session.Viewer) bool, why error) {
	if match(session.Viewer{OperatorID: r.session.OperatorID(), Operator: r.session.Operator()}) {
		r.session.End(why)
	}
}

// Present implements [session.Audience].
func (r *Raw) Present() (attached bool, watchers []string) { return true, []string{} }

// Ends implements [session.Audience]: its viewer is its life.
func (r *Raw) Ends() time.Time { return time.Time{} }

// Dismiss implements [session.Audience]. The viewer has gone when Run returns.
func (r *Raw) Dismiss(*wire.Exit) {}
