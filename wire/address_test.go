package wire

import "testing"

func TestRelayAddress(t *testing.T) {
	for text, want := range map[string]string{
		"relay.example.com": "relay.example.com:8443", "relay.example.com:443": "relay.example.com:443", "Relay.Example.COM.": "relay.example.com:8443",
		"LOCALHOST:9000": "localhost:9000", "192.0.2.7": "192.0.2.7:8443", "192.0.2.7:1": "192.0.2.7:1", "::1": "[::1]:8443", "[::1]": "[::1]:8443",
		"[::1]:9000": "[::1]:9000", "2001:DB8::1": "[2001:db8::1]:8443", "[fe80::1%eth0]:9000": "[fe80::1%eth0]:9000", " relay:8443 ": "relay:8443", "relay:08443": "relay:8443",
		"https://relay:8443/": "relay:8443", "https://relay": "relay:443", "HTTPS://Relay:8443/signin#x": "relay:8443", "https://[::1]:8443": "[::1]:8443",
		"relay:8443/": "relay:8443", "relay/": "relay:8443",
	} {
		if got, err := RelayAddress(text); err != nil || got != want {
			t.Errorf("%q: %q, %v, not %q", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", ":", ":8443", ":abc", "relay:abc", "relay:0", "relay:65536", "relay:99999", "relay:", "ann@relay", "ann@relay:8443", "https://ann@relay:8443",
		"http://relay:8443", "ssh://relay", "https://", "https:///x", "relay/path", "a b", "relay:1:2", "[::1", "relay\x1b[31m", "relay?x", "re%lay",
	} {
		if got, err := RelayAddress(text); CodeOf(err) != BadRequest {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
}
