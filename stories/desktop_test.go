package stories

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"scrier/relay/guac/guactest"
)

// ground is the colour of everything on a desktop of the tests: an xterm's background, which the shell
// in it can change, so that a colour is an answer of the far side.
const ground = "#1e6450"

// xterm fills its screen. What is copied in it goes to the clipboard, and programs in it may read the
// clipboard (OSC 52).
var xterm = []string{"xterm", "-fullscreen", "-bg", ground, "-fg", "#f0f0f0", "-xrm", "XTerm*disallowedWindowOps:", "-xrm", "XTerm*selectToClipboard: true", "-e", "/bin/sh"}

// cmdGuacd starts the real guacd on $GUACD, or starts it anew.
func cmdGuacd(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("usage: guacd [ARG…]")
	}
	w := worldOf(ts)
	host, port, err := net.SplitHostPort(ts.Getenv("GUACD"))
	ts.Check(err)
	home := ts.MkAbs("guacd-home") // FreeRDP wants one that it can write, or fails with what looks like a wrong security
	if err := chowned("guacd", home, func(p string) error { return os.Mkdir(p, 0o700) }); err != nil && !errors.Is(err, os.ErrExist) {
		ts.Fatalf("guacd: %v (./scripts/parts installs it)", err)
	}
	program, env := guactest.Program()
	argv := asUser(ts, "guacd", home, env, append([]string{program, "-f", "-L", "info", "-b", host, "-l", port}, args...)...)
	listens(ts, w.start(ts, "guacd", argv...), ts.Getenv("GUACD"))
}

// listens waits until a server takes connections.
func listens(ts *testscript.TestScript, p *process, addr string) {
	poll(ts, p.name, func() error {
		if p.ended() {
			ts.Fatalf("%s ended: %v: %s", p.name, p.err, p.out)
		}
		c, err := net.Dial("tcp", addr)
		if err == nil {
			return c.Close()
		}
		return err
	})
}

// asUser is a command as a user's, with nothing of our environment but the path.
func asUser(ts *testscript.TestScript, login, home string, env []string, argv ...string) []string {
	u, err := user.Lookup(login)
	ts.Check(err)
	as := []string{"setpriv", "--reuid", u.Uid, "--regid", u.Gid, "--init-groups", "env", "-i", "-C", home,
		"PATH=" + ts.Getenv("PATH"), "HOME=" + home, "USER=" + login, "LOGNAME=" + login, "SHELL=/bin/sh", "LANG=C.UTF-8"}
	return append(append(as, env...), argv...)
}

// fill replaces $NAME in files by what the variable is, as ports are not known before.
func cmdFill(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: fill FILE…")
	}
	for _, name := range args {
		text := os.Expand(ts.ReadFile(name), ts.Getenv)
		ts.Check(os.WriteFile(ts.MkAbs(name), []byte(text), 0o644))
	}
}

// display is an X server that a script started, and whose it is.
type display struct {
	name, login, home string
	env               []string // DISPLAY and XAUTHORITY, or WAYLAND_DISPLAY and so on
	hands             *rfb     // a mouse, of a Wayland screen alone
}

// command is one with this display.
func (d *display) command(ts *testscript.TestScript, argv ...string) []string {
	return asUser(ts, d.login, d.home, d.env, argv...)
}

// output runs one to its end.
func (d *display) output(ts *testscript.TestScript, argv ...string) (string, error) {
	argv = d.command(ts, argv...)
	return output(ts, argv[0], argv[1:]...)
}

// startX starts an X server of a login on a display that is free, with a window manager.
func startX(ts *testscript.TestScript, name, login, home string, argv ...string) *display {
	w := worldOf(ts)
	// A server that is not root's cannot make it as it should be.
	ts.Check(os.MkdirAll("/tmp/.X11-unix", 0o777))
	ts.Check(os.Chmod("/tmp/.X11-unix", 0o777|os.ModeSticky))
	dir := ts.MkAbs(name + "-x")
	ts.Check(os.RemoveAll(dir))
	ts.Check(chowned(login, dir, func(p string) error { return os.Mkdir(p, 0o700) }))
	auth, number := filepath.Join(dir, "Xauthority"), filepath.Join(dir, "display")
	ts.Check(chowned(login, auth, func(p string) error { return os.WriteFile(p, xauthority(), 0o600) }))
	argv = append([]string{"sh", "-c", `exec "$@" -displayfd 3 3>"$0"`, number}, argv...)
	// Without -noreset a server begins anew when its last client leaves, and breaks off whoever comes just then.
	p := w.start(ts, name, asUser(ts, login, home, nil, append(argv, "-auth", auth, "-nolisten", "tcp", "-noreset")...)...)
	d := &display{name: name, login: login, home: home}
	poll(ts, name, func() error {
		if p.ended() {
			ts.Fatalf("%s ended: %v: %s", name, p.err, p.out)
		}
		n, err := os.ReadFile(number)
		if err == nil && !strings.HasSuffix(string(n), "\n") {
			err = errors.New("it has no display yet")
		}
		d.env = []string{"DISPLAY=:" + strings.TrimSpace(string(n)), "XAUTHORITY=" + auth}
		return err
	})
	// A window that is full screen from its start waits for ever if no window manager is there.
	wm := w.start(ts, name+"-wm", d.command(ts, "openbox")...)
	poll(ts, name+"-wm", func() error {
		if wm.ended() {
			ts.Fatalf("openbox ended: %v: %s", wm.err, wm.out)
		}
		out, err := d.output(ts, "xprop", "-root", "_NET_SUPPORTING_WM_CHECK")
		if err == nil && !strings.Contains(out, "window id #") {
			err = errors.New(out)
		}
		return err
	})
	return d
}

// endX ends a desktop. A server that is told to end takes its files in /tmp with it.
func (w *world) endX(name string) {
	for _, n := range []string{name + "-hands", name + "-xterm", name + "-wm", name} {
		p := w.find(n)
		if p == nil || p.ended() {
			continue
		}
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGCONT)
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGTERM)
		kill := time.AfterFunc(5*time.Second, func() { _ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) })
		<-p.done
		kill.Stop()
	}
}

// xauthority is a file with one cookie, for every display (Xau(3), FamilyWild).
func xauthority() []byte {
	var b []byte
	field := func(s string) { b = append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...) }
	b = binary.BigEndian.AppendUint16(b, 0xffff)
	field("") // address
	field("") // display
	field("MIT-MAGIC-COOKIE-1")
	field(rand.Text()[:16])
	return b
}

// cmdVNC starts a VNC server with a desktop: an xterm that fills the screen.
//
//	vnc NAME [-password PW] [-as USER] [ARG…]
func cmdVNC(ts *testscript.TestScript, neg bool, args []string) {
	const usage = "usage: vnc NAME [-password PW] [-as USER] [ARG…]"
	if neg || len(args) == 0 {
		ts.Fatalf(usage)
	}
	name, args, password, login, home := args[0], args[1:], "", "root", ts.MkAbs(args[0]+"-home")
	for len(args) > 1 && (args[0] == "-password" || args[0] == "-as") {
		if args[0] == "-password" {
			password = args[1]
		} else {
			login, home = ts.Getenv(args[1]), ts.Getenv(args[1]+"_home")
		}
		args = args[2:]
	}
	ts.Check(os.MkdirAll(home, 0o755))
	w := worldOf(ts)
	w.endX(name)
	port := ts.Getenv(name + "_port")
	if port == "" {
		_, port, _ = strings.Cut(w.address(), ":")
		ts.Setenv(name+"_port", port)
	}
	argv := []string{"Xtigervnc", "-geometry", "1024x768", "-depth", "24", "-rfbport", port, "-localhost=1"}
	if password == "" {
		argv = append(argv, "-SecurityTypes", "None")
	} else {
		file := ts.MkAbs(name + "-passwd")
		hide := exec.Command("vncpasswd", "-f")
		hide.Stdin = strings.NewReader(password + "\n")
		hidden, err := hide.Output()
		ts.Check(err)
		ts.Check(os.RemoveAll(file))
		ts.Check(chowned(login, file, func(p string) error { return os.WriteFile(p, hidden, 0o600) }))
		argv = append(argv, "-SecurityTypes", "VncAuth", "-PasswordFile", file)
	}
	d := startX(ts, name, login, home, append(argv, args...)...)
	ts.Setenv(name+"_display", strings.TrimPrefix(d.env[0], "DISPLAY="))
	w.start(ts, name+"-xterm", d.command(ts, xterm...)...)
	see, err := dialRFB("127.0.0.1:"+port, password)
	ts.Check(err)
	defer see.close()
	poll(ts, "vnc "+name, func() error { return see.hasColour(500, 700, ground) })
}

// processesOf finds a user's.
func processesOf(uid string) (pids []int, err error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		info, err := os.Stat(dir)
		if err != nil {
			continue // it has ended
		}
		state, err := os.ReadFile(filepath.Join(dir, "stat"))
		if st := info.Sys().(*syscall.Stat_t); err != nil || fmt.Sprint(st.Uid) != uid || strings.Contains(string(state), ") Z ") {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			return nil, err
		}
		pids = append(pids, pid)
	}
	return pids, err
}
