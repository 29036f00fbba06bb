package keystest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Host is a machine of a test: logins that only its own getent knows, with real homes.
type Host struct {
	T      testing.TB
	Dir    string
	Shadow string
	Users  []*User
}

// User is one of its logins.
type User struct {
	Login string
	UID   int
	Home  string
	Shell string
}

// NewHost makes one, which is gone when the test ends.
func NewHost(t testing.TB) *Host {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("these tests become other users: run them as root")
	}
	dir, err := os.MkdirTemp("", "scrier-keys-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	h := &Host{T: t, Dir: dir}
	h.Must(os.Chmod(dir, 0o755))
	h.Script("getent", `db=$1; shift
if [ $db = initgroups ]; then for u; do echo "$u 64242"; done; exit 0; fi
[ $# = 0 ] && exec cat `+dir+`/$db
grep "^$1:" `+dir+`/$db || exit 2
`)
	h.Write()
	return h
}

// Must ends the test on an error.
func (h *Host) Must(err error) {
	h.T.Helper()
	if err != nil {
		h.T.Fatal(err)
	}
}

// Script makes a program of the host, and returns its path.
func (h *Host) Script(name, text string) string {
	h.T.Helper()
	full := filepath.Join(h.Dir, name)
	h.Must(os.WriteFile(full, []byte("#!/bin/sh\n"+text), 0o755))
	return full
}

// Write makes the databases of the host's getent.
func (h *Host) Write() {
	h.T.Helper()
	var b strings.Builder
	b.WriteString("root:x:0:0:root:/root:/bin/bash\nsync:x:4:65534:sync:/bin:/bin/sync\n")
	for _, u := range h.Users {
		fmt.Fprintf(&b, "%s:x:%d:%d::%s:%s\n", u.Login, u.UID, u.UID, u.Home, u.Shell)
	}
	h.Must(os.WriteFile(filepath.Join(h.Dir, "passwd"), []byte(b.String()), 0o644))
	h.Must(os.WriteFile(filepath.Join(h.Dir, "shadow"), []byte(h.Shadow), 0o600))
}

// User makes a login with a home and an empty .ssh.
func (h *Host) User(login string) *User {
	h.T.Helper()
	u := &User{Login: login, UID: 100_000 + rand.IntN(1<<30), Home: filepath.Join(h.Dir, "home", login), Shell: "/bin/bash"}
	h.Must(os.MkdirAll(u.SSH(""), 0o700))
	h.Must(os.Chmod(filepath.Join(h.Dir, "home"), 0o755))
	h.Own(u, u.Home, u.SSH(""))
	h.Must(os.Chmod(u.Home, 0o755))
	h.Users = append(h.Users, u)
	h.Write()
	return u
}

// Own gives files to a user.
func (h *Host) Own(u *User, paths ...string) {
	h.T.Helper()
	for _, p := range paths {
		h.Must(os.Lchown(p, u.UID, u.UID))
	}
}

// SSH is a name in the user's .ssh.
func (u *User) SSH(name string) string { return filepath.Join(u.Home, ".ssh", name) }

// File is the user's authorized_keys.
func (u *User) File() string { return u.SSH("authorized_keys") }

// PutKeys writes the login's authorized_keys.
func (h *Host) PutKeys(u *User, content string) {
	h.T.Helper()
	h.Must(os.WriteFile(u.File(), []byte(content), 0o600))
	h.Own(u, u.File())
}

// Read is the content of a file.
func (h *Host) Read(name string) string {
	h.T.Helper()
	b, err := os.ReadFile(name)
	h.Must(err)
	return string(b)
}

// OnlyKeys fails when something but authorized_keys is in the folder.
func OnlyKeys(t testing.TB, u *User) {
	t.Helper()
	entries, err := os.ReadDir(u.SSH(""))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != "authorized_keys" {
			t.Errorf("left over in .ssh: %s", e.Name())
		}
	}
}

// Usable are the ephemeral lines of a file that are in force.
func Usable(file string) []string {
	var lines []string
	for line := range strings.Lines(file) {
		if strings.Contains(line, Marker) && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	return lines
}
