package relay

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"scrier/config"
)

// Config is server.yaml.
type Config struct {
	Listen string   `yaml:"listen"` // host:port, UDP and TCP alike
	Hosts  []string `yaml:"hosts"`  // names and addresses under which browsers reach the relay
	Scrier Scrier   `yaml:"scrier"`
}

// Scrier is the block "scrier": what sessions may be.
type Scrier struct {
	Enabled          bool     `yaml:"enabled"`
	GuacdAddr        string   `yaml:"guacd_addr"`
	ProxyHostname    string   `yaml:"proxy_hostname"`
	AllowedPorts     []uint16 `yaml:"allowed_ports"`
	MaxSessions      int      `yaml:"max_sessions"`
	RecordingEnabled bool     `yaml:"recording_enabled"`
	AgentTimeout     Duration `yaml:"agent_timeout"` // how long an envoy may take to open a session
	MaxAge           Duration `yaml:"max_age"`       // of one session
}

// Duration is written as Go writes one, e.g. 90s.
type Duration time.Duration

// UnmarshalYAML reads a duration; its error points at the line.
func (d *Duration) UnmarshalYAML(node ast.Node) error {
	v, err := time.ParseDuration(strings.Trim(node.String(), `"'`))
	if err != nil || v <= 0 {
		return &yaml.SyntaxError{Message: fmt.Sprintf("%s is not a duration like 90s or 12h", node), Token: node.GetToken()}
	}
	*d = Duration(v)
	return nil
}

// DefaultConfig is what holds without a server.yaml.
func DefaultConfig() Config {
	return Config{
		Listen: ":8443",
		Scrier: Scrier{
			Enabled: true, GuacdAddr: "127.0.0.1:4822", ProxyHostname: "127.0.0.1",
			AllowedPorts: []uint16{22, 3389, 5900}, MaxSessions: 10,
			AgentTimeout: Duration(90 * time.Second), MaxAge: Duration(12 * time.Hour),
		},
	}
}

// LoadConfig reads server.yaml; see [config.Load].
func LoadConfig(path string, named bool) (Config, error) {
	c := DefaultConfig()
	err := config.Load(path, named, &c)
	return c, err
}

// Check says what is not valid.
func (c *Config) Check() error {
	for name, addr := range map[string]string{"listen": c.Listen, "scrier.guacd_addr": c.Scrier.GuacdAddr} {
		if _, _, err := net.SplitHostPort(addr); err != nil {
			return fmt.Errorf("%s: %q is not host:port", name, addr)
		}
	}
	if c.Scrier.MaxSessions < 1 || c.Scrier.MaxSessions > 10_000 {
		return fmt.Errorf("scrier.max_sessions: %d is not between 1 and 10000", c.Scrier.MaxSessions)
	}
	if c.Scrier.RecordingEnabled {
		return errors.New("scrier.recording_enabled: this version makes no recordings; set it to false")
	}
	return nil
}
