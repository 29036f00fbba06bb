package relay

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What makes no sense is named, and nothing else is.
func TestDoubts(t *testing.T) {
	for text, want := range map[string][]string{
		"": nil,
		"listen: ':443'\nhosts: [relay.example.com]\ntls: {acme: relay.example.com}\n":             nil,
		"listen: ':https'\ntls: {acme: relay.example.com}\n":                                       nil,
		"scrier: {guacd_addr: [192.0.2.7:4822, guacd:4822], proxy_hostname: 192.0.2.8}\n":          nil,
		"scrier: {guacd_addr: '', allowed_ports: [22]}\n":                                          nil,
		"scrier: {desktop: {clipboard_to_envoy: true, drive: {path: /srv/drive, upload: true}}}\n": nil,
		"metrics: {listen: '127.0.0.1:9464'}\n":                                                    nil,
		"metrics: {listen: '[::1]:9464'}\n":                                                        nil,
		"metrics: {listen: 'localhost:9464'}\n":                                                    nil,
		"metrics: {listen: '192.0.2.7:9464'}\n":                                                    {"metrics.listen: whoever reaches 192.0.2.7:9464 reads how many"},
		"metrics: {listen: '[::]:9464'}\n":                                                         {"metrics.listen: whoever reaches [::]:9464"},
		"metrics: {listen: '127.0.0.1:0'}\n":                                                       {"metrics.listen: port 0 is another port"},
		"listen: 127.0.0.1:0\n":                                                                    {"listen: port 0"},
		"tls: {acme: relay.example.com}\n":                                                         {"tls.acme: the CA connects to port 443, and the relay listens on 8443"},
		"hosts: [a.example, b.example, a.example]\n":                                               {"hosts: a.example is there twice"},
		"proxy_protocol: {from: [192.0.2.7, 192.0.2.7]}\n":                                         {"proxy_protocol.from: 192.0.2.7 is there twice"},
		"scrier: {allowed_ports: [22, 0, 22, 22]}\n":                                               {"0 is no port", "22 is there twice"},
		"scrier: {allowed_ports: []}\n":                                                            {"scrier.allowed_ports is empty"},
		"scrier: {max_age: 30s}\n":                                                                 {"scrier.agent_timeout is 1m30s, and a session ends after scrier.max_age, 30s", "scrier.detach_grace is 1m,"},
		"scrier: {agent_timeout: 1ms}\n":                                                           {"in 1ms few machines open a session"},
		"scrier: {guacd_addr: [127.0.0.1:4822, 127.0.0.1:4822, 127.0.0.1:0]}\n":                    {"127.0.0.1:4822 is there twice", "port 0 of 127.0.0.1"},
		"scrier: {guacd_addr: 192.0.2.7:4822}\n":                                                   {"guacd at 192.0.2.7 cannot call this relay back at 127.0.0.1"},
		"scrier: {guacd_addr: '', desktop: {clipboard_to_envoy: true}}\n":                          {"clipboard and drive have no effect"},
		"scrier: {desktop: {drive: {path: /srv/drive}}}\n":                                         {"the disk is of no use"},
	} {
		path := filepath.Join(t.TempDir(), "server.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := LoadConfig(path, true)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		got := c.Doubts()
		for _, w := range want {
			if !strings.Contains(strings.Join(got, "\n"), w) {
				t.Errorf("%s: %q does not say %q", text, got, w)
			}
		}
		if len(got) != len(want) {
			t.Errorf("%s: %d doubts, not %d: %q", text, len(got), len(want), got)
		}
	}
}
