package cluster

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	"scrier/certs"
	"scrier/relay/store"
	"scrier/relay/store/etcd"
)

// patience is for what must come; a busy machine takes long.
const patience = 2 * time.Minute

func port(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func newCA(t *testing.T) *certs.CA {
	t.Helper()
	ca, err := certs.LoadOrMakeCA(t.TempDir(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func configOf(t *testing.T, listen string) Config {
	t.Helper()
	return Config{
		Dir: filepath.Join(t.TempDir(), "cluster"), Listen: listen, Now: time.Now,
		Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := contextFor(t, patience)
	t.Cleanup(cancel)
	return ctx
}

// contextFor is not the test's own, which ends before what was put off to its end.
func contextFor(t *testing.T, d time.Duration) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithTimeout(context.Background(), d)
}

func state(t *testing.T, m *Member) store.KV {
	t.Helper()
	kv, err := etcd.Open(within(t), etcd.Config{Client: m.Client(), MaxOps: MaxOps, Name: m.Name()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = kv.Close() })
	return kv
}

// One relay forms a cluster, is the same one after a restart, and has no port but that for members.
func TestForm(t *testing.T) {
	ca, listen := newCA(t), port(t)
	cfg := configOf(t, listen)
	m, err := Form(within(t), cfg, ca, "a", listen)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := m.Ready(within(t)); err != nil {
		t.Fatal(err)
	}
	if err := state(t, m).Update(within(t), func(tx store.Tx) error { return tx.Put("k", []byte("v")) }); err != nil {
		t.Fatal(err)
	}
	h, err := m.Health(within(t))
	if err != nil || len(h) != 1 || h[0].Name != "a" || !h[0].Leader || h[0].Err != "" {
		t.Errorf("health: %+v, %v", h, err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	m, err = Form(within(t), cfg, ca, "a", listen)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := m.Ready(within(t)); err != nil {
		t.Fatal(err)
	}
	if err := state(t, m).View(within(t), func(tx store.Tx) error {
		v, err := tx.Get("k")
		if string(v) != "v" {
			t.Errorf("after a restart: %q", v)
		}
		return err
	}); err != nil {
		t.Error(err)
	}
}
