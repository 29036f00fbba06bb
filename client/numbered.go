package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"scrier/wire"
)

// numbered is a command whose bytes have numbers: it goes on over as many connections as it takes.
//
//	attached --broken--> waiting --Attached--> attached
//	   |                   |
//	   | exit, end of ctx  | refused, no longer kept, end of ctx
//	   v                   v
//	  over                over
type numbered struct {
	relay   *Relay
	req     CommandRequest
	session wire.SessionID
	part    uint32 // of the session: the number of this command's channel
	client  []byte // names this viewer among the session's
	grace   time.Duration

	news chan struct{} // wakes who sends
	in   *supply
	outs [2]*sink // standard output, standard error

	mu     sync.Mutex
	closed bool  // nobody takes the output
	failed error // it cannot be written
	fails  chan struct{}
}

func newNumbered(r *Relay, req CommandRequest, client []byte, a *wire.Attached) *numbered {
	c := &numbered{
		relay: r, req: req, session: a.Session, part: a.Part, client: client, grace: time.Duration(a.Grace) * time.Second,
		news: make(chan struct{}, 1), fails: make(chan struct{}),
	}
	if c.grace == 0 {
		c.grace = usualGrace
	}
	c.in = &supply{news: c.news, room: make(chan struct{}, 1)}
	c.outs = [2]*sink{
		newSink(req.Out, wire.ProgramWindow, c.news, c.fail),
		newSink(req.Err, wire.ErrorsWindow, c.news, func(error) {}), // whoever closes it wants to hear nothing
	}
	return c
}

// fail is told that standard output cannot be written. Without a reader it goes nowhere, and the command learns that.
func (c *numbered) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if NoReader(err) {
		c.closed = true
	} else {
		c.failed = fmt.Errorf("write the command's output: %w", err)
		close(c.fails)
	}
}

func (c *numbered) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failed
}

func (c *numbered) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// status carries the command's bytes until it has ended, and gives its exit status.
func (c *numbered) status(ctx context.Context, f *wire.Framed, a *wire.Attached) (int, error) {
	exit, err := c.run(ctx, f, a)
	switch link := c.relay.link; {
	case err != nil && ctx.Err() != nil:
		return 0, wire.Cause(ctx, wire.Cancelled)
	case err != nil && c.failure() == nil && link.Err() != nil && !broke(link):
		return 0, c.relay.why()
	case err != nil:
		return 0, err
	case exit.Code != wire.None:
		return 0, ended(exit.Code, exit.Detail)
	}
	return statusOf(exit), nil
}

// run carries the command's bytes until it has ended.
func (c *numbered) run(ctx context.Context, f *wire.Framed, a *wire.Attached) (*wire.Exit, error) {
	over := make(chan struct{})
	defer close(over)
	defer func() {
		for _, s := range c.outs {
			s.end()
		}
	}()
	err := c.in.resume(a)
	if err != nil {
		f.Reset(wire.Cancelled)
		return nil, err
	}
	// What reads and writes for us cannot be interrupted in every case; these goroutines end with the process at the latest.
	go c.in.fill(c.req.In, over)
	for _, s := range c.outs {
		go s.run()
	}
	for {
		exit, why := c.attached(ctx, f)
		if exit == nil && ctx.Err() == nil && c.failure() == nil && c.relay.passes(why) {
			if f, err = c.again(ctx); err == nil {
				continue
			}
			why = err
		}
		c.drain(ctx, exit != nil && exit.Code == wire.None)
		if err := c.failure(); err != nil {
			return nil, err
		}
		return exit, why
	}
}

// drain waits until the outputs are written: for as long as it takes, or only while something is.
func (c *numbered) drain(ctx context.Context, patient bool) {
	for _, s := range c.outs {
		s.end()
		s.drain(ctx, patient)
	}
}

// attached carries bytes over one connection. The error says why it ended before the command did.
func (c *numbered) attached(ctx context.Context, f *wire.Framed) (exit *wire.Exit, why error) {
	conn, end := context.WithCancelCause(ctx)
	defer end(nil)
	var wg sync.WaitGroup
	wg.Go(func() {
		var err error
		exit, err = c.receive(f)
		end(err)
	})
	wg.Go(func() {
		if err := c.send(conn, f); err != nil {
			end(lost(err))
		}
	})
	select {
	case <-conn.Done():
	case <-c.relay.pulse.silence():
		end(errSilent)
	case <-c.fails:
		end(c.failure())
	}
	switch why = context.Cause(conn); {
	case errors.Is(why, errExit):
		why = nil
		f.Reset(wire.None) // the relay learns by this that Exit has come
	case ctx.Err() != nil, c.failure() != nil, wire.CodeOf(why) == wire.Protocol:
		f.Reset(wire.Cancelled)
	default: // the network's doing: this command comes back
		f.Reset(wire.Internal)
	}
	wg.Wait()
	if exit != nil {
		why = nil
	}
	return exit, why
}

// receive takes what the relay sends until Exit, for which the error is errExit. It waits for nothing else.
func (c *numbered) receive(f *wire.Framed) (*wire.Exit, error) {
	for {
		m, err := f.Receive()
		if err == nil {
			switch m := m.(type) {
			case *wire.Data:
				err = c.outs[0].put(m.Bytes)
			case *wire.Errors:
				err = c.outs[1].put(m.Bytes)
			case *wire.Ack:
				err = c.in.arrived(m)
			case *wire.Exit:
				return m, errExit
			default:
				err = wire.Errorf(wire.Protocol, "unexpected %T from the relay", m)
			}
			if err == nil {
				continue
			}
			return nil, err
		}
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, lost(err)
	}
}

// send sends input, and what the person has got of the output, until the connection ends.
func (c *numbered) send(ctx context.Context, f *wire.Framed) error {
	s := sender{numbered: c, buf: make([]byte, wire.DataHeader+wire.MaxData)}
	for {
		messages, frame, wait := s.due()
		if len(messages) > 0 || len(frame) > 0 {
			if err := f.WriteBy(time.Time{}, messages, frame); err != nil {
				return err
			}
			continue
		}
		var later <-chan time.Time
		if wait > 0 {
			later = time.After(wait)
		}
		select {
		case <-c.news:
		case <-later:
		case <-ctx.Done():
			return nil
		}
	}
}

// sender is what a relay was told over one connection.
type sender struct {
	*numbered
	buf         []byte
	acked       [2]uint64
	ackedAt     time.Time
	eof, closed bool
}

// due is what is to be sent now; nothing, and wait: something is after that time.
func (s *sender) due() (messages []wire.Message, frame []byte, wait time.Duration) {
	n, eof := s.in.next(s.buf[wire.DataHeader:])
	if n > 0 {
		frame = wire.DataFrame(s.buf, n)
	}
	if s.isClosed() && !s.closed {
		s.closed = true
		messages = append(messages, &wire.Closed{})
	}
	var written [2]uint64
	some, much := false, false
	for i, o := range s.outs {
		_, written[i] = o.came()
		some = some || written[i] > s.acked[i]
		much = much || written[i]-s.acked[i] >= []uint64{ackEvery, wire.ErrorsWindow / 16}[i]
	}
	if some {
		if wait = ackWithin - time.Since(s.ackedAt); wait <= 0 || much || n > 0 {
			s.acked, s.ackedAt, wait = written, time.Now(), 0
			messages = append(messages, &wire.Ack{Offset: written[0], Errors: written[1]})
		}
	}
	if eof && !s.eof && n == 0 { // behind all input
		s.eof = true
		messages = append(messages, &wire.EOF{})
	}
	return messages, frame, wait
}

// again attaches once more, and tries for as long as the relay may keep the session.
func (c *numbered) again(ctx context.Context) (*wire.Framed, error) {
	began, before, failed := time.Now(), c.relay.link, false
	f, err := again(ctx, c.grace+linkNotice, func(ctx context.Context) (*wire.Framed, error) {
		f, err := c.attempt(ctx, failed || c.relay.link.Err() != nil || c.relay.pulse.isSilent())
		failed = err != nil
		return f, err
	})
	switch {
	case wire.CodeOf(err) == wire.NotFound:
		return nil, c.relay.ending(ctx, c.session)
	case err != nil:
		return nil, err
	case c.relay.link == before: // what broke was a connection of the command's own
		return f, nil
	}
	fmt.Fprintf(c.req.Messages, "scrier: the connection to the relay was lost, and is there again after %d s; the command goes on\n", int(time.Since(began).Seconds()))
	if c.req.Rejoined != nil {
		c.req.Rejoined(c.relay.bound())
	}
	return f, nil
}

// attempt is one attempt to attach. fresh says that the link is no good any more.
func (c *numbered) attempt(ctx context.Context, fresh bool) (*wire.Framed, error) {
	if fresh {
		if err := c.relay.relink(ctx); err != nil {
			return nil, err
		}
	}
	ticket, err := c.relay.right(ctx, c.session.String(), c.part)
	if err != nil {
		return nil, err
	}
	var from [2]uint64
	for i, s := range c.outs {
		from[i], _ = s.came()
	}
	f, a, err := c.relay.join(ctx, &wire.Attach{Ticket: ticket, Client: c.client, From: &from[0], Errors: &from[1], Back: true}, dialogue{messages: c.req.Messages})
	if err != nil {
		return nil, err
	}
	if err := c.resumes(a, from); err != nil {
		f.Reset(wire.Cancelled)
		return nil, err
	}
	return f, nil
}

func (c *numbered) resumes(a *wire.Attached, from [2]uint64) error {
	if a.Session != c.session || !a.Numbered || a.Offset != from[0] || a.Errors != from[1] {
		return wire.Errorf(wire.Protocol, "the relay attached this command at bytes %d and %d, and not at %d and %d", a.Offset, a.Errors, from[0], from[1])
	}
	return c.in.resume(a)
}
