package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"scrier/agent/keys"
	"scrier/agent/keys/keystest"
	"scrier/wire"
)

// login makes a login of this machine that a key opens.
func login(t *testing.T, name string) ssh.Signer {
	t.Helper()
	dir, err := os.MkdirTemp("", "scrier-dial-") // sshd looks at all folders above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	uid, home := keystest.RealUser(t, dir, name)
	key, signer := keystest.NewKey(t)
	file := filepath.Join(home, ".ssh", "authorized_keys")
	for _, err := range []error{
		os.Mkdir(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(keystest.Text(key)+"\n"), 0o600),
		os.Chown(filepath.Dir(file), uid, uid), os.Chown(file, uid, uid),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return signer
}

// Of 25 sessions at once all get in, where sshd lets two authenticate at a time: whether the agent knows
// that or not.
func TestMaxStartups(t *testing.T) {
	signer := login(t, "scrdial")
	sshd := keystest.StartSSHD(t, t.TempDir(), "MaxStartups 2:100:2")
	for name, how := range map[string]keys.Approach{"known": {Startups: 2, Limits: "MaxStartups 2:100:2"}, "not known": {}} {
		t.Run(name, func(t *testing.T) {
			a := &Agent{}
			ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
			defer cancel()
			var retries quiet
			log := slog.New(slog.NewTextHandler(&retries, &slog.HandlerOptions{Level: slog.LevelDebug}))
			var all sync.WaitGroup
			for i := range 25 {
				all.Go(func() {
					conn, leave, err := a.dialSSH(ctx, log, sshd.Addr, how)
					if err != nil {
						t.Errorf("session %d: %v", i, err)
						return
					}
					defer leave()
					defer conn.Close()
					c, _, _, err := ssh.NewClientConn(conn, sshd.Addr, &ssh.ClientConfig{
						User: "scrdial", Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, HostKeyCallback: ssh.InsecureIgnoreHostKey(),
					})
					if err != nil {
						t.Errorf("session %d: %v", i, err)
						return
					}
					leave()
					_ = c.Close()
				})
			}
			all.Wait()
			if a.startups.held != 0 || len(a.startups.waiting) != 0 {
				t.Errorf("%d places are held, %d wait", a.startups.held, len(a.startups.waiting))
			}
			if how.Startups == 0 && !strings.Contains(retries.String(), "turns the connection away") {
				t.Error("nobody was turned away: the test shows nothing")
			}
		})
	}
}

// server is an SSH server of a test that says something to each connection, and what came in.
func server(t *testing.T, greet func(n int32, c net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	var n atomic.Int32
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				greet(n.Add(1), c)
				_ = c.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		all.Wait()
	})
	return l.Addr().String()
}

// What the server has said before the session began arrives, whole and once.
func TestGreeting(t *testing.T) {
	for name, greet := range map[string]string{
		"version":                "SSH-2.0-test\r\n",
		"lines before":           "Welcome\r\nNot a refusal\r\nSSH-2.0-test\r\n",
		"almost a refusal":       "Not allowed at this tim",
		"words of its own":       "go away\r\n",
		"long":                   strings.Repeat("x", 4*maxGreeting),
		"not of an SSH server's": "\x00\x01\x02",
	} {
		for _, slowly := range []bool{false, true} {
			addr := server(t, func(_ int32, c net.Conn) {
				if !slowly {
					_, _ = io.WriteString(c, greet)
					return
				}
				for i := range len(greet) {
					_, _ = io.WriteString(c, greet[i:i+1])
					time.Sleep(time.Millisecond / 8)
				}
			})
			conn, leave, err := new(Agent).dialSSH(t.Context(), slog.New(slog.DiscardHandler), addr, keys.Approach{})
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			got, err := io.ReadAll(wire.Conn(conn))
			if err != nil || string(got) != greet {
				t.Errorf("%s: %q %v", name, got, err)
			}
			leave()
			_ = conn.Close()
		}
	}
}

// A server that turns connections away is asked again; one that goes on is named, with what may be the cause.
func TestTurnedAway(t *testing.T) {
	for _, words := range []string{"Not allowed at this time\r\n", "Exceeded MaxStartups\r\n", ""} {
		addr := server(t, func(n int32, c net.Conn) {
			if n > 3 {
				_, _ = io.WriteString(c, "SSH-2.0-test\r\n")
				return
			}
			_, _ = io.WriteString(c, words)
		})
		conn, leave, err := new(Agent).dialSSH(t.Context(), slog.New(slog.DiscardHandler), addr, keys.Approach{})
		if err != nil {
			t.Fatalf("%q: %v", words, err)
		}
		leave()
		_ = conn.Close()
	}
	addr := server(t, func(_ int32, c net.Conn) { _, _ = io.WriteString(c, "Not allowed at this time\r\n") })
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	a := new(Agent)
	_, _, err := a.dialSSH(ctx, slog.New(slog.DiscardHandler), addr, keys.Approach{Startups: 1, Limits: "MaxStartups 1, PerSourcePenalties"})
	keystest.WantCode(t, err, wire.TurnedAway)
	for _, want := range []string{addr, "127.0.0.1", "Not allowed at this time", "MaxStartups 1, PerSourcePenalties"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v: it does not name %s", err, want)
		}
	}
	if a.startups.held != 0 {
		t.Errorf("%d places are held", a.startups.held)
	}
	// Who waits for a place gets the same answer.
	leave, err := a.startups.enter(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer leave()
	ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, _, err = a.dialSSH(ctx, slog.New(slog.DiscardHandler), addr, keys.Approach{Startups: 1, Limits: "MaxStartups 1"})
	keystest.WantCode(t, err, wire.TurnedAway)
	// Nobody listens: there is nothing to wait for.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	_, _, err = new(Agent).dialSSH(t.Context(), slog.New(slog.DiscardHandler), l.Addr().String(), keys.Approach{})
	keystest.WantCode(t, err, wire.TargetRefused)
}

// The time may be over while a later connection is being made: then sshd's words still tell why.
func TestTurnedAwayAndThenSilent(t *testing.T) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), "listener")
	defer file.Close()
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	l, err := net.FileListener(file)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		for { // until its queue is full, and the kernel answers nobody
			other, err := net.DialTimeout("tcp", l.Addr().String(), 200*time.Millisecond)
			if err != nil {
				break
			}
			defer other.Close()
		}
		_, _ = io.WriteString(c, "Not allowed at this time\r\n")
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	_, _, err = new(Agent).dialSSH(ctx, slog.New(slog.DiscardHandler), l.Addr().String(), keys.Approach{})
	keystest.WantCode(t, err, wire.TurnedAway)
	<-done
}

// A session comes from the address that was chosen for it, or from any where the system does not have it.
func TestComesFrom(t *testing.T) {
	var from atomic.Value
	addr := server(t, func(_ int32, c net.Conn) {
		from.Store(c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr())
		_, _ = io.WriteString(c, "SSH-2.0-test\r\n")
	})
	for want, usual := range map[string]bool{"127.9.8.7": false, "192.0.2.1": true, "": true} {
		var how keys.Approach
		if want != "" {
			how.From = netip.MustParseAddr(want)
		}
		if usual {
			want = "127.0.0.1"
		}
		conn, leave, err := new(Agent).dialSSH(t.Context(), slog.New(slog.DiscardHandler), addr, how)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(from.Load()); got != want {
			t.Errorf("it comes from %s, not %s", got, want)
		}
		leave()
		_ = conn.Close()
	}
}

// A server that says nothing until the time is over is taken as it is, and can be read from then on.
func TestSilentGreeting(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for range 300 {
		near, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		far, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		words, head := greeting(ctx, near)
		cancel()
		if words != "" || len(head) > 0 {
			t.Fatalf("%q, %q", words, head)
		}
		if _, err := io.WriteString(far, "late"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(near, make([]byte, 4)); err != nil {
			t.Fatalf("a server that was slow is not read: %v", err)
		}
		if err := errors.Join(near.Close(), far.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// A packet filter that knows 127.0.0.1 alone shuts nobody out, whether it drops or refuses.
func TestComesFromBehindFilter(t *testing.T) {
	for _, verdict := range []string{"drop", "reject", "reject with tcp reset"} {
		if err := onOwnThread(func() error { return behindFilter(t.Context(), verdict) }); err != nil {
			t.Errorf("%s: %v", verdict, err)
		}
	}
}

// onOwnThread runs f on a thread that ends with it, so f may put it into a network of its own. It is never the process's
// first one: that does not end, and /proc/self/net would be its network's from then on.
func onOwnThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != os.Getpid() {
			done <- f() // and it is never unlocked
			return
		}
		defer runtime.UnlockOSThread()
		done <- onOwnThread(f) // elsewhere, as this thread is taken
	}()
	return <-done
}

// behindFilter dials a server from an own address, in a new network where only 127.0.0.1 is let through.
func behindFilter(ctx context.Context, verdict string) error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return err
	}
	filter := "add table inet f; add chain inet f in { type filter hook input priority 0; }; add rule inet f in ip saddr != 127.0.0.1 meta l4proto tcp " + verdict
	for _, argv := range [][]string{{"ip", "link", "set", "lo", "up"}, {"nft", filter}} {
		if out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", argv[0], err, out)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err == nil {
			_, _ = io.WriteString(c, "SSH-2.0-test\r\n")
		}
	}()
	conn, leave, err := new(Agent).dialSSH(ctx, slog.New(slog.DiscardHandler), l.Addr().String(), keys.Approach{From: netip.MustParseAddr("127.9.8.7")})
	if err != nil {
		return err
	}
	leave()
	return conn.Close()
}

// Places are given in the order in which they were asked for, and none is lost, whoever gives up.
func TestStartups(t *testing.T) {
	var s startups
	var wg sync.WaitGroup
	var most, now atomic.Int32
	for i := range 200 {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i%5)*time.Millisecond+time.Millisecond)
			defer cancel()
			if i%3 == 0 {
				ctx = t.Context()
			}
			leave, err := s.enter(ctx, 3)
			if err != nil {
				return
			}
			n := now.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			time.Sleep(time.Millisecond)
			now.Add(-1)
			leave()
			leave()
		})
	}
	wg.Wait()
	if s.held != 0 || len(s.waiting) != 0 || most.Load() != 3 {
		t.Errorf("%d held, %d wait, %d at once", s.held, len(s.waiting), most.Load())
	}
}
