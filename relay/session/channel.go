package session

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"scrier/relay/audit"
	"scrier/wire"
)

// maxChannels is how many conversations a session may have at once: a thousand, and the few that they came with.
const maxChannels = 1100

// maxShared is how many of them keep a session from being joined by who did not ask for this very one: some are left for what
// it is used for.
const maxShared = 100

// Channel is one conversation of a session: what a [Stage] is made for. Its context, its end and its bytes are its own, all
// else is the session's. The first one is there from the beginning; others come by [Session.More].
type Channel struct {
	*Session
	number uint32
	ctx    context.Context
	cancel context.CancelCauseFunc
	begun  time.Time

	sent, received atomic.Uint64 // bytes to and from the envoy
	stage          Stage         // nil until Show; guarded by the session's mutex
	fields         map[string]string
}

// Connection is what the channels of a session are opened on.
type Connection interface {
	// Fits says whether what is asked for could as well be a channel of this session: it is the same login on the same
	// machine, by the same keys, and the rights suffice.
	Fits(*Request) bool
	// Check says what of a request for one more channel is not well formed or not allowed. Intent is what the audit log
	// says of it then.
	Check(*Request) error
	Intent(*Request) map[string]string
	// Open opens it. ctx bounds the opening alone.
	Open(ctx context.Context, c *Channel, req *Request) (Stage, error)
	// Rights is what the session may be used for.
	Rights() []wire.Right
}

func (s *Session) newChannelLocked() *Channel {
	s.last++
	c := &Channel{Session: s, number: s.last, begun: s.table.Now()}
	c.ctx, c.cancel = context.WithCancelCause(s.ctx)
	return c
}

// First is the session's first channel.
func (s *Session) First() *Channel { return s.first }

// Number is the channel's, from 1.
func (c *Channel) Number() uint32 { return c.number }

// Stage is what the channel shows; nil before it does.
func (c *Channel) Stage() Stage {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stage
}

// Context ends when the channel has to end, and its cause says why.
func (c *Channel) Context() context.Context { return c.ctx }

// End asks for the end of the channel alone. The session ends with its last one.
func (c *Channel) End(why error) { c.cancel(why) }

// Count counts bytes to and from the envoy.
func (c *Channel) Count(sent, received int) {
	c.sent.Add(uint64(sent))
	c.received.Add(uint64(received))
	c.Session.count(sent, received)
}

// Attached is what every viewer is told; the stage fills in the rest.
func (c *Channel) Attached() *wire.Attached {
	a := c.Session.attached()
	a.Part, a.Shared = c.number, c.number > 1
	return a
}

// More opens one more channel on a session that is open, and gives it a stage. Nothing is asked of the envoy before it is
// written down.
func (s *Session) More(ctx context.Context, req *Request) (_ *Channel, err error) {
	s.mu.Lock()
	connection, over := s.connection, s.overLocked()
	var c *Channel
	switch {
	case over:
		err = ErrOver
	case connection == nil:
		err = wire.Errorf(wire.NotFound, "the session is not open yet, or has one channel only")
	case s.running >= maxChannels:
		err = wire.Errorf(wire.Limit, "%d channels of the session are open, and no more can be", s.running).Advise("close some of them, or open another session")
	default:
		c = s.newChannelLocked()
		s.running++ // from here on it keeps the session open
	}
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			if wire.CodeOf(err) == wire.Busy {
				s.noteFull()
			}
			c.over(wire.ExitOf(err))
		}
	}()
	err = errPanic
	var stage Stage
	s.Guard(func() { stage, err = c.ask(ctx, connection, req) })
	if err != nil {
		return nil, err
	}
	c.show(stage)
	return c, nil
}

// ErrOver is that a session has ended, or is about to: it has no more channels.
var ErrOver = wire.Errorf(wire.NotFound, "the session has ended")

func (s *Session) overLocked() bool { return s.closing || s.ctx.Err() != nil || s.held() != nil }

// noteFull notes that the machine takes no more channels than there are besides one that is being opened.
func (s *Session) noteFull() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := max(1, s.running-1); s.full == 0 || now < s.full {
		s.full = now
	}
}

// roomyLocked says whether one more may join that did not ask for this very session.
func (s *Session) roomyLocked() bool {
	return s.running < maxShared && (s.full == 0 || s.running < s.full)
}

// ask has the envoy open the channel.
func (c *Channel) ask(ctx context.Context, connection Connection, req *Request) (Stage, error) {
	if err := connection.Check(req); err != nil {
		return nil, err
	}
	if err := c.open(ctx, connection.Intent(req)); err != nil {
		return nil, err
	}
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	defer context.AfterFunc(c.ctx, func() { end(context.Cause(c.ctx)) })()
	return connection.Open(ctx, c, req)
}

// open writes to the audit log what is about to be asked of the envoy.
func (c *Channel) open(ctx context.Context, fields map[string]string) error {
	c.fields = fields
	return c.append(ctx, c.event(channelType))
}

func (c *Channel) event(what string) audit.Event {
	e := c.Session.event(what)
	maps.Copy(e.Fields, c.fields)
	e.Fields["number"] = fmt.Sprint(c.number)
	return e
}

const (
	channelType    = "session.channel"
	channelEndType = "session.channel_end"
)

// Record writes to the audit log what happened on the channel, or what is about to.
func (c *Channel) Record(ctx context.Context, what string, fields map[string]string) error {
	e := c.Session.event(what)
	maps.Copy(e.Fields, fields)
	e.Fields["number"] = fmt.Sprint(c.number)
	return c.append(ctx, e)
}

// RecordSoon is Record for much that has happened one after the other: the records have this order, and written, which must be
// called, waits for one.
func (c *Channel) RecordSoon(ctx context.Context, what string, fields map[string]string) (written func() error) {
	e := c.Session.event(what)
	maps.Copy(e.Fields, fields)
	e.Fields["number"] = fmt.Sprint(c.number)
	return c.appendSoon(ctx, e)
}

// written is the record of how a channel ended, if it has one: that of a session's only channel is in the record of the
// session's end.
func (c *Channel) written(exit *wire.Exit) {
	if c.fields == nil {
		return
	}
	e := c.event(channelEndType)
	e.Code, e.Detail = exit.Code.String(), cut(exit.Detail)
	ended(e.Fields, exit)
	e.Fields["sent"], e.Fields["received"] = fmt.Sprint(c.sent.Load()), fmt.Sprint(c.received.Load())
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if _, err := c.table.Journal.Append(ctx, e); err != nil { // an operator makes as many as they like: none of the reserve is for them
		c.Log().Error("the record of a channel's end could not be written", "number", c.number, "err", err)
		c.table.look()
	}
}

// ended says in a record how a program ended.
func ended(fields map[string]string, exit *wire.Exit) {
	switch {
	case exit.Code != wire.None:
	case exit.Signal != "":
		fields["signal"] = cut(exit.Signal)
	default:
		fields["status"] = fmt.Sprint(exit.Status)
	}
}

// Serve serves a viewer of this channel until it leaves or the channel ends, as [Session.Serve] does.
func (c *Channel) Serve(ctx context.Context, f *wire.Framed, who Viewer, a *wire.Attach) error {
	who.Channel = c.number
	return c.Session.Serve(ctx, f, who, a)
}

// Shared is an open session of the operator's own, on a machine, which will do for what is asked for; nil: there is none.
func (t *Table) Shared(operatorID string, envoy wire.EnvoyID, source string, req *Request) *Session {
	t.mu.Lock()
	live := slices.Collect(maps.Values(t.live))
	t.mu.Unlock() // what a connection says takes a moment
	for _, s := range live {
		if s.row.OperatorID != operatorID || s.row.Envoy != envoy || s.row.Source != source {
			continue
		}
		s.mu.Lock()
		connection, open := s.connection, !s.overLocked() && s.roomyLocked()
		s.mu.Unlock()
		if open && connection != nil && connection.Fits(req) {
			return s
		}
	}
	return nil
}
