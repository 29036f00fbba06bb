package client

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"scrier/certs"
	"scrier/wire"
)

// Which relays are trusted, and the login, are not read from what others could have written or read.
func TestHomeIsPrivate(t *testing.T) {
	const relay = "relay.example.com:8443"
	for name, mode := range map[string]fs.FileMode{".": 0o777, "relays.json": 0o622, "login-" + relay + ".pem": 0o644} {
		h := Home{Dir: t.TempDir()}
		key, err := certs.NewKey()
		if err != nil {
			t.Fatal(err)
		}
		if err := certs.SaveKey(h.pairPath(relay), key); err != nil {
			t.Fatal(err)
		}
		err = h.change(func(k *known) {
			k.Current = relay
			k.Relays[relay] = Known{Pin: certs.Pin{}.String(), Username: "ann", Expires: time.Now().Add(time.Hour)}
		})
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(h.Dir, name)
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err = h.Current("", time.Now())
		if wire.CodeOf(err) != wire.BadConfig || !strings.Contains(err.Error(), "chmod") || !strings.Contains(err.Error(), path) {
			t.Errorf("%s at %04o: %v", name, mode, err)
		}
	}
}

// Who has logged out of the relay of the last login hears at which relays they are logged in still.
func TestNoCurrentRelay(t *testing.T) {
	h := Home{Dir: t.TempDir()}
	if err := os.Chmod(h.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	hint := func() string {
		_, err := h.Current("", now)
		if wire.CodeOf(err) != wire.Unauthenticated {
			t.Errorf("no current relay: %v", err)
		}
		return wire.HintOf(err)
	}
	if got := hint(); got != wire.Unauthenticated.Hint() {
		t.Errorf("without a login: %q", got)
	}
	err := h.change(func(k *known) {
		for relay, left := range map[string]time.Duration{"b:1": time.Hour, "a:1": time.Hour, "over:1": -time.Hour, "last:1": time.Hour} {
			k.Relays[relay] = Known{Pin: certs.Pin{}.String(), Username: "ann", Expires: now.Add(left)}
		}
		k.Current = "last:1"
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Logout("", false, false); err != nil {
		t.Fatal(err)
	}
	if got := hint(); !strings.Contains(got, "logged in at a:1, b:1: ") || !strings.Contains(got, "`scrier relays use RELAY`") {
		t.Errorf("with two others: %q", got)
	}
	if _, err := h.Logout("a:1", false, false); err != nil {
		t.Fatal(err)
	}
	if got := hint(); !strings.Contains(got, "logged in at b:1: ") || !strings.Contains(got, "`scrier relays use b:1`") {
		t.Errorf("with one other: %q", got)
	}
}
