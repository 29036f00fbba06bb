package agent

import (
	"cmp"
	"slices"

	"scrier/wire"
)

// sshPort stands for "the SSH server" in allowed_ports, wherever ssh.addr puts it.
const sshPort = 22

// Where desktops are served when a request names no port.
const (
	rdpPort = 3389
	vncPort = 5900
)

// allow checks a relay's request against this machine's own policy. The relay cannot widen it.
func (c *Config) allow(o *wire.Open) error {
	switch o.Kind {
	case wire.KindSSH:
		return c.allowSSH(o)
	case wire.KindRDP, wire.KindVNC:
		return c.allowDesktop(o)
	}
	return wire.Errorf(wire.BadRequest, "sessions of kind %q are not served by this agent", wire.Printable(string(o.Kind)))
}

func (c *Config) allowSSH(o *wire.Open) error {
	if o.Port != 0 && o.Port != sshPort {
		return wire.Errorf(wire.PortNotAllowed, "an ssh session has port %d, not %d; ssh.addr in agent.yaml decides where it goes", sshPort, o.Port)
	}
	if !slices.Contains(c.AllowedPorts, sshPort) {
		return wire.Errorf(wire.PortNotAllowed, "port %d is not in allowed_ports of the machine's agent.yaml", sshPort)
	}
	if _, err := c.use(o); err != nil {
		return err
	}
	return c.allowLogin(o.Login)
}

// allowLogin refuses a login that is not allowed before anything else is done. [keys.Keys] would
// refuse it later.
func (c *Config) allowLogin(login string) error {
	if login != "" && len(c.AllowedLogins) > 0 && !slices.Contains(c.AllowedLogins, login) {
		return wire.Errorf(wire.LoginNotAllowed, "login %s is not in allowed_logins of the machine's agent.yaml", wire.Printable(login))
	}
	return nil
}

// allowDesktop looks at neither login nor keys: a desktop server itself asks who may use it.
func (c *Config) allowDesktop(o *wire.Open) error {
	if !slices.Contains([]wire.Security{"", wire.AnySecurity, wire.NLA, wire.TLS}, o.Security) {
		return wire.Errorf(wire.BadRequest, "security %q is none of any, nla and tls", wire.Printable(string(o.Security)))
	}
	if o.Console != nil {
		return c.allowConsole(o)
	}
	port := desktopPort(o)
	if port == sshPort {
		return wire.Errorf(wire.PortNotAllowed, "port %d is for sessions of kind ssh, which ask for a key", sshPort)
	}
	if !slices.Contains(c.AllowedPorts, port) {
		return wire.Errorf(wire.PortNotAllowed, "port %d is not in allowed_ports of the machine's agent.yaml", port)
	}
	return nil
}

func (c *Config) allowConsole(o *wire.Open) error {
	if o.Kind != wire.KindVNC {
		return wire.Errorf(wire.BadRequest, "the screen of who sits at a machine is shared with kind vnc only")
	}
	// The purpose is shown in a dialog to a person who did not ask for it, so it must be harmless.
	if p := o.Console.Purpose; len(p) > wire.MaxPurpose || wire.Printable(p) != p {
		return wire.Errorf(wire.BadRequest, "a purpose has at most %d bytes, in one line of printable text", wire.MaxPurpose)
	}
	if !c.Console.Enabled {
		return wire.Errorf(wire.ConsoleOff, "console.enabled is false in the machine's agent.yaml")
	}
	return nil
}

// desktopPort is where a request's desktop server listens.
func desktopPort(o *wire.Open) uint16 {
	if o.Kind == wire.KindRDP {
		return cmp.Or(o.Port, rdpPort)
	}
	return cmp.Or(o.Port, vncPort)
}
