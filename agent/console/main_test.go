package console

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"scrier/agent/become"
	"scrier/wire"
)

const (
	agentArg = "console-agent-under-test" // shares and waits to be killed
	whoArg   = "console-who-under-test"   // prints Who
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case agentArg:
			os.Exit(testAgent())
		case whoArg:
			fmt.Println(New(DefaultConfig(), slog.New(slog.DiscardHandler)).Who(context.Background()))
			os.Exit(0)
		}
	}
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "these tests become other users: run them as root")
		os.Exit(1)
	}
	_ = os.Mkdir("/tmp/.X11-unix", 0o777)
	_ = os.Chmod("/tmp/.X11-unix", 0o1777)
	goleak.VerifyTestMain(m)
}

// testAgent shares the screen of the uid that is its argument.
func testAgent() int {
	uid, _ := number(os.Args[2])
	c := New(Config{Enabled: true, Consent: Never, Control: true}, slog.New(slog.DiscardHandler))
	c.serves = func(u uint32) bool { return u == uid }
	s, err := c.Share(context.Background(), Request{Operator: "mallory"})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	if _, err := s.Conn.Read(make([]byte, 1)); err != nil { // it has begun
		fmt.Println(err)
		return 1
	}
	fmt.Println("shared")
	<-s.Done()
	return 1
}

// user is an OS user of a test, with a folder of its own.
type user struct {
	t    testing.TB
	name string
	who  become.User
	dir  string // its home
}

func newUser(t testing.TB) *user {
	t.Helper()
	var b [4]byte
	rand.Read(b[:])
	u := &user{t: t, name: "scr" + hex.EncodeToString(b[:])}
	dir, err := os.MkdirTemp("", "scrier-test-")
	must(t, err)
	u.dir = filepath.Join(dir, "home")
	must(t, os.Chmod(dir, 0o755))
	database(t, "useradd", "-m", "-d", u.dir, "-s", "/bin/sh", u.name)
	t.Cleanup(func() {
		u.killAll()
		for _, id := range u.segments() { // otherwise the next user that gets this uid would have them
			_, err := unix.SysvShmCtl(id, unix.IPC_RMID, nil)
			must(t, err)
		}
		database(t, "userdel", u.name)
		must(t, os.RemoveAll(dir))
	})
	id := strings.Fields(run(t, "id", "-u", u.name) + " " + run(t, "id", "-g", u.name))
	uid, _ := number(id[0])
	gid, _ := number(id[1])
	u.who = become.User{UID: uid, GID: gid}
	return u
}

// database changes the accounts; another test may hold their lock.
func database(t testing.TB, argv ...string) {
	t.Helper()
	var out []byte
	eventually(t, strings.Join(argv, " "), func() (ok bool) {
		var err error
		out, err = exec.Command(argv[0], argv[1:]...).CombinedOutput()
		if err != nil && !strings.Contains(string(out), "lock") {
			t.Fatalf("%v: %v %s", argv, err, out)
		}
		return err == nil
	})
}

// pids are the user's processes that have one of these names; all, if none is given.
func (u *user) pids(names ...string) (found []int) {
	all, _ := processes(context.Background(), func(uid uint32) bool { return uid == u.who.UID })
	for _, p := range all {
		if len(p.args) > 0 && (len(names) == 0 || slices.Contains(names, p.name)) { // a zombie has none
			found = append(found, p.pid)
		}
	}
	return found
}

func (u *user) killAll() {
	u.t.Helper()
	eventually(u.t, "the end of the user's processes", func() bool {
		all := u.pids()
		for _, pid := range all {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		return len(all) == 0
	})
}

// segments are the user's System V shared memory; it stays when nobody frees it.
func (u *user) segments() (ids []int) {
	u.t.Helper()
	text, err := os.ReadFile("/proc/sysvipc/shm")
	must(u.t, err)
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 7 && f[7] == fmt.Sprint(u.who.UID) {
			id, err := strconv.Atoi(f[1])
			must(u.t, err)
			ids = append(ids, id)
		}
	}
	return ids
}

func (u *user) command(env []string, argv ...string) *exec.Cmd {
	u.t.Helper()
	full, err := exec.LookPath(argv[0])
	must(u.t, err)
	return &exec.Cmd{
		Path: full, Args: argv, Dir: "/", SysProcAttr: &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL},
		Env: append([]string{"PATH=/usr/bin:/bin", "HOME=" + u.dir, "LANG=C.UTF-8"}, env...),
	}
}

// start starts a process that lives as long as the test.
func (u *user) start(env []string, argv ...string) *exec.Cmd {
	u.t.Helper()
	cmd := u.command(env, argv...)
	u.begin(cmd)
	return cmd
}

func (u *user) begin(cmd *exec.Cmd) {
	u.t.Helper()
	must(u.t, become.Start(cmd, &u.who))
	var wait sync.WaitGroup
	wait.Go(func() { _ = cmd.Wait() })
	u.t.Cleanup(func() {
		_ = unix.Kill(cmd.Process.Pid, unix.SIGKILL)
		wait.Wait()
	})
}

func (u *user) run(env []string, argv ...string) (string, error) {
	cmd := u.command(env, argv...)
	r, w, err := os.Pipe()
	must(u.t, err)
	defer r.Close()
	cmd.Stdout = w
	err = become.Start(cmd, &u.who)
	w.Close()
	must(u.t, err)
	out, _ := io.ReadAll(io.LimitReader(r, 1<<20))
	return string(out), cmd.Wait()
}

// own makes what is below the user's home theirs.
func (u *user) own(path string) string {
	u.t.Helper()
	must(u.t, os.Lchown(path, int(u.who.UID), int(u.who.GID)))
	return path
}

func (u *user) console(cfg Config) *Console {
	c := New(cfg, slog.New(slog.NewTextHandler(testLog{u.t}, &slog.HandlerOptions{Level: slog.LevelDebug})))
	c.serves = func(uid uint32) bool { return uid == u.who.UID }
	c.programs = farm(u.t, nil, "loginctl")
	return c
}

// farm is a folder with the system's programs, but for some that are missing or replaced.
func farm(t testing.TB, instead map[string]string, without ...string) programs {
	t.Helper()
	dir, err := os.MkdirTemp("", "scrier-test-bin-")
	must(t, err)
	must(t, os.Chmod(dir, 0o755))
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	for _, name := range []string{"getent", "loginctl", "xdpyinfo", "xwininfo", "xmessage", "x11vnc", "wayvnc", "swaynag", "sh", "xscreensaver-command"} {
		if full := systemPrograms().find(name); full != "" && !slices.Contains(without, name) {
			must(t, os.Symlink(full, filepath.Join(dir, name)))
		}
	}
	for name, text := range instead {
		_ = os.Remove(filepath.Join(dir, name))
		must(t, os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+text), 0o755))
	}
	return programs{[]string{dir}}
}

// xserver is a user's X screen with a window manager.
type xserver struct {
	*user
	display string
	env     []string
	cmd     *exec.Cmd
}

// xserver starts one. How its cookie can be found is by an environment variable, by the server's
// arguments, or because it is in the usual place in the home.
func (u *user) xserver(cookieBy string) *xserver {
	u.t.Helper()
	r, w, err := os.Pipe()
	must(u.t, err)
	defer r.Close()
	auth := filepath.Join(u.dir, "cookies")
	var cookie [16]byte
	rand.Read(cookie[:])
	// The server chooses the number of the display, so the cookie is written before it is known. One of
	// the wildcard family is for every display.
	entry := append([]byte{0xff, 0xff, 0, 0, 0, 0, 0, 18}, "MIT-MAGIC-COOKIE-1"...)
	entry = append(append(entry, 0, 16), cookie[:]...)
	must(u.t, os.WriteFile(auth, entry, 0o600))
	u.own(auth)
	x := &xserver{user: u}
	// -displayfd finds a free display. Then the server is started again with its number as an argument,
	// as real ones are.
	probe := u.command(nil, "Xvfb", "-displayfd", "3", "-screen", "0", "1280x720x24", "-nolisten", "tcp", "-noreset", "-auth", auth)
	probe.ExtraFiles = []*os.File{w}
	u.begin(probe)
	w.Close()
	line, err := bufio.NewReader(r).ReadString('\n')
	must(u.t, err)
	x.display = ":" + strings.TrimSpace(line)
	x.cmd = probe
	x.env = []string{"DISPLAY=" + x.display, "XAUTHORITY=" + auth}
	env := x.env
	switch cookieBy {
	case "argument":
		u.start(x.env[:1], "sleep", "3600")
		return x // the environment of a window manager would show the cookie
	case "home":
		moved := filepath.Join(u.dir, ".Xauthority")
		must(u.t, os.Rename(auth, moved))
		x.env = []string{x.env[0], "XAUTHORITY=" + moved}
		env = x.env[:1]
	}
	log := filepath.Join(u.dir, "openbox.log")
	u.start(env, "sh", "-c", "exec openbox >"+log+" 2>&1")
	// A window that is opened while the window manager starts may never be shown.
	eventually(u.t, "a window manager", func() bool {
		out, err := u.run(x.env, "xprop", "-root", "_NET_SUPPORTING_WM_CHECK")
		return err == nil && strings.Contains(out, "window id") || len(u.pids("openbox", "sh")) == 0
	})
	if len(u.pids("openbox")) == 0 {
		b, _ := os.ReadFile(log)
		u.t.Fatalf("openbox ended: %s", b)
	}
	return x
}

func (x *xserver) xdotool(argv ...string) (string, error) {
	return x.run(x.env, append([]string{"xdotool"}, argv...)...)
}

// window waits for a window with the title of our dialogs that shows a button, and returns its id.
func (x *xserver) window() (id string) {
	x.t.Helper()
	eventually(x.t, "a dialog", func() bool {
		out, err := x.xdotool("search", "--onlyvisible", "--name", title)
		id = strings.TrimSpace(out)
		return err == nil && id != "" && !strings.Contains(id, "\n")
	})
	return id
}

// press clicks on a button of xmessage until the window goes. Its buttons stand in one row at the
// bottom: the first begins 4 pixels from the left.
func (x *xserver) press(button int) {
	x.t.Helper()
	id := x.window()
	eventually(x.t, "the end of the dialog", func() bool {
		geometry, err := x.xdotool("getwindowgeometry", "--shell", id)
		if err != nil {
			return true
		}
		height := 0
		for f := range strings.Lines(geometry) {
			if v, ok := strings.CutPrefix(f, "HEIGHT="); ok {
				height, _ = strconv.Atoi(strings.TrimSpace(v))
			}
		}
		_, _ = x.xdotool("mousemove", "--window", id, strconv.Itoa(24+58*button), strconv.Itoa(height-19), "click", "1")
		time.Sleep(100 * time.Millisecond) // between two clicks
		out, _ := x.xdotool("search", "--onlyvisible", "--name", title)
		return !strings.Contains(out, id)
	})
}

// quit closes the dialog as a person does, by the window manager, until it goes. A window that is destroyed from
// outside is another thing: its program may not notice.
func (x *xserver) quit() {
	x.t.Helper()
	id := x.window()
	eventually(x.t, "the end of the dialog", func() bool {
		_, _ = x.xdotool("windowfocus", id, "key", "alt+F4")
		time.Sleep(100 * time.Millisecond) // between two attempts
		out, _ := x.xdotool("search", "--onlyvisible", "--name", title)
		return !strings.Contains(out, id)
	})
}

// asking runs Share beside the test.
type asking struct {
	t     testing.TB
	done  chan struct{}
	share *Share
	err   error
}

func ask(t testing.TB, ctx context.Context, c *Console, q Request) *asking {
	a := &asking{t: t, done: make(chan struct{})}
	go func() {
		defer close(a.done)
		a.share, a.err = c.Share(ctx, q)
	}()
	t.Cleanup(func() {
		<-a.done
		if a.share != nil {
			a.share.Close()
		}
	})
	return a
}

func (a *asking) wait() (*Share, error) {
	a.t.Helper()
	select {
	case <-a.done:
	case <-time.After(60 * time.Second):
		a.t.Fatal("no answer within 60 s")
	}
	return a.share, a.err
}

func share(t testing.TB, c *Console, q Request) *Share {
	t.Helper()
	s, err := ask(t, t.Context(), c, q).wait()
	must(t, err)
	return s
}

func ended(t testing.TB, s *Share, codes ...wire.Code) {
	t.Helper()
	select {
	case <-s.Done():
	case <-time.After(30 * time.Second):
		t.Fatal("the sharing does not end")
	}
	if !slices.Contains(codes, wire.CodeOf(s.Err())) {
		t.Fatalf("it ended with %v", s.Err())
	}
	closed(t, s)
}

// closed waits until reading from the sharing ends.
func closed(t testing.TB, s *Share) {
	t.Helper()
	_ = s.Conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	buf := make([]byte, 1<<16)
	for {
		if _, err := s.Conn.Read(buf); err != nil {
			if n, ok := err.(net.Error); ok && n.Timeout() {
				t.Fatal("the connection is not at its end")
			}
			return
		}
	}
}

func wantCode(t testing.TB, err error, code wire.Code) {
	t.Helper()
	if got := wire.CodeOf(err); got != code {
		t.Fatalf("code %v, want %v (%v)", got, code, err)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func run(t testing.TB, argv ...string) string {
	t.Helper()
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", argv, err, out)
	}
	return string(out)
}

// eventually polls, for what other processes do.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(40 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if f() {
			return
		}
	}
	t.Fatalf("%s: not within 40 s", what)
}

type testLog struct{ t testing.TB }

func (l testLog) Write(b []byte) (int, error) {
	l.t.Logf("%s", strings.TrimSpace(string(b)))
	return len(b), nil
}
