package keys

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"scrier/agent/account"
	"scrier/agent/keys/keystest"
	"scrier/agent/keys/line"
	"scrier/wire"
)

// TestSymlinks lays out links in the user's home (H1). Those that stay in it are followed. Whatever the others
// point to, nothing of somebody else's is read through them, and nothing is changed.
func TestSymlinks(t *testing.T) {
	t.Parallel()
	for _, env := range [][]string{nil, {openatEnv}} {
		h := newHost(t)
		key, _ := keystest.NewKey(t)
		victim := h.User("scrvictim")
		h.PutKeys(victim, keystest.Text(key)+" victim\n")
		h.Must(os.Chmod(victim.File(), 0o666)) // what is refused is refused by us
		h.Must(os.Chmod(victim.SSH(""), 0o777))
		secret := filepath.Join(h.Dir, "secret")
		h.Must(os.WriteFile(secret, []byte(keystest.Text(key)+" root\n"), 0o644))
		h.Must(os.Chmod(secret, 0o666))
		k := h.open(h.config(), env...)
		watched := []string{secret, victim.File()}
		before := map[string]string{}
		for _, name := range watched {
			before[name] = h.Read(name)
		}
		const link, none, closed = wire.KeyfileSymlink, wire.PubkeyNotAuthorized, wire.KeyfilePermissions
		for name, c := range map[string]struct {
			layout func(u *keystest.User)
			code   wire.Code
		}{
			"file to root's file":    {func(u *keystest.User) { h.Must(os.Symlink(secret, u.File())) }, link},
			"file to /etc/shadow":    {func(u *keystest.User) { h.Must(os.Symlink("/etc/shadow", u.File())) }, link},
			"file to another's file": {func(u *keystest.User) { h.Must(os.Symlink(victim.File(), u.File())) }, link},
			"file to own file": {func(u *keystest.User) {
				h.PutKeys(u, keystest.Text(key)+"\n")
				h.Must(os.Rename(u.File(), u.SSH("real")))
				h.Must(os.Symlink("real", u.File()))
			}, 0},
			"file to own file, all the way": {func(u *keystest.User) {
				h.PutKeys(u, keystest.Text(key)+"\n")
				h.Must(os.Rename(u.File(), u.Home+"/real"))
				h.Must(os.Symlink(u.Home+"/real", u.File()))
			}, 0},
			"file to own file below a folder of another's": {func(u *keystest.User) {
				h.PutKeys(u, keystest.Text(key)+"\n")
				h.Must(os.Rename(u.File(), victim.SSH("theirs")))
				h.Must(os.Symlink(victim.SSH("theirs"), u.File()))
			}, closed},
			"file to a way up":      {func(u *keystest.User) { h.Must(os.Symlink("../../scrvictim/.ssh/authorized_keys", u.File())) }, link},
			"file to /proc/self/fd": {func(u *keystest.User) { h.Must(os.Symlink("/proc/self/fd/0", u.File())) }, none},
			"file to a program":     {func(u *keystest.User) { h.Must(os.Symlink("/bin/sh", u.File())) }, link},
			"file to /proc/1/root":  {func(u *keystest.User) { h.Must(os.Symlink("/proc/1/root/etc/hostname", u.File())) }, closed},
			"file to nothing":       {func(u *keystest.User) { h.Must(os.Symlink("/nonexistent", u.File())) }, none},
			"file to itself":        {func(u *keystest.User) { h.Must(os.Symlink("authorized_keys", u.File())) }, link},
			"file to a device":      {func(u *keystest.User) { h.Must(os.Symlink("/dev/zero", u.File())) }, link},
			"folder to another's":   {func(u *keystest.User) { h.Must(os.Remove(u.SSH(""))); h.Must(os.Symlink(victim.SSH(""), u.SSH(""))) }, link},
			"folder to own": {func(u *keystest.User) {
				h.PutKeys(u, keystest.Text(key)+"\n")
				h.Must(os.Rename(u.SSH(""), u.Home+"/real"))
				h.Must(os.Symlink("real", filepath.Join(u.Home, ".ssh")))
			}, 0},
			"folder to /proc/self/cwd": {func(u *keystest.User) {
				h.Must(os.Remove(u.SSH("")))
				h.Must(os.Symlink("/proc/self/cwd", filepath.Join(u.Home, ".ssh")))
			}, none},
			"folder to another's, dotted": {func(u *keystest.User) {
				h.Must(os.Remove(u.SSH("")))
				h.Must(os.Symlink("../scrvictim/.ssh", filepath.Join(u.Home, ".ssh")))
			}, link},
		} {
			u := h.User("scrlinks")
			c.layout(u)
			_, err := k.Find(context.Background(), Operator{Keys: []ssh.PublicKey{key}}, u.Login)
			if got := wire.CodeOf(err); got != c.code {
				t.Errorf("%s: %v", name, err)
			}
			// The same if the link is made after the search.
			code := c.code
			if code == none {
				code = wire.KeyfileChanged
			}
			m := Match{Login: u.Login, File: u.File(), zone: line.Zone{UTC: true}, strict: true,
				who: account.Account{Login: u.Login, UID: uint32(u.UID), GID: uint32(u.UID), Home: u.Home}}
			eph, _ := keystest.NewKey(t)
			in, err := k.Install(context.Background(), m, wire.NewSessionID(), eph)
			if wire.CodeOf(err) != code {
				t.Errorf("%s: install: %v", name, err)
			}
			if err == nil {
				if got := keystest.Usable(h.Read(u.File())); len(got) != 1 {
					t.Errorf("%s: %q", name, got)
				}
				h.Must(in.Remove(context.Background()))
				if got := h.Read(u.File()); got != keystest.Text(key)+"\n" {
					t.Errorf("%s: %q", name, got)
				}
			}
			h.Must(os.RemoveAll(u.Home))
			h.Must(os.RemoveAll(victim.SSH("theirs")))
			h.Users = h.Users[:1]
		}
		for _, name := range watched {
			if h.Read(name) != before[name] {
				t.Errorf("%s was changed", name)
			}
		}
		if entries, err := os.ReadDir(victim.SSH("")); err != nil || len(entries) != 1 {
			t.Errorf("files were made beside another's: %v %v", entries, err)
		}
	}
}

// The way to a home may lead over a symbolic link of root's.
func TestLinkToHome(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	key, _ := keystest.NewKey(t)
	u := h.User("scralice")
	h.PutKeys(u, keystest.Text(key)+"\n")
	h.Must(os.Symlink(filepath.Join(h.Dir, "home"), filepath.Join(h.Dir, "usr-home")))
	u.Home = filepath.Join(h.Dir, "usr-home", u.Login)
	h.Write()
	k := h.open(h.config())
	m, err := k.Find(context.Background(), Operator{Keys: []ssh.PublicKey{key}}, "")
	h.Must(err)
	eph, _ := keystest.NewKey(t)
	in, err := k.Install(context.Background(), m, wire.NewSessionID(), eph)
	h.Must(err)
	h.Must(in.Remove(context.Background()))
	if got := h.Read(u.File()); got != keystest.Text(key)+"\n" {
		t.Fatal(got)
	}
}

// TestHardlink: the user may link a file of another's where protected_hardlinks is off (H2).
func TestHardlink(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	key, _ := keystest.NewKey(t)
	secret := filepath.Join(h.Dir, "secret")
	h.Must(os.WriteFile(secret, []byte(keystest.Text(key)+"\n"), 0o644))
	u := h.User("scralice")
	h.Must(os.Link(secret, u.File()))
	k := h.open(h.config())
	_, err := k.Find(context.Background(), Operator{Keys: []ssh.PublicKey{key}}, u.Login)
	keystest.WantCode(t, err, wire.KeyfileHardlink)

	// A second name of the own file, made after the search.
	h.Must(os.Remove(u.File()))
	h.PutKeys(u, keystest.Text(key)+"\n")
	m, err := k.Find(context.Background(), Operator{Keys: []ssh.PublicKey{key}}, u.Login)
	h.Must(err)
	h.Must(os.Link(u.File(), filepath.Join(u.Home, "second")))
	eph, _ := keystest.NewKey(t)
	_, err = k.Install(context.Background(), m, wire.NewSessionID(), eph)
	keystest.WantCode(t, err, wire.KeyfileHardlink)
	if got := h.Read(u.File()); got != keystest.Text(key)+"\n" {
		t.Fatal(got)
	}
}

// TestTypes: none of these may block the agent (H3, H12).
func TestTypes(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	key, _ := keystest.NewKey(t)
	k := h.open(h.config())
	for name, c := range map[string]struct {
		make func(u *keystest.User) error
		code wire.Code
	}{
		"FIFO":        {func(u *keystest.User) error { return unix.Mkfifo(u.File(), 0o600) }, wire.KeyfileNotRegular},
		"folder":      {func(u *keystest.User) error { return os.Mkdir(u.File(), 0o700) }, wire.KeyfileNotRegular},
		"socket":      {func(u *keystest.User) error { return unix.Mknod(u.File(), unix.S_IFSOCK|0o600, 0) }, wire.KeyfileNotRegular},
		"null device": {func(u *keystest.User) error { return unix.Mknod(u.File(), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))) }, wire.KeyfileNotRegular},
		"tty device":  {func(u *keystest.User) error { return unix.Mknod(u.File(), unix.S_IFCHR|0o600, int(unix.Mkdev(5, 0))) }, wire.KeyfileNotRegular},
		"loop device": {func(u *keystest.User) error { return unix.Mknod(u.File(), unix.S_IFBLK|0o600, int(unix.Mkdev(7, 0))) }, wire.KeyfileNotRegular},
		"1 GiB": {func(u *keystest.User) error {
			h.PutKeys(u, "")
			return os.Truncate(u.File(), 1<<30)
		}, wire.KeyfileTooBig},
		"no file": {func(u *keystest.User) error { return nil }, wire.PubkeyNotAuthorized},
		"no .ssh": {func(u *keystest.User) error { return os.Remove(u.SSH("")) }, wire.PubkeyNotAuthorized},
		".ssh a file": {func(u *keystest.User) error {
			os.Remove(u.SSH(""))
			return os.WriteFile(filepath.Join(u.Home, ".ssh"), nil, 0o600)
		}, wire.PubkeyNotAuthorized},
		"no home":     {func(u *keystest.User) error { return os.RemoveAll(u.Home) }, wire.PubkeyNotAuthorized},
		"unreadable":  {func(u *keystest.User) error { h.PutKeys(u, keystest.Text(key)); return os.Chmod(u.File(), 0) }, wire.KeyfilePermissions},
		"closed home": {func(u *keystest.User) error { h.PutKeys(u, keystest.Text(key)); return os.Chown(u.Home, 0, 0) }, 0},
		"closed folder": {func(u *keystest.User) error {
			h.PutKeys(u, keystest.Text(key))
			h.Must(os.Chown(u.SSH(""), 0, 0))
			return nil
		}, wire.KeyfilePermissions},
		"another's": {func(u *keystest.User) error {
			h.PutKeys(u, keystest.Text(key))
			return os.Chown(u.File(), u.UID+1000, 0)
		}, wire.KeyfilePermissions},
		"root's 0600":  {func(u *keystest.User) error { h.PutKeys(u, keystest.Text(key)); return os.Chown(u.File(), 0, 0) }, wire.KeyfilePermissions},
		"group writes": {func(u *keystest.User) error { h.PutKeys(u, keystest.Text(key)); return os.Chmod(u.File(), 0o660) }, wire.KeyfilePermissions},
		"all write":    {func(u *keystest.User) error { h.PutKeys(u, keystest.Text(key)); return os.Chmod(u.File(), 0o602) }, wire.KeyfilePermissions},
		"home 0777":    {func(u *keystest.User) error { h.PutKeys(u, keystest.Text(key)); return os.Chmod(u.Home, 0o777) }, wire.KeyfilePermissions},
		"folder 0770":  {func(u *keystest.User) error { h.PutKeys(u, keystest.Text(key)); return os.Chmod(u.SSH(""), 0o770) }, wire.KeyfilePermissions},
		"another's .ssh": {func(u *keystest.User) error {
			h.PutKeys(u, keystest.Text(key))
			h.Must(os.Chmod(u.SSH(""), 0o755))
			return os.Chown(u.SSH(""), u.UID+1000, 0)
		}, wire.KeyfilePermissions},
		"read-only file": {func(u *keystest.User) error { h.PutKeys(u, keystest.Text(key)); return os.Chmod(u.File(), 0o400) }, 0},
	} {
		u := h.User("scralice")
		h.Must(c.make(u))
		_, err := k.Find(context.Background(), Operator{Keys: []ssh.PublicKey{key}}, u.Login)
		if wire.CodeOf(err) != c.code {
			t.Errorf("%s: %v, want %v", name, err, c.code)
		}
		h.Must(os.RemoveAll(u.Home))
		h.Users = nil
	}
}

// Whoever has a key in a file that sshd does not read hears which file it is, its mode and the rule, also when no login
// was named. Whoever has none there only hears that they have none.
func TestKeyInALooseFile(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	key, _ := keystest.NewKey(t)
	other, _ := keystest.NewKey(t)
	k := h.open(h.config())
	for _, login := range []string{"scrann", "scrbob"} {
		h.PutKeys(h.User(login), keystest.Text(other))
	}
	u := h.User("scrloose")
	h.PutKeys(u, keystest.Text(key))
	for name, c := range map[string]struct{ path, mode string }{
		"file":   {u.File(), "0666"},
		"folder": {u.SSH(""), "0777"},
		"home":   {u.Home, "0757"},
	} {
		before, err := os.Stat(c.path)
		h.Must(err)
		mode, err := strconv.ParseUint(c.mode, 8, 32)
		h.Must(err)
		h.Must(os.Chmod(c.path, os.FileMode(mode)))
		for _, login := range []string{"", u.Login} {
			_, err = k.Find(t.Context(), Operator{Keys: []ssh.PublicKey{key}}, login)
			if wire.CodeOf(err) != wire.KeyfilePermissions {
				t.Errorf("%s, login %q: %v", name, login, err)
			}
			for _, want := range []string{u.Login + ": " + c.path + " belongs to", "has mode " + c.mode, "StrictModes", "`chmod go-w " + c.path + "`"} {
				if !strings.Contains(wire.DetailOf(err), want) {
					t.Errorf("%s, login %q: %v does not say %q", name, login, err, want)
				}
			}
		}
		third, _ := keystest.NewKey(t)
		if _, err := k.Find(t.Context(), Operator{Keys: []ssh.PublicKey{third}}, ""); wire.CodeOf(err) != wire.PubkeyNotAuthorized {
			t.Errorf("%s: somebody else hears of it: %v", name, err)
		}
		h.Must(os.Chmod(c.path, before.Mode().Perm()))
		if m, err := k.Find(t.Context(), Operator{Keys: []ssh.PublicKey{key}}, ""); err != nil || m.Login != u.Login {
			t.Errorf("%s, mended: %+v, %v", name, m, err)
		}
	}
	// Another file that sshd does read counts, whatever the first is like.
	h.PutKeys(h.Users[0], keystest.Text(key))
	h.Must(os.Chmod(u.File(), 0o666))
	if m, err := k.Find(t.Context(), Operator{Keys: []ssh.PublicKey{key}}, ""); err != nil || m.Login != "scrann" {
		t.Errorf("%+v, %v", m, err)
	}
}

// TestStrictModes compares with a real sshd: whatever it refuses we refuse.
func TestStrictModes(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	const login = "scrstrict"
	uid, home := keystest.RealUser(t, h.Dir, login)
	sshd := keystest.StartSSHD(t, h.Dir, "StrictModes yes")
	key, _ := keystest.NewKey(t)
	dir, file := filepath.Join(home, ".ssh"), filepath.Join(home, ".ssh", "authorized_keys")
	cfg := h.config()
	cfg.AuthorizedKeysFile, cfg.SSHDConfig = nil, sshd.Config
	k := h.open(cfg)
	k.database = account.System()
	type perm struct {
		uid  int
		mode os.FileMode
	}
	var homes, dirs, files = []perm{{uid, 0o755}, {uid, 0o775}, {uid, 0o777}, {0, 0o755}}, []perm{{uid, 0o700}, {uid, 0o720}, {0, 0o755}, {uid + 1, 0o755}, {uid, 0o702}},
		[]perm{{uid, 0o600}, {uid, 0o644}, {uid, 0o664}, {uid, 0o602}, {0, 0o644}, {0, 0o600}, {uid + 1, 0o644}, {uid, 0o400}}
	var layouts [][3]perm
	for _, a := range homes {
		layouts = append(layouts, [3]perm{a, dirs[0], files[0]})
	}
	for _, b := range dirs {
		layouts = append(layouts, [3]perm{homes[0], b, files[1]})
	}
	for _, c := range files {
		layouts = append(layouts, [3]perm{homes[0], dirs[0], c})
	}
	prepare := func(i int) ssh.PublicKey {
		h.Must(os.RemoveAll(dir))
		h.Must(os.MkdirAll(dir, 0o700))
		h.Must(os.WriteFile(file, []byte(keystest.Text(key)+"\n"), 0o600))
		for j, name := range []string{home, dir, file} {
			h.Must(os.Chown(name, layouts[i][j].uid, -1))
			h.Must(os.Chmod(name, layouts[i][j].mode))
		}
		return key
	}
	accepted := sshd.Ask(t, login, len(layouts), prepare)
	agreed := 0
	for i := range layouts {
		prepare(i)
		_, err := k.Find(context.Background(), Operator{Keys: []ssh.PublicKey{key}}, login)
		switch {
		case err == nil && !accepted[i]:
			t.Errorf("%v: sshd refuses, we accept", layouts[i])
		case err == nil:
			agreed++
		case accepted[i]:
			t.Errorf("%v: sshd accepts, we refuse: %v", layouts[i], err)
		}
	}
	if agreed < 5 {
		t.Errorf("sshd accepted only %d layouts", agreed)
	}
	h.Must(os.Chown(home, uid, -1))
}
