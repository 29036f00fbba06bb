package agent

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"

	"scrier/agent/account"
	"scrier/agent/console"
	"scrier/agent/keys"
	"scrier/config"
	"scrier/wire"
)

// Config is agent.yaml: what this machine allows, whatever a relay asks.
type Config struct {
	Transport     wire.Transport `yaml:"transport"`
	SSH           SSH            `yaml:"ssh"`
	AllowedPorts  []uint16       `yaml:"allowed_ports"`
	Keys          keys.Mode      `yaml:"keys"`
	AllowedLogins []string       `yaml:"allowed_logins"`
	MaxSessions   int            `yaml:"max_sessions"` // at once, of all kinds
	Proxy         string         `yaml:"proxy"`        // the way to the relay; it may hold a password
	Scrier        Scrier         `yaml:"scrier"`
	Console       console.Config `yaml:"console"`
	Desktop       Desktop        `yaml:"desktop"`
}

// Desktop is the block "desktop": the machine's RDP and VNC servers.
type Desktop struct {
	// Listeners are the users, in addition to root and [serviceAccounts], whose servers sessions may
	// reach.
	Listeners []string `yaml:"listeners"`
}

// SSHMode says which SSH server sessions reach.
type SSHMode string

// The modes.
const (
	SSHD    SSHMode = "sshd"    // the machine's own, at SSH.Addr
	Builtin SSHMode = "builtin" // the agent's, which listens nowhere
)

// SSH is the block "ssh"; the word builtin alone stands for {mode: builtin}.
type SSH struct {
	Mode       SSHMode `yaml:"mode"`
	Addr       string  `yaml:"addr"`        // mode sshd: host:port on loopback
	SSHDConfig string  `yaml:"sshd_config"` // mode sshd: what the server at Addr was started with
	RunAs      string  `yaml:"run_as"`      // mode builtin: the login; default: the agent's own
	// AuthorizedKeys is, in mode builtin, the file whose keys may log in; %h and %u as in
	// sshd_config.
	AuthorizedKeys string `yaml:"authorized_keys"`
}

// UnmarshalYAML reads the block, or the one word for its mode.
func (s *SSH) UnmarshalYAML(decode func(any) error) error {
	var word SSHMode
	if decode(&word) == nil {
		s.Mode = word
		return nil
	}
	type plain SSH
	return decode((*plain)(s))
}

// DefaultConfig is what holds without an agent.yaml.
func DefaultConfig() Config {
	return Config{
		Transport: wire.Auto,
		SSH: SSH{
			Mode: SSHD, Addr: "127.0.0.1:22", SSHDConfig: "/etc/ssh/sshd_config",
			AuthorizedKeys: "%h/.ssh/authorized_keys",
		},
		AllowedPorts: []uint16{22, 3389, 5900},
		Keys:         keys.Home,
		MaxSessions:  256,
		Scrier:       defaultScrier(),
		Console:      console.DefaultConfig(),
	}
}

// mostSessions is somewhat less than what QUIC lets a relay open on a link, so that one too many can be told why.
const mostSessions = 1000

// LoadConfig reads agent.yaml; see [config.Load].
func LoadConfig(path string, named bool) (Config, error) {
	c := DefaultConfig()
	err := config.Load(path, "docs/agent.md", named, &c)
	return c, err
}

// Check says what is not valid.
func (c *Config) Check() error {
	if !slices.Contains([]SSHMode{SSHD, Builtin}, c.SSH.Mode) {
		return fmt.Errorf("ssh.mode: %q is neither sshd nor builtin", c.SSH.Mode)
	}
	if !slices.Contains([]keys.Mode{keys.Home, keys.Dropin}, c.Keys) {
		return fmt.Errorf("keys: %q is neither home nor dropin", c.Keys)
	}
	if c.MaxSessions < 1 || c.MaxSessions > mostSessions {
		return fmt.Errorf("max_sessions: %d is not between 1 and %d", c.MaxSessions, mostSessions)
	}
	host, _, err := net.SplitHostPort(c.SSH.Addr)
	if err != nil {
		return fmt.Errorf("ssh.addr: %q is not host:port", c.SSH.Addr)
	}
	// No other name than localhost: somebody could make it resolve to another machine.
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("ssh.addr: %s is not on this machine's loopback; sessions never leave the machine", host)
	}
	if c.SSH.Mode == SSHD && c.SSH.RunAs != "" {
		return errors.New("ssh.run_as goes with mode builtin; with sshd the operator's key decides the login")
	}
	if _, err := c.proxy(); err != nil {
		return err
	}
	if err := c.Scrier.Forward.check(); err != nil {
		return err
	}
	if err := c.Console.Check(); err != nil {
		return err
	}
	return c.Desktop.check()
}

func (d *Desktop) check() error {
	for i, name := range d.Listeners {
		switch {
		case !isLogin(name):
			return fmt.Errorf("desktop.listeners: %q is not the name of a login", name)
		case name == "nobody":
			return errors.New("desktop.listeners: nobody is what the kernel shows for users that it does not know; it cannot be trusted")
		case slices.Contains(d.Listeners[:i], name):
			return fmt.Errorf("desktop.listeners: %s is there twice", name)
		}
	}
	return nil
}

// proxy is the way to the relay.
func (c *Config) proxy() (wire.Proxy, error) { return wire.ParseProxy("proxy", c.Proxy) }

// isLogin says whether name can be a login's, and is no uid to getent.
func isLogin(name string) bool {
	_, err := strconv.ParseUint(name, 10, 64)
	return err != nil && account.ValidLogin(name)
}
