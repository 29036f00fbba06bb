//go:build !agentonly

package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"scrier/relay"
	kindshell "scrier/relay/kind/shell"
)

// TestDefaults holds what is promised of a server.yaml that says nothing.
func TestDefaults(t *testing.T) {
	file := filepath.Join(t.TempDir(), "server.yaml")
	if err := os.WriteFile(file, []byte("scrier: {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := relay.LoadConfig(file, true)
	if err != nil {
		t.Fatal(err)
	}
	want := relay.Scrier{
		Enabled: true, GuacdAddr: relay.Addrs{"127.0.0.1:4822"}, ProxyHostname: "127.0.0.1", Desktop: relay.Desktop{Audio: true, NativeViewers: true}, AllowedPorts: []uint16{22, 3389, 5900},
		MaxSessions: 10, RecordingEnabled: false, Allow: kindshell.UsualAllow(),
		AgentTimeout: relay.Duration(90 * time.Second), MaxAge: relay.Duration(12 * time.Hour),
		DetachGrace: relay.Duration(time.Minute), AuditGrace: relay.Duration(30 * time.Second),
	}
	if diff := cmp.Diff(want, got.Scrier); diff != "" {
		t.Errorf("the block scrier (-want +got):\n%s", diff)
	}
	if got.Listen != ":8443" {
		t.Errorf("listen is %q", got.Listen)
	}
}
