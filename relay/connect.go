package relay

import (
	"context"
	"crypto/rand"
	"time"

	"golang.org/x/crypto/ssh"

	"scrier/relay/access"
	"scrier/relay/session"
	"scrier/wire"
)

// clientSize is how long the ID is of a viewer that comes back to a numbered program: nobody guesses it.
const clientSize = 16

// connect serves a Connect message: it opens the session, or a channel on one that is open, and stays its viewer; of a
// desktop it is a native one. An error that is returned has not been told to the viewer yet.
func (c *client) connect(ctx context.Context, f *wire.Framed, m *wire.Connect) error {
	asked := time.Now()
	who, err := c.who(ctx)
	if err != nil {
		return err
	}
	if err := who.May(access.OpenSessions); err != nil { // before anything is said of their keys
		return err
	}
	id := m.Client
	if len(id) == 0 {
		id = make([]byte, 16)
		rand.Read(id)
	}
	req := &session.Request{
		Kind: m.Kind, Envoy: m.Envoy, Login: m.Login, Port: m.Port, Console: m.Console, Native: m.Kind != wire.KindSSH,
		Channel: m.Channel, Client: id, Numbered: m.Numbered && len(m.Client) == clientSize, Needs: m.Needs, Likes: m.Likes,
		Terminal: session.TerminalRequest{Term: m.Term, Size: m.Size, Env: m.Env, Modes: m.Modes},
	}
	attach := &wire.Attach{Client: id, Size: m.Size, Skip: m.Skip, Paint: m.Paint, Prompt: m.Prompt, Answers: m.Answers}
	if m.Session != (wire.SessionID{}) {
		s, err := c.sessions.Own(m.Session, who.ID)
		if err != nil {
			return err
		}
		if m.Channel != nil && m.Channel.Kind == wire.Back {
			attach.From = &m.Came
			return s.Back(ctx, f, viewerOf(who), m.Channel.Number, attach)
		}
		return c.more(ctx, f, who, s, req, attach)
	}
	if m.Kind == wire.KindSSH {
		if err := c.keys(ctx, who, m, req); err != nil {
			c.counts.refuse(err)
			return err
		}
	}
	kind, envoy, err := c.found(ctx, who, req)
	if err != nil {
		return err
	}
	opened := alone
	if m.Share && !req.Inline {
		var channel *session.Channel
		if channel, opened, err = c.share(ctx, who, envoy.ID, req); err != nil {
			return err
		}
		if channel != nil {
			return c.show(ctx, channel, f, viewerOf(who), attach)
		}
		defer opened(false)
	}
	if err := c.access.Change(who, false); err != nil {
		return err
	}
	o, err := c.take(ctx, who, req, kind, envoy, asked)
	if err != nil {
		return err
	}
	finish := func(ctx context.Context) error {
		err := c.finish(ctx, o)
		opened(err == nil)
		if err != nil || !req.Inline {
			return err
		}
		// A machine has let the key in.
		if err := c.access.RegisterInline(ctx, who, req.Keys[0], o.ID()); err != nil {
			c.Log.Warn("register a session's key", "operator", who.Username, "session", o.ID(), "err", err)
		}
		return nil
	}
	if m.Answers && m.Kind == wire.KindSSH {
		// The viewer is served while the session opens, and hears from it if it does not. The end of its link ends that,
		// unless somebody else has it by then.
		dialogue := o.Dialogue()
		if m.Channel != nil && (m.Channel.Plain || m.Channel.Kind != wire.Program) {
			dialogue.Only(id)
		}
		dialogue.Listen()
		opening, end := context.WithCancelCause(context.WithoutCancel(ctx))
		stop := context.AfterFunc(ctx, func() {
			if !dialogue.TakenOver() {
				end(context.Cause(ctx))
			}
		})
		opened := make(chan struct{})
		go func() {
			defer close(opened)
			defer end(nil)
			defer stop()
			_ = c.guard(func() error { return finish(opening) })
		}()
		defer func() {
			if !dialogue.TakenOver() {
				<-opened
			}
		}()
	} else if err := finish(ctx); err != nil {
		return err
	}
	return c.show(ctx, o, f, viewerOf(who), attach)
}

// more opens one more channel on a session of the operator's own.
func (c *client) more(ctx context.Context, f *wire.Framed, who access.Operator, s *session.Session, req *session.Request, a *wire.Attach) error {
	channel, err := c.join(ctx, who, s, req)
	if err != nil {
		return err
	}
	return c.show(ctx, channel, f, viewerOf(who), a)
}

// keys puts the operator's keys into a request: all that count, or the one that they have proved on this link to hold.
func (c *client) keys(ctx context.Context, who access.Operator, m *wire.Connect, req *session.Request) (err error) {
	if len(m.Key) == 0 {
		req.Keys, err = c.access.Keys(ctx, who)
		return err
	}
	key, inline, err := c.access.VerifyKey(ctx, who, c.link.Peer(), m)
	req.Keys, req.Named, req.Inline = []ssh.PublicKey{key}, true, inline
	return err
}
