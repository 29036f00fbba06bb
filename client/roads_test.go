package client

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"scrier/certs"
	"scrier/roads"
	"scrier/wire"
	"scrier/wire/wiretest"
)

// What worked is where the next command begins, unless a transport was asked for or a proxy leaves no choice.
func TestRoads(t *testing.T) {
	const relay = "relay.example.com:8443"
	for _, name := range []string{"SCRIER_PROXY", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"} {
		t.Setenv(name, "")
	}
	memory := roads.Memory{Path: filepath.Join(t.TempDir(), "roads.json"), Now: time.Now, Network: func() string { return "eth0" }}
	tcp, _ := wiretest.Pair(wire.Peer{Road: wire.TCP}, wire.Peer{})
	first := func(r Roads) wire.Road { return r.dialer(relay, certs.Client{}).First }
	reached := func(r Roads) { r.won(r.dialer(relay, certs.Client{}), relay, tcp) }
	auto := Roads{Memory: memory}
	reached(Roads{Memory: memory, Transport: wire.OnlyTCP}) // says nothing of QUIC
	if got := first(auto); got == wire.TCP {
		t.Error("what was asked for is remembered as what won")
	}
	reached(auto)
	if got := first(auto); got != wire.TCP {
		t.Errorf("it begins with %q", got)
	}
	if got := first(Roads{Memory: memory, Transport: wire.OnlyQUIC}); got == wire.TCP {
		t.Error("QUIC alone begins with TCP")
	}
	if _, why := memory.First(relay); why != "UDP got no answer" {
		t.Errorf("it says %q", why)
	}
	if err := os.Remove(memory.Path); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SCRIER_PROXY", "http://proxy.example.com:3128")
	reached(auto)
	if _, err := os.Stat(memory.Path); err == nil {
		t.Error("what a proxy leaves no choice of is remembered")
	}
}

// The memory is the user's state, and no configuration.
func TestRoadsPlace(t *testing.T) {
	t.Setenv("SCRIER_HOME", "")
	t.Setenv("HOME", "/home/ann")
	t.Setenv("XDG_STATE_HOME", "")
	place := func() string { return Home{"/home/ann/.config/scrier"}.roads(time.Now).Memory.Path }
	if got := place(); got != "/home/ann/.local/state/scrier/roads.json" {
		t.Error(got)
	}
	t.Setenv("XDG_STATE_HOME", "relative")
	if got := place(); got != "/home/ann/.local/state/scrier/roads.json" {
		t.Error(got)
	}
	t.Setenv("XDG_STATE_HOME", "/state")
	if got := place(); got != "/state/scrier/roads.json" {
		t.Error(got)
	}
	t.Setenv("SCRIER_HOME", "/home/ann/.config/scrier")
	if got := place(); got != "/home/ann/.config/scrier/roads.json" {
		t.Error(got)
	}
}
