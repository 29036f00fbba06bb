package agent

import (
	"context"
	"time"

	"scrier/network"
	"scrier/wire"
)

const (
	// listenEvery is how often an agent looks whether anything comes on its link. That sends nothing.
	listenEvery = 3 * time.Second

	// unheard is how many times in a row nothing may have come, not even that what was sent has arrived, before the link looks for
	// another way.
	unheard = 2

	// gone is how often the network must have said meanwhile that nobody listens at the relay's port, for the relay to be gone.
	gone = 2

	// lost is how many times in a row, for the link to be given up: 45 s, as of a link over TCP.
	lost = 15

	// strands is how many times in a row, for another road to be looked for.
	strands = 4

	// moveWait is how long that may take at a time.
	moveWait = 2 * time.Second
)

// errSilent ends a link on which nothing comes any more. QUIC would wait for much longer, as an agent may rest.
var errSilent = &wire.Error{Code: wire.Internal, Detail: "nothing comes from the relay any more"}

// errNarrow ends a link that lets through what is short alone, when there is a better one.
var errNarrow = &wire.Error{Code: wire.Internal, Detail: "large packets get no answer over UDP any more"}

// errNobody ends a link whose relay has ended without a word. All of it comes anew with the next one.
var errNobody = &wire.Error{Code: wire.Internal, Detail: "nobody listens at the relay's port any more"}

// roam has the link go another way through the network when this one leads nowhere any more: sessions go on with it. Nothing is sent
// for that but a heartbeat when the network has changed.
func (l *agentLink) roam(ctx context.Context) error {
	r, ok := l.link.(wire.Roamer)
	if !ok {
		return nil
	}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	return l.roamBy(ctx, r, network.Watch(watching))
}

// roamBy is roam for a link r. changed tells when the network has changed.
func (l *agentLink) roamBy(ctx context.Context, r wire.Roamer, changed <-chan struct{}) error {
	tick := time.NewTicker(l.look)
	defer tick.Stop()
	large, line := newPulse(l.link), wire.LineOf(l.link)
	passed, heard, refused, quiet := r.Passed(), r.Heard(), r.Refused(), 0
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-l.link.Context().Done():
			return nil
		case <-changed:
			select {
			case l.now <- struct{}{}:
			default:
			}
			tick.Reset(l.look)
			passed, heard, quiet = r.Passed(), r.Heard(), unheard-1
			continue
		case <-tick.C:
		}
		p, h := r.Passed(), r.Heard()
		if l.pongs && l.usage.busy() && large.look(p-passed, h, line.Lossy()) {
			if l.usage.isOld() && time.Since(large.since) >= narrowFor {
				_ = l.link.Close(errNarrow.Code, errNarrow.Detail)
				return errNarrow
			}
			l.strand(stranded{wire.WhyLarge, true})
		}
		switch {
		case h != heard:
			quiet, refused = 0, r.Refused()
		case p != passed, quiet >= unheard:
			quiet++
		}
		passed, heard = p, h
		if quiet < unheard {
			continue
		}
		if r.Refused()-refused >= gone {
			l.nobody = true
			_ = l.link.Close(errNobody.Code, errNobody.Detail)
			return errNobody
		}
		if quiet >= lost {
			_ = l.link.Close(errSilent.Code, errSilent.Detail)
			return errSilent
		}
		moving, cancel := context.WithTimeout(ctx, moveWait)
		err := r.Move(moving)
		cancel()
		if err == nil {
			quiet = 0
			l.Log.Info("the link goes another way through the network")
		} else {
			l.Log.Debug("nothing comes on the link, and there is no other way", "err", err)
			_ = r.Rebind() // not every system can
			if quiet >= strands {
				l.strand(stranded{wire.WhyNoAnswer, false})
			}
		}
	}
}

// stranded is a link that is no good any more, as far as the agent can tell.
type stranded struct {
	why  string
	says bool // what is short still gets through
}

// strand has another road looked for.
func (l *agentLink) strand(s stranded) {
	select {
	case l.stranded <- s:
	default: // somebody looks already
	}
}
