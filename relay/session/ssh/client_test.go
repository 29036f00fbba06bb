package ssh

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"

	"scrier/wire"
)

func TestMain(m *testing.M) {
	// See Client.open.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("golang.org/x/crypto/ssh.(*mux).openChannel"))
}

// patience is no measure of speed: the machine may be busy.
const patience = 60 * time.Second

// server is a real sshd for one key, which logs in as whoever runs the test.
type server struct {
	signer  ssh.Signer
	hostKey []byte
	config  string
}

func newServer(t *testing.T, lines ...string) *server {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	key := func() (ssh.Signer, ed25519.PrivateKey) {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		signer, err := ssh.NewSignerFromKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return signer, key
	}
	host, hostKey := key()
	block, err := ssh.MarshalPrivateKey(hostKey, "")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{hostKey: host.PublicKey().Marshal()}
	s.signer, _ = key()
	s.config = write("sshd_config", []byte(strings.Join(append([]string{
		"HostKey " + write("hostkey", pem.EncodeToMemory(block)), "AuthorizedKeysFile " + write("keys", ssh.MarshalAuthorizedKey(s.signer.PublicKey())),
		"PermitRootLogin prohibit-password", "StrictModes no", "UsePAM no", "PidFile none",
	}, lines...), "\n")))
	return s
}

// dial runs an sshd for one connection, on a socket, and gives the client's side.
func (s *server) dial(t *testing.T) (*Client, error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	file, err := far.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		t.Fatal(err)
	}
	sshd := exec.Command("/usr/sbin/sshd", "-i", "-e", "-f", s.config)
	var log bytes.Buffer
	sshd.Stdin, sshd.Stdout, sshd.Stderr = file, file, &log
	if err := sshd.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = file.Close(), far.Close() // sshd has its own
	t.Cleanup(func() {
		_ = sshd.Wait() // it ends with the connection, whatever it thinks of that
		if t.Failed() {
			t.Logf("sshd said:\n%s", &log)
		}
	})
	tunnel := wire.Conn(near.(*net.TCPConn))
	if _, err := tunnel.Write(Greeting); err != nil {
		t.Fatal(err)
	}
	return Dial(t.Context(), tunnel, Config{Signer: s.signer, Login: "root", HostKeys: [][]byte{s.hostKey}, Authenticated: func() {}})
}

// person talks to a shell.
type person struct {
	*testing.T
	*Process
	out *bufio.Reader
}

func (p *person) says(format string, args ...any) {
	p.Helper()
	if _, err := fmt.Fprintf(p.Process, format, args...); err != nil {
		p.Fatal(err)
	}
}

// answer is the line between two marks; the command line that is echoed holds other ones.
func (p *person) answer(command string) string {
	p.Helper()
	p.says("echo '<''<'$(%s)'>''>'\n", command)
	var got strings.Builder
	for !strings.Contains(got.String(), ">>") {
		b, err := p.out.ReadByte()
		if err != nil {
			p.Fatalf("%v after %q", err, got.String())
		}
		got.WriteByte(b)
	}
	_, rest, _ := strings.Cut(got.String(), "<<")
	return strings.TrimSuffix(rest, ">>")
}

func open(t *testing.T, c *Client, size wire.Size) *person {
	t.Helper()
	s, err := c.Start(t.Context(), Program{PTY: &PTY{Term: "xterm", Size: size}, Env: map[string]string{"LC_TEST": "over here"}})
	if err != nil {
		t.Fatal(err)
	}
	watchdog := time.AfterFunc(patience, c.shut)
	t.Cleanup(func() { watchdog.Stop() })
	return &person{T: t, Process: s, out: bufio.NewReader(s)}
}

// Two shells on one connection: terminals of their own, and one goes on when the other ends. The
// connection ends with the last one.
func TestTwoShells(t *testing.T) {
	c, err := newServer(t, "AcceptEnv LC_*").dial(t)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	a, b := open(t, c, wire.Size{Cols: 100, Rows: 30}), open(t, c, wire.Size{Cols: 50, Rows: 10})
	if one, two := a.answer("tty"), b.answer("tty"); one == two || !strings.HasPrefix(one, "/dev/pts/") || !strings.HasPrefix(two, "/dev/pts/") {
		t.Errorf("the terminals are %q and %q", one, two)
	}
	if one, two := a.answer("echo $SSH_CONNECTION"), b.answer("echo $SSH_CONNECTION"); one != two || one == "" {
		t.Errorf("the connections are %q and %q", one, two)
	}
	if one, two := a.answer("stty size"), b.answer("stty size"); one != "30 100" || two != "10 50" {
		t.Errorf("the sizes are %q and %q", one, two)
	}
	if err := b.Resize(wire.Size{Cols: 70, Rows: 20}); err != nil {
		t.Fatal(err)
	}
	if got := b.answer("stty size") + " " + b.answer("echo $LC_TEST"); got != "20 70 over here" {
		t.Errorf("the second shell has %q", got)
	}
	a.says("exit 7\n")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if e := a.Wait(ctx); e == nil || e.Status != 7 {
		t.Errorf("the first shell ended with %+v", e)
	}
	a.Close()
	if got := b.answer("echo still here"); got != "still here" {
		t.Errorf("behind the first one's end the second says %q", got)
	}
	b.Close()
	if _, err := c.Start(t.Context(), Program{PTY: &PTY{}}); err == nil {
		t.Error("a connection without channels opens another one")
	}
}

// A shell that is closed while it prints, and whose output nobody reads, does not hold up the others
// for longer than a server may take to close it.
func TestCloseWhilePrinting(t *testing.T) {
	c, err := newServer(t).dial(t)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	a, b := open(t, c, wire.Size{Cols: 80, Rows: 24}), open(t, c, wire.Size{Cols: 80, Rows: 24})
	a.says("yes\n")
	for range 1 << 20 {
		if _, err := a.out.ReadByte(); err != nil {
			t.Fatal(err)
		}
	}
	a.Close()
	a.Close() // once more changes nothing
	if got := b.answer("echo still here"); got != "still here" {
		t.Errorf("the other one says %q", got)
	}
	b.Close()
}

// Without a terminal there is no shell.
func TestNoTerminal(t *testing.T) {
	c, err := newServer(t, "PermitTTY no").dial(t)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Start(t.Context(), Program{PTY: &PTY{Term: "xterm"}}); wire.CodeOf(err) != wire.AccountNotLoginable {
		t.Errorf("opened with %v", err)
	}
}

// Only a reported host key is accepted, and only the session's key logs in.
func TestDialRefuses(t *testing.T) {
	s := newServer(t)
	known := s.hostKey
	s.hostKey = s.signer.PublicKey().Marshal()
	if _, err := s.dial(t); wire.CodeOf(err) != wire.HostKeyMismatch {
		t.Errorf("another host key: %v", err)
	}
	s.hostKey = known
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if s.signer, err = ssh.NewSignerFromKey(key); err != nil {
		t.Fatal(err)
	}
	if _, err := s.dial(t); wire.CodeOf(err) != wire.AuthFailed {
		t.Errorf("another key: %v", err)
	}
}

// An opening that is given up leaves the connection's other channels alone.
func TestSecondShellGivenUp(t *testing.T) {
	c, err := newServer(t).dial(t)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	a := open(t, c, wire.Size{Cols: 80, Rows: 24})
	for _, after := range []time.Duration{0, 100 * time.Microsecond, time.Millisecond, 5 * time.Millisecond} {
		ctx, cancel := context.WithTimeout(t.Context(), after)
		s, err := c.Start(ctx, Program{PTY: &PTY{Term: "xterm"}})
		cancel()
		if err == nil {
			s.Close()
		}
		if got := a.answer("echo still here"); got != "still here" {
			t.Fatalf("given up after %s, the first shell says %q", after, got)
		}
	}
	b := open(t, c, wire.Size{Cols: 80, Rows: 24})
	if got := b.answer("echo here too"); got != "here too" {
		t.Errorf("a later shell says %q", got)
	}
	b.Close()
	a.Close()
}
