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
