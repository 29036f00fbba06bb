package relay

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"scrier/config"
	"scrier/relay/access"
	"scrier/relay/kind/shell"
)

// Config is server.yaml.
type Config struct {
	Listen string   `yaml:"listen"` // host:port, UDP and TCP alike
	Hosts  []string `yaml:"hosts"`  // names and addresses under which browsers reach the relay
	// Address is host:port by which everybody reaches the relay, where something in front has another port; empty: the
	// first of Hosts, and the port of Listen.
	Address string `yaml:"address"`
	TLS     TLS    `yaml:"tls"`
	// ProxyProtocol is for proxies in front of TCP.
	ProxyProtocol ProxyProtocol `yaml:"proxy_protocol"`
	// Operators is what operators may do beside what their roles say.
	Operators Operators `yaml:"operators"`
	Audit     Audit     `yaml:"audit"`
	Metrics   Metrics   `yaml:"metrics"`
	Scrier    Scrier    `yaml:"scrier"`
}

// Operators is the block "operators".
type Operators struct {
	InlineKeys string `yaml:"inline_keys"` // session, register or refuse: see [access.InlineKeys]
}

// Audit is the block "audit": what the audit log says.
type Audit struct {
	Commands string `yaml:"commands"` // full, name or none: see [shell.Commands]
}

// Metrics is the block "metrics": where the relay tells Prometheus its figures, without TLS and to whoever asks.
type Metrics struct {
	Listen string `yaml:"listen"` // host:port; empty: nowhere
}

func (m *Metrics) check() error {
	if m.Listen == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(m.Listen)
	if _, perr := strconv.ParseUint(port, 10, 16); err != nil || perr != nil {
		return fmt.Errorf("metrics.listen: %q is not host:port, like 127.0.0.1:9464", m.Listen)
	}
	if host == "" { // too easily written
		return fmt.Errorf("metrics.listen: %q is all addresses of this host, and nobody has to log in there: name one, like 127.0.0.1:%s; 0.0.0.0 and [::] are all", m.Listen, port)
	}
	return nil
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
	Enabled          bool        `yaml:"enabled"`
	GuacdAddr        Addrs       `yaml:"guacd_addr"`     // tried in order; none: no desktops
	ProxyHostname    string      `yaml:"proxy_hostname"` // where guacd calls the relay back
	Desktop          Desktop     `yaml:"desktop"`
	AllowedPorts     []uint16    `yaml:"allowed_ports"`
	MaxSessions      int         `yaml:"max_sessions"`
	Allow            shell.Allow `yaml:"allow"` // what sessions of kind ssh may be used for
	RecordingEnabled bool        `yaml:"recording_enabled"`
	AgentTimeout     Duration    `yaml:"agent_timeout"` // how long an envoy may take to open a session
	MaxAge           Duration    `yaml:"max_age"`       // of one session
	DetachGrace      Duration    `yaml:"detach_grace"`  // how long a session outlives its viewer
	AuditGrace       Duration    `yaml:"audit_grace"`   // how long sessions go on while the audit log cannot be written
	LiveView         bool        `yaml:"live_view"`     // whose role allows it may watch a session of another
}

// Desktop is the block "scrier.desktop": what may be done with remote desktops besides looking and
// typing.
type Desktop struct {
	ClipboardToEnvoy   bool  `yaml:"clipboard_to_envoy"`   // operators may paste into the desktop
	ClipboardFromEnvoy bool  `yaml:"clipboard_from_envoy"` // what is copied there comes to them
	Audio              bool  `yaml:"audio"`
	NativeViewers      bool  `yaml:"native_viewers"` // scrier vnc and scrier rdp, where none of the above can be held back
	Drive              Drive `yaml:"drive"`
}

// Drive is a folder on guacd's host that RDP desktops have as a disk, one below it for each session.
type Drive struct {
	Path     string `yaml:"path"` // empty: no disk
	Upload   bool   `yaml:"upload"`
	Download bool   `yaml:"download"`
}

// Addrs is one host:port, or a list of them.
type Addrs []string

// UnmarshalYAML reads one or several; its error points at the line.
func (a *Addrs) UnmarshalYAML(node ast.Node) error {
	nodes := []ast.Node{node}
	if list, ok := node.(*ast.SequenceNode); ok {
		nodes = list.Values
	}
	*a = nil
	for _, n := range nodes {
		one, ok := text(n)
		if !ok {
			return &yaml.SyntaxError{Message: fmt.Sprintf("%s is not host:port, nor a list of such", n), Token: n.GetToken()}
		}
		if one != "" || len(nodes) > 1 {
			*a = append(*a, one)
		}
	}
	return nil
}

// text is the text of a scalar. The parser takes host:port between brackets for a key and its value.
func text(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.MappingNode:
		if len(n.Values) == 1 {
			return text(n.Values[0])
		}
	case *ast.MappingValueNode:
		return strings.TrimSpace(n.Key.String()) + ":" + strings.TrimSpace(n.Value.String()), true
	}
	return "", false
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
		Listen: ":8443", Operators: Operators{InlineKeys: string(access.InlineSession)}, Audit: Audit{Commands: string(shell.FullCommands)},
		Scrier: Scrier{
			Enabled: true, GuacdAddr: Addrs{"127.0.0.1:4822"}, ProxyHostname: "127.0.0.1",
			Desktop:      Desktop{Audio: true, NativeViewers: true},
			AllowedPorts: []uint16{22, 3389, 5900}, MaxSessions: 10, Allow: shell.UsualAllow(),
			AgentTimeout: Duration(90 * time.Second), MaxAge: Duration(12 * time.Hour),
			DetachGrace: Duration(time.Minute), AuditGrace: Duration(30 * time.Second),
		},
	}
}

// LoadConfig reads server.yaml; see [config.Load].
func LoadConfig(path string, named bool) (Config, error) {
	c := DefaultConfig()
	err := config.Load(path, "docs/relay.md", named, &c)
	return c, err
}

// Check says what is not valid.
func (c *Config) Check() error {
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		return fmt.Errorf("listen: %q is not host:port; for all addresses it is like \":8443\"", c.Listen)
	}
	for _, h := range c.Hosts {
		if !isHost(h) {
			return fmt.Errorf("hosts: %q is not a name or an address alone, like relay.example.com, *.example.com or 192.0.2.7, in ASCII (xn--…)", h)
		}
	}
	if err := c.checkAddress(); err != nil {
		return err
	}
	if _, err := c.ProxyProtocol.networks(); err != nil {
		return fmt.Errorf("proxy_protocol.from: %w", err)
	}
	if _, err := access.ParseInlineKeys(c.Operators.InlineKeys); err != nil {
		return fmt.Errorf("operators.inline_keys: %w", err)
	}
	if _, err := shell.ParseCommands(c.Audit.Commands); err != nil {
		return fmt.Errorf("audit.commands: %w", err)
	}
	if err := c.Metrics.check(); err != nil {
		return err
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
	if d := time.Duration(c.Scrier.AuditGrace); d < time.Second || d > 24*time.Hour {
		return fmt.Errorf("scrier.audit_grace: %s is not between 1s and 24h", d)
	}
	if err := c.Scrier.checkDesktop(); err != nil {
		return err
	}
	return c.TLS.check()
}

func (c *Config) checkAddress() error {
	if c.Address == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(c.Address)
	n, perr := strconv.ParseUint(port, 10, 16)
	if err != nil || perr != nil || n == 0 || !isHost(host) || strings.HasPrefix(host, "*") {
		return fmt.Errorf("address: %q is not the name or address and the port by which the relay is reached, like relay.example.com:443", c.Address)
	}
	return nil
}

// maxGuacd is how many addresses of guacd there may be: each is tried in turn.
const maxGuacd = 16

func (c *Scrier) checkDesktop() error {
	if len(c.GuacdAddr) > maxGuacd {
		return fmt.Errorf("scrier.guacd_addr: %d addresses, at most %d", len(c.GuacdAddr), maxGuacd)
	}
	for _, addr := range c.GuacdAddr {
		if host, _, err := net.SplitHostPort(addr); err != nil || host == "" {
			return fmt.Errorf("scrier.guacd_addr: %q is not host:port", addr)
		}
	}
	if !isHost(c.ProxyHostname) || strings.HasPrefix(c.ProxyHostname, "*") {
		return fmt.Errorf("scrier.proxy_hostname: %q is not the name or address at which guacd reaches this host", c.ProxyHostname)
	}
	d := c.Desktop.Drive
	if d.Path != "" && !filepath.IsAbs(d.Path) {
		return fmt.Errorf("scrier.desktop.drive.path: %q is not an absolute path", d.Path)
	}
	if d.Path == "" && (d.Upload || d.Download) {
		return errors.New("scrier.desktop.drive: upload and download mean nothing without path")
	}
	return nil
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
