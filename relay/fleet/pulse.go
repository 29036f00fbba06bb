package fleet

import (
	"errors"
	"os"

	"golang.org/x/time/rate"

	"scrier/wire"
)

// pulse answers an agent's pings for as long as it asks.
func (l *agentLink) pulse(s wire.Stream) error {
	defer s.Reset(wire.None)
	f := wire.NewFramed(s)
	limit := rate.NewLimiter(controlRate, controlBurst)
	for {
		m, err := f.ReceiveWithin(wholeTimeout)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return wire.Errorf(wire.Protocol, "a message did not end within %s", wholeTimeout)
		case wire.CodeOf(err) == wire.Protocol && l.link.Err() == nil:
			return err
		case err != nil: // it asks no more
			return nil
		}
		ping, ok := m.(*wire.Ping)
		if !ok {
			return wire.Errorf(wire.Protocol, "unexpected %T where an agent's pings come", m)
		}
		if !limit.Allow() {
			return wire.Errorf(wire.Protocol, "more than %d pings a second", controlRate)
		}
		if f.Send(&wire.Pong{N: ping.N, Pad: make([]byte, min(len(ping.Pad), wire.MaxPad))}) != nil {
			return nil // it does not take the answer: what is wrong with the link, others find
		}
	}
}
