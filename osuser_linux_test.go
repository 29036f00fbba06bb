//go:build !agentonly

package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"scrier/wire"
)

// The key of a user of this host makes an admin only if nobody else can have put it there, wherever links lead.
func TestOSUserKey(t *testing.T) {
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
	for _, c := range []struct{ what, link, to, open string }{
		{"no link", "", "", ""},
		{"within the home", "home/.ssh", "home/dot/ssh", ""},
		{"over a folder of the home that others can write", "home/.ssh", "home/dot/ssh", "home/dot"},
		{"to a file in such a folder", "home/.ssh/id_ed25519.pub", "home/dot/key", "home/dot"},
		{"out of the home", "home/.ssh", "shared/ann", "shared"},
	} {
		t.Run(c.what, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, "home/.ssh/id_ed25519.pub")
			must := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			must(os.MkdirAll(filepath.Dir(file), 0o755))
			must(os.WriteFile(file, []byte(text+"\n"), 0o644))
			if c.link != "" {
				to := filepath.Join(dir, c.to)
				must(os.MkdirAll(filepath.Dir(to), 0o755))
				must(os.Rename(filepath.Join(dir, c.link), to))
				must(os.Symlink(to, filepath.Join(dir, c.link)))
			}
			if c.open != "" {
				must(os.Chmod(filepath.Join(dir, c.open), 0o777))
			}
			u := &osUser{login: "ann", home: filepath.Join(dir, "home"), uid: uint32(os.Getuid())}
			got, err := u.key()
			switch {
			case c.open == "" && (err != nil || got != text):
				t.Errorf("%q: %v", got, err)
			case c.open != "" && (wire.CodeOf(err) != wire.KeyUnusable || !strings.Contains(wire.DetailOf(err), c.open+" (mode 0777)")):
				t.Errorf("%q: %v", got, err)
			}
		})
	}
}
