package wire

import "testing"

func TestHost(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.1:443": "192.0.2.1", "[2001:db8::1]:443": "2001:db8::1", "[fe80::1%eth0]:1": "fe80::1%eth0",
		"relay.example.com:443": "relay.example.com", "@": "@", "": "", "stream": "stream", "2001:db8::1": "2001:db8::1",
	} {
		if got := Host(addr); got != want {
			t.Errorf("Host(%q) = %q, want %q", addr, got, want)
		}
	}
}

// Whoever has one IPv6 address has 2^64 of them: they are one source, however they are written.
func TestNetwork(t *testing.T) {
	for addr, want := range map[string][2]string{
		"192.0.2.1:443":                    {"192.0.2.1", "192.0.2.1"},
		"192.0.2.1":                        {"192.0.2.1", "192.0.2.1"},
		"::ffff:192.0.2.1":                 {"192.0.2.1", "192.0.2.1"},
		"[::ffff:192.0.2.1]:443":           {"192.0.2.1", "192.0.2.1"},
		"[2001:db8:1:2::1]:443":            {"2001:db8:1:2::/64", "2001:db8:1::/48"},
		"2001:db8:1:2:ffff:ffff:ffff:ffff": {"2001:db8:1:2::/64", "2001:db8:1::/48"},
		"2001:db8:1:3::1":                  {"2001:db8:1:3::/64", "2001:db8:1::/48"},
		"2001:DB8:0001:0003:0:0:0:1":       {"2001:db8:1:3::/64", "2001:db8:1::/48"},
		"[fe80::1%eth0]:1":                 {"fe80::/64", "fe80::/48"},
		"2001:db8:1:2::/64":                {"2001:db8:1:2::/64", "2001:db8:1::/48"}, // a network is its own
		"@":                                {"@", "@"},
		"":                                 {"", ""},
		"stream":                           {"stream", "stream"},
	} {
		network := Network(addr)
		if network != want[0] || Site(network) != want[1] {
			t.Errorf("%q is in the network %q and the site %q, want %q", addr, network, Site(network), want)
		}
	}
}
