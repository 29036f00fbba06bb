package sftp

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var everything = Config{Upload: true, Download: true, Login: "root", Home: "/root"}

// field writers, for tests
func str(s ...string) func(reply) reply {
	return func(p reply) reply {
		for _, x := range s {
			p = p.string(x)
		}
		return p
	}
}

func then(all ...func(reply) reply) func(reply) reply {
	return func(p reply) reply {
		for _, f := range all {
			p = f(p)
		}
		return p
	}
}

func u32(n ...uint32) func(reply) reply {
	return func(p reply) reply {
		for _, x := range n {
			p = p.uint32(x)
		}
		return p
	}
}

func u64(n ...uint64) func(reply) reply {
	return func(p reply) reply {
		for _, x := range n {
			p = p.uint64(x)
		}
		return p
	}
}

var none = u32(0) // no attributes

func mode(m uint32) func(reply) reply { return u32(attrPermissions, m) }

// A step is one request; it gets the handles that were given so far.
type step struct {
	what   string
	kind   byte
	fields func(h []string) func(reply) reply
}

func fixed(f func(reply) reply) func([]string) func(reply) reply {
	return func([]string) func(reply) reply { return f }
}

// withHandle puts the n-th handle in front.
func withHandle(n int, f func(reply) reply) func([]string) func(reply) reply {
	return func(h []string) func(reply) reply {
		if n >= len(h) {
			return then(str("none"), f)
		}
		return then(str(h[n]), f)
	}
}

func extension_(name string, f func(reply) reply) func([]string) func(reply) reply {
	return fixed(then(str(name), f))
}

// fill makes a folder with something of each kind in it.
func fill(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	must(os.WriteFile(in("a"), []byte("0123456789"), 0o644))
	must(os.WriteFile(in("b"), []byte("old"), 0o600))
	must(os.Mkdir(in("d"), 0o750))
	must(os.Mkdir(in("e"), 0o700))
	must(os.WriteFile(in("d/inside"), nil, 0o4755))
	must(os.Symlink("a", in("link")))
	must(os.Symlink("nowhere", in("dangling")))
	must(os.Symlink("loop", in("loop")))
	must(os.Symlink("d", in("todir")))
	must(os.Symlink("../d/inside", in("e/up")))
	must(os.WriteFile(in("\xff\xfe not utf8 \n"), []byte("x"), 0o644))
	past := time.Date(2020, 2, 3, 4, 5, 6, 0, time.UTC)
	for _, name := range []string{"a", "b", "d/inside", "\xff\xfe not utf8 \n", "d", "e"} {
		must(os.Chtimes(in(name), past, past))
	}
	return dir
}

// TestAsOpenSSH asks this server and OpenSSH's own the same, and gets the same answers.
func TestAsOpenSSH(t *testing.T) {
	open := func(name string, flags uint32, a func(reply) reply) func([]string) func(reply) reply {
		return fixed(then(str(name), u32(flags), a))
	}
	steps := []step{
		{"stat", fxpStat, fixed(str("a"))},
		{"stat link", fxpStat, fixed(str("link"))},
		{"lstat link", fxpLstat, fixed(then(str("link")))},
		{"stat dangling", fxpStat, fixed(str("dangling"))},
		{"stat loop", fxpStat, fixed(str("loop"))},
		{"stat missing", fxpStat, fixed(str("missing"))},
		{"stat through a file", fxpStat, fixed(str("a/b"))},
		{"stat empty", fxpStat, fixed(str(""))},
		{"stat long", fxpStat, fixed(str(strings.Repeat("x", 300)))},
		{"realpath .", fxpRealpath, fixed(str("."))},
		{"realpath empty", fxpRealpath, fixed(str(""))},
		{"realpath missing", fxpRealpath, fixed(str("missing"))},
		{"realpath missing folder", fxpRealpath, fixed(str("missing/x"))},
		{"realpath link", fxpRealpath, fixed(str("todir/../link"))},
		{"realpath up", fxpRealpath, fixed(str("e/up"))},
		{"realpath dangling", fxpRealpath, fixed(str("dangling"))},
		{"realpath loop", fxpRealpath, fixed(str("loop"))},
		{"realpath root", fxpRealpath, fixed(str("/../.."))},
		{"realpath slashes", fxpRealpath, fixed(str("d//inside"))},
		{"readlink", fxpReadlink, fixed(str("link"))},
		{"readlink of a file", fxpReadlink, fixed(str("a"))},

		{"open", fxpOpen, open("a", fxfRead, none)}, // handle 0
		{"read", fxpRead, withHandle(0, then(u64(3), u32(4)))},
		{"read beyond", fxpRead, withHandle(0, then(u64(10), u32(4)))},
		{"read past the end", fxpRead, withHandle(0, then(u64(8), u32(100)))},
		{"write to what is read", fxpWrite, withHandle(0, then(u64(0), str("x")))},
		{"fstat", fxpFstat, withHandle(0, func(p reply) reply { return p })},
		{"open exclusively", fxpOpen, open("a", fxfWrite|fxfCreat|fxfExcl, none)},
		{"open missing", fxpOpen, open("missing", fxfRead, none)},
		{"open with a mode", fxpOpen, open("new", fxfRead|fxfWrite|fxfCreat|fxfTrunc, mode(0o640))}, // 1
		{"stat new", fxpFstat, withHandle(1, func(p reply) reply { return p })},
		{"write", fxpWrite, withHandle(1, then(u64(5), str("hello")))},
		{"read back", fxpRead, withHandle(1, then(u64(0), u32(20)))},
		{"truncate", fxpFsetstat, withHandle(1, then(u32(attrSize), u64(7)))},
		{"set all", fxpFsetstat, withHandle(1, then(u32(attrPermissions|attrTimes), u32(0o4711, 1_000_000_000, 1_100_000_000)))},
		{"see all", fxpStat, fixed(str("new"))},
		{"open without a mode", fxpOpen, open("plain", fxfWrite|fxfCreat, none)}, // 2
		{"stat plain", fxpFstat, withHandle(2, func(p reply) reply { return p })},
		{"append", fxpOpen, open("b", fxfWrite|fxfAppend, none)}, // 3
		{"write at the end", fxpWrite, withHandle(3, then(u64(0), str("er")))},
		{"read what is appended to", fxpRead, withHandle(3, then(u64(0), u32(4)))},
		{"open a folder for writing", fxpOpen, open("d", fxfWrite, none)},
		{"close", fxpClose, withHandle(3, func(p reply) reply { return p })},
		{"close twice", fxpClose, withHandle(3, func(p reply) reply { return p })},
		{"no handle", fxpClose, fixed(str(""))},
		{"a long handle", fxpClose, fixed(str("0123456789"))},
		{"read of no handle", fxpRead, fixed(then(str("zzzz"), u64(0), u32(1)))},

		{"opendir", fxpOpendir, fixed(str("e"))}, // 4
		{"readdir of a file", fxpReaddir, withHandle(0, func(p reply) reply { return p })},
		{"opendir missing", fxpOpendir, fixed(str("missing"))},
		{"opendir of a file", fxpOpendir, fixed(str("a"))},

		{"chmod", fxpSetstat, fixed(then(str("a"), mode(0o2701)))},
		{"chmod missing", fxpSetstat, fixed(then(str("missing"), mode(0o600)))},
		{"times through a link", fxpSetstat, fixed(then(str("link"), u32(attrTimes, 5, 6)))},
		{"see both", fxpStat, fixed(str("link"))},
		{"nothing set", fxpSetstat, fixed(then(str("a"), none))},
		{"truncate a folder", fxpSetstat, fixed(then(str("d"), u32(attrSize), u64(0)))},
		{"mkdir", fxpMkdir, fixed(then(str("made"), mode(0o711)))},
		{"mkdir again", fxpMkdir, fixed(then(str("made"), none))},
		{"see made", fxpStat, fixed(str("made"))},
		{"mkdir below a missing one", fxpMkdir, fixed(then(str("missing/x"), none))},
		{"rmdir not empty", fxpRmdir, fixed(str("d"))},
		{"rmdir of a file", fxpRmdir, fixed(str("a"))},
		{"rmdir", fxpRmdir, fixed(str("made"))},
		{"remove a folder", fxpRemove, fixed(str("e"))},
		{"remove missing", fxpRemove, fixed(str("missing"))},
		{"remove a link", fxpRemove, fixed(str("dangling"))},

		{"rename", fxpRename, fixed(str("plain", "moved"))},
		{"rename onto a file", fxpRename, fixed(str("moved", "a"))},
		{"rename onto a folder", fxpRename, fixed(str("moved", "d"))},
		{"rename missing", fxpRename, fixed(str("missing", "x"))},
		{"rename a folder onto one", fxpRename, fixed(str("e", "d"))},
		{"rename a folder", fxpRename, fixed(str("e", "f"))},
		{"rename a link", fxpRename, fixed(str("todir", "todir2"))},
		{"posix-rename onto a file", fxpExtended, extension_("posix-rename@openssh.com", str("moved", "a"))},
		{"posix-rename onto a folder", fxpExtended, extension_("posix-rename@openssh.com", str("a", "d"))},
		{"symlink", fxpSymlink, fixed(str("somewhere", "l2"))},
		{"symlink again", fxpSymlink, fixed(str("somewhere", "l2"))},
		{"see symlink", fxpReadlink, fixed(str("l2"))},
		{"hardlink", fxpExtended, extension_("hardlink@openssh.com", str("a", "h"))},
		{"hardlink again", fxpExtended, extension_("hardlink@openssh.com", str("a", "h"))},
		{"hardlink of a folder", fxpExtended, extension_("hardlink@openssh.com", str("d", "h2"))},
		{"lsetstat times", fxpExtended, extension_("lsetstat@openssh.com", then(str("link"), u32(attrTimes, 7, 8)))},
		{"see the link", fxpLstat, fixed(str("link"))},
		{"lsetstat mode", fxpExtended, extension_("lsetstat@openssh.com", then(str("b"), mode(0o604)))},
		{"lsetstat size", fxpExtended, extension_("lsetstat@openssh.com", then(str("link"), u32(attrSize), u64(0)))},
		{"expand", fxpExtended, extension_("expand-path@openssh.com", str("~/x"))},
		{"expand ~", fxpExtended, extension_("expand-path@openssh.com", str("~"))},
		{"expand nobody", fxpExtended, extension_("expand-path@openssh.com", str("~no-such-user/x"))},
		{"expand root", fxpExtended, extension_("expand-path@openssh.com", str("~root/.x"))},
		{"home", fxpExtended, extension_("home-directory", str("root"))},
		{"expand nothing", fxpExtended, extension_("expand-path@openssh.com", str("d"))},
		{"users", fxpExtended, extension_("users-groups-by-id@openssh.com", func(p reply) reply {
			return then(str(string(u32(0, 123456)(nil)), string(u32(0)(nil))))(p)
		})},
		{"no such extension", fxpExtended, extension_("frobnicate@example.com", str("x"))},
		{"copy", fxpExtended, func(h []string) func(reply) reply {
			return then(str("copy-data", h[0]), u64(2, 3), str(h[1]), u64(0))
		}},
		{"copied", fxpRead, withHandle(1, then(u64(0), u32(20)))},
		{"copy all", fxpExtended, func(h []string) func(reply) reply {
			return then(str("copy-data", h[0]), u64(0, 0), str(h[1]), u64(1))
		}},
		{"copied all", fxpRead, withHandle(1, then(u64(0), u32(20)))},
		{"copy onto itself", fxpExtended, func(h []string) func(reply) reply {
			return then(str("copy-data", h[1]), u64(0, 5), str(h[1]), u64(2))
		}},
		{"fsync", fxpExtended, func(h []string) func(reply) reply { return str("fsync@openssh.com", h[1]) }},
		{"fsync of none", fxpExtended, extension_("fsync@openssh.com", str("zz"))},
	}
	run := func(t *testing.T, p *peer, dir string) (extensions, answers []string) {
		extensions = p.begin()
		now := regexp.MustCompile(` 1[789]\d{8}$`) // when this test ran
		for _, s := range steps {
			text := p.ask(s.kind, s.fields(p.handle))
			if strings.HasPrefix(text, "status ") { // the codes are the protocol's; what is said beside them is each one's own
				text = text[:len("status 0")]
			}
			text = strings.ReplaceAll(now.ReplaceAllString(text, " now"), dir, "DIR")
			answers = append(answers, s.what+": "+text)
		}
		return extensions, answers
	}
	theirs := fill(t)
	wantExtensions, want := run(t, openssh(t, theirs), theirs)
	dir := fill(t)
	t.Chdir(dir)
	gotExtensions, got := run(t, ours(t, everything), dir)
	for i := range got {
		if got[i] != want[i] {
			t.Errorf("%s\n  sftp-server: %s", got[i], want[i])
		}
	}
	if a, b := strings.Join(gotExtensions, ", "), strings.Join(wantExtensions, ", "); a != b {
		t.Errorf("extensions %s\n  sftp-server: %s", a, b)
	}
}

// TestListing: the same lines as OpenSSH's, of a folder with several batches.
func TestListing(t *testing.T) {
	dir := fill(t)
	for i := range 250 {
		if err := os.WriteFile(filepath.Join(dir, strings.Repeat("n", i+1)), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, m := range map[string]os.FileMode{"sticky": os.ModeSticky | 0o777, "setgid": os.ModeSetgid | 0o705} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(dir, name), m); err != nil {
			t.Fatal(err)
		}
	}
	list := func(p *peer) map[string]string {
		p.begin()
		if text := p.ask(fxpOpendir, str(dir)); text != "handle" {
			t.Fatal(text)
		}
		all := map[string]string{}
		for {
			text := p.ask(fxpReaddir, str(p.handle[0]))
			if strings.HasPrefix(text, "status 1") {
				return all
			}
			for _, line := range strings.Split(strings.TrimPrefix(text, "names "), "\n") {
				name, _, _ := strings.Cut(line, `" "`)
				if _, ok := all[name]; ok {
					t.Errorf("%s is there twice", name)
				}
				all[name] = line
			}
		}
	}
	want, got := list(openssh(t, dir)), list(ours(t, everything))
	if len(got) != len(want) || len(got) < 260 {
		t.Errorf("%d entries, sftp-server has %d", len(got), len(want))
	}
	for name, line := range want {
		if got[name] != line {
			t.Errorf("%s\n  sftp-server: %s", got[name], line)
		}
	}
}

// What a guest may not do is refused, whatever way is tried, and leaves no trace.
func TestRights(t *testing.T) {
	dir := fill(t)
	t.Chdir(dir)
	before := tree(t, dir)
	changes := map[string]func(p *peer) string{
		"write":    func(p *peer) string { return p.code(fxpOpen, then(str("a"), u32(fxfWrite), none)) },
		"update":   func(p *peer) string { return p.code(fxpOpen, then(str("a"), u32(fxfRead|fxfWrite), none)) },
		"create":   func(p *peer) string { return p.code(fxpOpen, then(str("c"), u32(fxfRead|fxfCreat), none)) },
		"create 2": func(p *peer) string { return p.code(fxpOpen, then(str("c"), u32(fxfCreat), none)) },
		"truncate": func(p *peer) string { return p.code(fxpOpen, then(str("a"), u32(fxfRead|fxfTrunc), none)) },
		"append":   func(p *peer) string { return p.code(fxpOpen, then(str("a"), u32(fxfAppend|fxfWrite), none)) },
		"chmod":    func(p *peer) string { return p.code(fxpSetstat, then(str("a"), mode(0))) },
		"nothing":  func(p *peer) string { return p.code(fxpSetstat, then(str("a"), none)) },
		"mkdir":    func(p *peer) string { return p.code(fxpMkdir, then(str("m"), none)) },
		"rmdir":    func(p *peer) string { return p.code(fxpRmdir, str("e")) },
		"remove":   func(p *peer) string { return p.code(fxpRemove, str("a")) },
		"rename":   func(p *peer) string { return p.code(fxpRename, str("a", "x")) },
		"symlink":  func(p *peer) string { return p.code(fxpSymlink, str("a", "x")) },
		"posix":    func(p *peer) string { return p.code(fxpExtended, str("posix-rename@openssh.com", "a", "x")) },
		"hardlink": func(p *peer) string { return p.code(fxpExtended, str("hardlink@openssh.com", "a", "x")) },
		"lsetstat": func(p *peer) string {
			return p.code(fxpExtended, then(str("lsetstat@openssh.com", "a"), mode(0)))
		},
		"fchmod": func(p *peer) string {
			if text := p.ask(fxpOpendir, str(".")); text != "handle" {
				return text
			}
			return p.code(fxpFsetstat, then(str(p.handle[0]), mode(0)))
		},
	}
	for what, try := range changes {
		p := ours(t, Config{Download: true})
		p.begin()
		if got := try(p); got != "status 3" {
			t.Errorf("%s without upload: %s", what, got)
		}
	}
	if now := tree(t, dir); now != before {
		t.Errorf("something changed:\n%s\nwas\n%s", now, before)
	}
	p := ours(t, Config{Download: true})
	p.begin()
	if got := p.ask(fxpOpen, then(str("a"), u32(fxfRead), none)); got != "handle" {
		t.Fatalf("read: %s", got)
	}
	if got := p.ask(fxpRead, then(str(p.handle[0]), u64(0), u32(100))); got != "data 0123456789" {
		t.Errorf("read: %s", got)
	}
	if got := p.code(fxpExtended, then(str("copy-data", p.handle[0]), u64(0, 1), str(p.handle[0]), u64(100))); got != "status 3" {
		t.Errorf("copy-data without upload: %s", got)
	}

	p = ours(t, Config{Upload: true})
	p.begin()
	for what, flags := range map[string]uint32{"read": fxfRead, "update": fxfRead | fxfWrite, "create": fxfRead | fxfCreat, "no flags": 0, "append": fxfRead | fxfAppend} {
		if got := p.code(fxpOpen, then(str("a"), u32(flags), none)); got != "status 3" {
			t.Errorf("%s without download: %s", what, got)
		}
	}
	if got := p.ask(fxpOpen, then(str("up"), u32(fxfWrite|fxfCreat|fxfTrunc), none)); got != "handle" {
		t.Fatalf("upload: %s", got)
	}
	for what, text := range map[string]string{
		"write": p.code(fxpWrite, then(str(p.handle[0]), u64(0), str("new"))),
		"stat":  p.code(fxpStat, str("a"))[:5],
		"fsync": p.code(fxpExtended, str("fsync@openssh.com", p.handle[0])),
		"list":  p.ask(fxpOpendir, str(".")),
	} {
		if text != "status 0" && text != "attrs" && text != "handle" {
			t.Errorf("%s without download: %s", what, text)
		}
	}
	if got := p.code(fxpRead, then(str(p.handle[0]), u64(0), u32(3))); strings.HasPrefix(got, "data") {
		t.Errorf("what was uploaded is read: %s", got)
	}
	if got := p.code(fxpExtended, then(str("copy-data", p.handle[0]), u64(0, 1), str(p.handle[0]), u64(100))); got == "status 0" {
		t.Error("copy-data reads without download")
	}
}

// tree lists what is below a folder.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		all.WriteString(path + " " + info.Mode().String() + " " + info.ModTime().String())
		if info.Mode().IsRegular() {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			all.Write(b)
		}
		all.WriteByte('\n')
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

// Packets that are none end the conversation; nothing is done for them.
func TestMalformed(t *testing.T) {
	dir := fill(t)
	t.Chdir(dir)
	before := tree(t, dir)
	raw := func(b ...byte) reply { return reply(b) }
	for what, packet := range map[string]reply{
		"a huge one":         raw(0xff, 0xff, 0xff, 0xff, 1),
		"one byte too many":  append(reply(nil).uint32(maxPacket+1), make([]byte, 1000)...),
		"an empty one":       raw(0, 0, 0, 0),
		"a short one":        raw(0, 0, 0, 1, fxpStat),
		"no second name":     {0, 0, 0, 10, fxpRename, 0, 0, 0, 1, 0, 0, 0, 1, 'a'},
		"a name too long":    {0, 0, 0, 10, fxpRemove, 0, 0, 0, 1, 0, 0, 0, 2, 'a'},
		"a name of 4 GiB":    {0, 0, 0, 10, fxpRemove, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 'a'},
		"attributes missing": {0, 0, 0, 14, fxpMkdir, 0, 0, 0, 1, 0, 0, 0, 1, 'z', 0, 0, 0, 15},
		"endless attributes": {0, 0, 0, 18, fxpMkdir, 0, 0, 0, 1, 0, 0, 0, 1, 'z', 0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff},
		"a second init":      {0, 0, 0, 5, fxpInit, 0, 0, 0, 3},
	} {
		t.Run(what, func(t *testing.T) {
			p := ours(t, everything)
			p.begin()
			if strings.HasSuffix(what, "missing") || strings.HasSuffix(what, "attributes") || strings.HasSuffix(what, "name") {
				packet[3] = byte(len(packet) - 4)
			}
			if _, err := p.to.Write(packet); err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-p.ended:
				if !errors.Is(err, errMalformed) {
					t.Errorf("it ends with %v", err)
				}
			case <-time.After(patience):
				t.Fatal("it goes on")
			}
		})
	}
	t.Run("no init", func(t *testing.T) {
		p := ours(t, everything)
		p.send(newReply(fxpRemove, 1).string("a"))
		if err := <-p.ended; !errors.Is(err, errMalformed) {
			t.Errorf("it ends with %v", err)
		}
	})
	t.Run("cut", func(t *testing.T) {
		p := ours(t, everything)
		p.begin()
		if _, err := p.to.Write([]byte{0, 0, 0, 10, fxpRemove, 0, 0}); err != nil {
			t.Fatal(err)
		}
		p.to.Close()
		if err := <-p.ended; !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("it ends with %v", err)
		}
	})
	t.Run("NUL in a name", func(t *testing.T) {
		p := ours(t, everything)
		p.begin()
		for _, kind := range []byte{fxpRemove, fxpStat, fxpRealpath, fxpOpendir, fxpReadlink} {
			if got := p.code(kind, str("a\x00b")); got != "status 5" {
				t.Errorf("type %d: %s", kind, got)
			}
		}
	})
	if now := tree(t, dir); now != before {
		t.Errorf("something changed:\n%s\nwas\n%s", now, before)
	}
}

// Handles are bounded, a number never means another file later, and all are closed at the end.
func TestHandles(t *testing.T) {
	dir := fill(t)
	t.Chdir(dir)
	files := func() int {
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, e := range fds {
			if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && strings.HasPrefix(to, dir) {
				n++
			}
		}
		return n
	}
	p := ours(t, everything)
	p.begin()
	for i := range maxHandles {
		kind, fields := byte(fxpOpen), then(str("a"), u32(fxfRead), none)
		if i%2 == 0 {
			kind, fields = fxpOpendir, str("d")
		}
		if got := p.ask(kind, fields); got != "handle" {
			t.Fatalf("handle %d: %s", i, got)
		}
	}
	if got := p.code(fxpOpen, then(str("a"), u32(fxfRead), none)); got != "status 4" {
		t.Errorf("one more: %s", got)
	}
	if got := p.code(fxpOpendir, str("d")); got != "status 4" {
		t.Errorf("one more folder: %s", got)
	}
	if n := files(); n != maxHandles {
		t.Errorf("%d files are open", n)
	}
	old := p.handle[1]
	if got := p.code(fxpClose, str(old)); got != "status 0" {
		t.Errorf("close: %s", got)
	}
	if got := p.ask(fxpOpen, then(str("b"), u32(fxfRead), none)); got != "handle" {
		t.Errorf("in its place: %s", got)
	}
	if got := p.code(fxpRead, then(str(old), u64(0), u32(10))); got != "status 4" {
		t.Errorf("a closed handle reads %s", got)
	}
	p.to.Close()
	if err := <-p.ended; err != nil {
		t.Error(err)
	}
	if n := files(); n != 0 {
		t.Errorf("%d files stay open", n)
	}
}

// Many requests in flight are answered in order, and a large file comes back as it went.
func TestPipelined(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	data := make([]byte, 8<<20)
	_, _ = rand.Read(data)
	p := ours(t, everything)
	p.begin()
	if got := p.ask(fxpOpen, then(str("f"), u32(fxfRead|fxfWrite|fxfCreat), none)); got != "handle" {
		t.Fatal(got)
	}
	const chunk = 100_000
	sent := make(chan struct{})
	first := p.id
	go func() {
		defer close(sent)
		id := first
		for at := 0; at < len(data); at += chunk {
			id++
			p.send(newReply(fxpWrite, id).string(p.handle[0]).uint64(uint64(at)).string(string(data[at:min(at+chunk, len(data))])))
		}
		for at := 0; at < len(data); at += chunk {
			id++
			p.send(newReply(fxpRead, id).string(p.handle[0]).uint64(uint64(at)).uint32(chunk))
		}
	}()
	var back bytes.Buffer
	for range (len(data) + chunk - 1) / chunk {
		p.id++
		if got := p.answer(); !strings.HasPrefix(got, "status 0") {
			t.Fatal(got)
		}
	}
	for range (len(data) + chunk - 1) / chunk {
		p.id++
		back.WriteString(strings.TrimPrefix(p.answer(), "data "))
	}
	<-sent
	if !bytes.Equal(back.Bytes(), data) {
		t.Error("other bytes came back")
	}
}

// Reading and writing are bounded by what a packet holds.
func TestLargeRead(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("f", make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	p := ours(t, everything)
	p.begin()
	if got := p.ask(fxpOpen, then(str("f"), u32(fxfRead), none)); got != "handle" {
		t.Fatal(got)
	}
	if got := len(p.ask(fxpRead, then(str(p.handle[0]), u64(0), u32(1<<32-1)))); got != maxRead+len("data ") {
		t.Errorf("%d bytes", got)
	}
}
