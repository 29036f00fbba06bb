package session

import (
	"context"
	"fmt"
	"slices"
	"time"

	"scrier/wire"
)

// Stage is what a channel of a session shows: a terminal, a display, a tunnel for a native viewer. Each has viewers of its
// own.
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

// Shown is what became of the request for a session.
type Shown struct {
	Login string // that it got on the machine; empty if there is none
	Stage Stage
	More  Connection // nil: the session has this one channel only
}

// Show gives the first channel of a session its stage, which the session owns from now on, also when Show fails: then the
// stage ends at once. The session becomes active. It is closed when its last channel has ended, with what the first one said
// unless it was ended from outside.
func (c *Channel) Show(ctx context.Context, what Shown) error {
	s := c.Session
	s.mu.Lock()
	ended := s.closing || c.ctx.Err() != nil
	if !ended {
		s.running++
		s.login, s.connection = what.Login, what.More
	}
	s.mu.Unlock()
	if ended {
		err := wire.Cause(c.ctx, wire.Cancelled)
		dead, cancel := context.WithCancelCause(context.Background())
		cancel(err)
		what.Stage.Audience().Dismiss(c.life(dead, what.Stage))
		return err
	}
	if err := s.activate(ctx, what.Login); err != nil {
		s.End(err)
		c.begin(what.Stage)
		c.run()
		return err
	}
	c.show(what.Stage)
	return nil
}

// show runs a channel's stage. The table waits for it: the session is live until its channels' viewers have gone.
func (c *Channel) show(t Stage) {
	c.begin(t)
	go c.Guard(c.run)
}

func (c *Channel) begin(t Stage) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stage = t
	c.channels = append(c.channels, c)
}

// life is a stage's Run.
func (c *Channel) life(ctx context.Context, t Stage) *wire.Exit {
	var exit *wire.Exit
	c.Guard(func() { exit = t.Run(ctx) })
	if exit == nil { // it panicked, which ended the session, unless something else had ended the channel
		exit = wire.ExitOf(context.Cause(c.ctx))
	}
	return exit
}

func (c *Channel) run() {
	exit := c.life(c.ctx, c.stage)
	c.over(exit)
	c.Guard(func() { c.stage.Audience().Dismiss(exit) })
	s := c.Session
	s.mu.Lock()
	s.channels = slices.DeleteFunc(slices.Clone(s.channels), func(o *Channel) bool { return o == c })
	all := len(s.channels) == 0 && s.closing
	s.mu.Unlock()
	if all {
		s.table.forget(s)
	}
}

// over notes that a channel has ended, or was not opened. The session is closed with its last one.
func (c *Channel) over(exit *wire.Exit) {
	s := c.Session
	s.mu.Lock()
	if several := s.last > 1; several { // if not, nobody opens another before this is off
		s.mu.Unlock()
		c.written(exit)
		s.mu.Lock()
	}
	c.cancel(&wire.Error{Code: exit.Code, Detail: exit.Detail})
	s.running--
	if c == s.first {
		s.exit = exit
	}
	last, how := s.running == 0, s.exit
	if s.ctx.Err() != nil || how == nil { // it was ended from outside, whatever a channel said before
		how = exit
	}
	s.closing = s.closing || last
	s.mu.Unlock()
	if last {
		err := s.Close(how.Code, how.Detail)
		s.Log().Info("session closed", "operator", s.row.Operator, "envoy", s.row.EnvoyName, "code", how.Code, "err", err)
	}
}

// shown are the session's channels that have viewers or may get some; none before it is open.
func (s *Session) shown() []*Channel {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.channels
}

// Serve serves a viewer of one of the session's channels, the first if who names none, until it leaves or the session ends. An error has
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
	c := s.first
	if who.Channel > 1 {
		if c = s.channel(who.Channel); c == nil {
			return wire.Errorf(wire.NotFound, "the session has no channel %d any more", who.Channel)
		}
	} else if a != nil && a.Answers && !who.Watch {
		if err := s.admit(ctx, who); err != nil {
			return err
		}
		if open, err := s.dialogue.attend(ctx, f, who, a); !open {
			return err
		}
	}
	return c.serve(ctx, f, who, a)
}

func (c *Channel) serve(ctx context.Context, f *wire.Framed, who Viewer, a *wire.Attach) error {
	c.mu.Lock()
	t := c.stage
	c.mu.Unlock()
	if t == nil {
		return wire.Errorf(wire.NotFound, "the session is not open yet")
	}
	if who.Aside != 0 {
		return c.aside(t, f, who)
	}
	if err := t.Admit(who); err != nil {
		return err
	}
	if err := c.admit(ctx, who); err != nil {
		return err
	}
	return t.Serve(ctx, f, who, a)
}

// channel is the open one of this number; nil: there is none.
func (s *Session) channel(number uint32) *Channel {
	for _, c := range s.shown() {
		if c.number == number {
			return c
		}
	}
	return nil
}

// Back serves a viewer who comes back to a channel. A viewer that has the channel's secret (Client) needs no ticket. Stages that mark
// themselves with Lasts check it in Serve; at all others nobody comes back so.
func (s *Session) Back(ctx context.Context, f *wire.Framed, who Viewer, number uint32, a *wire.Attach) error {
	if c := s.channel(number); c != nil {
		if _, ok := c.Stage().(interface{ Lasts() }); ok {
			return c.Serve(ctx, f, who, a)
		}
	}
	return wire.Errorf(wire.NotFound, "the session has no connection %d any more", number)
}

// asides is an [Audience] whose viewers may have lanes.
type asides interface {
	// Aside serves a lane of one of its viewers, as Serve does a viewer.
	Aside(f *wire.Framed, who Viewer) error
}

// aside serves a lane. Its viewer is admitted, and written down, already.
func (c *Channel) aside(t Stage, f *wire.Framed, who Viewer) error {
	a, ok := t.Audience().(asides)
	if !ok || f == nil {
		return &wire.Error{Code: wire.TicketInvalid}
	}
	if who.Check != nil {
		if err := who.Check(false); err != nil {
			return err
		}
	}
	return a.Aside(f, who)
}

// admit does what comes before anybody sees a session: their right to it, and the record of who
// only watches.
func (s *Session) admit(ctx context.Context, who Viewer) error {
	if err := s.held(); err != nil {
		return err
	}
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
	if who.Channel > 1 {
		e.Fields["number"] = fmt.Sprint(who.Channel)
	}
	return s.append(ctx, e)
}

// present tells whether somebody has the session, and who watches.
func (s *Session) present() (attached bool, watchers []string) {
	watchers = []string{}
	for _, c := range s.shown() {
		one, more := c.stage.Audience().Present()
		attached, watchers = attached || one, append(watchers, more...)
	}
	return attached, watchers
}

// ends is when the session ends for want of an owner, if nothing happens; zero: it does not. It ends with the last of its channels.
func (s *Session) ends() (at time.Time) {
	for _, c := range s.shown() {
		e := c.stage.Audience().Ends()
		if e.IsZero() {
			return e
		}
		if e.After(at) {
			at = e
		}
	}
	return at
}
