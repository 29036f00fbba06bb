package relay

import (
	"strings"
	"testing"
	"time"

	"scrier/relay/audit"
	"scrier/relay/store"
	"scrier/wire"
)

// What a person types names one envoy or none; it is never guessed.
func TestFind(t *testing.T) {
	r := start(t)
	ids := map[string]wire.EnvoyID{}
	for _, name := range []string{"web1", "web10", "Web2", "jump", "twin", "twin", "old"} {
		e := store.Envoy{ID: wire.NewEnvoyID(), Hostname: name, Enrolled: time.Now(), Generation: 1}
		if name == "old" {
			e.Revoked = time.Now()
		}
		ids[name] = e.ID
		if err := r.kv.Update(t.Context(), func(tx store.Tx) error { return store.PutEnvoy(tx, e) }); err != nil {
			t.Fatal(err)
		}
	}
	for typed, want := range map[string]string{
		"web1": "web1", "WEB1": "web1", "web10": "web10", "web2": "Web2", "j": "jump", "old": "old", ids["jump"].String(): "jump", ids["old"].String(): "old",
	} {
		e, err := r.fleet.Find(t.Context(), typed)
		if err != nil || e.ID != ids[want] {
			t.Errorf("%q found %s, %v", typed, e.Hostname, err)
		}
	}
	for typed, want := range map[string]wire.Code{
		"twin": wire.AmbiguousEnvoy, "web": wire.AmbiguousEnvoy, "": wire.BadRequest, "x": wire.NoSuchEnvoy,
		wire.NewEnvoyID().String(): wire.NoSuchEnvoy, "web1\x00": wire.NoSuchEnvoy, strings.Repeat("y", 5000): wire.NoSuchEnvoy,
	} {
		if e, err := r.fleet.Find(t.Context(), typed); wire.CodeOf(err) != want {
			t.Errorf("%.20q found %s, %v", typed, e.Hostname, err)
		}
	}
	if err := r.fleet.Remove(t.Context(), audit.Event{}, ids["web1"]); err != nil {
		t.Fatal(err)
	}
	if e, err := r.fleet.Find(t.Context(), "web1"); err != nil || e.Hostname != "web10" {
		t.Errorf("after the removal: %s, %v", e.Hostname, err)
	}
}
