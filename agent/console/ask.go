package console

import (
	"context"
	"io"
	"os"
	"time"

	"scrier/wire"
)

const (
	patience = 30 * time.Second // how long a question waits for its answer
	grace    = 5 * time.Second  // after that, a dialog that has not ended by itself is ended
	mapTime  = 5 * time.Second  // until a notice must be on the screen
	mapPoll  = 50 * time.Millisecond
	settle   = 500 * time.Millisecond // a notice on Wayland whose program still runs then is on the screen
)

// ask asks the user of s, and returns nil only for a yes.
func (c *Console) ask(ctx context.Context, s *screen, p prompt) error {
	d, program, err := c.dialog(s)
	if err != nil {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return wire.Errorf(wire.Internal, "make pipe: %w", err)
	}
	defer r.Close()
	printed := make(chan string, 1)
	read := make(chan struct{})
	ch, err := c.start(s.person, job{
		argv: append([]string{program}, d.ask(p)...), env: c.screenEnv(s), stdout: w,
		linger: func() { // the command of swaynag's button may print its word after swaynag has ended
			select {
			case <-read:
			case <-time.After(time.Second):
			}
		},
	})
	w.Close()
	if err != nil {
		return wire.Errorf(wire.DesktopFailed, "the question could not be shown: %w", err)
	}
	go func() {
		defer close(read)
		text, _ := io.ReadAll(io.LimitReader(r, 64)) // on an error, what was read before it counts
		printed <- string(text)
	}()
	// The goroutine ends at the latest when this function does.
	defer func() { <-read }()
	defer func() { _ = r.SetReadDeadline(time.Unix(1, 0)) }()

	began := time.Now()
	timer := time.NewTimer(p.wait + c.grace)
	defer timer.Stop()
	select {
	case <-ch.done:
	case <-timer.C:
		return errOr(ch.stop(), &wire.Error{Code: wire.ConsoleNoAnswer, Detail: s.login})
	case <-ctx.Done():
		if err := ch.stop(); err != nil {
			c.log.Warn("a dialog cannot be withdrawn", "err", err)
		}
		return wire.Cause(ctx, wire.Cancelled)
	}
	_ = r.SetReadDeadline(time.Now().Add(time.Second)) // all who could write are gone: it ends at once
	switch d.answer(ch.code, <-printed) {
	case yes:
		if time.Since(began) > p.wait+time.Second { // not every dialog ends by itself in time
			return wire.Errorf(wire.ConsoleNoAnswer, "%s answered too late", s.login)
		}
		return nil
	case none:
		return &wire.Error{Code: wire.ConsoleNoAnswer, Detail: s.login}
	}
	return &wire.Error{Code: wire.ConsoleRefused, Detail: s.login}
}

func errOr(err error, otherwise *wire.Error) error {
	if err != nil {
		return err
	}
	return otherwise
}

// notify opens the window that says who is looking, and returns when it is on the screen. When its
// program ends, the user has closed the window and wants the sharing to end.
func (c *Console) notify(ctx context.Context, s *screen, p prompt) (*child, error) {
	d, program, err := c.dialog(s)
	if err != nil {
		return nil, err
	}
	ch, err := c.start(s.person, job{argv: append([]string{program}, d.show(p)...), env: c.screenEnv(s)})
	if err != nil {
		return nil, wire.Errorf(wire.DesktopFailed, "the notice could not be shown: %w", err)
	}
	if err := c.visible(ctx, s, d, ch); err != nil {
		return nil, errOr(ch.stop(), wire.Errorf(wire.CodeOf(err), "%s", wire.DetailOf(err)))
	}
	return ch, nil
}

// visible waits until the notice is on the screen. X11 can be asked that. Elsewhere the notice is
// taken to be on the screen if its program still runs after a moment.
func (c *Console) visible(ctx context.Context, s *screen, d dialog, ch *child) error {
	ctx, cancel := context.WithTimeoutCause(ctx, mapTime, wire.Errorf(wire.DesktopFailed, "the notice did not appear"))
	defer cancel()
	began := time.Now()
	xwininfo := c.programs.find("xwininfo")
	tick := time.NewTicker(mapPoll)
	defer tick.Stop()
	for {
		select {
		case <-ch.done:
			return wire.Errorf(wire.ConsoleEnded, "the notice was closed, or could not be shown")
		case <-ctx.Done():
			return wire.Cause(ctx, wire.Cancelled)
		case <-tick.C:
		}
		if !d.onX11 || s.kind != x11 || xwininfo == "" {
			if time.Since(began) > settle {
				return nil
			}
			continue
		}
		out, status, err := c.output(ctx, s.person, c.env(s.person, xEnv(s)...), xwininfo, "-name", title)
		if err == nil && status == 0 && isViewable(out) {
			return nil
		}
	}
}
