package relay

import (
	"context"
	"time"

	"scrier/wire"
)

const (
	// pulseLate is when a program that pings is asked by itself: it has left one out.
	pulseLate = 6 * time.Second

	// pulseLook is how often it is looked what the network says of it.
	pulseLook = 500 * time.Millisecond

	// pulseRefusals is how often the network must say that a program's socket is gone: once may be about what was under way.
	pulseRefusals = 2

	// pulseNews is how soon the network has to say so, once the program was asked. Else the network itself was away: what it says later is of a
	// socket that a living program has left meanwhile, as it looked for another way.
	pulseNews = 3 * time.Second

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
	if c.refused == nil {
		return
	}
	count, forget := c.refused()
	defer forget()
	timer := time.NewTimer(pulseLate)
	defer timer.Stop()
	for before := 0; ; before = count() {
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
		if c.silent(ctx, f, func() int { return count() - before }, pings, over) {
			_ = c.link.Close(wire.CodeOf(errProgramGone), wire.DetailOf(errProgramGone))
			return
		}
		timer.Reset(pulseLate)
	}
}

// silent says whether the program is gone, or that it has pinged again. count is how often the network has said so since its last ping: what
// was under way then is sent less and less often by now, and so the answers are rare.
func (c *client) silent(ctx context.Context, f *wire.Framed, count func() int, pings, over <-chan struct{}) (gone bool) {
	look := time.NewTicker(pulseLook)
	defer look.Stop()
	if f.Send(&wire.Pong{}) != nil {
		return false // the link has ended, or will by itself
	}
	var refused <-chan time.Time
	asked := time.Now()
	for {
		select {
		case <-look.C:
			switch {
			case refused != nil:
			case count() >= pulseRefusals:
				refused = time.After(pulseAgain)
			case time.Since(asked) >= pulseNews:
				look.Stop()
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
