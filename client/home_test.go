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
