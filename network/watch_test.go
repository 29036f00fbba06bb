package network

import (
	"context"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %v: %v: %s (it needs root)", args, err, out)
	}
}

// A new address is told, and so is one that goes; nothing is told when nothing changes.
func TestWatch(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Log("how addresses are changed differs from system to system")
		return
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	changed := Watch(ctx)
	time.Sleep(50 * time.Millisecond)
	for _, do := range []string{"add", "del"} {
		for len(changed) > 0 {
			<-changed
		}
		ip(t, "addr", do, "192.0.2.77/32", "dev", "lo")
		select {
		case <-changed:
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: nothing is told", do)
		}
	}
}

// Where the system tells nothing the addresses are compared.
func TestLooked(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	for range looked(ctx) {
		t.Error("something has changed")
	}
	if len(addresses()) == 0 {
		t.Error("this machine has no address")
	}
}
