package keys

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"scrier/agent/account"
	"scrier/agent/keys/keystest"
	"scrier/agent/keys/line"
	"scrier/wire"
)

// TestWayOut: whoever a real sshd lets in gets in, in one of the two modes. Where that is not home, the code says
// that dropin is the way out, and it is.
func TestWayOut(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	run, err := os.MkdirTemp("/run", "scrier-keys-") // StrictModes looks at all folders above
	h.Must(err)
	t.Cleanup(func() { h.Must(os.RemoveAll(run)) })
	h.Must(os.Chmod(run, 0o755))
	const login = "scrwayout"
	uid, home := keystest.RealUser(t, run, login)
	dropins := filepath.Join(run, "keys")
	sshd := keystest.StartSSHD(t, h.Dir, "AuthorizedKeysFile .ssh/authorized_keys "+dropins+"/%u")
	key, signer := keystest.NewKey(t)
	text := keystest.Text(key) + "\n"
	dir := filepath.Join(home, ".ssh")
	file := filepath.Join(dir, "authorized_keys")
	outside := filepath.Join(run, "outside")

	put := func(name, content string) {
		t.Helper()
		h.Must(os.WriteFile(name, []byte(content), 0o600))
		h.Must(os.Chown(name, uid, uid))
	}
	rsa := keystest.Text(keystest.RSAKey(t, 4096))
	many := strings.Repeat(rsa+" somebody@example.com\n", 10_000)
	open := map[Mode]*Keys{}
	for _, mode := range []Mode{Home, Dropin} {
		cfg := h.config()
		cfg.StateDir += string(mode)
		cfg.AuthorizedKeysFile, cfg.SSHDConfig, cfg.Mode, cfg.DropinDir, cfg.AllowedLogins = nil, sshd.Config, mode, dropins, []string{login}
		open[mode] = h.open(cfg)
		open[mode].database = account.System()
	}
	for name, c := range map[string]struct {
		layout func()
		home   wire.Code // 0: it works in both modes
		refuse bool      // sshd does
	}{
		"plain":                      {func() { put(file, text) }, 0, false},
		"10,000 keys before":         {func() { put(file, many+text) }, 0, false},
		"link to a file in the home": {func() { put(filepath.Join(home, "keys"), text); h.Must(os.Symlink("../keys", file)) }, 0, false},
		"link to a folder in the home": {func() {
			h.Must(os.Rename(dir, filepath.Join(home, "dot")))
			h.Must(os.Symlink(filepath.Join(home, "dot"), dir))
			put(file, text)
		}, 0, false},
		"link to an own file elsewhere": {func() {
			h.Must(os.Mkdir(outside, 0o700))
			h.Must(os.Chown(outside, uid, uid))
			put(filepath.Join(outside, "keys"), text)
			h.Must(os.Symlink(filepath.Join(outside, "keys"), file))
		}, 0, false},
		"link to an own file in root's folder": {func() { put(outside, text); h.Must(os.Symlink(outside, file)) }, wire.KeyfilePermissions, false},
		"link to root's file elsewhere": {func() {
			h.Must(os.WriteFile(outside, []byte(text), 0o644))
			h.Must(os.Symlink(outside, file))
		}, wire.KeyfileSymlink, false},
		"two names": {func() { put(file, text); h.Must(os.Link(file, filepath.Join(home, "second"))) }, wire.KeyfileHardlink, false},
		"20 MB":     {func() { put(file, strings.Repeat(many, 3)+text) }, wire.KeyfileTooBig, false},
		"root's":    {func() { h.Must(os.WriteFile(file, []byte(text), 0o644)) }, wire.KeyfilePermissions, false},
		"read-only": {func() { put(file, text); h.Must(os.Chmod(file, 0o400)) }, wire.KeyfilePermissions, false},
		"immutable": {func() { put(file, text); keystest.Run(t, "chattr", "+i", file) }, wire.KeyfileImmutable, false},
		"group writes": {func() {
			put(file, text)
			for _, name := range []string{home, dir, file} {
				h.Must(os.Chmod(name, 0o775))
			}
		}, 0, false},
		"all write": {func() { put(file, text); h.Must(os.Chmod(dir, 0o777)) }, wire.KeyfilePermissions, true},
		"link to another's file": {func() {
			put(outside, text)
			h.Must(os.Chown(outside, uid+1, uid))
			h.Must(os.Chmod(outside, 0o644))
			h.Must(os.Symlink(outside, file))
		}, wire.KeyfileSymlink, true},
		"link to an own file in a folder that all write": {func() {
			h.Must(os.Mkdir(outside, 0o777))
			h.Must(os.Chmod(outside, 0o777))
			put(filepath.Join(outside, "keys"), text)
			h.Must(os.Symlink(filepath.Join(outside, "keys"), file))
		}, wire.KeyfilePermissions, true},
	} {
		for _, name := range []string{filepath.Join(home, "keys"), filepath.Join(home, "dot"), filepath.Join(home, "second"), dir, outside} {
			h.Must(os.RemoveAll(name))
		}
		h.Must(os.Mkdir(dir, 0o700))
		h.Must(os.Chown(dir, uid, uid))
		h.Must(os.Chmod(home, 0o755))
		c.layout()
		if err := sshd.Shell(login, signer); (err != nil) != c.refuse {
			t.Errorf("%s: sshd: %v", name, err)
			continue
		}
		before := h.Read(file)
		st, err := os.Stat(file)
		h.Must(err)
		for mode, k := range open {
			want := c.home
			if mode == Dropin && !c.refuse {
				want = 0
			}
			m, err := k.Find(context.Background(), Operator{Keys: []ssh.PublicKey{key}}, login)
			var in *Installed
			eph, s := keystest.NewKey(t)
			if err == nil {
				in, err = k.Install(context.Background(), m, wire.NewSessionID(), eph)
			}
			if got := wire.CodeOf(err); got != want && !(c.refuse && got != 0) {
				t.Errorf("%s, %s: %v", name, mode, err)
			}
			if mode == Home && err != nil && !c.refuse && !strings.Contains(err.Error()+wire.CodeOf(err).Hint(), "keys: dropin") {
				t.Errorf("%s: nobody says that dropin is the way out: %v", name, err)
			}
			if err != nil {
				continue
			}
			if err := sshd.Shell(login, s); err != nil {
				t.Errorf("%s, %s: %v", name, mode, err)
			}
			h.Must(in.Remove(context.Background()))
			if now, err := os.Stat(file); err != nil || h.Read(file) != before || now.Mode() != st.Mode() {
				t.Errorf("%s, %s: the file is not as it was: %v %v", name, mode, now, err)
			}
		}
		if name == "immutable" {
			keystest.Run(t, "chattr", "-i", file)
		}
	}
}

// A file of 10,000 keys is gone through for 64 of an operator's, and one line of it is held.
func BenchmarkManyKeys(b *testing.B) {
	rsa := keystest.Text(keystest.RSAKey(b, 4096))
	key, _ := keystest.NewKey(b)
	file := []byte(strings.Repeat(rsa+" somebody@example.com\n", 10_000) + keystest.Text(key) + "\n")
	q := line.Query{}
	for range 64 {
		other, _ := keystest.NewKey(b)
		k, _ := line.NewKey(other)
		q.Keys = append(q.Keys, k)
	}
	b.SetBytes(int64(len(file)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := q.Find(bytes.NewReader(file)); err != nil {
			b.Fatal(err)
		}
	}
}
