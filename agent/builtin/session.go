package builtin

import (
	"context"
	"path/filepath"
	"slices"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"scrier/agent/builtin/worker"
	"scrier/wire"
)

// maxEnv bounds the variables that a peer may set. LANG and all LC_* together are 15.
const maxEnv = 32

// A session is one session channel: a few requests that prepare it, then one process.
//
//	channel -> [env, pty-req, auth-agent-req]… -> shell|exec|subsystem -> running -> exit-status|exit-signal, close
//	                                               |
//	                                               +-> peer gone: SIGHUP, 5 s, SIGKILL
type session struct {
	server   *Server
	guest    Guest
	forwards *forwards
	channel  ssh.Channel

	env   map[string]string
	pty   *ptyRequest
	size  unix.Winsize
	agent *listener // where programs reach the guest's agent; nil: nowhere
	proc  *process  // nil until shell, exec or subsystem
}

// serve answers the channel's requests until the peer closes it or is gone, and returns when
// nothing of the session is left.
func (s *session) serve(ctx context.Context, requests <-chan *ssh.Request) {
	defer s.channel.Close()
	defer func() {
		if s.agent != nil {
			s.agent.close()
		}
	}()
	for r := range requests {
		if r.Type == "shell" || r.Type == "exec" || r.Type == "subsystem" {
			s.start(r)
			continue
		}
		ok := s.answer(ctx, r.Type, r.Payload)
		if r.WantReply {
			_ = r.Reply(ok, nil) // fails only when the connection does, and then the loop ends too
		}
	}
	if s.proc != nil {
		s.proc.hangup()
		<-s.proc.done
	}
}

// answer handles the requests that start nothing. It refuses those that it does not know, such as x11-req.
func (s *session) answer(ctx context.Context, kind string, payload []byte) bool {
	switch kind {
	case "env":
		e, ok := parse[envRequest](payload)
		if !ok || s.proc != nil || len(s.env) >= maxEnv || !allowedEnv(e) {
			return false
		}
		if s.env == nil {
			s.env = make(map[string]string)
		}
		s.env[e.Name] = e.Value
		return true
	case "pty-req":
		p, ok := parse[ptyRequest](payload)
		if !ok || s.proc != nil || s.pty != nil || !s.guest.may(wire.MayShell) {
			return false // no-pty in front of a key means commands too
		}
		if !termName().MatchString(p.Term) {
			p.Term = "dumb"
		}
		s.pty, s.size = &p, winsize(p.Cols, p.Rows, unix.Winsize{Col: 80, Row: 24})
		return true
	case "auth-agent-req@openssh.com":
		if s.proc != nil || s.agent != nil || !s.guest.may(wire.MayAgent) {
			return false
		}
		s.agent = s.forwards.listenAgent(ctx)
		return s.agent != nil
	case "window-change":
		p, ok := parse[sizeRequest](payload)
		if !ok || s.pty == nil {
			return false
		}
		s.size = winsize(p.Cols, p.Rows, s.size)
		return s.proc == nil || s.proc.resize(s.size) == nil
	case "signal":
		p, ok := parse[signalRequest](payload)
		if !ok || s.proc == nil {
			return false
		}
		sig, ok := signalNamed(p.Name)
		return ok && s.proc.signal(sig) == nil
	case "eow@openssh.com": // OpenSSH's PROTOCOL, 2.1: nobody takes the output any more
		if s.proc != nil {
			s.proc.closeOutput()
		}
		return false // it is never answered
	}
	return false
}

// start runs the shell or the command. The reply goes out before the process's output is read: a
// process that ends at once would otherwise close the channel before the reply.
func (s *session) start(r *ssh.Request) {
	reply := func(ok bool) {
		if r.WantReply {
			_ = r.Reply(ok, nil)
		}
	}
	what, ok := s.program(r)
	if !ok || s.proc != nil {
		reply(false)
		return
	}
	p, err := s.server.start(what, s)
	if err != nil {
		s.server.log.Error("start session process", "login", s.server.Login(), "err", err)
		reply(false)
		s.channel.Close()
		return
	}
	s.proc = p
	reply(true)
	go p.run(s.channel) // serve waits until p.done is closed
}

// program is what a request asks to run, if the guest may.
func (s *session) program(r *ssh.Request) (what program, ok bool) {
	shell := s.server.account.Shell
	name := filepath.Base(shell)
	switch r.Type {
	case "shell":
		right := wire.MayExec
		if s.pty != nil {
			right = wire.MayShell
		}
		return program{path: shell, args: []string{"-" + name}}, s.guest.may(right)
	case "exec":
		e, ok := parse[execRequest](r.Payload)
		return program{path: shell, args: []string{name, "-c", e.Command}}, ok && s.guest.may(wire.MayExec)
	}
	e, ok := parse[subsystemRequest](r.Payload)
	args := append(slices.Clone(s.server.worker), worker.Files)
	for _, right := range []wire.Right{wire.MayUpload, wire.MayDownload} {
		if s.guest.may(right) {
			args = append(args, string(right))
		}
	}
	// Without either right there is nothing to do over SFTP. Its bytes are no terminal's.
	return program{path: args[0], args: args, own: true}, ok && e.Name == "sftp" && s.pty == nil && len(args) > len(s.server.worker)+1
}

// environ is the environment of the session's process: built from nothing, so that no variable of
// the agent's own gets in.
func (s *session) environ(tty string) []string {
	a := s.server.account
	env := map[string]string{
		"HOME":    a.Home,
		"USER":    a.Login,
		"LOGNAME": a.Login,
		"SHELL":   a.Shell,
		"PATH":    "/usr/local/bin:/usr/bin:/bin:/usr/games",
		"LANG":    "C.UTF-8",
		// Scripts look at these to find out whether they run in a remote session. There is no real
		// address to tell: the connection comes out of the relay's tunnel.
		"SSH_CONNECTION": "127.0.0.1 0 127.0.0.1 0",
		"SSH_CLIENT":     "127.0.0.1 0 0",
	}
	for k, v := range s.env {
		env[k] = v
	}
	if s.agent != nil {
		env["SSH_AUTH_SOCK"] = s.agent.path
	}
	delete(env, "TERM")
	if tty != "" {
		env["SSH_TTY"], env["TERM"] = tty, s.pty.Term
	} else if term, ok := s.env["TERM"]; ok {
		env["TERM"] = term
	}
	list := make([]string, 0, len(env))
	for k, v := range env {
		list = append(list, k+"="+v)
	}
	return list
}
