// Package raw is a stage: a tunnel that one native viewer has for itself, which speaks the desktop's
// own protocol. The session ends with that viewer.
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

// Admit implements [session.Stage]. Serve refuses whoever comes too late.
func (r *Raw) Admit(session.Viewer) error { return nil }

// Run implements [session.Stage].
func (r *Raw) Run(ctx context.Context) *wire.Exit {
	select {
	case <-ctx.Done():
		if r.taken.CompareAndSwap(false, true) { // nobody came
			close(r.over)
		}
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

// Serve implements [session.Stage]: the viewer's stream is raw behind Attached.
func (r *Raw) Serve(ctx context.Context, f *wire.Framed, _ session.Viewer, _ *wire.Attach) error {
	if !r.taken.CompareAndSwap(false, true) {
		return wire.Errorf(wire.Conflict, "the session belongs to a native viewer, which cannot be joined").Advise("open a session of your own")
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
