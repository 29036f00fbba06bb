package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"scrier/wire"
	"scrier/wire/wiretest"
)

// A desk is a command that shows a desktop, with the relay in the test's hands.
type desk struct {
	t      *testing.T
	far    wire.Link   // the relay's end
	stream wire.Stream // of the session
	out    syncBuffer
	asked  *wire.Connect
	cancel context.CancelFunc
	result chan error
}

// syncBuffer is a bytes.Buffer for several goroutines.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func startDesk(t *testing.T, req DesktopRequest) *desk {
	t.Helper()
	near, far := wiretest.Pair(wire.Peer{}, wire.Peer{})
	r := &Relay{link: near, http: &http.Client{}}
	d := &desk{t: t, far: far, result: make(chan error, 1)}
	if req.Kind == "" {
		req.Kind = wire.KindVNC
	}
	req.Envoy, req.Out, req.Messages = "web1", &d.out, &d.out
	ctx, cancel := context.WithCancel(t.Context())
	d.cancel = cancel
	go func() { d.result <- r.Desktop(ctx, req) }()
	t.Cleanup(func() {
		cancel()
		near.Close(wire.None, "")
	})
	s, err := far.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	d.stream = s
	if d.asked, err = wire.Expect[wire.Connect](s); err != nil {
		t.Fatal(err)
	}
	return d
}

// attach answers, and returns the address that the person is told.
func (d *desk) attach() string {
	d.t.Helper()
	if err := wire.Send(d.stream, &wire.Attached{Envoy: "web1", Kind: d.asked.Kind, Login: "alice"}); err != nil {
		d.t.Fatal(err)
	}
	return d.saw(regexp.MustCompile(`(?:viewer to|at) (127\.0\.0\.1:\d+)`))
}

// saw waits for what the person is told.
func (d *desk) saw(re *regexp.Regexp) string {
	d.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if m := re.FindStringSubmatch(d.out.String()); m != nil {
			return m[len(m)-1]
		}
		if time.Now().After(end) {
			d.t.Fatalf("%s is not in %q", re, d.out.String())
		}
	}
}

func (d *desk) end() error {
	d.t.Helper()
	select {
	case err := <-d.result:
		return err
	case <-time.After(patience):
		d.t.Fatal("the command does not end")
		return nil
	}
}

func (d *desk) wantEnd(code wire.Code, detail string) {
	d.t.Helper()
	if err := d.end(); wire.CodeOf(err) != code || !strings.Contains(wire.DetailOf(err), detail) {
		d.t.Errorf("ended with %v, want %s … %s", err, code, detail)
	}
}

func (d *desk) view(addr string) *net.TCPConn {
	d.t.Helper()
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		d.t.Fatal(err)
	}
	return c.(*net.TCPConn)
}

func write(t *testing.T, w io.Writer, text string) {
	t.Helper()
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, r io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r, got); err != nil || string(got) != want {
		t.Fatalf("read %q, %v, want %q", got, err, want)
	}
}

// What the server says before there is a viewer is kept; each direction has its own end.
func TestDesktop(t *testing.T) {
	d := startDesk(t, DesktopRequest{Port: 5901})
	if d.asked.Port != 5901 || d.asked.Kind != wire.KindVNC || d.asked.Envoy != "web1" || d.asked.Console != nil {
		t.Errorf("asked for %+v", d.asked)
	}
	addr := d.attach()
	write(t, d.stream, "RFB 003.008\n")
	v := d.view(addr)
	read(t, v, "RFB 003.008\n")
	write(t, v, "RFB 003.003\n")
	read(t, d.stream, "RFB 003.003\n")
	if c, err := net.DialTimeout("tcp", addr, patience); err == nil {
		c.Close()
		t.Error("a second viewer was let in")
	}
	if err := v.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(d.stream); err != nil || len(b) > 0 {
		t.Fatalf("behind the viewer's end: %q, %v", b, err)
	}
	write(t, d.stream, "last words")
	if err := d.stream.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(v); err != nil || string(b) != "last words" {
		t.Errorf("the viewer read %q, %v", b, err)
	}
	d.wantEnd(wire.None, "")
}

func TestDesktopConsole(t *testing.T) {
	d := startDesk(t, DesktopRequest{Console: &wire.Console{View: true, Purpose: "printer"}})
	if c := d.asked.Console; c == nil || !c.View || c.Purpose != "printer" {
		t.Errorf("asked for %+v", d.asked)
	}
	d.saw(regexp.MustCompile("Waiting for whoever sits at the screen of web1"))
	if err := wire.Send(d.stream, &wire.Refused{Code: wire.ConsoleRefused, Detail: "alice said no"}); err != nil {
		t.Fatal(err)
	}
	d.wantEnd(wire.ConsoleRefused, "alice")
	if strings.Contains(d.out.String(), "Connect your") {
		t.Errorf("a viewer was asked for: %s", d.out.String())
	}
}

// A viewer that closes or breaks its connection is an ordinary end, also when the server goes on.
func TestDesktopViewerGoes(t *testing.T) {
	d := startDesk(t, DesktopRequest{})
	v := d.view(d.attach())
	write(t, v, "hello")
	read(t, d.stream, "hello")
	if err := v.SetLinger(0); err != nil {
		t.Fatal(err)
	}
	v.Close()
	if _, err := io.ReadAll(d.stream); err != nil {
		t.Errorf("the relay sees %v, not the end", err)
	}
	d.wantEnd(wire.None, "") // although the server says nothing
}

// The session's end has a reason, and it is the command's.
func TestDesktopSessionEnds(t *testing.T) {
	t.Run("with a viewer", func(t *testing.T) {
		d := startDesk(t, DesktopRequest{Kind: wire.KindRDP})
		v := d.view(d.attach())
		write(t, d.stream, "x")
		read(t, v, "x")
		d.stream.Reset(wire.Killed)
		if _, err := io.ReadAll(v); err == nil {
			t.Error("the viewer takes it for an ordinary end")
		}
		d.wantEnd(wire.Killed, "")
	})
	t.Run("before a viewer", func(t *testing.T) {
		d := startDesk(t, DesktopRequest{})
		d.attach()
		d.stream.Reset(wire.ConsoleEnded)
		d.wantEnd(wire.ConsoleEnded, "")
	})
	t.Run("the server closes before a viewer", func(t *testing.T) {
		d := startDesk(t, DesktopRequest{})
		d.attach()
		if err := d.stream.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		d.wantEnd(wire.DesktopFailed, "before a viewer")
	})
	t.Run("the link", func(t *testing.T) {
		d := startDesk(t, DesktopRequest{})
		v := d.view(d.attach())
		write(t, d.stream, "x")
		read(t, v, "x")
		d.far.Close(wire.RelayShutdown, "")
		d.wantEnd(wire.RelayShutdown, "")
	})
	t.Run("in order, with a viewer that stays", func(t *testing.T) {
		d := startDesk(t, DesktopRequest{})
		v := d.view(d.attach())
		write(t, d.stream, "x")
		read(t, v, "x")
		if err := d.stream.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		d.wantEnd(wire.None, "")
	})
}

func TestDesktopNobodyComes(t *testing.T) {
	d := startDesk(t, DesktopRequest{Wait: 50 * time.Millisecond})
	d.attach()
	if _, err := io.ReadAll(d.stream); err != nil {
		t.Errorf("the relay sees %v, not the end", err)
	}
	if err := d.stream.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	d.wantEnd(wire.Cancelled, "no viewer connected to 127.0.0.1:")
}

func TestDesktopInterrupted(t *testing.T) {
	for _, stage := range []string{"opening", "waiting", "viewing"} {
		t.Run(stage, func(t *testing.T) {
			d := startDesk(t, DesktopRequest{})
			if stage != "opening" {
				addr := d.attach()
				if stage == "viewing" {
					v := d.view(addr)
					write(t, d.stream, "x")
					read(t, v, "x")
				}
			}
			d.cancel()
			_, err := io.ReadAll(d.stream)
			if stage == "opening" {
				if wire.CodeOf(err) != wire.Cancelled {
					t.Errorf("the relay sees %v", err)
				}
			} else if err != nil {
				t.Errorf("the relay sees %v, not an end in order", err)
			}
			d.wantEnd(wire.Cancelled, "")
		})
	}
}

// H70: any user of the machine can connect; only ours gets the desktop.
func TestDesktopOfAnotherUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("only root can be another user")
	}
	d := startDesk(t, DesktopRequest{})
	addr := d.attach()
	write(t, d.stream, "secret")
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		thief := exec.CommandContext(ctx, "/bin/bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/"+port+"; cat <&3")
		thief.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		thief.WaitDelay = time.Second // for what it started itself
		out, err := thief.CombinedOutput()
		if strings.Contains(string(out), "secret") || err == nil {
			t.Fatalf("another user read %q, %v", out, err)
		}
	}
	d.saw(regexp.MustCompile(`of another user \(uid 65534\)`))
	if n := strings.Count(d.out.String(), "turned away"); n != 1 {
		t.Errorf("told %d times", n)
	}
	read(t, d.view(addr), "secret")
}

func TestDesktopListen(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	near, far := wiretest.Pair(wire.Peer{}, wire.Peer{})
	defer near.Close(wire.None, "")
	r := &Relay{link: near, http: &http.Client{}}
	for _, addr := range []string{":5901", "0.0.0.0:0", "192.0.2.1:5901", "5901", "[::]:0", "example.com:1", busy.Addr().String()} {
		err := r.Desktop(t.Context(), DesktopRequest{Listen: addr, Out: io.Discard, Messages: io.Discard})
		if wire.CodeOf(err) != wire.Usage {
			t.Errorf("--listen %s: %v", addr, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if s, err := far.Accept(ctx); err == nil {
		t.Errorf("a session was asked for: %v", s)
	}
	d := startDesk(t, DesktopRequest{Listen: "[::1]:0"})
	if err := wire.Send(d.stream, &wire.Attached{Envoy: "web1"}); err != nil {
		t.Fatal(err)
	}
	c := d.view(d.saw(regexp.MustCompile(`viewer to (\[::1\]:\d+)`)))
	write(t, d.stream, "x")
	read(t, c, "x")
}

// fakeViewer puts a program into the only folder of PATH. It writes down its arguments.
func fakeViewer(t *testing.T, name, script string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	path := filepath.Join(dir, name)
	text := "#!/bin/bash\nprintf '%s\\n' \"$@\" >" + dir + "/args.new; echo $$ >" + dir + "/pid; /bin/mv " + dir + "/args.new " + dir + "/args\n" + script
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	return dir
}

func TestFindViewer(t *testing.T) {
	for _, c := range []struct {
		program string
		kind    wire.Kind
		goos    string
		argv    string
	}{
		{"vncviewer", wire.KindVNC, "linux", "127.0.0.1::45678"},
		{"xtigervncviewer", wire.KindVNC, "linux", "127.0.0.1::45678"},
		{"xtightvncviewer", wire.KindVNC, "linux", "127.0.0.1::45678"},
		{"gvncviewer", wire.KindVNC, "linux", "127.0.0.1:39778"},
		{"remmina", wire.KindVNC, "linux", "-c vnc://127.0.0.1:45678"},
		{"remmina", wire.KindRDP, "linux", "-c rdp://127.0.0.1:45678"},
		{"xfreerdp", wire.KindRDP, "linux", "/v:127.0.0.1:45678"},
		{"xfreerdp3", wire.KindRDP, "linux", "/v:127.0.0.1:45678"},
		{"wlfreerdp", wire.KindRDP, "linux", "/v:127.0.0.1:45678"},
		{"open", wire.KindVNC, "darwin", "vnc://127.0.0.1:45678"},
		{"open", wire.KindRDP, "darwin", "rdp://full%20address=s:127.0.0.1:45678"},
	} {
		dir := fakeViewer(t, c.program, "")
		for _, name := range []string{"", c.program, filepath.Join(dir, c.program)} {
			v, err := FindViewer(c.kind, name, c.goos)
			if err != nil || v == nil {
				t.Errorf("%s %q: %v, %v", c.program, name, v, err)
			} else if argv := strings.Join(v.args("127.0.0.1", "45678"), " "); argv != c.argv || v.path != filepath.Join(dir, c.program) {
				t.Errorf("%s: %s %s", c.program, v.path, argv)
			}
		}
	}
	fakeViewer(t, "open", "")
	if v, err := FindViewer(wire.KindVNC, "", "linux"); v != nil || err != nil {
		t.Errorf("found %v, %v", v, err)
	}
	if _, err := FindViewer(wire.KindVNC, "nothing", "linux"); wire.CodeOf(err) != wire.Usage {
		t.Errorf("a program that is not there: %v", err)
	}
	fakeViewer(t, "myviewer", "")
	if v, err := FindViewer(wire.KindVNC, "myviewer", "linux"); err != nil || fmt.Sprint(v.args("127.0.0.1", "1")) != "[127.0.0.1:1]" {
		t.Errorf("a program that is not known: %v, %v", v, err)
	}
}

func TestDesktopStartsAViewer(t *testing.T) {
	find := func(t *testing.T, script string) (*Viewer, string) {
		t.Helper()
		dir := fakeViewer(t, "vncviewer", script)
		v, err := FindViewer(wire.KindVNC, "", "linux")
		if err != nil || v == nil {
			t.Fatal(v, err)
		}
		return v, dir
	}
	t.Run("and ends with it", func(t *testing.T) {
		v, dir := find(t, `exec 3<>/dev/tcp/127.0.0.1/${1##*:}; read -r line <&3; echo "$line back" >&3; exit 7`)
		d := startDesk(t, DesktopRequest{Viewer: v})
		addr := d.attach()
		write(t, d.stream, "hello\n")
		if b, err := io.ReadAll(d.stream); err != nil || string(b) != "hello back\n" {
			t.Errorf("%q, %v", b, err)
		}
		if err := d.stream.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		d.wantEnd(wire.None, "") // its exit status says nothing
		_, port, _ := strings.Cut(addr, ":")
		if argv, err := os.ReadFile(filepath.Join(dir, "args")); err != nil || string(argv) != "127.0.0.1::"+port+"\n" {
			t.Errorf("argv %q, %v", argv, err)
		}
	})
	t.Run("that fails", func(t *testing.T) {
		v, _ := find(t, "exit 1")
		d := startDesk(t, DesktopRequest{Viewer: v})
		d.attach()
		d.wantEnd(wire.Cancelled, "vncviewer ended before it connected: exit status 1")
	})
	t.Run("and ends it with the session", func(t *testing.T) {
		v, dir := find(t, `exec 3<>/dev/tcp/127.0.0.1/${1##*:}; echo up >&3; while :; do read -r -t 60; done`)
		d := startDesk(t, DesktopRequest{Viewer: v})
		d.attach()
		read(t, d.stream, "up\n")
		d.stream.Reset(wire.Killed)
		d.wantEnd(wire.Killed, "")
		pid, err := os.ReadFile(filepath.Join(dir, "pid"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat("/proc/" + strings.TrimSpace(string(pid))); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the viewer still runs: %v", err)
		}
	})
	t.Run("that cannot be started", func(t *testing.T) {
		v, dir := find(t, "")
		if err := os.Remove(filepath.Join(dir, "vncviewer")); err != nil {
			t.Fatal(err)
		}
		d := startDesk(t, DesktopRequest{Viewer: v})
		if err := wire.Send(d.stream, &wire.Attached{Envoy: "web1"}); err != nil {
			t.Fatal(err)
		}
		d.wantEnd(wire.Usage, "cannot start the viewer")
	})
}
