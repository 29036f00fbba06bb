package guac_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"scrier/relay/guac"
	"scrier/relay/guac/guactest"
	"scrier/wire"
)

// run starts a program in a process group of its own, which ends with the test.
func run(t *testing.T, c *exec.Cmd) {
	t.Helper()
	var log bytes.Buffer
	if c.Stderr == nil {
		c.Stderr = &log
	}
	c.WaitDelay = time.Second
	if c.SysProcAttr == nil {
		c.SysProcAttr = &syscall.SysProcAttr{}
	}
	c.SysProcAttr.Setpgid = true
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
		_ = c.Wait()
		if t.Failed() {
			t.Logf("%s said:\n%s", c.Path, log.String())
		}
	})
}

// freePort is a TCP port that nobody has, or had a moment ago.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

// awaitPort waits until somebody listens.
func awaitPort(t *testing.T, addr string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("nobody listens at %s: %v", addr, err)
		}
	}
}

// realGuacd starts guacd as its own user, with a home that it may write to, which RDP needs. It is the
// installed one, or what [guactest.Prefix] names.
func realGuacd(t *testing.T) (addr string) {
	t.Helper()
	u, err := user.Lookup("guacd")
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	home, err := os.MkdirTemp("", "guacd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(home) })
	if err := os.Chown(home, uid, gid); err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	program, env := guactest.Program()
	c := exec.Command(program, "-f", "-L", "info", "-b", "127.0.0.1", "-l", strconv.Itoa(port))
	c.Env = append(env, "HOME="+home, "PATH="+os.Getenv("PATH"))
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	run(t, c)
	addr = fmt.Sprintf("127.0.0.1:%d", port)
	awaitPort(t, addr)
	return addr
}

// realVNC starts an X server that serves VNC, and returns its display and port.
func realVNC(t *testing.T, security ...string) (display string, port int) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	port = freePort(t)
	c := exec.Command("Xtigervnc", append([]string{"-displayfd", "3", "-geometry", "800x600", "-depth", "24",
		"-rfbport", strconv.Itoa(port), "-localhost=1", "-nolisten", "tcp", "-AlwaysShared"}, security...)...)
	c.ExtraFiles = []*os.File{w}
	run(t, c)
	_ = w.Close()
	_ = r.SetReadDeadline(time.Now().Add(30 * time.Second))
	number, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatalf("Xtigervnc does not start: %v", err)
	}
	awaitPort(t, fmt.Sprintf("127.0.0.1:%d", port))
	return ":" + strings.TrimSpace(number), port
}

// viewer is the relay's end of a guacd connection, with both filters.
type viewer struct {
	t         *testing.T
	c         net.Conn
	conn      *guac.Connection
	fromGuacd *guac.FromGuacd
	toGuacd   *guac.FromViewer
	seen      map[string]int
	screen    string // its size
}

func open(t *testing.T, addr string, p guac.Params, policy guac.Policy) *viewer {
	t.Helper()
	v, err := tryOpen(t, addr, p, policy)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func tryOpen(t *testing.T, addr string, p guac.Params, policy guac.Policy) (*viewer, error) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	conn, err := guac.Handshake(t.Context(), c, p)
	if err != nil {
		return nil, err
	}
	_ = c.SetDeadline(time.Now().Add(60 * time.Second))
	v := &viewer{t, c, conn, guac.NewFromGuacd(policy), guac.NewFromViewer(policy), map[string]int{}, ""}
	v.toGuacd.Follow(v.fromGuacd)
	return v, nil
}

// send passes what a page sends through its filter.
func (v *viewer) send(opcode string, args ...string) {
	v.t.Helper()
	if err := v.toGuacd.Check(instruction(v.t, opcode, args...)); err != nil {
		v.t.Fatal(err)
	}
	if _, err := v.c.Write(guac.Append(nil, opcode, args...)); err != nil {
		v.t.Fatal(err)
	}
}

// until reads until done says so or guacd reports an error.
func (v *viewer) until(what string, done func(*guac.Instruction) bool) *wire.Error {
	v.t.Helper()
	status, err := v.read(done)
	if err != nil {
		v.t.Fatalf("%s: %v; seen so far: %v", what, err, v.seen)
	}
	return status
}

// insist opens a connection on which done comes to be true. guacd 1.3 starts its client before it
// has noted who the owner is; what the client says in between (required, filesystem, audio, error)
// is lost. So this tries again.
func insist(t *testing.T, addr string, p guac.Params, policy guac.Policy, what string, done func(*viewer, *guac.Instruction) bool) *viewer {
	t.Helper()
	for range 6 {
		v := open(t, addr, p, policy)
		_ = v.c.SetReadDeadline(time.Now().Add(5 * time.Second))
		status, err := v.read(func(i *guac.Instruction) bool { return done(v, i) })
		if status != nil {
			t.Fatalf("%s: %v", what, status)
		}
		if err == nil {
			_ = v.c.SetReadDeadline(time.Now().Add(60 * time.Second))
			return v
		}
		t.Logf("%s: %v; seen so far: %v", what, err, v.seen)
		_ = v.c.Close()
	}
	t.Fatalf("no %s", what)
	return nil
}

// refusal opens a connection that comes to an error, and returns that. It insists too: where the
// error is lost there is only a disconnect.
func refusal(t *testing.T, addr string, p guac.Params) *wire.Error {
	t.Helper()
	for range 6 {
		v := open(t, addr, p, everything)
		_ = v.c.SetReadDeadline(time.Now().Add(10 * time.Second)) // guacd has 15 s for us
		status, err := v.read(func(*guac.Instruction) bool { return false })
		_ = v.c.Close()
		if status != nil {
			return status
		}
		t.Logf("no error, but %v; seen so far: %v", err, v.seen)
	}
	t.Fatal("guacd reports no error")
	return nil
}

// read reads as a page does. Nothing that a real guacd sends may be dropped or refused.
func (v *viewer) read(done func(*guac.Instruction) bool) (*wire.Error, error) {
	v.t.Helper()
	for {
		i, err := v.conn.Next()
		if err != nil {
			return nil, err
		}
		v.seen[string(i.Opcode())]++
		if e := guac.StatusOf(i); e != nil {
			return e, nil
		}
		if i.Is("disconnect") {
			return nil, io.EOF
		}
		pass, reply, err := v.fromGuacd.Pass(i)
		if err != nil || !pass || reply != nil {
			v.t.Errorf("guacd's %.200q: pass %v, reply %q, %v", i.Raw(), pass, reply, err)
		}
		switch {
		case i.Is("sync"):
			v.send("sync", string(i.Arg(0)))
		case i.Is("size") && string(i.Arg(0)) == "0":
			v.screen = fmt.Sprintf("%sx%s", i.Arg(1), i.Arg(2))
		}
		if done(i) {
			return nil, nil
		}
	}
}

// picture waits until a whole first picture was drawn.
func (v *viewer) picture() {
	v.t.Helper()
	if err := v.until("a picture", func(i *guac.Instruction) bool {
		return i.Is("sync") && v.seen["img"] > 0 && v.seen["end"] > 0 && v.seen["size"] > 0
	}); err != nil {
		v.t.Fatal(err)
	}
}

// vnc is a viewer whose screen has another size than the server's.
func vnc(port int, password string, policy guac.Policy) guac.Params {
	return guac.Params{Protocol: "vnc", Width: 1100, Height: 633, Name: "alice",
		Args: guac.VNC{Hostname: "127.0.0.1", Port: port, Password: wire.NewSecret(password), Policy: policy}.Args()}
}

func TestRealGuacdDrawsVNC(t *testing.T) {
	addr := realGuacd(t)
	display, port := realVNC(t, "-SecurityTypes", "None")
	policy := guac.Policy{ToEnvoy: true, FromEnvoy: true}
	v := open(t, addr, vnc(port, "", policy), policy)
	if !slices.Contains([]string{"1.3.0", "1.5.0"}, v.conn.Version) || len(v.conn.ID) != 37 { // 1.6 speaks 1.5
		t.Errorf("version %q, id %q", v.conn.Version, v.conn.ID)
	}
	v.picture()

	// A second viewer joins, looks on, and has its own whole picture.
	watcher := open(t, addr, guac.Params{Protocol: v.conn.ID, ReadOnly: true, Name: "bob"}, guac.Policy{View: true})
	if watcher.conn.ID != v.conn.ID {
		t.Errorf("joined %q instead of %q", watcher.conn.ID, v.conn.ID)
	}
	watcher.picture()
	watcher.send("disconnect")

	// A terminal scrolls and a pointer moves: what that draws passes the filter.
	xterm := exec.Command("xterm", "-geometry", "100x40", "-e", "sh", "-c", "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo line $i of a terminal that scrolls; done; sleep 60")
	xterm.Env = append(os.Environ(), "DISPLAY="+display)
	run(t, xterm)
	for n := range 20 {
		v.send("mouse", strconv.Itoa(100+20*n), "300", "0")
	}
	v.send("mouse", "400", "300", "1")
	v.send("key", "97", "1")
	v.send("clipboard", "0", "text/plain")
	v.send("blob", "0", "aGVsbG8=")
	v.send("end", "0")
	if err := v.until("a scrolling terminal", func(i *guac.Instruction) bool {
		return i.Is("sync") && v.seen["img"] > 5 && v.seen["cursor"] > 0
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := v.c.Write(v.toGuacd.Release(nil)); err != nil {
		t.Fatal(err)
	}
	// The server's screen is as large as it was, whatever the viewer's is.
	v.send("size", "900", "500")
	v.send("mouse", "10", "10", "0")
	if err := v.until("a picture after that", func(i *guac.Instruction) bool { return i.Is("sync") }); err != nil {
		t.Fatal(err)
	}
	v.send("disconnect")
	if v.screen != "800x600" {
		t.Errorf("the screen is %s in the page", v.screen)
	}
	if out, err := exec.Command("xdpyinfo", "-display", display).Output(); err != nil || !strings.Contains(string(out), "dimensions:    800x600 ") {
		t.Errorf("%v: the server's screen is changed: %s", err, out)
	}
	t.Logf("guacd sent %v", v.seen)
}

func TestRealGuacdAsksForAPassword(t *testing.T) {
	addr := realGuacd(t)
	file := filepath.Join(t.TempDir(), "passwd")
	hide := exec.Command("vncpasswd", "-f")
	hide.Stdin = strings.NewReader("correct\n")
	hidden, err := hide.Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, hidden, 0o600); err != nil {
		t.Fatal(err)
	}
	_, port := realVNC(t, "-SecurityTypes", "VncAuth", "-PasswordFile", file)

	t.Run("not given", func(t *testing.T) {
		v := insist(t, addr, vnc(port, "", guac.Policy{}), guac.Policy{}, "required", func(v *viewer, i *guac.Instruction) bool {
			names := guac.RequiredNames(i)
			v.toGuacd.Required(names...)
			return slices.Contains(names, "password")
		})
		v.send("argv", "0", "text/plain", "password")
		v.send("blob", "0", "Y29ycmVjdA==")
		v.send("end", "0")
		v.picture()
	})
	t.Run("given", func(t *testing.T) {
		open(t, addr, vnc(port, "correct", guac.Policy{}), guac.Policy{}).picture()
	})
	t.Run("wrong", func(t *testing.T) {
		if err := refusal(t, addr, vnc(port, "wrong", guac.Policy{})); err.Code != wire.TargetRefused {
			t.Error(err)
		}
	})
}

func TestRealGuacdSaysNo(t *testing.T) {
	addr := realGuacd(t)
	t.Run("closed port", func(t *testing.T) {
		if err := refusal(t, addr, vnc(freePort(t), "", guac.Policy{})); err.Code != wire.TargetRefused {
			t.Error(err)
		}
	})
	t.Run("no such connection", func(t *testing.T) {
		_, err := tryOpen(t, addr, guac.Params{Protocol: "$00000000-0000-4000-8000-000000000000"}, guac.Policy{})
		if wire.CodeOf(err) != wire.NotFound {
			t.Error(err)
		}
	})
	t.Run("no such protocol", func(t *testing.T) {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		_, err = guac.HandshakeWithin(t.Context(), c, guac.Params{Protocol: "gopher"}, time.Second, time.Second)
		if wire.CodeOf(err) != wire.GuacdUnavailable {
			t.Error(err)
		}
	})
	t.Run("the server goes", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = io.WriteString(c, "RFB 003.008\n")
				_ = c.Close()
			}
		}()
		defer func() {
			_ = l.Close()
			<-gone
		}()
		if err := refusal(t, addr, vnc(l.Addr().(*net.TCPAddr).Port, "", guac.Policy{})); err.Code != wire.TargetRefused {
			t.Error(err)
		}
	})
}

// guacd answers when it is asked for a word, also when nothing is drawn that would take the answer along.
func TestRealGuacdAnswers(t *testing.T) {
	addr := realGuacd(t)
	_, port := realVNC(t, "-SecurityTypes", "None")
	rdpPort, certificate := realRDP(t)
	for kind, p := range map[string]guac.Params{
		"vnc": vnc(port, "", guac.Policy{}),
		"rdp": {Protocol: "rdp", Args: guac.RDP{Hostname: "127.0.0.1", Port: rdpPort, Certificate: certificate}.Args()},
	} {
		t.Run(kind, func(t *testing.T) {
			v := open(t, addr, p, guac.Policy{})
			if v.conn.Alive(guac.Policy{View: true}) != nil {
				t.Error("guacd is asked where it does not answer")
			}
			for n := range 5 {
				if _, err := v.c.Write(v.conn.Alive(guac.Policy{})); err != nil {
					t.Fatal(err)
				}
				if n == 3 { // the others come while it is being drawn
					_ = v.c.SetReadDeadline(time.Now().Add(3 * time.Second))
					_, _ = v.read(func(*guac.Instruction) bool { return false })
					_ = v.c.SetReadDeadline(time.Now().Add(4 * time.Second)) // sooner than the next nop, mostly
					continue
				}
				if err := v.until("an answer", guac.IsAlive); err != nil {
					t.Fatal(err)
				}
			}
			v.send("disconnect")
		})
	}
}

// The lists in guactest are what a real guacd asks for.
func TestRealGuacdAsksForTheseParameters(t *testing.T) {
	addr := realGuacd(t)
	for protocol, want := range map[string]map[string][]string{
		"vnc": {"VERSION_1_3_0": guactest.VNC13(), "VERSION_1_5_0": guactest.VNC16()},
		"rdp": {"VERSION_1_3_0": guactest.RDP13(), "VERSION_1_5_0": guactest.RDP16()},
	} {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(30 * time.Second))
		if _, err := c.Write(guac.Append(nil, "select", protocol)); err != nil {
			t.Fatal(err)
		}
		i, err := guac.NewReader(c).Next()
		if err != nil {
			t.Fatal(err)
		}
		if got := elements(i); len(got) < 2 || got[0] != "args" || want[got[1]] == nil || !slices.Equal(got[2:], want[got[1]]) {
			t.Errorf("%s: %q", protocol, got)
		}
		_ = c.Close()
	}
}
