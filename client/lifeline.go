package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"scrier/wire"
)

// lifeline keeps a terminal attached to its session, over as many connections as it takes: output and input go on
// at the byte where they were.
//
//	attached --broken--> waiting --Attached--> attached
//	   |                   |
//	   | exit, ~., signal  | refused, no longer kept, ~., Ctrl-C
//	   v                   v
//	  over                over
type lifeline struct {
	relay    *Relay
	req      ShellRequest
	terminal *Terminal
	restore  func() // gives the terminal back
	program  context.Context

	session wire.SessionID
	part    uint32 // of the session: the number of this terminal's channel
	client  []byte // names this viewer among the session's
	grace   time.Duration
	input   *input
	keys    *keyboard
	left    leftover
	offset  uint64        // how much of the output is on the terminal
	pause   time.Duration // before the next attempt
	apart   bool          // the person left while there was no connection
}

const (
	// usualGrace is how long a relay keeps a session that nobody shows, unless it says so.
	usualGrace = time.Minute

	// linkNotice is how long the two ends of a link that died may take to notice, one after the other.
	linkNotice = 45 * time.Second

	// attachWait is how long a relay may take to attach this terminal again, once there is a link.
	attachWait = 10 * time.Second

	maxPause = 4 * time.Second // between two attempts
	stable   = 5 * time.Second // after which an attachment counts as a success
)

// errLeft is the person's ~., or Ctrl-C while there is no connection.
var errLeft = errors.New("disconnected")

// run shows the session until it ends. free says that nobody writes to the terminal any more.
func (l *lifeline) run(ctx context.Context, c *attachment) (exit *wire.Exit, free bool, why error) {
	for {
		began := time.Now()
		exit, free, why = c.run(ctx)
		if errors.Is(why, errBetter) && free && ctx.Err() == nil {
			l.input.part()
			if next := l.move(ctx); next != nil {
				c = next
				continue
			}
			why = lost(errBetter) // which it is by now: it goes on as after any loss
		}
		if time.Since(began) >= stable {
			l.pause = 0
		}
		l.input.part()
		if ctx.Err() != nil || !free || !l.relay.passes(why) {
			return exit, free, why
		}
		next, err := l.again(ctx)
		if err != nil {
			return nil, true, err
		}
		c = next
	}
}

// errBetter ends an attachment for one over a better link.
var errBetter = errors.New("there is a better link")

// move attaches over the better link that was found; nil: that cannot be had. The person sees nothing of it.
func (l *lifeline) move(ctx context.Context) *attachment {
	old := l.relay.adopt()
	if old == nil {
		return nil
	}
	c, err := l.attempt(ctx, false, false)
	if l.req.Session == nil { // else its other channels end there
		_ = old.Close(wire.None, "")
	} else if l.req.Rejoined != nil { // they cannot follow now, but when they are lost they can
		now := l.relay.bound()
		context.AfterFunc(old.Context(), func() {
			if broke(old) && ctx.Err() == nil {
				l.req.Rejoined(now)
			}
		})
	}
	if err != nil {
		return nil
	}
	return c
}

// leaves says whether the person has ended the session, by ending this program or otherwise.
func (l *lifeline) leaves(why error) bool {
	return errors.Is(why, errLeft) || wire.CodeOf(why) == wire.Cancelled || l.program.Err() != nil
}

// passes says whether what ended a connection may pass: the session may still be there.
func (r *Relay) passes(why error) bool {
	if r.redial == nil || wire.CodeOf(why) != wire.RelayUnreachable {
		return false
	}
	if r.link.Err() != nil {
		return broke(r.link)
	}
	var broken *wire.Error // within what lost says
	return !errors.As(errors.Unwrap(why), &broken) || broken.Code != wire.Protocol
}

// broke says that a link has ended without a word of the relay's, or with the word that this program seemed to be gone: so it looks for a
// moment when it has taken another socket.
func broke(link wire.Link) bool {
	code := wire.CodeOf(link.Err())
	return link.Err() != nil && (code == wire.Internal || code == wire.ViewerLost)
}

// again attaches once more, and tries for as long as the relay may keep the session.
func (l *lifeline) again(ctx context.Context) (*attachment, error) {
	l.keys.offline.Store(true)
	defer l.keys.offline.Store(false)
	status := l.status()
	defer status.stop()
	failed := false
	limit := l.grace + linkNotice
	for began := time.Now(); ; {
		select {
		case <-time.After(l.pause):
		case <-ctx.Done():
			l.apart = true
			return nil, context.Cause(ctx)
		}
		l.pause = min(l.pause+500*time.Millisecond, maxPause)
		c, err := l.attempt(ctx, failed || l.relay.link.Err() != nil || l.relay.pulse.isSilent(), true)
		switch {
		case err == nil:
			if l.req.Rejoined != nil {
				l.req.Rejoined(l.relay.bound())
			}
			return c, nil
		case ctx.Err() != nil:
			l.apart = true
			return nil, context.Cause(ctx)
		case wire.CodeOf(err) == wire.NotFound:
			return nil, l.relay.ending(ctx, l.session)
		case !passing(err):
			return nil, err
		case time.Since(began) > limit:
			return nil, lost(fmt.Errorf("it did not come back within %s: %w", limit.Round(time.Second), err))
		}
		failed = true
	}
}

// passing says whether the same may work later.
func passing(err error) bool {
	switch code := wire.CodeOf(err); code {
	case wire.RelayUnreachable, wire.Internal, wire.TicketInvalid, wire.Busy:
		return true
	default:
		return code.ExitStatus() == wire.Busy.ExitStatus()
	}
}

// attempt is one attempt to attach. fresh says that the link is no good any more, anew that something was written over the screen.
func (l *lifeline) attempt(ctx context.Context, fresh, anew bool) (*attachment, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout+attachWait)
	defer cancel()
	if fresh {
		if err := l.relay.relink(ctx); err != nil {
			return nil, err
		}
	}
	a, err := l.relay.ticket(ctx, l.req, l.session.String(), l.part)
	if err != nil {
		return nil, err
	}
	a.Client, a.From, a.Back, a.Anew, a.Answers = l.client, &l.offset, true, anew, false
	f, attached, err := l.relay.join(ctx, a, dialogue{terminal: l.req.Terminal, messages: l.req.Messages})
	if err != nil {
		return nil, err
	}
	if attached.Offset < l.offset || attached.Watching {
		f.Reset(wire.Protocol)
		return nil, wire.Errorf(wire.Protocol, "the relay attached this terminal at byte %d, and not at %d", attached.Offset, l.offset)
	}
	l.offset = attached.Offset
	if l.input.resume(attached.Typed, uint64(attached.Window)) {
		l.say("Some of what you typed last may not have arrived.")
	}
	return newAttachment(l, f, attached), nil
}

// ending is how a session ended that is not there any more.
func (r *Relay) ending(ctx context.Context, session wire.SessionID) error {
	ctx, cancel := context.WithTimeout(ctx, attachWait)
	defer cancel()
	gone := &wire.Error{Code: wire.NotFound, Detail: "the session has ended meanwhile"}
	data, err := r.Do(ctx, "GET", "/sessions/"+Escape(session.String()), nil)
	if err != nil {
		return gone
	}
	var row struct{ Reason, Detail string }
	if err := json.Unmarshal(data, &row); err != nil {
		return gone
	}
	if code, ok := wire.ParseCode(row.Reason); ok && code != wire.None {
		return ended(code, row.Detail)
	}
	return gone
}

// command is how a person goes on with the session.
func (l *lifeline) command() string { return "scrier ssh --attach " + l.session.String() }

// advise says how to go on when a connection was lost for good.
func (l *lifeline) advise(why error) error {
	e, ok := errors.AsType[*wire.Error](why)
	if !ok || e.Code != wire.RelayUnreachable || e.Advice != "" {
		return why
	}
	told := *e
	return told.Advise("if the session is still open, `%s` goes on with it", l.command())
}

// show writes what a session shows, and notes what of it would outlive the session.
func (l *lifeline) show(p []byte) error {
	if before := l.left.feed(p); before != "" {
		if _, err := l.terminal.Write([]byte(before)); err != nil {
			return fmt.Errorf("write to the terminal: %w", err)
		}
	}
	if _, err := l.terminal.Write(p); err != nil {
		return fmt.Errorf("write to the terminal: %w", err)
	}
	return nil
}
