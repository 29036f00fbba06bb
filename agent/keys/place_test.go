package keys

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"scrier/agent/account"
	"scrier/wire"
)

// TestSymlinks lays out links in the user's home (H1). Whatever they point to, nothing is read
// through them and nothing is changed.
func TestSymlinks(t *testing.T) {
	t.Parallel()
	for _, env := range [][]string{nil, {openatEnv}} {
		h := newHost(t)
		key, _ := newKey(t)
		victim := h.user("scrvictim")
		h.keys(victim, text(key)+" victim\n")
		secret := filepath.Join(h.dir, "secret")
		h.must(os.WriteFile(secret, []byte(text(key)+" root\n"), 0o644))
		k := h.open(h.config(), env...)
		watched := []string{secret, victim.file()}
		before := map[string]string{}
		for _, name := range watched {
			before[name] = h.read(name)
		}
		for name, layout := range map[string]func(u *user){
			"file to root's file":    func(u *user) { h.must(os.Symlink(secret, u.file())) },
			"file to /etc/shadow":    func(u *user) { h.must(os.Symlink("/etc/shadow", u.file())) },
			"file to another's file": func(u *user) { h.must(os.Symlink(victim.file(), u.file())) },
			"file to own file": func(u *user) {
				h.keys(u, text(key)+"\n")
				h.must(os.Rename(u.file(), u.ssh("real")))
				h.must(os.Symlink("real", u.file()))
			},
			"file to a way up":       func(u *user) { h.must(os.Symlink("../../scrvictim/.ssh/authorized_keys", u.file())) },
			"file to /proc/self/fd":  func(u *user) { h.must(os.Symlink("/proc/self/fd/0", u.file())) },
			"file to /proc/self/exe": func(u *user) { h.must(os.Symlink("/proc/self/exe", u.file())) },
			"file to /proc/1/root":   func(u *user) { h.must(os.Symlink("/proc/1/root/etc/hostname", u.file())) },
			"file to nothing":        func(u *user) { h.must(os.Symlink("/nonexistent", u.file())) },
			"file to itself":         func(u *user) { h.must(os.Symlink("authorized_keys", u.file())) },
			"folder to another's":    func(u *user) { h.must(os.Remove(u.ssh(""))); h.must(os.Symlink(victim.ssh(""), u.ssh(""))) },
			"folder to own": func(u *user) {
				h.keys(u, text(key)+"\n")
				h.must(os.Rename(u.ssh(""), u.home+"/real"))
				h.must(os.Symlink("real", filepath.Join(u.home, ".ssh")))
			},
			"folder to /proc/self/cwd": func(u *user) {
				h.must(os.Remove(u.ssh("")))
				h.must(os.Symlink("/proc/self/cwd", filepath.Join(u.home, ".ssh")))
			},
			"folder to another's, dotted": func(u *user) {
				h.must(os.Remove(u.ssh("")))
				h.must(os.Symlink("../scrvictim/.ssh", filepath.Join(u.home, ".ssh")))
			},
		} {
			u := h.user("scrlinks")
			layout(u)
			_, err := k.Find(context.Background(), []ssh.PublicKey{key}, u.login)
			if got := wire.CodeOf(err); got != wire.KeyfileSymlink {
				t.Errorf("%s: %v", name, err)
			}
			// As if the link had come after the search.
			m := Match{Login: u.login, File: u.file(), sources: k.sources, zone: zone{utc: true}, strict: true,
				who: account.Account{Login: u.login, UID: uint32(u.uid), GID: uint32(u.uid), Home: u.home}}
			eph, _ := newKey(t)
			if _, err = k.Install(context.Background(), m, wire.NewSessionID(), eph); wire.CodeOf(err) != wire.KeyfileSymlink {
				t.Errorf("%s: install: %v", name, err)
			}
			h.must(os.RemoveAll(u.home))
			h.users = h.users[:1]
		}
		for _, name := range watched {
			if h.read(name) != before[name] {
				t.Errorf("%s was changed", name)
			}
		}
	}
}

// A home that is itself reached over root's link is served.
func TestLinkToHome(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	key, _ := newKey(t)
	u := h.user("scralice")
	h.keys(u, text(key)+"\n")
	h.must(os.Symlink(filepath.Join(h.dir, "home"), filepath.Join(h.dir, "usr-home")))
	u.home = filepath.Join(h.dir, "usr-home", u.login)
	h.write()
	k := h.open(h.config())
	m, err := k.Find(context.Background(), []ssh.PublicKey{key}, "")
	h.must(err)
	eph, _ := newKey(t)
	in, err := k.Install(context.Background(), m, wire.NewSessionID(), eph)
	h.must(err)
	h.must(in.Remove(context.Background()))
	if got := h.read(u.file()); got != text(key)+"\n" {
		t.Fatal(got)
	}
}

// TestLinkRace flips the folder and a link to another under a worker's feet (H1).
func TestLinkRace(t *testing.T) {
	t.Parallel()
	rounds := environment(t, "SCRIER_RACE_ROUNDS", 800)
	for _, noOpenat2 := range []bool{false, true} {
		h := newHost(t)
		u := h.user("scralice")
		h.keys(u, "mine\n")
		decoy := filepath.Join(u.home, "decoy")
		h.must(os.Mkdir(decoy, 0o700))
		h.must(os.WriteFile(filepath.Join(decoy, "authorized_keys"), []byte("decoy\n"), 0o600))
		h.must(os.Symlink(decoy, filepath.Join(u.home, "link")))
		h.own(u, decoy, filepath.Join(decoy, "authorized_keys"), filepath.Join(u.home, "link"))
		var watch unix.Stat_t
		h.must(unix.Stat(filepath.Join(decoy, "authorized_keys"), &watch))
		agent := wire.NewEnvoyID()
		line, _ := testLine(t, agent, time.Now())
		out, err := asUser(t, u, hammerJob{What: "flip", Home: u.home, Rounds: rounds, Agent: agent.String(), Line: line, NoOpenat2: noOpenat2}, hammerArg).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		t.Logf("no openat2 %v: %s", noOpenat2, strings.TrimSpace(string(out)))
		if !strings.Contains(string(out), "clean ok missing false") || !strings.Contains(string(out), "install keyfile_symlink") {
			t.Errorf("the race was not one: %s", out)
		}
		var now unix.Stat_t
		h.must(unix.Stat(filepath.Join(decoy, "authorized_keys"), &now))
		if got := h.read(filepath.Join(decoy, "authorized_keys")); got != "decoy\n" || now.Ino != watch.Ino || now.Mtim != watch.Mtim {
			t.Errorf("the decoy was touched: %q", got)
		}
		entries, err := os.ReadDir(decoy)
		h.must(err)
		if len(entries) != 1 {
			t.Errorf("files were made beside the decoy: %v", entries)
		}
		if got := h.read(u.file()); len(usable(got)) != 0 && got != "mine\n" {
			t.Errorf("own file: %q", got)
		}
	}
}

// TestHardlink: the user may link a file of another's where protected_hardlinks is off (H2).
func TestHardlink(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	key, _ := newKey(t)
	secret := filepath.Join(h.dir, "secret")
	h.must(os.WriteFile(secret, []byte(text(key)+"\n"), 0o644))
	u := h.user("scralice")
	h.must(os.Link(secret, u.file()))
	k := h.open(h.config())
	_, err := k.Find(context.Background(), []ssh.PublicKey{key}, u.login)
	wantCode(t, err, wire.KeyfileHardlink)

	// A second name of the own file, made after the search.
	h.must(os.Remove(u.file()))
	h.keys(u, text(key)+"\n")
	m, err := k.Find(context.Background(), []ssh.PublicKey{key}, u.login)
	h.must(err)
	h.must(os.Link(u.file(), filepath.Join(u.home, "second")))
	eph, _ := newKey(t)
	_, err = k.Install(context.Background(), m, wire.NewSessionID(), eph)
	wantCode(t, err, wire.KeyfileHardlink)
	if got := h.read(u.file()); got != text(key)+"\n" {
		t.Fatal(got)
	}
}

// TestTypes: none of these may block the agent (H3, H12).
func TestTypes(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	key, _ := newKey(t)
	k := h.open(h.config())
	for name, c := range map[string]struct {
		make func(u *user) error
		code wire.Code
	}{
		"FIFO":        {func(u *user) error { return unix.Mkfifo(u.file(), 0o600) }, wire.KeyfileNotRegular},
		"folder":      {func(u *user) error { return os.Mkdir(u.file(), 0o700) }, wire.KeyfileNotRegular},
		"socket":      {func(u *user) error { return unix.Mknod(u.file(), unix.S_IFSOCK|0o600, 0) }, wire.KeyfileNotRegular},
		"null device": {func(u *user) error { return unix.Mknod(u.file(), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))) }, wire.KeyfileNotRegular},
		"tty device":  {func(u *user) error { return unix.Mknod(u.file(), unix.S_IFCHR|0o600, int(unix.Mkdev(5, 0))) }, wire.KeyfileNotRegular},
		"loop device": {func(u *user) error { return unix.Mknod(u.file(), unix.S_IFBLK|0o600, int(unix.Mkdev(7, 0))) }, wire.KeyfileNotRegular},
		"1 GiB": {func(u *user) error {
			h.keys(u, "")
			return os.Truncate(u.file(), 1<<30)
		}, wire.KeyfileTooBig},
		"no file": {func(u *user) error { return nil }, wire.PubkeyNotAuthorized},
		"no .ssh": {func(u *user) error { return os.Remove(u.ssh("")) }, wire.PubkeyNotAuthorized},
		".ssh a file": {func(u *user) error {
			os.Remove(u.ssh(""))
			return os.WriteFile(filepath.Join(u.home, ".ssh"), nil, 0o600)
		}, wire.PubkeyNotAuthorized},
		"no home":       {func(u *user) error { return os.RemoveAll(u.home) }, wire.PubkeyNotAuthorized},
		"unreadable":    {func(u *user) error { h.keys(u, text(key)); return os.Chmod(u.file(), 0) }, wire.KeyfilePermissions},
		"closed home":   {func(u *user) error { h.keys(u, text(key)); return os.Chown(u.home, 0, 0) }, 0},
		"closed folder": {func(u *user) error { h.keys(u, text(key)); h.must(os.Chown(u.ssh(""), 0, 0)); return nil }, wire.KeyfilePermissions},
		"another's":     {func(u *user) error { h.keys(u, text(key)); return os.Chown(u.file(), u.uid+1000, 0) }, wire.KeyfilePermissions},
		"root's 0600":   {func(u *user) error { h.keys(u, text(key)); return os.Chown(u.file(), 0, 0) }, wire.KeyfilePermissions},
		"group writes":  {func(u *user) error { h.keys(u, text(key)); return os.Chmod(u.file(), 0o660) }, wire.KeyfilePermissions},
		"all write":     {func(u *user) error { h.keys(u, text(key)); return os.Chmod(u.file(), 0o602) }, wire.KeyfilePermissions},
		"home 0777":     {func(u *user) error { h.keys(u, text(key)); return os.Chmod(u.home, 0o777) }, wire.KeyfilePermissions},
		"folder 0770":   {func(u *user) error { h.keys(u, text(key)); return os.Chmod(u.ssh(""), 0o770) }, wire.KeyfilePermissions},
		"another's .ssh": {func(u *user) error {
			h.keys(u, text(key))
			h.must(os.Chmod(u.ssh(""), 0o755))
			return os.Chown(u.ssh(""), u.uid+1000, 0)
		}, wire.KeyfilePermissions},
		"read-only file": {func(u *user) error { h.keys(u, text(key)); return os.Chmod(u.file(), 0o400) }, 0},
	} {
		u := h.user("scralice")
		h.must(c.make(u))
		start := time.Now()
		_, err := k.Find(context.Background(), []ssh.PublicKey{key}, u.login)
		if wire.CodeOf(err) != c.code {
			t.Errorf("%s: %v, want %v", name, err, c.code)
		}
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("%s: took %v", name, took)
		}
		h.must(os.RemoveAll(u.home))
		h.users = nil
	}
}

// TestSparseMemory: a file over the limit is not read (H12).
func TestSparseMemory(t *testing.T) {
	h := newHost(t)
	u := h.user("scralice")
	h.keys(u, "")
	h.must(os.Truncate(u.file(), maxFile+1))
	w := worker{}
	p, err := w.place(request{UID: uint32(u.uid), Home: u.home, Strict: true}, u.file())
	h.must(err)
	defer p.close()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err = p.open()
	runtime.ReadMemStats(&after)
	wantCode(t, err, wire.KeyfileTooBig)
	if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 {
		t.Errorf("%d bytes for a file that is not read", used)
	}
}

// TestStrictModes compares with a real sshd: whatever it refuses we refuse.
func TestStrictModes(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	const login = "scrstrict"
	uid, home := realUser(t, h.dir, login)
	addr, config := startSSHD(t, h.dir, "StrictModes yes")
	key, _ := newKey(t)
	dir, file := filepath.Join(home, ".ssh"), filepath.Join(home, ".ssh", "authorized_keys")
	cfg := h.config()
	cfg.AuthorizedKeysFile, cfg.SSHDConfig = nil, config
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
		h.must(os.RemoveAll(dir))
		h.must(os.MkdirAll(dir, 0o700))
		h.must(os.WriteFile(file, []byte(text(key)+"\n"), 0o600))
		for j, name := range []string{home, dir, file} {
			h.must(os.Chown(name, layouts[i][j].uid, -1))
			h.must(os.Chmod(name, layouts[i][j].mode))
		}
		return key
	}
	accepted := askSSHD(t, addr, login, len(layouts), prepare)
	agreed := 0
	for i := range layouts {
		prepare(i)
		_, err := k.Find(context.Background(), []ssh.PublicKey{key}, login)
		switch {
		case err == nil && !accepted[i]:
			t.Errorf("%v: sshd refuses, we accept", layouts[i])
		case err == nil:
			agreed++
		case accepted[i]: // Debian's sshd lets the user's private group write; we do not
			t.Logf("%v: sshd accepts, we refuse: %v", layouts[i], err)
		}
	}
	if agreed < 5 {
		t.Errorf("sshd accepted only %d layouts", agreed)
	}
	h.must(os.Chown(home, uid, -1))
}
