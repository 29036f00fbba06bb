package console

import (
	"context"
	"encoding/binary"
	"fmt"
	"image/color"
	"io"
	"math/bits"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"scrier/wire"
)

var unasked = Config{Enabled: true, Consent: Never, Control: true}

var paint = color.RGBA{0x1e, 0x64, 0x96, 255}

// paper is a terminal of one colour in the middle of the screen that keeps what is typed.
func (x *xserver) paper() (typed string) {
	x.t.Helper()
	typed = x.dir + "/typed"
	x.start(x.env, "xterm", "-bg", "#1e6496", "-fg", "#1e6496", "-cr", "#1e6496", "-geometry", "60x20+300+300", "-e", "sh", "-c", "stty -icanon -echo; cat >"+typed)
	eventually(x.t, "the terminal, which would cover a dialog that is there before", func() bool {
		_, err := x.xdotool("search", "--onlyvisible", "--class", "xterm")
		return err == nil
	})
	return typed
}

func (x *xserver) pointer() (at string) {
	x.t.Helper()
	out, err := x.xdotool("getmouselocation")
	must(x.t, err)
	f := strings.Fields(out)
	return f[0] + " " + f[1]
}

func TestShareX11(t *testing.T) {
	u := newUser(t)
	x := u.xserver("environ")
	typed := x.paper()
	c := u.console(DefaultConfig())
	if got := c.Who(t.Context()); got != u.name {
		t.Fatalf("at the screen is %q, want %s", got, u.name)
	}
	a := ask(t, t.Context(), c, Request{Operator: "alice", Purpose: "the printer"})
	x.press(0)
	s, err := a.wait()
	must(t, err)
	if s.Login != u.name || s.View {
		t.Fatalf("shared: %+v", s)
	}
	r := newRFB(t, s)
	if r.width != 1280 || r.height != 720 {
		t.Fatalf("the screen has %dx%d", r.width, r.height)
	}
	r.sees(500, 450, paint)

	alone(t, u)

	r.pointer(0, 501, 451)
	eventually(t, "the pointer moves", func() bool { return x.pointer() == "x:501 y:451" })
	r.pointer(1, 501, 451)
	r.pointer(0, 501, 451)
	eventually(t, "a key is typed", func() bool {
		r.key(1, 'x')
		r.key(0, 'x')
		r.update()
		b, _ := os.ReadFile(typed)
		return len(b) > 0 && strings.Trim(string(b), "x") == ""
	})

	x.press(0) // End
	ended(t, s, wire.ConsoleEnded)
	if left := u.pids("x11vnc", "xmessage"); len(left) > 0 {
		t.Fatalf("left: %v", left)
	}
	s.Close()
	s.Close()
}

// alone checks that the server can be reached by its one socket only, and that it has none of the
// agent's files open.
func alone(t *testing.T, u *user) {
	t.Helper()
	servers := u.pids("x11vnc")
	if len(servers) != 1 {
		t.Fatalf("%d servers", len(servers))
	}
	listening := map[string]bool{}
	text, err := os.ReadFile("/proc/net/unix")
	must(t, err)
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 6 && f[3] == "00010000" { // __SO_ACCEPTCON
			listening[f[6]] = true
		}
	}
	for _, name := range []string{"tcp", "tcp6", "udp", "udp6"} {
		text, err := os.ReadFile("/proc/net/" + name)
		must(t, err)
		for line := range strings.Lines(string(text)) {
			if f := strings.Fields(line); len(f) > 9 {
				listening[f[9]] = true
			}
		}
	}
	dir := fmt.Sprintf("/proc/%d/fd", servers[0])
	fds, err := os.ReadDir(dir)
	must(t, err)
	var open []string
	for _, fd := range fds {
		name, err := os.Readlink(filepath.Join(dir, fd.Name()))
		if err != nil {
			continue
		}
		open = append(open, name)
		if inode, ok := strings.CutPrefix(name, "socket:["); ok && listening[strings.TrimSuffix(inode, "]")] {
			t.Errorf("it listens, or has an internet socket: %s", name)
		}
	}
	sockets := 0
	for _, name := range open {
		switch {
		case strings.HasPrefix(name, "socket:["):
			sockets++
		case strings.HasPrefix(name, "pipe:["), name == "/dev/null":
		default:
			t.Errorf("it has %s", name)
		}
	}
	if sockets == 0 || sockets > 4 { // the X server, ours, and copies
		t.Errorf("its files: %v", open)
	}
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", servers[0]))
	must(t, err)
	for v := range strings.SplitSeq(strings.Trim(string(env), "\x00"), "\x00") {
		name, _, _ := strings.Cut(v, "=")
		if !slices.Contains([]string{"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "DISPLAY", "XAUTHORITY"}, name) {
			t.Errorf("its environment has %s", v)
		}
	}
}

func TestRefused(t *testing.T) {
	u := newUser(t)
	x := u.xserver("home")
	for name, refuse := range map[string]func(){
		"deny":   func() { x.press(1) },
		"close":  func() { x.quit() },
		"enter":  func() { _, _ = x.xdotool("windowfocus", "--sync", x.window(), "key", "Return") },
		"killed": func() { x.window(); must(t, unix.Kill(u.pids("xmessage")[0], unix.SIGKILL)) },
		"ended":  func() { x.window(); must(t, unix.Kill(u.pids("xmessage")[0], unix.SIGTERM)) },
	} {
		t.Run(name, func(t *testing.T) {
			x.t = t
			defer func() { x.t = u.t }()
			a := ask(t, t.Context(), u.console(DefaultConfig()), Request{Operator: "alice"})
			refuse()
			_, err := a.wait()
			wantCode(t, err, wire.ConsoleRefused)
			if left := u.pids("x11vnc", "xmessage"); len(left) > 0 {
				t.Fatalf("left: %v", left)
			}
		})
	}
}

func TestNoAnswer(t *testing.T) {
	u := newUser(t)
	x := u.xserver("environ")
	c := u.console(DefaultConfig())
	c.patience = time.Second
	_, err := c.Share(t.Context(), Request{Operator: "alice"})
	wantCode(t, err, wire.ConsoleNoAnswer)

	c.patience, c.grace = 2*time.Second, time.Second
	a := ask(t, t.Context(), c, Request{Operator: "alice"})
	x.window()
	must(t, unix.Kill(u.pids("xmessage")[0], unix.SIGSTOP)) // so it cannot end by itself in time
	_, err = a.wait()
	wantCode(t, err, wire.ConsoleNoAnswer)
	if left := u.pids("x11vnc", "xmessage"); len(left) > 0 {
		t.Fatalf("left: %v", left)
	}
}

func TestWithdrawn(t *testing.T) {
	u := newUser(t)
	x := u.xserver("environ")
	c := u.console(DefaultConfig())
	ctx, cancel := context.WithCancelCause(t.Context())
	a := ask(t, ctx, c, Request{Operator: "alice"})
	x.window()
	_, err := c.Share(t.Context(), Request{Operator: "bob"})
	wantCode(t, err, wire.Busy) // one question at a time
	cancel(wire.Errorf(wire.Left, "gone"))
	_, err = a.wait()
	wantCode(t, err, wire.Left)
	if left := u.pids("x11vnc", "xmessage"); len(left) > 0 {
		t.Fatalf("left: %v", left)
	}
	if c.shares != 0 || c.asking {
		t.Fatal("places are not given back")
	}
}

func TestViewOnly(t *testing.T) {
	u := newUser(t)
	x := u.xserver("environ")
	typed := x.paper()
	for name, try := range map[string]struct {
		cfg Config
		q   Request
	}{
		"the machine's policy": {Config{Enabled: true, Consent: Never}, Request{Operator: "alice"}},
		"the request":          {unasked, Request{Operator: "alice", View: true}},
	} {
		t.Run(name, func(t *testing.T) {
			s := share(t, u.console(try.cfg), try.q)
			if !s.View {
				t.Fatal("it can type")
			}
			r := newRFB(t, s)
			r.sees(500, 450, paint)
			_, err := x.xdotool("mousemove", "400", "400")
			must(t, err)
			for range 5 {
				r.pointer(1, 501, 451)
				r.pointer(0, 501, 451)
				r.key(1, 'x')
				r.key(0, 'x')
				r.update()
			}
			if at := x.pointer(); at != "x:400 y:400" {
				t.Errorf("the pointer is at %s", at)
			}
			if b, _ := os.ReadFile(typed); len(b) > 0 {
				t.Errorf("typed: %q", b)
			}
			s.Close()
		})
	}
}

func TestEnds(t *testing.T) {
	u := newUser(t)
	x := u.xserver("environ")
	c := u.console(unasked)
	nothing := func() {
		t.Helper()
		if left := u.pids("x11vnc", "xmessage"); len(left) > 0 {
			t.Fatalf("left: %v", left)
		}
	}
	s := share(t, c, Request{Operator: "alice"})
	newRFB(t, s)
	s.Close()
	nothing()
	select {
	case <-s.Done():
		t.Fatal("Close looks like an end by itself")
	default:
	}

	for _, sig := range []unix.Signal{unix.SIGKILL, unix.SIGTERM} {
		s = share(t, c, Request{Operator: "alice"})
		must(t, unix.Kill(u.pids("xmessage")[0], sig))
		ended(t, s, wire.ConsoleEnded)
		nothing()
		s.Close()
	}

	s = share(t, c, Request{Operator: "alice"})
	newRFB(t, s)
	must(t, unix.Kill(u.pids("x11vnc")[0], unix.SIGKILL))
	ended(t, s, wire.DesktopFailed)
	nothing()
	s.Close()

	s = share(t, c, Request{Operator: "alice"})
	newRFB(t, s)
	must(t, x.cmd.Process.Kill()) // as a log-out does
	ended(t, s, wire.ConsoleEnded, wire.DesktopFailed)
	nothing()
	s.Close()
	if c.shares != 0 {
		t.Fatal("places are not given back")
	}
}

func TestHeldKeysAreLetGo(t *testing.T) {
	u := newUser(t)
	x := u.xserver("environ")
	typed := x.paper()
	s := share(t, u.console(unasked), Request{Operator: "alice"})
	r := newRFB(t, s)
	r.sees(500, 450, paint)
	r.pointer(1, 501, 451)
	r.pointer(0, 501, 451)
	eventually(t, "a key repeats", func() bool {
		r.key(1, 'x')
		r.update()
		b, _ := os.ReadFile(typed)
		return len(b) > 0
	})
	if x.keysDown() != 1 {
		t.Error("no key is held")
	}
	s.Close()
	// The X server does what it was told before somebody has left, and may still be at it.
	eventually(t, "no key is held", func() bool { return x.keysDown() == 0 })
}

// keysDown asks the X server how many keys are held (X11 protocol, QueryKeymap).
func (x *xserver) keysDown() (n int) {
	x.t.Helper()
	auth, err := os.ReadFile(strings.TrimPrefix(x.env[1], "XAUTHORITY="))
	must(x.t, err)
	conn, err := net.Dial("unix", "/tmp/.X11-unix/X"+x.display[1:])
	must(x.t, err)
	defer conn.Close()
	must(x.t, conn.SetDeadline(time.Now().Add(30*time.Second)))
	setup := append([]byte{'l', 0, 11, 0, 0, 0, 18, 0, 16, 0, 0, 0}, "MIT-MAGIC-COOKIE-1\x00\x00"...)
	_, err = conn.Write(append(setup, auth[len(auth)-16:]...))
	must(x.t, err)
	head := make([]byte, 8)
	_, err = io.ReadFull(conn, head)
	must(x.t, err)
	if head[0] != 1 {
		x.t.Fatalf("the X server answers %v", head)
	}
	_, err = io.CopyN(io.Discard, conn, 4*int64(binary.LittleEndian.Uint16(head[6:])))
	must(x.t, err)
	_, err = conn.Write([]byte{44, 0, 1, 0})
	must(x.t, err)
	reply := make([]byte, 40)
	_, err = io.ReadFull(conn, reply)
	must(x.t, err)
	for _, b := range reply[8:] {
		n += bits.OnesCount8(b)
	}
	return n
}

func TestKilledAgent(t *testing.T) {
	u := newUser(t)
	u.xserver("environ")
	cmd := exec.Command("/proc/self/exe", agentArg, fmt.Sprint(u.who.UID))
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	var line string
	_, err = fmt.Fscan(out, &line)
	must(t, err)
	if line != "shared" || len(u.pids("x11vnc")) != 1 || len(u.pids("xmessage")) != 1 {
		t.Errorf("the agent says %q", line)
	}
	eventually(t, "the server's shared memory", func() bool { return len(u.segments()) > 0 })
	must(t, cmd.Process.Kill())
	_ = cmd.Wait()
	eventually(t, "the end of what it started", func() bool { return len(u.pids("x11vnc", "xmessage")) == 0 })
	eventually(t, "the end of its shared memory", func() bool { return len(u.segments()) == 0 })
}

func TestOrdinaryAgent(t *testing.T) {
	u := newUser(t)
	u.xserver("environ")
	out, err := u.run(nil, "/proc/self/exe", whoArg)
	must(t, err)
	if got := strings.TrimSpace(out); got != u.name {
		t.Fatalf("at the screen is %q, want %s", got, u.name)
	}
	other := newUser(t)
	out, err = other.run(nil, "/proc/self/exe", whoArg)
	must(t, err)
	if got := strings.TrimSpace(out); got != "" {
		t.Fatalf("%s sees that %s sits at the screen", other.name, got)
	}
}
