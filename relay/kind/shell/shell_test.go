package shell

import "testing"

// A machine is told an address that means the same there, or none.
func TestAddress(t *testing.T) {
	for source, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1", "2001:DB8::1": "2001:db8::1", "127.0.0.1": "127.0.0.1",
		"": "", "admin socket": "", "fe80::1%eth0": "", "192.0.2.1:443": "", "example.com": "",
	} {
		if got := address(source); got != want {
			t.Errorf("%q: %q, want %q", source, got, want)
		}
	}
}
