package web

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"scrier/relay/access"
	"scrier/relay/fleet"
	"scrier/relay/store"
	"scrier/relay/store/bolt"
	"scrier/wire"
)

// manyEnvoys is a fleet of ten thousand with the facts that agents report.
func manyEnvoys(t testing.TB, n int) *fleet.Fleet {
	t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	kv, err := bolt.Open(bolt.Config{Path: filepath.Join(t.TempDir(), "state.db"), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = kv.Close() })
	err = kv.Update(t.Context(), func(tx store.Tx) error {
		for i := range n {
			name := fmt.Sprintf("machine-%05d.example.com", i*7919%n)
			facts, err := wire.Marshal(wire.Facts{
				Hostname: name, OS: "Debian GNU/Linux 12 (bookworm)", Arch: "amd64", Version: "0.1.0", Uptime: 86400, Load: 7,
				Disk: 40, Users: []string{"ann", "bob"}, SSH: true, SSHServer: "SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3",
			})
			if err != nil {
				return err
			}
			e := store.Envoy{
				ID: wire.NewEnvoyID(), Hostname: name, Enrolled: time.Now(), LastSeen: time.Now(), Generation: 1, Facts: facts, Version: "0.1.0",
				Labels:   map[string]string{"env": "prod", "site": "fra1", "role": "web"},
				HostKeys: []string{"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHQpB0u0y7vQ5ZxG1c6cV8Z1o5c0a7m3n2b1v0c9x8z7"},
			}
			if err := store.PutEnvoy(tx, e); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return fleet.New(fleet.Config{KV: kv, Now: time.Now, Log: log})
}

// What a page of the fleet costs when there are ten thousand envoys.
func BenchmarkEnvoys(b *testing.B) {
	api := API(Config{Fleet: manyEnvoys(b, 10_000), Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Events: NewEvents()})
	for _, query := range []string{"", "?limit=1000", "?limit=100"} {
		b.Run("envoys"+query, func(b *testing.B) {
			for b.Loop() {
				req := httptest.NewRequest("GET", "/api/v1/envoys"+query, nil)
				w := httptest.NewRecorder()
				api.ServeHTTP(w, req.WithContext(WithCaller(req.Context(), admin)))
				if w.Code != http.StatusOK {
					b.Fatal(w.Code)
				}
				b.SetBytes(int64(w.Body.Len()))
			}
		})
	}
	// A batch of events: what changed, and as many heartbeats as are told at once.
	b.Run("events", func(b *testing.B) {
		e, f := NewEvents(), manyEnvoys(b, 1000)
		s, leave, err := e.open(access.Operator{Role: access.Admin})
		if err != nil {
			b.Fatal(err)
		}
		defer leave()
		all, err := f.List(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			for _, v := range all[:maxSeen] {
				e.Envoy(v.ID, true)
			}
			if err := e.tellEnvoys(b.Context(), f); err != nil {
				b.Fatal(err)
			}
			for out, _ := s.take(piece); len(out) > 0; out, _ = s.take(piece) {
			}
		}
	})
}

// The pages of a large fleet are every envoy once, and what is removed meanwhile shifts nothing.
func TestEnvoyPages(t *testing.T) {
	f := manyEnvoys(t, 95)
	api := API(Config{Fleet: f, Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Events: NewEvents()})
	all := decoded[[]fleet.Envoy](t, askFor(t, api, "GET", "/api/v1/envoys"))
	for i := range all[1:] {
		if all[i].Hostname > all[i+1].Hostname {
			t.Errorf("%s stands before %s", all[i].Hostname, all[i+1].Hostname)
		}
	}
	seen := map[wire.EnvoyID]bool{}
	pages := 0
	for path := "/api/v1/envoys?limit=10"; path != ""; pages++ {
		resp := askFor(t, api, "GET", path)
		rows := decoded[[]fleet.Envoy](t, resp)
		for _, v := range rows {
			if seen[v.ID] {
				t.Errorf("%s is there twice", v.ID)
			}
			seen[v.ID] = true
		}
		path = next(t, resp)
		if path == "" {
			break
		}
		last := rows[len(rows)-1].ID // the one that the next page begins after is gone by then
		if err := f.KV.Update(t.Context(), func(tx store.Tx) error { return store.DeleteEnvoy(tx, last) }); err != nil {
			t.Fatal(err)
		}
	}
	if len(all) != 95 || len(seen) != 95 || pages != 9 {
		t.Errorf("%d envoys at once, %d on %d pages", len(all), len(seen), pages+1)
	}
	if resp := askFor(t, api, "GET", "/api/v1/envoys?limit=1000"); resp.Header.Get("Link") != "" {
		t.Error("the last page names a next one")
	}
	for _, query := range []string{"limit=0", "limit=1001", "limit=x", "limit=5&after=x"} {
		if resp := askFor(t, api, "GET", "/api/v1/envoys?"+query); resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: status %d", query, resp.StatusCode)
		}
	}
}
