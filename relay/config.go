package relay

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"regexp"
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
	TLS    TLS      `yaml:"tls"`
	Scrier Scrier   `yaml:"scrier"`
}

// TLS is the block "tls": a certificate that browsers know, in files or by ACME; empty, the
// relay's own CA is all there is. Scrier's own programs never look at it.
type TLS struct {
	Cert          string `yaml:"cert"` // PEM, the chain, leaf first
	Key           string `yaml:"key"`  // PEM
	ACME          string `yaml:"acme"` // the domain
	ACMEEmail     string `yaml:"acme_email"`
	ACMEDirectory string `yaml:"acme_directory"` // empty: Let's Encrypt
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
	DetachGrace      Duration `yaml:"detach_grace"`  // how long a session outlives its viewer
	LiveView         bool     `yaml:"live_view"`     // whose role allows it may watch a session of another
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
			DetachGrace: Duration(time.Minute),
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
	for _, h := range c.Hosts {
		if !isHost(h) {
			return fmt.Errorf("hosts: %q is not a name or an address alone, like relay.example.com, *.example.com or 192.0.2.7, in ASCII (xn--…)", h)
		}
	}
	if c.Scrier.MaxSessions < 1 || c.Scrier.MaxSessions > 10_000 {
		return fmt.Errorf("scrier.max_sessions: %d is not between 1 and 10000", c.Scrier.MaxSessions)
	}
	if c.Scrier.RecordingEnabled {
		return errors.New("scrier.recording_enabled: this version makes no recordings; set it to false")
	}
	if d := time.Duration(c.Scrier.DetachGrace); d < time.Second || d > 24*time.Hour {
		return fmt.Errorf("scrier.detach_grace: %s is not between 1s and 24h", d)
	}
	return c.TLS.check()
}

func (t *TLS) check() error {
	switch {
	case (t.Cert == "") != (t.Key == ""):
		return errors.New("tls: cert and key go together")
	case t.ACME != "" && t.Cert != "":
		return errors.New("tls: either cert and key, or acme")
	case t.ACME == "" && (t.ACMEEmail != "" || t.ACMEDirectory != ""):
		return errors.New("tls: acme_email and acme_directory mean nothing without acme")
	}
	for key, path := range map[string]string{"cert": t.Cert, "key": t.Key} {
		if path != "" && !filepath.IsAbs(path) {
			return fmt.Errorf("tls.%s: %q is not an absolute path", key, path)
		}
	}
	if t.ACME != "" && !isDomain(t.ACME) {
		return fmt.Errorf("tls.acme: %q is not a domain name like relay.example.com, in lower case and ASCII (xn--…)", t.ACME)
	}
	if t.ACMEEmail != "" && !regexp.MustCompile(`^[^@\s,:<>]+@[^@\s,:<>]+$`).MatchString(t.ACMEEmail) {
		return fmt.Errorf("tls.acme_email: %q is not an address", t.ACMEEmail)
	}
	if t.ACMEDirectory != "" {
		u, err := url.Parse(t.ACMEDirectory)
		if err != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())) {
			return fmt.Errorf("tls.acme_directory: %q is not an https URL", t.ACMEDirectory)
		}
	}
	return nil
}

// isDomain says whether a public CA may give a certificate for it: two labels or more, and no
// address.
func isDomain(s string) bool {
	label := `[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?`
	return len(s) <= 253 && regexp.MustCompile(`^(`+label+`\.)+`+label+`$`).MatchString(s) && net.ParseIP(s) == nil
}

// isHost says whether s can stand in a certificate, and in a browser's Host: a name, perhaps with
// "*" for its first label, or an address.
func isHost(s string) bool {
	if net.ParseIP(strings.Trim(s, "[]")) != nil {
		return true
	}
	label := `[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?`
	return len(s) <= 253 && regexp.MustCompile(`^(\*\.)?(`+label+`\.)*`+label+`$`).MatchString(s)
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
