package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"scrier/agent/account"
	"scrier/agent/keys"
	"scrier/certs"
	"scrier/wire"
)

// doubtWait is how long the accounts of this machine may be looked up for doubts.
const doubtWait = 3 * time.Second

// Doubts says what in the configuration is valid and makes no sense: it has no effect, or not the one that was meant. It
// looks at the machine as it is now, and at the file at path from which the configuration came. The agent works with it all
// the same.
func (c *Config) Doubts(ctx context.Context, path string) []string {
	ctx, cancel := context.WithTimeout(ctx, doubtWait)
	defer cancel()
	return slices.Concat(c.SSH.doubts(c.Keys), c.portDoubts(), c.loginDoubts(ctx), c.rightDoubts(), c.proxyDoubts(path), c.Desktop.doubts(ctx, c.AllowedPorts), c.consoleDoubts())
}

func (s *SSH) doubts(mode keys.Mode) (out []string) {
	d := DefaultConfig().SSH
	if s.Mode == Builtin {
		if s.Addr != d.Addr {
			out = append(out, "ssh.addr has no effect: in mode builtin the agent's own SSH server is used, which listens nowhere")
		}
		if s.SSHDConfig != d.SSHDConfig {
			out = append(out, "ssh.sshd_config has no effect in mode builtin")
		}
		if mode != keys.Home {
			out = append(out, fmt.Sprintf("keys: %s has no effect in mode builtin: a session's key is in the agent's memory alone", mode))
		}
		return out
	}
	if _, port, err := net.SplitHostPort(s.Addr); err == nil {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil {
			out = append(out, fmt.Sprintf("ssh.addr: %q is no port number from 1 to 65535, so no session reaches an SSH server", port))
		} else if n == 0 {
			out = append(out, "ssh.addr: nothing listens at port 0, so no session reaches an SSH server")
		}
	}
	if s.AuthorizedKeys != d.AuthorizedKeys {
		out = append(out, "ssh.authorized_keys has no effect in mode sshd: AuthorizedKeysFile of sshd_config counts there")
	}
	switch i, err := os.Stat(s.SSHDConfig); {
	case errors.Is(err, fs.ErrNotExist):
		out = append(out, fmt.Sprintf("ssh.sshd_config: there is no %s, so the agent cannot ask sshd for its settings; if this machine has no sshd, set ssh: builtin", s.SSHDConfig))
	case err == nil && i.IsDir():
		out = append(out, fmt.Sprintf("ssh.sshd_config: %s is a folder", s.SSHDConfig))
	}
	return out
}

func (c *Config) portDoubts() (out []string) {
	if len(c.AllowedPorts) == 0 {
		out = append(out, "allowed_ports is empty: no shell and no desktop opens, and of all sessions only the screen of who sits here")
	}
	for i, p := range c.AllowedPorts {
		switch {
		case slices.Contains(c.AllowedPorts[:i], p):
			if !slices.Contains(c.AllowedPorts[i+1:], p) { // said once
				out = append(out, fmt.Sprintf("allowed_ports: %d is there twice", p))
			}
		case p == 0:
			out = append(out, "allowed_ports: 0 is no port, and has no effect")
		}
	}
	if _, port, err := net.SplitHostPort(c.SSH.Addr); err == nil && c.SSH.Mode == SSHD {
		if n, err := strconv.ParseUint(port, 10, 16); err == nil && n != 0 && n != sshPort && slices.Contains(c.AllowedPorts, uint16(n)) {
			out = append(out, fmt.Sprintf("allowed_ports: %d is the SSH server's, for which 22 stands here; as it is, sessions of kind rdp and vnc may connect to it", n))
		}
	}
	return out
}

func (c *Config) rightDoubts() (out []string) {
	d, s := defaultScrier(), c.Scrier
	switch {
	case s.Allow == (Allow{}):
		out = append(out, "scrier.allow allows nothing: no session of kind ssh opens")
	case !s.Allow.Forward && !reflect.DeepEqual(s.Forward, d.Forward):
		out = append(out, "scrier.forward has no effect while scrier.allow.forward is false")
	}
	if s.Allow.Raw && c.SSH.Mode == Builtin {
		out = append(out, "scrier.allow.raw has no effect in mode builtin: the machine has no SSH server of its own")
	}
	if s.Allow.Raw && len(c.AllowedLogins) > 0 {
		out = append(out, "allowed_logins does not hold for sessions that scrier.allow.raw lets in: the machine's SSH server alone decides there")
	}
	for _, host := range s.Forward.Hosts {
		if a, err := netip.ParseAddr(host); err == nil && a.String() != host {
			out = append(out, fmt.Sprintf("scrier.forward.hosts: %s is compared as it is written, and is usually written %s", host, a))
		}
	}
	if slices.Contains(s.Forward.Hosts, "*") && len(s.Forward.Hosts) > 1 {
		out = append(out, "scrier.forward.hosts: * is any host, so the others have no effect")
	}
	return out
}

func (c *Config) proxyDoubts(path string) (out []string) {
	if !strings.Contains(c.Proxy, "@") {
		return nil
	}
	if err := certs.CheckPrivate(path); wire.CodeOf(err) == wire.BadConfig {
		out = append(out, "proxy has a password, and "+wire.DetailOf(err))
	}
	return out
}

func (c *Config) loginDoubts(ctx context.Context) (out []string) {
	for i, name := range c.AllowedLogins {
		a, known, err := account.Account{}, false, error(nil)
		if isLogin(name) {
			a, known, err = account.System().Login(ctx, name)
		}
		switch {
		case slices.Contains(c.AllowedLogins[:i], name):
			out = append(out, fmt.Sprintf("allowed_logins: %s is there twice", name))
		case !isLogin(name):
			out = append(out, fmt.Sprintf("allowed_logins: %q is not the name of a login, and has no effect", name))
		case name == "root" || known && a.UID == 0:
			out = append(out, fmt.Sprintf("allowed_logins: %s has no effect, as uid 0 is never served", name))
		case err == nil && !known:
			out = append(out, fmt.Sprintf("allowed_logins: this machine has no login %s now", name))
		}
	}
	return out
}

func (d *Desktop) doubts(ctx context.Context, ports []uint16) (out []string) {
	if len(d.Listeners) > 0 && !slices.ContainsFunc(ports, func(p uint16) bool { return p != 0 && p != sshPort }) {
		out = append(out, "desktop.listeners has no effect: allowed_ports has no port of a desktop, such as 3389 or 5900")
	}
	for _, name := range d.Listeners {
		if name == "root" {
			out = append(out, "desktop.listeners: root need not be there: it is always trusted")
			continue
		}
		if _, known, err := account.System().Login(ctx, name); err == nil && !known {
			out = append(out, fmt.Sprintf("desktop.listeners: this machine has no user %s now", name))
		}
	}
	return out
}

func (c *Config) consoleDoubts() (out []string) {
	d := DefaultConfig().Console
	if !c.Console.Enabled && (c.Console.Consent != d.Consent || c.Console.Control != d.Control) {
		out = append(out, "console.consent and console.control have no effect while console.enabled is false")
	}
	return out
}
