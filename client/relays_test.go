package client

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"scrier/certs"
	"scrier/wire"
)

// The relays that are known, and the choice of the current one.
func TestRelays(t *testing.T) {
	h := Home{Dir: filepath.Join(t.TempDir(), "scrier")}
	now := time.Now()
	if all, err := h.Relays(); err != nil || all == nil || len(all) != 0 {
		t.Errorf("at first: %v, %v", all, err)
	}
	if _, ok, err := h.Last(); ok || err != nil {
		t.Errorf("at first there is a last login: %v", err)
	}
	_, err := h.Use("b.example.com")
	if wire.CodeOf(err) != wire.Unauthenticated || wire.HintOf(err) != "log in with `scrier login b.example.com:8443`" {
		t.Errorf("use of one that is not known: %v, %q", err, wire.HintOf(err))
	}
	if _, err := os.Stat(h.Dir); err == nil {
		t.Errorf("a refused use has made %s", h.Dir)
	}
	err = h.change(func(k *known) {
		pin := certs.Pin{}.String()
		k.Relays["b.example.com:8443"] = Known{Pin: pin, Username: "ann", Expires: now.Add(time.Hour)}
		k.Relays["a.example.com:443"] = Known{Pin: pin, Username: "bob", Expires: now.Add(-time.Hour), KeyFile: "/k"}
		k.Relays["c.example.com:8443"] = Known{Pin: pin}
		k.Current = "b.example.com:8443"
	})
	if err != nil {
		t.Fatal(err)
	}
	all, err := h.Relays()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range all {
		line := r.Relay
		if r.Current {
			line += " current"
		}
		if r.LoggedIn(now) {
			line += " in"
		}
		got = append(got, line)
	}
	if s := strings.Join(got, ", "); s != "a.example.com:443, b.example.com:8443 current in, c.example.com:8443" {
		t.Errorf("the list is %s", s)
	}
	r, err := h.Use("https://A.example.com/") // a login that has expired can be chosen, to be renewed
	if err != nil || r.Relay != "a.example.com:443" || !r.Current || r.Username != "bob" {
		t.Errorf("chosen: %+v, %v", r, err)
	}
	if last, ok, err := h.Last(); err != nil || !ok || last.Relay != "a.example.com:443" || last.KeyFile != "/k" {
		t.Errorf("last: %+v, %v, %v", last, ok, err)
	}
	_, err = h.Use("c.example.com")
	if wire.CodeOf(err) != wire.Unauthenticated || !strings.Contains(wire.HintOf(err), "you have a login at a.example.com:443, b.example.com:8443") {
		t.Errorf("use of one without a login: %v, %q", err, wire.HintOf(err))
	}
	if _, err := h.Use("c@d"); wire.CodeOf(err) != wire.BadRequest {
		t.Errorf("use of what is no relay: %v", err)
	}
	if last, _, _ := h.Last(); last.Relay != "a.example.com:443" {
		t.Errorf("a refused use has changed the current relay to %s", last.Relay)
	}
	if _, err := h.Logout("", false, false); err != nil {
		t.Fatal(err)
	}
	if last, ok, err := h.Last(); ok || err != nil {
		t.Errorf("behind a logout there is a last login: %+v, %v", last, err)
	}
}
