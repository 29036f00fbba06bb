package agent

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"scrier/agent/keys"
	"scrier/agent/keys/line"
	"scrier/wire"
)

// Scrier is the block "scrier": what sessions of kind ssh may be used for on this machine.
type Scrier struct {
	Allow   Allow   `yaml:"allow"`
	Forward Forward `yaml:"forward"`
}

// Allow has a field for each of [wire.Rights]. A relay's server.yaml has the same block: both must say yes.
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

// Forward is where sessions may connect to from this machine.
type Forward struct {
	Hosts []string `yaml:"hosts"` // as they are asked for: no name is looked up. * is any
	Ports []uint16 `yaml:"ports"` // empty: all
}

// defaultScrier leaves out what somebody must want by name: the operator's agent, with which the machine could log in
// elsewhere, and bytes that nobody can check or record.
func defaultScrier() Scrier {
	return Scrier{
		Allow:   Allow{Shell: true, Exec: true, Upload: true, Download: true, Forward: true, Reverse: true},
		Forward: Forward{Hosts: []string{"localhost", "127.0.0.1", "::1"}},
	}
}

// has says whether a right is allowed; one that this agent does not know is not.
func (a Allow) has(r wire.Right) bool {
	switch r {
	case wire.MayShell:
		return a.Shell
	case wire.MayExec:
		return a.Exec
	case wire.MayUpload:
		return a.Upload
	case wire.MayDownload:
		return a.Download
	case wire.MayForward:
		return a.Forward
	case wire.MayReverse:
		return a.Reverse
	case wire.MayAgent:
		return a.AgentForwarding
	case wire.MayRaw:
		return a.Raw
	}
	return false
}

func (f *Forward) check() error {
	for i, host := range f.Hosts {
		_, ok := line.NewPermit(host, 0)
		if _, err := netip.ParseAddr(host); err != nil && strings.Contains(host, ":") || host == "255.255.255.255" {
			ok = false
		}
		switch {
		case host == "*":
		case !ok:
			return fmt.Errorf("scrier.forward.hosts: %q is no host: a name, an address, or * for any; networks are not known there", wire.Printable(host))
		case strings.ContainsAny(host, "*?"):
			return fmt.Errorf("scrier.forward.hosts: %q: a host is named in full, or * stands for any", host)
		case slices.Contains(f.Hosts[:i], host):
			return fmt.Errorf("scrier.forward.hosts: %s is there twice", host)
		}
	}
	if len(f.Hosts) == 0 {
		return errors.New("scrier.forward.hosts is empty: to forbid forwards, set scrier.allow.forward to false")
	}
	for i, port := range f.Ports {
		if port == 0 {
			return errors.New("scrier.forward.ports: 0 is no port; an empty list stands for all")
		}
		if slices.Contains(f.Ports[:i], port) {
			return fmt.Errorf("scrier.forward.ports: %d is there twice", port)
		}
	}
	if !(line.Grant{Open: f.permits()}).Check() {
		return fmt.Errorf("scrier.forward: %d hosts with %d ports each are too many to stand on one line of authorized_keys; at most %d of them together, of 2 KiB",
			len(f.Hosts), len(f.Ports), line.MaxPermits)
	}
	return nil
}

// permits are all that is allowed; none is anything.
func (f *Forward) permits() (all []line.Permit) {
	ports := f.Ports
	if len(ports) == 0 {
		ports = []uint16{0}
	}
	for _, host := range f.Hosts {
		for _, port := range ports {
			p, _ := line.NewPermit(host, port)
			if p == (line.Permit{Host: "*"}) {
				return nil
			}
			all = append(all, p)
		}
	}
	return all
}

// use is what a session is for, as far as this machine allows. The relay cannot widen it.
func (c *Config) use(o *wire.Open) (keys.Use, error) {
	u := keys.Use{Open: c.Scrier.Forward.permits()}
	if len(o.Needs) > wire.MaxRights || len(o.Likes) > wire.MaxRights {
		return u, wire.Errorf(wire.BadRequest, "%d and %d rights are asked for, at most %d can be", len(o.Needs), len(o.Likes), wire.MaxRights)
	}
	if slices.Contains(o.Needs, wire.MayRaw) {
		if len(o.Needs) > 1 || len(o.Likes) > 0 {
			return u, wire.Errorf(wire.BadRequest, "a session for %s is for nothing else", wire.MayRaw)
		}
		if c.SSH.Mode == Builtin {
			return u, wire.Errorf(wire.ChannelNotAllowed, "%s: the machine has no SSH server of its own (ssh.mode in its agent.yaml is builtin)", wire.MayRaw)
		}
	}
	u.Needs = o.Needs
	if len(o.Needs) == 0 && len(o.Likes) == 0 { // a relay that does not know rights takes both
		u.Needs = []wire.Right{wire.MayShell, wire.MayExec}
	}
	for _, r := range u.Needs {
		switch {
		case !slices.Contains(wire.Rights(), r):
			return u, wire.Errorf(wire.ChannelNotAllowed, "%q: the machine's agent does not know this right: update it", wire.Printable(string(r)))
		case !c.Scrier.Allow.has(r):
			return u, wire.Errorf(wire.ChannelNotAllowed, "%s: scrier.allow of the machine's agent.yaml says no", r)
		}
	}
	for _, r := range o.Likes {
		if c.Scrier.Allow.has(r) && r != wire.MayRaw && !slices.Contains(u.Likes, r) {
			u.Likes = append(u.Likes, r)
		}
	}
	if len(u.Needs) == 0 && len(u.Likes) == 0 {
		return u, wire.Errorf(wire.ChannelNotAllowed, "scrier.allow of the machine's agent.yaml says no to all that the session would like")
	}
	return u, nil
}

// isRaw says whether a session is for the bytes of the machine's own SSH server.
func isRaw(o *wire.Open) bool { return slices.Contains(o.Needs, wire.MayRaw) }
