//go:build !agentonly

package main

import (
	"strings"
	"testing"

	"scrier/wire"
)

// The flag goes before the environment; what is neither of the three is refused, with where it stands.
func TestTransport(t *testing.T) {
	for _, c := range []struct {
		flag, env string
		want      wire.Transport
		says      string
	}{
		{"", "", wire.Auto, ""},
		{"tcp", "", wire.OnlyTCP, ""},
		{"", "quic", wire.OnlyQUIC, ""},
		{"auto", "quic", wire.Auto, ""},
		{"udp", "", "", `--transport: the transport "udp" is not known; it is one of auto, quic and tcp`},
		{"", "TCP", "", `SCRIER_TRANSPORT: the transport "TCP" is not known`},
		{"tcp", "nonsense", wire.OnlyTCP, ""},
	} {
		t.Setenv(transportVariable, c.env)
		got, err := transportOf(c.flag)
		if got != c.want || (c.says == "") != (err == nil) || err != nil && (wire.CodeOf(err) != wire.Usage || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%q, %q: got %q, %v", c.flag, c.env, got, err)
		}
	}
}

// Each command that talks to a relay elsewhere takes --transport.
func TestTransportFlag(t *testing.T) {
	for path := range leaves(newRoot()) {
		c, _, err := newRoot().Find(strings.Fields(path)[1:])
		if err != nil {
			t.Fatal(err)
		}
		dials := c.Flag("relay") != nil && path != "scrier logout" && path != "scrier agent enroll" && path != "scrier ssh-config" && path != "scrier doctor" || path == "scrier login"
		if got := c.Flag("transport") != nil; got != dials {
			t.Errorf("%s takes --transport: %v, want %v", path, got, dials)
		}
	}
}

// status names the road, and why it is not the best.
func TestStatusRoad(t *testing.T) {
	for _, c := range []struct {
		road wire.Road
		why  string
		want string
	}{
		{wire.QUIC, "", "yes, over QUIC (UDP) at 192.0.2.7:8443, in 1.0 ms"},
		{wire.TCP, "UDP got no answer", "yes, over TCP (UDP got no answer) at 192.0.2.7:8443, in 1.0 ms"},
		{wire.TCP, "", "yes, over TCP at 192.0.2.7:8443, in 1.0 ms"},
	} {
		s := status{Reachable: true, Address: "192.0.2.7:8443", Transport: string(c.road), Why: c.why, RoundTrip: 1}
		if got := s.reachable(nil); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}
