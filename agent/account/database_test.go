package account

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// database makes a Database of a test: Etc is a folder with files, and script, if not empty, its getent.
func database(t *testing.T, script string, files map[string]string) Database {
	t.Helper()
	d := Database{Etc: t.TempDir()}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(d.Etc, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if script != "" {
		d.Getent = filepath.Join(d.Etc, "getent")
		if err := os.WriteFile(d.Getent, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

const (
	ann = "ann:x:1001:1001::/home/ann:/bin/sh\n"
	bob = "bob:x:1002:1002::/home/bob:/bin/sh\n"
)

// On this machine the real getent and the files in /etc say the same.
func TestSystem(t *testing.T) {
	d := System()
	if d.Getent == "" {
		t.Fatal("there is no getent")
	}
	for _, d := range []Database{d, {Etc: "/etc"}} {
		root, ok, err := d.Login(t.Context(), "root")
		if err != nil || !ok || root.UID != 0 || root.Login != "root" {
			t.Errorf("%+v: root: %+v %v %v", d, root, ok, err)
		}
		if same, ok, err := d.UID(t.Context(), 0); err != nil || !ok || same.Login != "root" {
			t.Errorf("%+v: uid 0: %+v %v %v", d, same, ok, err)
		}
		if _, ok, err := d.Login(t.Context(), "scr-no-such-login"); ok || err != nil {
			t.Errorf("%+v: nobody: %v %v", d, ok, err)
		}
		if _, ok, err := d.UID(t.Context(), lastID-7); ok || err != nil {
			t.Errorf("%+v: no uid: %v %v", d, ok, err)
		}
		if gid, ok, err := d.Group(t.Context(), "tty"); err != nil || !ok || gid == 0 {
			t.Errorf("%+v: group tty: %d %v %v", d, gid, ok, err)
		}
		all, err := d.All(t.Context())
		if err != nil || !slices.ContainsFunc(all, func(a Account) bool { return a.Login == "root" }) {
			t.Errorf("%+v: all: %d, %v", d, len(all), err)
		}
		if os.Geteuid() == 0 {
			if s, ok, err := d.Shadow(t.Context(), "root"); err != nil || !ok || s.Expired(time.Now()) {
				t.Errorf("%+v: shadow: %+v %v %v", d, s, ok, err)
			}
		}
	}
}

// getent is never found by PATH.
func TestPATHDoesNotCount(t *testing.T) {
	want := System()
	d := database(t, "echo 'ann:x:1001:0::/:/bin/sh'", nil)
	t.Setenv("PATH", d.Etc)
	if got := System(); got != want || got.Getent == d.Getent {
		t.Errorf("getent is %s", got.Getent)
	}
}

// Without getent the files in Etc are read.
func TestWithoutGetent(t *testing.T) {
	d := database(t, "", map[string]string{
		"passwd": "broken\nann:x:1001:1001::/home/ann:/bin/sh\n1001:x:7:7::/:/bin/sh\nann:x:0:0::/:/bin/sh\n" + bob + "zero:x:00:0::/:/bin/sh\nend:x:9:9::/:/bin/sh",
		"group":  "tty:x:5:\nroot:x:0:ann\ngames:x:60:bob,ann\nusers:x:100:ann\nannex:x:7:anna\nwrong:x:07:ann\nshort:x:8\n",
		"shadow": "ann:!:19000:0:99999:7:::\n",
	})
	ctx := t.Context()
	for login, uid := range map[string]uint32{"ann": 1001, "bob": 1002, "1001": 7, "end": 9} {
		if a, ok, err := d.Login(ctx, login); err != nil || !ok || a.UID != uid || a.Login != login {
			t.Errorf("%s: %+v %v %v", login, a, ok, err)
		}
	}
	for uid, login := range map[uint32]string{1001: "ann", 7: "1001", 1002: "bob"} {
		if a, ok, err := d.UID(ctx, uid); err != nil || !ok || a.Login != login {
			t.Errorf("%d: %+v %v %v", uid, a, ok, err)
		}
	}
	for _, login := range []string{"Ann", "an", "ann.", "zero", "broken", "1002", "", "-s", "../passwd", "a:b"} {
		if a, ok, err := d.Login(ctx, login); ok || err != nil {
			t.Errorf("%q: %+v %v", login, a, err)
		}
	}
	all, err := d.All(ctx)
	if err != nil || len(all) != 4 || all[0].UID != 1001 {
		t.Errorf("%+v %v", all, err)
	}
	if gid, ok, err := d.Group(ctx, "tty"); gid != 5 || !ok || err != nil {
		t.Errorf("tty: %d %v %v", gid, ok, err)
	}
	if gid, ok, err := d.Group(ctx, "wrong"); ok || err != nil {
		t.Errorf("wrong: %d %v", gid, err)
	}
	some := []Account{{Login: "ann"}, {Login: "cy"}}
	if err := d.AddGroups(ctx, some); err != nil || !slices.Equal(some[0].Groups, []uint32{60, 100}) || some[1].Groups != nil {
		t.Errorf("%+v %v", some, err)
	}
	if s, ok, err := d.Shadow(ctx, "ann"); err != nil || !ok || !s.Locked {
		t.Errorf("%+v %v %v", s, ok, err)
	}
	if _, ok, err := d.Shadow(ctx, "bob"); ok || err != nil {
		t.Errorf("%v %v", ok, err)
	}
	// Where there are no files either, that is an error.
	if _, ok, err := database(t, "", nil).Login(ctx, "ann"); ok || err == nil {
		t.Errorf("%v %v", ok, err)
	}
}

// What getent says is an answer only if it is one entry, and about what was asked.
func TestLyingGetent(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		fails  bool
	}{
		"another name":    {"printf '%s' '" + bob + "'", false},
		"other case":      {"echo Ann:x:1001:1001::/:/bin/sh", false},
		"two entries":     {"printf '%s' '" + ann + ann + "'", true},
		"nothing":         {"exit 0", false},
		"no such key":     {"exit 2", false},
		"an error":        {"exit 1", true},
		"a usage":         {"echo usage >&2; exit 64", true},
		"killed":          {"kill -9 $$", true},
		"rubbish":         {"head -c 1000 /dev/urandom | tr -d '\\n'", false},
		"NULs":            {"head -c 1000 /dev/zero", false},
		"too much":        {fmt.Sprintf("head -c %d /dev/zero", maxEntry+1), true},
		"without end":     {"exec yes '" + strings.TrimSpace(ann) + "'", true},
		"uid 0, as 00":    {"echo ann:x:00:0::/:/bin/sh", false},
		"only on stderr":  {"printf '%s' '" + ann + "' >&2", false},
		"not a program":   {"", true},
		"blank before it": {"printf ' %s' '" + ann + "'", false},
	} {
		d := database(t, c.script, nil)
		if name == "not a program" {
			d.Getent = filepath.Join(d.Etc, "none")
		}
		if a, ok, err := d.Login(t.Context(), "ann"); ok || (err != nil) != c.fails {
			t.Errorf("%s: %+v %v", name, a, err)
		}
		if a, ok, err := d.UID(t.Context(), 1001); ok && (a.UID != 1001 || name != "other case") || (err != nil) != c.fails {
			t.Errorf("%s, by uid: %+v %v", name, a, err)
		}
		if s, ok, _ := d.Shadow(t.Context(), "ann"); ok && name != "uid 0, as 00" {
			t.Errorf("%s, shadow: %+v", name, s)
		}
		if gid, ok, _ := d.Group(t.Context(), "ann"); ok {
			t.Errorf("%s, group: %d", name, gid)
		}
	}
	// A name is not passed on if it could be an option, and a number does not find a name.
	d := database(t, `echo "$@" >>`+filepath.Join(t.TempDir(), "asked")+"; printf '%s' '"+ann+"'", nil)
	for _, login := range []string{"", "-h", "--help", "a:b", "a\nb", "../x", "a b", "1001"} {
		if a, ok, err := d.Login(t.Context(), login); ok || err != nil {
			t.Errorf("%q: %+v %v", login, a, err)
		}
	}
	if a, ok, err := d.Login(t.Context(), "ann"); !ok || err != nil || a.UID != 1001 {
		t.Errorf("%+v %v %v", a, ok, err)
	}
}

// Groups of other logins, root's group, and gids that are not in canonical form do not count.
func TestLyingGroups(t *testing.T) {
	files := map[string]string{"group": "games:x:60:ann\n"}
	many := strings.Repeat(" 7", maxGroups+10)
	for name, c := range map[string]struct {
		script string
		groups []uint32
		fails  bool
	}{
		"ordinary":         {"echo 'ann    20 30'; echo 'bob 40'", []uint32{20, 30}, false},
		"none":             {"echo ann; echo bob", nil, false},
		"root's":           {"echo ann 0 20; echo bob", []uint32{20}, false},
		"spelt otherwise":  {"echo ann 00 +5 4294967295 -1 x 20; echo bob", []uint32{20}, false},
		"twice":            {"echo ann 20; echo ann 30; echo bob", []uint32{20}, false},
		"of somebody else": {"echo cy 20; echo bob", nil, true},
		"not of all":       {"echo ann 20", []uint32{20}, true},
		"musl":             {"echo 'unknown database' >&2; exit 1", []uint32{60}, false},
		"very many":        {"echo 'ann" + many + "'; echo bob", slices.Repeat([]uint32{7}, maxGroups), false},
		"without end":      {"exec yes ann 20", nil, true},
	} {
		some := []Account{{Login: "ann"}, {Login: "bob"}}
		err := database(t, c.script, files).AddGroups(t.Context(), some)
		if !slices.Equal(some[0].Groups, c.groups) || (err != nil) != c.fails {
			t.Errorf("%s: %v, %v", name, some[0].Groups, err)
		}
	}
	// However many accounts there are, one question to getent is about at most 200.
	d := database(t, `shift; [ $# -le 200 ] || exit 9; for u; do echo "$u 20"; done`, nil)
	all := make([]Account, 3*batch+1)
	for i := range all {
		all[i].Login = fmt.Sprintf("user%d", i)
	}
	if err := d.AddGroups(t.Context(), all); err != nil {
		t.Error(err)
	}
	for _, a := range all {
		if !slices.Equal(a.Groups, []uint32{20}) {
			t.Fatalf("%s: %v", a.Login, a.Groups)
		}
	}
}

// A directory that does not answer is given up when the caller's context ends, or else after the
// time that program.Ask allows.
func TestSlowGetent(t *testing.T) {
	d := database(t, "sleep 3600 & wait", nil)
	for name, ask := range map[string]func(context.Context) error{
		"login":  func(ctx context.Context) error { _, _, err := d.Login(ctx, "ann"); return err },
		"uid":    func(ctx context.Context) error { _, _, err := d.UID(ctx, 1001); return err },
		"all":    func(ctx context.Context) error { _, err := d.All(ctx); return err },
		"groups": func(ctx context.Context) error { return d.AddGroups(ctx, make([]Account, 5*batch)) },
		"group":  func(ctx context.Context) error { _, _, err := d.Group(ctx, "tty"); return err },
		"shadow": func(ctx context.Context) error { _, _, err := d.Shadow(ctx, "ann"); return err },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if err := ask(ctx); err == nil {
			t.Errorf("%s: no error", name)
		}
		cancel()
	}
	// The caller sets no limit here. If it did not end by itself, the whole test would run into its own.
	if _, _, err := d.Login(t.Context(), "ann"); err == nil {
		t.Error("no error")
	}
}

// Sizes are bounded where files are read, too.
func TestLargeFiles(t *testing.T) {
	d := database(t, "", map[string]string{"passwd": strings.Repeat("x", maxEntry) + ":x:1:1::/:/bin/sh\n" + ann})
	if _, ok, err := d.Login(t.Context(), "ann"); !ok || err != nil {
		t.Errorf("%v %v", ok, err)
	}
	if all, err := d.All(t.Context()); len(all) != 1 || err != nil {
		t.Errorf("%d %v", len(all), err)
	}
	for _, name := range []string{"passwd", "group", "login.defs"} {
		if err := os.WriteFile(filepath.Join(d.Etc, name), []byte(ann), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(filepath.Join(d.Etc, name), maxList+1); err != nil {
			t.Fatal(err)
		}
	}
	if _, ok, err := d.Login(t.Context(), "ann"); ok || err == nil {
		t.Errorf("login: %v %v", ok, err)
	}
	if _, err := d.All(t.Context()); err == nil {
		t.Error("all: no error")
	}
	if err := d.AddGroups(t.Context(), []Account{{Login: "ann"}}); err == nil {
		t.Error("groups: no error")
	}
	if got := d.UIDMin(); got != defaultUIDMin {
		t.Errorf("UID_MIN is %d", got)
	}
}

func TestUIDMin(t *testing.T) {
	for text, want := range map[string]uint32{
		"": defaultUIDMin, "UID_MIN 500\n": 500, "# UID_MIN 5\nUID_MIN\t\t 2000\n": 2000, "SYS_UID_MIN 100\n": defaultUIDMin,
		"UID_MIN x\n": defaultUIDMin, "UID_MIN 0\n": defaultUIDMin, "UID_MIN 4294967296\n": defaultUIDMin, "UID_MIN 01000\n": defaultUIDMin,
	} {
		if got := database(t, "", map[string]string{"login.defs": text}).UIDMin(); got != want {
			t.Errorf("%q: %d", text, got)
		}
	}
	if got := database(t, "", nil).UIDMin(); got != defaultUIDMin {
		t.Errorf("no file: %d", got)
	}
}

func TestShadow(t *testing.T) {
	now := time.Unix(20_000*86400+5, 0)
	for entry, want := range map[string]string{
		"ann:*:19000:0:99999:7:::":     "",
		"ann:!:19000:0:99999:7:::":     "locked",
		"ann:!$6$x:19000:0:99999:7:::": "locked",
		"ann:*:19000:0:99999:7::1:":    "expired",
		"ann:*:19000:0:99999:7::19999": "expired",
		"ann:*:19000:0:99999:7::20000": "",
		"ann:*:19960:0:30:7:5::":       "password",
		"ann:*:19960:0:30:7:::":        "",
		"ann:*:19960:0:30:7:-1:-1:":    "",
		"ann:*:19960:0:30:7:x:x:":      "",
		"ann:*:1:2":                    "none",
		"bob:*:19000:0:99999:7:::":     "none",
	} {
		s, ok, err := database(t, "echo '"+entry+"'", nil).Shadow(t.Context(), "ann")
		got := ""
		switch {
		case err != nil:
			got = err.Error()
		case !ok:
			got = "none"
		case s.Locked:
			got = "locked"
		case s.Expired(now):
			got = "expired"
		case s.PasswordExpired(now):
			got = "password"
		}
		if got != want {
			t.Errorf("%s: %q, want %q", entry, got, want)
		}
	}
}

// A group is an account's own if nobody else is in it, by either way.
func TestPrivate(t *testing.T) {
	some := []Account{{Login: "ann", UID: 1001, GID: 1001}, {Login: "bob", UID: 1002, GID: 1002}, {Login: "cy", UID: 1003, GID: 100}, {Login: "dan", UID: 1004, GID: 100}, {Login: "ann2", UID: 1001, GID: 1001}}
	d := database(t, "", map[string]string{"group": "ann:x:1001:\nbob:x:1002:ann\nusers:x:100:\nown:x:50:ann\nnone:x:51:\ntwo:x:52:ann,bob\nboth:x:53:ann,\n"})
	for gid, want := range map[uint32]string{1001: "ann", 1002: "", 100: "", 50: "ann", 51: "", 52: "", 53: "", 54: "", 0: ""} {
		for _, a := range some[:4] {
			got, err := d.Private(t.Context(), gid, a, some)
			if err != nil || got != (a.Login == want) {
				t.Errorf("%d, %s: %v %v", gid, a.Login, got, err)
			}
		}
	}
}

func TestGroupNames(t *testing.T) {
	d := database(t, "", map[string]string{"group": "ann:x:1001:\nusers:x:100:\nbroken\nwrong:x:0100:\n"})
	got, err := d.GroupNames(t.Context(), []uint32{100, 1001, 7})
	if err != nil || !slices.Equal(slices.Sorted(slices.Values(got)), []string{"ann", "users"}) {
		t.Errorf("%v %v", got, err)
	}
}
