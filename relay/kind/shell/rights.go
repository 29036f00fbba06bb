package shell

import (
	"slices"

	"scrier/relay/session"
	"scrier/wire"
)

// Allow is the block "scrier.allow" of server.yaml: what sessions of kind ssh may be used for. The machine's agent.yaml has one
// of its own, and both must say yes.
type Allow struct {
	Shell           bool `yaml:"shell"`
	Exec            bool `yaml:"exec"`
	Upload          bool `yaml:"upload"`
	Download        bool `yaml:"download"`
	Forward         bool `yaml:"forward"`
	Reverse         bool `yaml:"reverse"`
	AgentForwarding bool `yaml:"agent_forwarding"`
	Raw             bool `yaml:"raw"`
}

// UsualAllow is what holds unless server.yaml says otherwise: all that ssh does, but for what hands the operator's own keys to
// the relay and the machine, and what nobody can check or record.
func UsualAllow() Allow {
	return Allow{Shell: true, Exec: true, Upload: true, Download: true, Forward: true, Reverse: true}
}

// rights lists what is allowed.
func (a Allow) rights() (all []wire.Right) {
	for _, r := range []struct {
		right wire.Right
		may   bool
	}{
		{wire.MayShell, a.Shell}, {wire.MayExec, a.Exec}, {wire.MayUpload, a.Upload}, {wire.MayDownload, a.Download},
		{wire.MayForward, a.Forward}, {wire.MayReverse, a.Reverse}, {wire.MayAgent, a.AgentForwarding}, {wire.MayRaw, a.Raw},
	} {
		if r.may {
			all = append(all, r.right)
		}
	}
	return all
}

// check refuses what is not allowed here.
func (a Allow) check(needs []wire.Right) error {
	allowed := a.rights()
	for _, r := range needs {
		switch {
		case !slices.Contains(wire.Rights(), r):
			return wire.Errorf(wire.BadRequest, "the relay knows no use %q of a session", wire.Printable(string(r)))
		case !slices.Contains(allowed, r):
			return wire.Errorf(wire.ChannelNotAllowed, "%s is not allowed by scrier.allow in server.yaml of the relay", r)
		}
	}
	return nil
}

// needs is what a channel needs. For files one of the two will do.
func needs(c *wire.Channel) []wire.Right {
	if c == nil {
		return []wire.Right{wire.MayShell}
	}
	var all []wire.Right
	switch c.Kind {
	case wire.Program:
		if !c.Plain {
			all = append(all, wire.MayShell)
		}
		if c.Plain || len(c.Command) > 0 {
			all = append(all, wire.MayExec)
		}
		if c.Agent {
			all = append(all, wire.MayAgent)
		}
	case wire.System:
		all = append(all, wire.MayExec)
	case wire.DialTCP, wire.DialUnix:
		all = append(all, wire.MayForward)
	case wire.ListenTCP, wire.ListenUnix:
		all = append(all, wire.MayReverse)
	case wire.ForwardAgent:
		all = append(all, wire.MayAgent)
	case wire.Tunnel:
		all = append(all, wire.MayRaw)
	}
	return all
}

// usual are the rights that a session of programs asks for besides what it needs, so that commands and copies can join it. The
// key's line is no wider for them.
func usual() []wire.Right {
	return []wire.Right{wire.MayShell, wire.MayExec, wire.MayUpload, wire.MayDownload}
}

// wanted is what a request for a session needs and likes, each right once.
func (k *Kind) wanted(req *session.Request) (needed, liked []wire.Right) {
	needed = append(needs(req.Channel), req.Needs...)
	slices.Sort(needed)
	needed = slices.Compact(needed)
	if req.Channel != nil && req.Channel.Kind == wire.Tunnel {
		return needed, nil
	}
	liked = slices.Clone(req.Likes)
	if req.Channel == nil || req.Channel.Kind == wire.Program {
		liked = append(liked, usual()...)
	}
	allowed := k.Allow.rights()
	slices.Sort(liked)
	liked = slices.DeleteFunc(slices.Compact(liked), func(r wire.Right) bool {
		return r == wire.MayRaw || !slices.Contains(allowed, r) || slices.Contains(needed, r)
	})
	return needed, liked
}

// granted is what a session may be used for, of what was wanted.
func granted(opened []wire.Right, needed, liked []wire.Right) (all []wire.Right, err error) {
	if len(opened) == 0 { // an older agent, which knows shells and commands
		opened = []wire.Right{wire.MayShell, wire.MayExec}
	}
	for _, r := range needed {
		if !slices.Contains(opened, r) {
			return nil, wire.Errorf(wire.ChannelNotAllowed, "the machine's agent does not grant %s; it may be older than the relay", r)
		}
	}
	for _, r := range wire.Rights() {
		if slices.Contains(opened, r) && (slices.Contains(needed, r) || slices.Contains(liked, r)) {
			all = append(all, r)
		}
	}
	return all, nil
}

func has(rights []wire.Right, all ...wire.Right) bool {
	return !slices.ContainsFunc(all, func(r wire.Right) bool { return !slices.Contains(rights, r) })
}
