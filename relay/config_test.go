package relay

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"scrier/wire"
)

func TestLoadConfig(t *testing.T) {
	load := func(text string) (Config, error) {
		path := filepath.Join(t.TempDir(), "server.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return LoadConfig(path, true)
	}
	c, err := load("scrier: {max_sessions: 3, agent_timeout: 5s}\n")
	if err != nil {
		t.Fatal(err)
	}
	s := c.Scrier
	if s.MaxSessions != 3 || time.Duration(s.AgentTimeout) != 5*time.Second || !s.Enabled || !slices.Equal(s.GuacdAddr, Addrs{"127.0.0.1:4822"}) ||
		s.ProxyHostname != "127.0.0.1" || len(s.AllowedPorts) != 3 || s.RecordingEnabled || c.Listen != ":8443" {
		t.Errorf("what was not named lost its default: %+v", c)
	}
	for _, text := range []string{
		"tls: {cert: /c, key: /k}\n",
		"tls: {acme: relay.example.com, acme_email: ann@example.com, acme_directory: 'https://ca.example.com/dir'}\n",
		"tls: {acme: xn--bcher-kva.example, acme_directory: 'http://127.0.0.1:14000/dir'}\n",
		"scrier: {detach_grace: 24h, live_view: true}\n",
		"address: relay.example.com:443\n",
		"address: '[2001:db8::1]:443'\n",
		"proxy_protocol: {from: [127.0.0.1, '::1', 10.1.0.0/24, '2001:db8::/64']}\n",
		"scrier: {guacd_addr: [127.0.0.1:4822, guacd.example.com:4822], proxy_hostname: relay.example.com}\n",
		"scrier: {guacd_addr: '', desktop: {drive: {path: /var/lib/guacd, upload: true}}}\n",
	} {
		if _, err := load(text); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
	if s = DefaultConfig().Scrier; s.MaxSessions != 10 || time.Duration(s.AgentTimeout) != 90*time.Second ||
		time.Duration(s.DetachGrace) != time.Minute || time.Duration(s.AuditGrace) != 30*time.Second || s.LiveView || DefaultConfig().TLS != (TLS{}) {
		t.Errorf("defaults %+v", s)
	}
	for text, says := range map[string]string{
		"scrier: {guacd_addr: guacd}\n":                               "is not host:port",
		"scrier: {guacd_addr: [':4822']}\n":                           "is not host:port",
		"scrier: {proxy_hostname: 'a b'}\n":                           "scrier.proxy_hostname",
		"scrier: {desktop: {drive: {path: drive}}}\n":                 "absolute path",
		"scrier: {desktop: {drive: {upload: true}}}\n":                "without path",
		"scrier: {desktop: {clipboard: true}}\n":                      "clipboard",
		"scrier:\n  max_session: 3\n":                                 "[2:3]",
		"scrier:\n  enabled: perhaps\n":                               "[2:12]",
		"scrier:\n  max_sessions: many\n":                             "[2:17]",
		"scrier:\n  max_sessions: 0\n":                                "max_sessions",
		"scrier:\n  agent_timeout: soon\n":                            "[2:18]",
		"scrier:\n  agent_timeout: -1s\n":                             "duration",
		"scrier:\n  allowed_ports: [22, -1]\n":                        "[2:",
		"scrier:\n  recording_enabled: true\n":                        "no recordings",
		"scrier:\n  guacd_addr: nowhere\n":                            "host:port",
		"address: relay.example.com\n":                                "like relay.example.com:443",
		"address: '*.example.com:443'\n":                              "like relay.example.com:443",
		"address: relay.example.com:0\n":                              "like relay.example.com:443",
		"address: ':443'\n":                                           "like relay.example.com:443",
		"proxy_protocol: {from: [proxy.example.com]}\n":               "no address or network of a proxy",
		"proxy_protocol: {from: [0.0.0.0/0]}\n":                       "everybody could claim any address",
		"proxy_protocol: {from: [10.1.0.7/24]}\n":                     "in the network 10.1.0.0/24",
		"proxy_protocol: {from: ['fe80::1%eth0']}\n":                  "no address or network of a proxy",
		"proxy_protocol: {from: ['::ffff:10.1.0.7']}\n":               "no address or network of a proxy",
		"proxy_protocol: {from: 10.1.0.7}\n":                          "a list is expected here",
		"listen: 8443\n":                                              "host:port; for all addresses it is like \":8443\"",
		"metrics: {listen: 9464}\n":                                   `"9464" is not host:port, like 127.0.0.1:9464`,
		"metrics: {listen: localhost}\n":                              `"localhost" is not host:port`,
		"metrics: {listen: '127.0.0.1:http'}\n":                       "is not host:port",
		"metrics: {listen: '127.0.0.1:70000'}\n":                      "is not host:port",
		"metrics: {listen: ':9464'}\n":                                "is all addresses of this host, and nobody has to log in there",
		"metrics:\n  path: /metrics\n":                                "[2:3] unknown key",
		"scrier:\n\tenabled: true\n":                                  "[2:1] a tab stands here",
		"\tscrier: {}\n":                                              "a tab stands here",
		"listen: ':1'\nlisten: ':2'\n":                                "[2:1]",
		"# comment\n\nscrier:\n\n  x: 1\n":                            "[5:3]",
		"scrier: [\n":                                                 "[",
		"scrier: [1]\n":                                               "[1:9] a block of keys is expected here, and this is a list",
		"scrier: {max_sessions: x}\n":                                 "[1:24] a whole number is expected here, and this is text",
		"scrier: {max_sessions: 1.5}\n":                               "[1:24] this is a fraction",
		"scrier: {max_sessions: 99999999999999999999}\n":              "[1:24] 99999999999999999999 is too large",
		"scrier: {allowed_ports: 22}\n":                               "[1:25] a list is expected here, and this is a whole number",
		"scrier: {enabled: 7}\n":                                      "[1:19] true or false is expected here, and this is a whole number",
		"listen: {a: 1}\n":                                            "[1:9] text is expected here, and this is a block of keys",
		"hosts: ['münchen.example']\n":                                "hosts",
		"hosts: ['https://a.example']\n":                              "hosts",
		"hosts: ['a.example:8443']\n":                                 "hosts",
		"hosts: ['a.*.example']\n":                                    "hosts",
		"hosts: ['']\n":                                               "hosts",
		"scrier: {detach_grace: 500ms}\n":                             "detach_grace",
		"scrier: {audit_grace: 500ms}\n":                              "audit_grace",
		"scrier: {audit_grace: 25h}\n":                                "audit_grace",
		"scrier: {detach_grace: 25h}\n":                               "detach_grace",
		"scrier: {live_view: maybe}\n":                                "[1:",
		"tls: {certificate: /c}\n":                                    "[1:7]",
		"tls: {cert: /c}\n":                                           "go together",
		"tls: {key: /k}\n":                                            "go together",
		"tls: {cert: c, key: /k}\n":                                   "absolute",
		"tls: {cert: /c, key: ./k}\n":                                 "absolute",
		"tls: {cert: /c, key: /k, acme: a.b}\n":                       "either",
		"tls: {acme_email: a@b.c}\n":                                  "without acme",
		"tls: {acme_directory: 'https://a.b/'}\n":                     "without acme",
		"tls: {acme: localhost}\n":                                    "domain",
		"tls: {acme: '*.example.com'}\n":                              "domain",
		"tls: {acme: 192.0.2.1}\n":                                    "domain",
		"tls: {acme: 'a.example.com:443'}\n":                          "domain",
		"tls: {acme: Relay.example.com}\n":                            "domain",
		"tls: {acme: a.b, acme_email: nobody}\n":                      "acme_email",
		"tls: {acme: a.b, acme_directory: 'http://ca.example.com'}\n": "https",
		"tls: {acme: a.b, acme_directory: '/dir'}\n":                  "https",
		"--- {}\n---\nlisten: ':1'\n---\n{}\n":                        "more than one document",
	} {
		if _, err := load(text); wire.CodeOf(err) != wire.BadConfig || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v does not say %q", text, err, says)
		}
	}
}
