package session

import (
	"context"
	"slices"
	"time"

	"scrier/wire"
)

// Stage is what a session shows: a terminal, a display, a tunnel for a native viewer. A session has
// one or more, each with viewers of its own.
//
//	Show -> Run ----------------------> Dismiss
//	        Serve, once for each viewer
type Stage interface {
	// Run is the stage's life. It returns how it ended: by itself, or because ctx did. What the stage
	// held is released then; its viewers are still there.
	Run(ctx context.Context) *wire.Exit
	// Admit says whether somebody with the right to the session may see this stage.
	Admit(Viewer) error
	// Serve serves an admitted viewer until it leaves or is dismissed, see [Session.Serve].
	Serve(ctx context.Context, f *wire.Framed, who Viewer, a *wire.Attach) error
	// Audience is who sees it.
	Audience() Audience
}

// Audience is who sees a stage. Its methods may be called at any time.
type Audience interface {
	// End ends the viewers that match, alone; the stage goes on.
	End(match func(Viewer) bool, why error)
	// Present tells whether somebody has the stage, and who watches.
	Present() (attached bool, watchers []string)
	// Ends is when the session ends unless somebody comes who takes the stage; zero while nothing is set.
	Ends() time.Time
	// Dismiss tells all viewers how the session ended and returns when they have gone. Nobody is
	// served afterwards.
	Dismiss(*wire.Exit)
}

// Show gives the session a stage, which it owns from now on, also when Show fails: then the stage ends
// at once. The first one makes the session active, as the login that it got on the machine. The session is closed when its last
// stage has ended, with what the first one said unless it was ended from outside.
func (s *Session) Show(ctx context.Context, login string, t Stage) error {
	s.mu.Lock()
	ended, first := s.closing || s.ctx.Err() != nil, s.first == nil
	if !ended {
		if first {
			s.first = t
		}
		s.stages = append(s.stages, t)
		s.running++
	}
	s.mu.Unlock()
	if ended {
		err := wire.Cause(s.ctx, wire.Cancelled)
		dead, cancel := context.WithCancelCause(context.Background())
		cancel(err)
		t.Audience().Dismiss(s.life(dead, t))
		return err
	}
	if first {
		if err := s.activate(ctx, login); err != nil {
			s.End(err)
			s.run(t)
			return err
		}
	}
	go s.Guard(func() { s.run(t) }) // the table waits for it: the session is live until its stages' viewers have gone
	return nil
}

// life is a stage's Run.
func (s *Session) life(ctx context.Context, t Stage) *wire.Exit {
	var exit *wire.Exit
	s.Guard(func() { exit = t.Run(ctx) })
	if exit == nil { // it panicked, which ended the session, unless something else had
		exit = wire.ExitOf(context.Cause(s.ctx))
	}
	return exit
}

func (s *Session) run(t Stage) {
	exit := s.life(s.ctx, t)
	s.mu.Lock()
	s.running--
	if s.first == t {
		s.exit = exit
	}
	last, how := s.running == 0, s.exit
	if s.ctx.Err() != nil { // it was ended from outside, whatever a stage said before
		how = exit
	}
	s.closing = s.closing || last
	s.mu.Unlock()
	if last {
		err := s.Close(how.Code, how.Detail)
		s.Log().Info("session closed", "operator", s.row.Operator, "envoy", s.row.EnvoyName, "code", how.Code, "err", err)
	}
	s.Guard(func() { t.Audience().Dismiss(exit) })
	s.mu.Lock()
	s.stages = slices.DeleteFunc(slices.Clone(s.stages), func(o Stage) bool { return o == t })
	all := len(s.stages) == 0 && s.closing
	s.mu.Unlock()
	if all {
		s.table.forget(s)
	}
}

// shown are the session's stages that have viewers or may get some; none before it is open.
func (s *Session) shown() []Stage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stages
}

// Serve serves a viewer of the session's first stage until it leaves or the session ends. An error has
// not been told to the viewer; otherwise its last frame was sent, or its stream is reset. Who does not
// watch becomes the owner, and takes the stage over from another viewer. An owner who can be asked may come before the
// stage, see [Dialogue].
func (s *Session) Serve(ctx context.Context, f *wire.Framed, who Viewer, a *wire.Attach) error {
	var err error = errPanic
	s.Guard(func() { err = s.serve(ctx, f, who, a) })
	if f != nil && f.StopAhead() != nil { // somebody else reads the stream to its end
		f.Reset(wire.ViewerLost)
	}
	return err
}

func (s *Session) serve(ctx context.Context, f *wire.Framed, who Viewer, a *wire.Attach) error {
	if a != nil && a.Answers && !who.Watch {
		if err := s.admit(ctx, who); err != nil {
			return err
		}
		if open, err := s.dialogue.attend(ctx, f, who, a); !open {
			return err
		}
	}
	s.mu.Lock()
	t := s.first
	s.mu.Unlock()
	if t == nil {
		return wire.Errorf(wire.NotFound, "the session is not open yet")
	}
	if err := t.Admit(who); err != nil {
		return err
	}
	if err := s.admit(ctx, who); err != nil {
		return err
	}
	return t.Serve(ctx, f, who, a)
}

// admit does what comes before anybody sees a session: their right to it, and the record of who
// only watches.
func (s *Session) admit(ctx context.Context, who Viewer) error {
	if who.Check != nil { // they may have signed out since they got the ticket
		if err := who.Check(false); err != nil {
			return err
		}
	}
	if !who.Watch {
		return nil
	}
	e := s.event("session.watch")
	e.Source = who.Source
	e.Fields["viewer"] = who.Operator
	return s.append(ctx, e)
}

// present tells whether somebody has the session, and who watches.
func (s *Session) present() (attached bool, watchers []string) {
	watchers = []string{}
	for _, t := range s.shown() {
		one, more := t.Audience().Present()
		attached, watchers = attached || one, append(watchers, more...)
	}
	return attached, watchers
}

// ends is when the session ends for want of an owner, if nothing happens; zero: it does not.
func (s *Session) ends() (at time.Time) {
	for _, t := range s.shown() {
		if e := t.Audience().Ends(); !e.IsZero() && (at.IsZero() || e.Before(at)) {
			at = e
		}
	}
	return at
}
