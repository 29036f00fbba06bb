//go:build !agentonly

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"scrier/client"
	"scrier/client/forward"
	"scrier/wire"
)

// forwardOptions are the flags of `scrier ssh` that forward connections.
type forwardOptions struct {
	local, remote, dynamic []string
	stdio                  string
	agent, alone           bool

	config forward.Config  // of parse
	target forward.Address // the same
}

// any says whether a session is needed on which there is more than one channel.
func (o *forwardOptions) any() bool {
	return len(o.local)+len(o.remote)+len(o.dynamic) > 0 || o.stdio != "" || o.agent || o.alone
}

// noProgram says that there is neither a shell nor a command.
func (o *forwardOptions) noProgram() bool { return o.alone || o.stdio != "" }

// parse understands the flags.
func (o *forwardOptions) parse() (err error) {
	if o.stdio != "" {
		if len(o.local)+len(o.remote)+len(o.dynamic) > 0 || o.agent {
			return wire.Errorf(wire.Usage, "-W is one connection: -L, -R, -D and -A do not go with it")
		}
		o.target, err = forward.ParseTarget(o.stdio)
		return err
	}
	o.config = forward.Config{Strict: o.alone}
	for _, text := range o.local {
		s, err := forward.ParseLocal(text)
		if err != nil {
			return err
		}
		o.config.Local = append(o.config.Local, s)
	}
	for _, text := range o.dynamic {
		s, err := forward.ParseDynamic(text)
		if err != nil {
			return err
		}
		o.config.Local = append(o.config.Local, s)
	}
	for _, text := range o.remote {
		s, err := forward.ParseRemote(text)
		if err != nil {
			return err
		}
		o.config.Remote = append(o.config.Remote, s)
	}
	return nil
}

// needs are the rights of a session for the forwards, and for the program that runs beside them.
func (o *forwardOptions) needs(p *program) (needs []wire.Right) {
	switch {
	case o.noProgram():
	case p.command == "" && p.terminal != nil:
		needs = append(needs, wire.MayShell)
	default:
		needs = append(needs, wire.MayExec)
	}
	if len(o.config.Local) > 0 || o.stdio != "" {
		needs = append(needs, wire.MayForward)
	}
	if len(o.config.Remote) > 0 {
		needs = append(needs, wire.MayReverse)
	}
	if o.config.Agent != "" {
		needs = append(needs, wire.MayAgent)
	}
	return needs
}

// listen listens here; nil: there is nothing to forward, or only standard input and output. raw says that lines end as a
// terminal that is raw needs it.
func (o *forwardOptions) listen(ctx context.Context, raw bool) (*forward.Forwards, error) {
	if !o.any() || o.stdio != "" {
		return nil, nil
	}
	c := o.config
	c.Messages = os.Stderr
	if raw {
		c.Messages = rawLines{os.Stderr}
	}
	if o.agent {
		if c.Agent = client.SSHAgent(); c.Agent == "" {
			fmt.Fprintln(os.Stderr, "scrier: -A: no ssh-agent runs here (SSH_AUTH_SOCK is not set), so none is forwarded")
		}
		o.config.Agent = c.Agent
	}
	return forward.New(ctx, c)
}

// rawLines ends lines also for a terminal that is raw.
type rawLines struct{ io.Writer }

func (r rawLines) Write(p []byte) (int, error) {
	if _, err := r.Writer.Write(bytes.ReplaceAll(p, []byte("\n"), []byte("\r\n"))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// held is the session that forwards and the program beside them share.
type held struct {
	session  *client.Session // that was opened
	agent    bool            // programs reach the operator's
	forwards *forward.Forwards
	ctx      context.Context
	wg       sync.WaitGroup

	mu  sync.Mutex
	now *client.Session // after the connection was lost it is another one
}

// rejoin has the forwards go on over another connection.
func (h *held) rejoin(r *client.Relay) {
	h.mu.Lock()
	lost := h.now.Lost()
	h.mu.Unlock()
	if !lost { // the connection of before has come back
		return
	}
	h.wg.Go(func() {
		s, err := h.session.Over(h.ctx, r)
		if err != nil {
			if r.Lost() { // once more with the next one
				return
			}
			h.mu.Lock()
			defer h.mu.Unlock()
			_ = h.now.Close() // what is open through the forwards ends
			if h.ctx.Err() == nil {
				fmt.Fprintf(rawLines{os.Stderr}, "scrier: connections are not forwarded any more: %s\n", wire.Printable(err.Error()))
			}
			return
		}
		h.mu.Lock()
		old := h.now
		h.now = s
		h.mu.Unlock()
		old.Succeed(s)
		h.forwards.Resume(s)
		_ = old.Close() // its link is gone
	})
}

// close ends the session for this side.
func (h *held) close(end context.CancelFunc) {
	end()
	h.wg.Wait()
	_ = h.now.Close()
}

// forwarding runs p, or nothing, beside forwards; f is nil for standard input and output.
func (p *program) forwarding(ctx context.Context, f *forward.Forwards) (int, error) {
	o := &p.forwards
	req := client.SessionRequest{
		Envoy: p.envoy, Login: p.login, Key: p.signer(), Needs: o.needs(p), New: p.fresh || o.config.Agent != "", Terminal: asking(), Messages: os.Stderr,
		Lasting: f != nil,
	}
	s, err := p.relay.Open(ctx, req)
	if err != nil {
		return 0, err
	}
	if f == nil {
		defer s.Close()
		if err := p.stdio(ctx, s); err != nil && ctx.Err() == nil {
			return 0, err
		}
		return ended(ctx), nil
	}
	joining, end := context.WithCancel(ctx)
	h := &held{session: s, now: s, agent: o.config.Agent != "", forwards: f, ctx: joining}
	defer h.close(end)
	defer f.Close() // before the session, so that nobody hears of connections that end with it
	if err := f.Start(ctx, s); err != nil {
		return 0, err
	}
	if o.alone {
		return h.stay(ctx, req)
	}
	status, err := p.run(ctx, h)
	if err != nil {
		return status, err
	}
	return status, h.wait(ctx)
}

// stay forwards until ctx ends, or the session does. When its connection is lost the ports here go on listening, and those at the
// machine are listened at again; what was open through them goes on, unless it has to be another session.
func (h *held) stay(ctx context.Context, req client.SessionRequest) (int, error) {
	for {
		select {
		case <-h.now.Done():
		case <-ctx.Done():
			return ended(ctx), nil
		}
		if !h.now.Lost() {
			return 0, h.now.Err()
		}
		began := time.Now()
		next, err := h.now.Again(ctx, &req)
		if err != nil {
			return ended(ctx), unlessEnded(ctx, err)
		}
		same := next.ID() == h.now.ID()
		h.now.Succeed(next)
		_ = h.now.Close() // its link is gone
		h.now = next
		h.forwards.Resume(next)
		became := "the forwards go on"
		if !same {
			became = "what was open through the forwards has ended"
		}
		fmt.Fprintf(os.Stderr, "scrier: the connection to the relay was lost, and is there again after %d s; %s\n", int(time.Since(began).Seconds()), became)
	}
}

// unlessEnded is err, if it is not a signal that led to it.
func unlessEnded(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// ended is the status of what a signal ends in order: a ProxyCommand's ssh ends it so each time, and needs no word about it.
func ended(ctx context.Context) int {
	if ctx.Err() != nil {
		return wire.NoStatus
	}
	return 0
}

// wait waits for the connections that are still open, as ssh does. They go on when the link is lost.
func (h *held) wait(ctx context.Context) error {
	f := h.forwards
	if n := f.Open(); n > 0 {
		what := "a forwarded connection"
		if n > 1 {
			what = fmt.Sprintf("%d forwarded connections", n)
		}
		fmt.Fprintf(os.Stderr, "scrier: waiting for %s to end; Ctrl-C ends it all\n", what)
	}
	following, end := context.WithCancel(ctx)
	var follower sync.WaitGroup
	follower.Go(func() { h.follow(following) })
	defer follower.Wait()
	defer end()
	return f.Wait(ctx)
}

// follow goes on with the same session over another link, each time when the link is lost, until ctx ends. When there is none what is open
// through the forwards ends.
func (h *held) follow(ctx context.Context) {
	h.wg.Wait() // somebody may be at it already
	for {
		h.mu.Lock()
		now := h.now
		h.mu.Unlock()
		select {
		case <-now.Done():
		case <-ctx.Done():
			return
		}
		if !now.Lost() {
			return
		}
		next, err := now.Again(ctx, nil)
		if err == nil {
			now.Succeed(next)
			h.mu.Lock()
			h.now = next
			h.mu.Unlock()
			h.forwards.Resume(next)
		}
		_ = now.Close() // its link is gone
		if err != nil {
			return
		}
	}
}

// stdio is -W.
func (p *program) stdio(ctx context.Context, s *client.Session) error {
	signal.Ignore(syscall.SIGPIPE) // a reader that goes ends the connection
	to := p.forwards.target
	host := to.Host
	if to.Path != "" {
		host = to.Path
	}
	c, err := s.Dial(ctx, to.Network(), host, to.Port, nil)
	if err != nil {
		return err
	}
	var in io.Reader = os.Stdin
	if p.noInput {
		in = bytes.NewReader(nil)
	}
	return forward.Stdio(ctx, c, in, os.Stdout)
}
