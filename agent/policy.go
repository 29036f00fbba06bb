package agent

import (
	"slices"

	"scrier/wire"
)

// sshPort stands for "the SSH server" in allowed_ports, wherever ssh.addr puts it.
const sshPort = 22

// allow checks a relay's request against this machine's own policy. The relay cannot widen it.
func (c *Config) allow(o *wire.Open) error {
	if o.Kind != wire.KindSSH {
		return wire.Errorf(wire.BadRequest, "sessions of kind %q are not served by this agent", wire.Printable(string(o.Kind)))
	}
	if o.Port != 0 && o.Port != sshPort {
		return wire.Errorf(wire.PortNotAllowed, "an ssh session has port %d, not %d; ssh.addr in agent.yaml decides where it goes", sshPort, o.Port)
	}
	if !slices.Contains(c.AllowedPorts, sshPort) {
		return wire.Errorf(wire.PortNotAllowed, "port %d is not in allowed_ports of this machine's agent.yaml", sshPort)
	}
	return c.allowLogin(o.Login)
}

// allowLogin refuses early what [keys.Keys] refuses too.
func (c *Config) allowLogin(login string) error {
	if login != "" && len(c.AllowedLogins) > 0 && !slices.Contains(c.AllowedLogins, login) {
		return wire.Errorf(wire.LoginNotAllowed, "login %s is not in allowed_logins of this machine's agent.yaml", wire.Printable(login))
	}
	return nil
}
