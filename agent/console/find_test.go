package console

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"scrier/agent/account"
	"scrier/wire"
)

// named starts a process that has a name and does nothing.
func (u *user) named(env []string, name string) {
	u.t.Helper()
	program, err := os.ReadFile("/bin/sleep")
	must(u.t, err)
	full := filepath.Join(u.dir, name)
	must(u.t, os.WriteFile(full, program, 0o755))
	u.start(env, full, "3600")
	eventually(u.t, name, func() bool { return len(u.pids(name)) > 0 })
}

func TestNobody(t *testing.T) {
	u := newUser(t)
	c := u.console(DefaultConfig())
	for _, env := range [][]string{
		nil,
		{"DISPLAY=localhost:10.0"},    // forwarded by ssh
		{"DISPLAY=:4711"},             // no server
		{"WAYLAND_DISPLAY=wayland-9"}, // no folder
		{"WAYLAND_DISPLAY=../../x", "XDG_RUNTIME_DIR=/"}, // no name
	} {
		u.start(env, "sleep", "3600")
		if got := c.Who(t.Context()); got != "" {
			t.Errorf("%v: at the screen is %q", env, got)
		}
		_, err := c.Share(t.Context(), Request{Operator: "alice"})
		wantCode(t, err, wire.ConsoleEmpty)
	}
	c.cfg.Enabled = false
	_, err := c.Share(t.Context(), Request{Operator: "alice"})
	wantCode(t, err, wire.ConsoleOff)
}

func TestSystemAccountsAreNobody(t *testing.T) {
	c, least := New(DefaultConfig(), u0log(t)), account.System().UIDMin()
	for _, uid := range []uint32{0, 1, 33, least - 1, account.Nobody, 4294967294, 4294967295} {
		if c.serves(uid) {
			t.Errorf("uid %d is served", uid)
		}
	}
	if !c.serves(least) {
		t.Error("the first user is not served")
	}
}

func TestOthersScreenIsNotTheirs(t *testing.T) {
	owner, guest := newUser(t), newUser(t)
	x := owner.xserver("environ")
	for range 12 { // more than the owner has
		guest.start([]string{"DISPLAY=" + x.display}, "sleep", "3600")
	}
	c := owner.console(DefaultConfig())
	c.serves = func(uid uint32) bool { return uid == owner.who.UID || uid == guest.who.UID }
	if got := c.Who(t.Context()); got != owner.name {
		t.Fatalf("at the screen is %q, want %s", got, owner.name)
	}
}

func TestSeveral(t *testing.T) {
	few, many := newUser(t), newUser(t)
	xf, xm := few.xserver("environ"), many.xserver("environ")
	for range 3 {
		many.start(xm.env, "sleep", "3600")
	}
	c := few.console(DefaultConfig())
	c.serves = func(uid uint32) bool { return uid == few.who.UID || uid == many.who.UID }
	if got := c.Who(t.Context()); got != many.name {
		t.Fatalf("at the screen is %q, want %s", got, many.name)
	}
	// Where there is logind, its answer decides.
	session := func(uid uint32, active, seat, kind, more string) string {
		return fmt.Sprintf("User=%d\nClass=user\nType=%s\nActive=%s\nState=online\nRemote=no\nSeat=%s\n%s", uid, kind, active, seat, more)
	}
	for name, try := range map[string]struct{ sessions, want string }{
		"in front":  {session(many.who.UID, "no", "seat0", "x11", "") + "\n" + session(few.who.UID, "yes", "seat0", "x11", "Display="+xf.display+"\nLockedHint=no\n"), few.name},
		"seat0":     {session(many.who.UID, "yes", "seat1", "x11", "") + "\n" + session(few.who.UID, "yes", "seat0", "x11", ""), few.name},
		"startx":    {session(few.who.UID, "yes", "seat0", "tty", ""), few.name},
		"remote":    {session(few.who.UID, "yes", "", "x11", ""), ""},
		"greeter":   {strings.Replace(session(few.who.UID, "yes", "seat0", "x11", ""), "Class=user", "Class=greeter", 1), ""},
		"root":      {session(0, "yes", "seat0", "x11", ""), ""},
		"no number": {strings.Replace(session(few.who.UID, "yes", "seat0", "x11", ""), "User=", "User=0", 1), ""},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(few.dir, "sessions")
			must(t, os.WriteFile(file, []byte(try.sessions), 0o644))
			c.programs = farm(t, map[string]string{
				"loginctl": `if [ "$1" = list-sessions ]; then echo "  1 1000 x seat0 tty2"; echo " c2 1001 y"; exit 0; fi
/bin/cat ` + file + "\n",
			})
			if got := c.Who(t.Context()); got != try.want {
				t.Errorf("at the screen is %q, want %q", got, try.want)
			}
		})
	}
	c.programs = farm(t, map[string]string{"loginctl": "exit 0\n"})
	_, err := c.Share(t.Context(), Request{Operator: "alice"})
	wantCode(t, err, wire.ConsoleEmpty)
	c.programs = farm(t, map[string]string{"loginctl": "exec sleep 3600\n", "sleep": "exec /bin/sleep \"$@\"\n"})
	if got := c.Who(t.Context()); got != many.name {
		t.Errorf("logind does not answer: at the screen is %q, want %s", got, many.name)
	}
}

func TestLocked(t *testing.T) {
	u := newUser(t)
	x := u.xserver("environ")
	c := u.console(unasked)
	c.programs = farm(t, map[string]string{
		"loginctl": fmt.Sprintf(`[ "$1" = list-sessions ] && echo " 1 x" || printf 'User=%d\nClass=user\nType=x11\nActive=yes\nRemote=no\nSeat=seat0\nLockedHint=yes\n'`, u.who.UID),
	})
	_, err := c.Share(t.Context(), Request{Operator: "alice"})
	wantCode(t, err, wire.ConsoleLocked)

	c.programs = farm(t, map[string]string{"xscreensaver-command": `echo 'XScreenSaver 6.06: screen locked since Mon Jan  1 10:00:00 2026 (hack #1)'`}, "loginctl")
	_, err = c.Share(t.Context(), Request{Operator: "alice"})
	wantCode(t, err, wire.ConsoleLocked)

	c.programs = farm(t, map[string]string{"xscreensaver-command": `echo 'XScreenSaver 6.06: screen non-blanked since Mon Jan  1 10:00:00 2026'`}, "loginctl")
	u.named(x.env, "light-locker") // which runs all the time
	share(t, c, Request{Operator: "alice"}).Close()

	u.named(x.env, "i3lock")
	_, err = c.Share(t.Context(), Request{Operator: "alice"})
	wantCode(t, err, wire.ConsoleLocked)
}

func TestMissing(t *testing.T) {
	u := newUser(t)
	u.xserver("environ")
	for _, program := range []string{"x11vnc", "xmessage", "xdpyinfo"} {
		c := u.console(unasked)
		c.programs = farm(t, nil, program, "loginctl")
		_, err := c.Share(t.Context(), Request{Operator: "alice"})
		wantCode(t, err, wire.ConsoleMissing)
		if !strings.Contains(wire.DetailOf(err), program) || !strings.Contains(wire.DetailOf(err), "package") {
			t.Errorf("without %s: %v", program, err)
		}
	}
	if left := u.pids("x11vnc", "xmessage"); len(left) > 0 {
		t.Fatalf("left: %v", left)
	}
}

// If the question cannot be shown, there is no yes; if the notice cannot, nothing is shared.
func TestBrokenDialogs(t *testing.T) {
	u := newUser(t)
	u.xserver("environ")
	for _, text := range []string{"exit 1", "exit 0", "exit 255", "kill -9 $$", "exit 2"} {
		c := u.console(DefaultConfig())
		c.programs = farm(t, map[string]string{"xmessage": text}, "loginctl")
		if s, err := c.Share(t.Context(), Request{Operator: "alice"}); err == nil {
			s.Close()
			t.Errorf("%s: shared", text)
		}
		c.cfg.Consent = Never
		_, err := c.Share(t.Context(), Request{Operator: "alice"})
		wantCode(t, err, wire.ConsoleEnded)
	}
	c := u.console(unasked)
	c.programs = farm(t, map[string]string{"xmessage": "exec /bin/sleep 3600"}, "loginctl") // no window
	_, err := c.Share(t.Context(), Request{Operator: "alice"})
	wantCode(t, err, wire.DesktopFailed)
	if left := u.pids("x11vnc", "sleep"); len(left) > 0 {
		t.Fatalf("left: %v", left)
	}
}

func TestHostileEnviron(t *testing.T) {
	for _, s := range []string{
		"", "0", ":", ":0:1", ":-1", ":123456", ":1.", ":1.x", ":1.10", "host:0", "localhost:10.0", ":0 -rfbport 5900", ":0\n", ":０", "unix:0", "/tmp/x:0",
	} {
		if validDisplay(s) {
			t.Errorf("%q is a display", s)
		}
	}
	for _, s := range []string{":0", ":0.0", ":10", ":65535.1"} {
		if !validDisplay(s) {
			t.Errorf("%q is no display", s)
		}
	}
	if number10(":007.0") != ":7" {
		t.Error(number10(":007.0"))
	}
	for _, s := range []string{"", ".", "..", "a/b", "/run/x", "-x", "a b", "a\n", strings.Repeat("a", 65)} {
		if validWayland(s) {
			t.Errorf("%q is a Wayland display", s)
		}
	}
	for _, s := range []string{"", "x", "/a/../b", "/a//b", "/a/", "/a\nb", "/a\u202eb", "/\xff", "/" + strings.Repeat("a", 1100)} {
		if path(s) {
			t.Errorf("%q is a path", s)
		}
	}

	u := newUser(t)
	x := u.xserver("environ")
	for _, env := range [][]string{
		{"DISPLAY=" + x.display + " -rfbport 5900", "XAUTHORITY=-remote"},
		{"DISPLAY=" + x.display, "XAUTHORITY=/etc/shadow"},
		{"DISPLAY=" + x.display, "XAUTHORITY=/dev/zero"},
		{"WAYLAND_DISPLAY=X" + x.display[1:], "XDG_RUNTIME_DIR=/tmp/.X11-unix/../.X11-unix"},
		{"A=" + strings.Repeat("x", 100_000), "DISPLAY=:9"},
	} {
		for range 2 { // no majority
			u.start(env, "sleep", "3600")
		}
	}
	for range 8 {
		u.start(x.env, "sleep", "3600")
	}
	if got := u.console(DefaultConfig()).Who(t.Context()); got != u.name {
		t.Fatalf("at the screen is %q, want %s", got, u.name)
	}
}

// If one XAUTHORITY does not work, the others are tried.
func TestWrongAuthority(t *testing.T) {
	u := newUser(t)
	x := u.xserver("argument")
	for range 5 {
		u.start([]string{"DISPLAY=" + x.display, "XAUTHORITY=/dev/null"}, "sleep", "3600")
	}
	s := share(t, u.console(unasked), Request{Operator: "alice"})
	newRFB(t, s).update()
}

// Desktops that show their screen through their own server only.
func TestOwnServers(t *testing.T) {
	for name, hint := range map[string]string{"gnome-shell": "grdctl vnc enable", "kwin_wayland": "krfb"} {
		t.Run(name, func(t *testing.T) {
			u := newUser(t)
			runtime := filepath.Join(u.dir, "run")
			must(t, os.Mkdir(runtime, 0o700))
			u.own(runtime)
			l, err := net.Listen("unix", filepath.Join(runtime, "wayland-0"))
			must(t, err)
			defer l.Close()
			u.own(filepath.Join(runtime, "wayland-0"))
			env := []string{"WAYLAND_DISPLAY=wayland-0", "XDG_RUNTIME_DIR=" + runtime}
			u.named(env, name)
			c := u.console(unasked)
			if got := c.Who(t.Context()); got != u.name {
				t.Fatalf("at the screen is %q", got)
			}
			_, err = c.Share(t.Context(), Request{Operator: "alice"})
			wantCode(t, err, wire.ConsoleUnsupported)
			if d := wire.DetailOf(err); !strings.Contains(d, hint) || !strings.Contains(d, "by RDP") {
				t.Errorf("detail %q", d)
			}
		})
	}
}

// A socket that does not belong to the user is not taken for their compositor's.
func TestForeignWaylandSocket(t *testing.T) {
	u := newUser(t)
	runtime := filepath.Join(u.dir, "run")
	must(t, os.Mkdir(runtime, 0o755))
	l, err := net.Listen("unix", filepath.Join(runtime, "wayland-0")) // root's
	must(t, err)
	defer l.Close()
	u.start([]string{"WAYLAND_DISPLAY=wayland-0", "XDG_RUNTIME_DIR=" + runtime}, "sleep", "3600")
	if got := u.console(DefaultConfig()).Who(t.Context()); got != "" {
		t.Fatalf("at the screen is %q", got)
	}
	// Nor does the agent connect to it in the place of wayvnc's socket, even by a link.
	link := filepath.Join(runtime, "link")
	must(t, os.Symlink(filepath.Join(runtime, "wayland-0"), link))
	for _, name := range []string{filepath.Join(runtime, "wayland-0"), link} {
		if conn, err := dialAs(name, u.who.UID); err == nil {
			conn.Close()
			t.Errorf("connected to %s", name)
		}
	}
	// A socket file of the user's at which a process of somebody else's listens.
	u.own(filepath.Join(runtime, "wayland-0"))
	_, err = dialAs(filepath.Join(runtime, "wayland-0"), u.who.UID)
	wantCode(t, err, wire.ListenerUntrusted)
}
