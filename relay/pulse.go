package relay

import (
	"context"
	"time"

	"scrier/wire"
)

const (
	// pulseLate is when a program that pings is asked by itself: it has left one out.
	pulseLate = 6 * time.Second

	// pulseLook is how often it is looked what the network says of it. What asks is sent again and again meanwhile.
	pulseLook = 500 * time.Millisecond

	// pulseRefusals is how often the network must say that a program's socket is gone: once may be about what was under way.
	pulseRefusals = 2

	// pulseAgain is how long one may take to ping whose socket is gone: it may have changed it, and found the way a moment ago.
	pulseAgain = 2 * time.Second
)

// errProgramGone is how a link ends whose program has.
var errProgramGone = wire.Errorf(wire.ViewerLost, "the program has ended: its machine says that nobody listens there any more")

// pulse tells an operator's program that its link lives, for as long as it asks. One that was killed is noticed if the network
// says so; else it may be asleep, and the link has the usual time.
func (c *client) pulse(ctx context.Context, f *wire.Framed, m *wire.Ping) error {
	if c.id.ID == "" {
		return wire.Errorf(wire.Unauthenticated, "you are not logged in")
	}
	pings := make(chan struct{}, 1)
	over := make(chan struct{})
	defer close(over)
	go c.late(ctx, f, pings, over)
	for {
		if err := f.Send(&wire.Pong{N: m.N, Pad: make([]byte, min(len(m.Pad), wire.MaxPad))}); err != nil {
			return nil // its link has ended, or it asks no more
		}
		next, err := f.Receive()
		if err != nil {
			return nil
		}
		var ok bool
		if m, ok = next.(*wire.Ping); !ok {
			return wire.Errorf(wire.Protocol, "unexpected %T from who pings", next)
		}
		select {
		case pings <- struct{}{}:
		default:
		}
	}
}

// late asks a program that pings no more, and ends its link if the network says that it is gone.
func (c *client) late(ctx context.Context, f *wire.Framed, pings, over <-chan struct{}) {
	timer := time.NewTimer(pulseLate)
	defer timer.Stop()
	for {
		select {
		case <-pings:
			timer.Reset(pulseLate)
			continue
		case <-timer.C:
		case <-over:
			return
		case <-ctx.Done():
			return
		}
		if c.silent(ctx, f, pings, over) {
			_ = c.link.Close(wire.CodeOf(errProgramGone), wire.DetailOf(errProgramGone))
			return
		}
		timer.Reset(pulseLate)
	}
}

// silent says whether the program is gone, or that it has pinged again.
func (c *client) silent(ctx context.Context, f *wire.Framed, pings, over <-chan struct{}) (gone bool) {
	if c.refused == nil {
		return false
	}
	count, forget := c.refused()
	defer forget()
	look := time.NewTicker(pulseLook)
	defer look.Stop()
	if f.Send(&wire.Pong{}) != nil {
		return false // the link has ended, or will by itself
	}
	var refused <-chan time.Time
	for {
		select {
		case <-look.C:
			if refused == nil && count() >= pulseRefusals {
				refused = time.After(pulseAgain)
			}
		case <-refused:
			return true
		case <-pings:
			return false
		case <-over:
			return false
		case <-ctx.Done():
			return false
		}
	}
}
