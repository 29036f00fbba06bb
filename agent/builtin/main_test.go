package builtin

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"scrier/agent/builtin/worker"
	"scrier/wire"
)

// patience is the deadline of every wait in these tests. It is more than ten times what they need.
const patience = 30 * time.Second

// proxyEnv makes the test binary a ProxyCommand for the real ssh: it copies between its standard
// streams and the socket that is named.
const proxyEnv = "SCRIER_TEST_PROXY"

// testLogin is the account that the tests log in to: a new one when they run as root, else the
// one that they run as.
var testLogin string

func TestMain(m *testing.M) {
	if socket := os.Getenv(proxyEnv); socket != "" {
		if err := proxy(socket); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if len(os.Args) > 1 && os.Args[1] == serveArg {
		serveOne()
		return
	}
	if len(os.Args) > 3 && os.Args[1] == "agent" && os.Args[2] == worker.Command { // just as main does
		os.Exit(worker.Work(os.Args[3:]))
	}
	if len(os.Args) > 2 && os.Args[1] == "agent" {
		fmt.Fprintln(os.Stderr, "no such worker") // and not all tests once more
		os.Exit(1)
	}
	remove := func() {}
	if os.Geteuid() == 0 {
		testLogin = "scrb" + randomHex(4)
		// Others may be editing the account files at the same time.
		if out, err := retry("useradd", "-m", "-s", "/bin/bash", "-p", "*", "-G", "games,users", testLogin); err != nil {
			fmt.Fprintf(os.Stderr, "make a user: %v\n%s", err, out)
			os.Exit(1)
		}
		remove = func() {
			if out, err := retry("userdel", "-f", "-r", testLogin); err != nil {
				fmt.Fprintf(os.Stderr, "remove user %s: %v\n%s", testLogin, err, out)
			}
		}
	} else {
		u, err := user.Current()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		testLogin = u.Username
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		remove()
		os.Exit(code)
	}))
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}

func retry(name string, args ...string) (out []byte, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		out, err = exec.Command(name, args...).CombinedOutput()
		if err == nil || !bytes.Contains(out, []byte("cannot lock")) {
			return out, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return out, err
		}
	}
}

func proxy(socket string) error {
	c, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	defer c.Close()
	go func() {
		_, _ = io.Copy(c, os.Stdin)
		_ = c.(*net.UnixConn).CloseWrite()
	}()
	_, err = io.Copy(os.Stdout, c)
	return err
}

func newKey(t testing.TB) (ed25519.PrivateKey, ssh.Signer) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return private, s
}

func newServer(t testing.TB) *Server {
	t.Helper()
	_, host := newKey(t)
	s, err := New(Config{User: testLogin, HostKey: host})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	s.workerEnv = []string{"GORACE=atexit_sleep_ms=0"} // with the race detector a worker would sleep for a second when it ends
	return s
}

// A link is one connection to a server that is being served.
type link struct {
	server *Server
	key    ssh.Signer
	conn   net.Conn // the client's end
	ended  chan struct{}
	err    error // what Serve returned, once ended is closed
	cancel context.CancelCauseFunc
}

// serve starts one Serve over a socket pair, and sees to it that it ends with the test. The guest may do everything.
func serve(t testing.TB, s *Server) *link {
	t.Helper()
	return serveGuest(t, s, Guest{Rights: wire.Rights()})
}

// serveGuest gives the guest a new key.
func serveGuest(t testing.TB, s *Server, guest Guest) *link {
	t.Helper()
	_, key := newKey(t)
	guest.Key = key.PublicKey()
	near, far := socketPair(t)
	ctx, cancel := context.WithCancelCause(context.Background())
	l := &link{server: s, key: key, conn: near, ended: make(chan struct{}), cancel: cancel}
	go func() {
		defer close(l.ended)
		l.err = s.Serve(ctx, far, guest)
	}()
	// If the test hangs, whatever waits for the other side is released.
	watchdog := time.AfterFunc(2*patience, func() { near.Close() })
	t.Cleanup(func() {
		watchdog.Stop()
		near.Close()
		l.wait(t)
		cancel(nil)
	})
	return l
}

func (l *link) wait(t testing.TB) {
	t.Helper()
	select {
	case <-l.ended:
	case <-time.After(patience):
		t.Fatal("Serve does not return")
	}
}

func socketPair(t testing.TB) (a, b net.Conn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	conns := make([]net.Conn, 2)
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socket")
		if conns[i], err = net.FileConn(f); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	return conns[0], conns[1]
}

// dial logs in as the relay would.
func (l *link) dial(t testing.TB) *ssh.Client {
	t.Helper()
	c, err := l.tryDial(testLogin, l.key)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func (l *link) tryDial(login string, key ssh.Signer) (*ssh.Client, error) {
	c, chans, reqs, err := ssh.NewClientConn(l.conn, "tunnel", &ssh.ClientConfig{
		User:              login,
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(key)},
		HostKeyCallback:   ssh.FixedHostKey(l.server.HostKeys()[0]),
		HostKeyAlgorithms: []string{ssh.KeyAlgoED25519},
	})
	if err != nil {
		return nil, err
	}
	return ssh.NewClient(c, chans, reqs), nil
}

func newSession(t testing.TB, c *ssh.Client) *ssh.Session {
	t.Helper()
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// A screen collects what a session prints, and can be waited on.
type screen struct {
	mu    sync.Mutex
	text  bytes.Buffer
	seen  int // the text up to here was waited for already
	fresh chan struct{}
}

func newScreen() *screen { return &screen{fresh: make(chan struct{}, 1)} }

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text.Write(b)
	select {
	case s.fresh <- struct{}{}:
	default:
	}
	return len(b), nil
}

// until waits for want after what was waited for before, and returns what stands before it.
func (s *screen) until(t testing.TB, want string) string {
	t.Helper()
	timeout := time.After(patience)
	for {
		s.mu.Lock()
		text := s.text.String()[s.seen:]
		before, _, ok := strings.Cut(text, want)
		if ok {
			s.seen += len(before) + len(want)
		}
		s.mu.Unlock()
		if ok {
			return before
		}
		select {
		case <-s.fresh:
		case <-timeout:
			t.Fatalf("%q does not appear in %q", want, text)
		}
	}
}

// eventually polls until holds returns true.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	timeout := time.After(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("in vain: %s", what)
		}
	}
}

// alive says whether a process runs (a zombie does not).
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	state, _, _, err := worker.ParseStat(stat)
	return err == nil && state != 'Z'
}

func wantCode(t testing.TB, err error, code wire.Code) {
	t.Helper()
	if err == nil || wire.CodeOf(err) != code {
		t.Errorf("got %v, want %v", err, code)
	}
}

func exitError(t testing.TB, err error) *ssh.ExitError {
	t.Helper()
	var e *ssh.ExitError
	if !errors.As(err, &e) {
		t.Fatalf("got %v, not an exit", err)
	}
	return e
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test needs root")
	}
}
