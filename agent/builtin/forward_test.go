package builtin

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"scrier/wire"
)

// listen serves each connection by itself, and goes with the test.
func listen(t testing.TB, network, at string, serve func(net.Conn)) net.Listener {
	t.Helper()
	l, err := net.Listen(network, at)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer c.Close()
				serve(c)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		all.Wait()
	})
	return l
}

// countAtEnd answers when its input has ended: half-close is kept, or it never says anything.
func countAtEnd(c net.Conn) {
	n, _ := io.Copy(io.Discard, c)
	fmt.Fprintf(c, "%d bytes", n)
}

func echo(c net.Conn) { _, _ = io.Copy(c, c) }

func port(l net.Listener) uint32 { return uint32(l.Addr().(*net.TCPAddr).Port) }

type stream interface {
	io.ReadWriteCloser
	CloseWrite() error
}

// dial opens a channel to a target.
func dial(c *ssh.Client, host string, port uint32) (stream, error) {
	return openChannel(c, "direct-tcpip", ssh.Marshal(dialTCP{Host: host, Port: port, Origin: "127.0.0.1", OriginPort: 1}))
}

func openChannel(c *ssh.Client, kind string, payload []byte) (stream, error) {
	ch, requests, err := c.OpenChannel(kind, payload)
	if err != nil {
		return nil, err
	}
	go ssh.DiscardRequests(requests)
	return ch, nil
}

func mustDial(t testing.TB, c *ssh.Client, l net.Listener) stream {
	t.Helper()
	s, err := dial(c, "127.0.0.1", port(l))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func reason(err error) ssh.RejectionReason {
	if e, ok := err.(*ssh.OpenChannelError); ok {
		return e.Reason
	}
	return 0
}

// halfClose sends much, ends its side, and must still get the answer.
func halfClose(t *testing.T, s stream, size int) {
	t.Helper()
	data := make([]byte, size)
	if _, err := s.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := s.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(s)
	if err != nil || string(got) != fmt.Sprintf("%d bytes", size) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestForward(t *testing.T) {
	c := serve(t, newServer(t)).dial(t)
	tcp := listen(t, "tcp", "127.0.0.1:0", countAtEnd)

	t.Run("half-close", func(t *testing.T) {
		for _, host := range []string{"127.0.0.1", "localhost", "LOCALHOST.", "::ffff:127.0.0.1"} {
			s, err := dial(c, host, port(tcp))
			if err != nil {
				t.Fatalf("%s: %v", host, err)
			}
			halfClose(t, s, 5<<20)
		}
	})
	t.Run("the target ends first", func(t *testing.T) {
		said := make(chan string, 1)
		l := listen(t, "tcp", "127.0.0.1:0", func(c net.Conn) {
			_, _ = c.Write([]byte("bye"))
			_ = c.(*net.TCPConn).CloseWrite()
			b, _ := io.ReadAll(c)
			said <- string(b)
		})
		s := mustDial(t, c, l)
		if b, err := io.ReadAll(s); err != nil || string(b) != "bye" {
			t.Errorf("%q, %v", b, err)
		}
		if _, err := s.Write([]byte("still here")); err != nil {
			t.Fatal(err)
		}
		_ = s.CloseWrite()
		if got := <-said; got != "still here" {
			t.Errorf("the target got %q", got)
		}
	})
	t.Run("the target is gone", func(t *testing.T) {
		open := make(chan struct{})
		l := listen(t, "tcp", "127.0.0.1:0", func(c net.Conn) {
			<-open
			_ = c.(*net.TCPConn).SetLinger(0)
		})
		s := mustDial(t, c, l)
		close(open)
		if _, err := io.ReadAll(s); err != nil {
			t.Error(err)
		}
		eventually(t, "the channel closes", func() bool {
			_, err := s.Write(make([]byte, 1<<10))
			return err != nil
		})
	})
	t.Run("what was sent before the channel was closed arrives", func(t *testing.T) {
		got := make(chan int64, 1)
		begin := make(chan struct{})
		l := listen(t, "tcp", "127.0.0.1:0", func(c net.Conn) {
			<-begin
			n, _ := io.Copy(io.Discard, c)
			got <- n
		})
		s := mustDial(t, c, l)
		const size = 1 << 20
		if _, err := s.Write(make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		s.Close()
		close(begin)
		if n := <-got; n != size {
			t.Errorf("%d of %d bytes", n, size)
		}
	})
	t.Run("refused", func(t *testing.T) {
		closed, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		closed.Close()
		_, err = dial(c, "127.0.0.1", port(closed))
		if reason(err) != ssh.ConnectionFailed || !strings.Contains(err.Error(), "Connection refused") {
			t.Errorf("nobody listens: %v", err)
		}
	})
	t.Run("not allowed", func(t *testing.T) {
		for _, to := range []struct {
			host string
			port uint32
		}{
			{"", port(tcp)}, {"0.0.0.0", port(tcp)}, {"::", port(tcp)}, {"127.1", port(tcp)}, {"2130706433", port(tcp)}, {"127.0.0.2", port(tcp)}, {"example.com", 80},
			{"169.254.169.254", 80}, {"127.0.0.1", 0}, {"127.0.0.1", 65536 + port(tcp)}, {"/etc/passwd", 1}, {"127.0.0.1\x00", port(tcp)}, {strings.Repeat("a", 70000), 1},
		} {
			if _, err := dial(c, to.host, to.port); reason(err) != ssh.Prohibited {
				t.Errorf("%.40q port %d: %v", to.host, to.port, err)
			}
		}
		for _, payload := range [][]byte{nil, {0}, []byte("\x00\x00\x00\x09127.0.0.1"), []byte("\xff\xff\xff\xff127.0.0.1")} {
			if _, err := openChannel(c, "direct-tcpip", payload); reason(err) != ssh.Prohibited {
				t.Errorf("malformed: %v", err)
			}
		}
	})
	if out, err := newSession(t, c).Output("echo still here"); string(out) != "still here\n" {
		t.Errorf("afterwards: %q, %v", out, err)
	}
}

// Where forwards go is the guest's to be told.
func TestForwardTargets(t *testing.T) {
	tcp := listen(t, "tcp", "127.0.0.2:0", countAtEnd)
	s := newServer(t)
	var asked []string
	allowed := func(host string, p uint16) bool {
		asked = append(asked, host)
		return host == "127.0.0.2" && p == uint16(port(tcp))
	}
	c := serveGuest(t, s, Guest{Rights: wire.Rights(), Forward: allowed}).dial(t)
	ch, err := dial(c, "127.0.0.2", port(tcp))
	if err != nil {
		t.Fatal(err)
	}
	halfClose(t, ch, 1)
	if _, err := dial(c, "LocalHost", 1); reason(err) != ssh.Prohibited {
		t.Errorf("localhost: %v", err)
	}
	if got := strings.Join(asked, " "); got != "127.0.0.2 localhost LocalHost" {
		t.Errorf("asked for %s", got)
	}
	c = serveGuest(t, s, Guest{Rights: without(wire.MayForward), Forward: func(string, uint16) bool { return true }}).dial(t)
	if _, err := dial(c, "127.0.0.2", port(tcp)); reason(err) != ssh.Prohibited {
		t.Errorf("without the right: %v", err)
	}
	if _, err := openChannel(c, "direct-streamlocal@openssh.com", ssh.Marshal(dialUnix{Path: "/x"})); reason(err) != ssh.Prohibited {
		t.Errorf("a socket without the right: %v", err)
	}
}

// Who listens sees the account, and not an agent that is root.
func TestForwardIsTheAccounts(t *testing.T) {
	needRoot(t)
	c := serve(t, newServer(t)).dial(t)
	a := serverAccount(t)
	dir := openDir(t)

	uids := make(chan uint32, 2)
	path := filepath.Join(dir, "open")
	listen(t, "unix", path, func(c net.Conn) {
		raw, _ := c.(*net.UnixConn).SyscallConn()
		_ = raw.Control(func(fd uintptr) {
			cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
			if err == nil {
				uids <- cred.Uid
			}
		})
	})
	if err := os.Chmod(path, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := openChannel(c, "direct-streamlocal@openssh.com", ssh.Marshal(dialUnix{Path: path})); err != nil {
		t.Fatal(err)
	}
	if uid := <-uids; uid != a.UID {
		t.Errorf("the socket sees uid %d, not %d", uid, a.UID)
	}
	closed := filepath.Join(dir, "closed")
	listen(t, "unix", closed, echo)
	if err := os.Chmod(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := openChannel(c, "direct-streamlocal@openssh.com", ssh.Marshal(dialUnix{Path: closed})); reason(err) != ssh.ConnectionFailed || !strings.Contains(err.Error(), "Permission denied") {
		t.Errorf("root's socket: %v", err)
	}

	tcp := listen(t, "tcp", "127.0.0.1:0", echo)
	mustDial(t, c, tcp)
	if uid := socketOwner(t, port(tcp), false); uid != strconv.Itoa(int(a.UID)) {
		t.Errorf("the connection is of uid %s, not %d", uid, a.UID)
	}
	l, err := c.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if uid := socketOwner(t, port(l), true); uid != strconv.Itoa(int(a.UID)) {
		t.Errorf("the listener is of uid %s, not %d", uid, a.UID)
	}
	if _, err := c.Listen("tcp", "127.0.0.1:79"); err == nil {
		t.Error("a port below 1024 is free for the account")
	}
}

// socketOwner is the uid of who connected to a local port, or who listens there, as /proc/net/tcp has it.
func socketOwner(t *testing.T, port uint32, listens bool) string {
	t.Helper()
	b, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	at := fmt.Sprintf("0100007F:%04X", port)
	for _, line := range strings.Split(string(b), "\n") {
		f := strings.Fields(line)
		if len(f) > 7 && (listens && f[1] == at && f[3] == "0A" || !listens && f[2] == at && f[3] == "01") {
			return f[7]
		}
	}
	return "nobody"
}

func TestForwardSocket(t *testing.T) {
	c := serve(t, newServer(t)).dial(t)
	dir := openDir(t)
	path := filepath.Join(dir, "socket \xff")
	listen(t, "unix", path, countAtEnd)
	if err := os.Chmod(path, 0o777); err != nil {
		t.Fatal(err)
	}
	s, err := openChannel(c, "direct-streamlocal@openssh.com", ssh.Marshal(dialUnix{Path: path}))
	if err != nil {
		t.Fatal(err)
	}
	halfClose(t, s, 1<<20)
	for _, path := range []string{"", "relative", "@abstract", "\x00abstract", dir + "/missing", dir, "/etc/passwd", path + "\x00", "/" + strings.Repeat("x", 107), strings.Repeat("/x", 1000)} {
		if _, err := openChannel(c, "direct-streamlocal@openssh.com", ssh.Marshal(dialUnix{Path: path})); err == nil {
			t.Errorf("%.30q opens", path)
		}
	}
}

func TestReverse(t *testing.T) {
	c := serve(t, newServer(t)).dial(t)
	t.Run("both addresses of loopback", func(t *testing.T) {
		for _, host := range []string{"", "localhost", "0.0.0.0", "*", "::"} {
			ok, payload, err := c.SendRequest("tcpip-forward", true, ssh.Marshal(listenTCP{host, 0}))
			got, parsed := parse[listenedTCP](payload)
			if !ok || err != nil || !parsed || got.Port == 0 {
				t.Fatalf("%q: %v, %v", host, ok, err)
			}
			for _, at := range []string{"127.0.0.1", "::1"} {
				x, err := net.Dial("tcp", net.JoinHostPort(at, strconv.Itoa(int(got.Port))))
				if err != nil {
					t.Errorf("%q at %s: %v", host, at, err)
					continue
				}
				x.Close()
			}
			if x, err := net.Dial("tcp", net.JoinHostPort("127.0.0.2", strconv.Itoa(int(got.Port)))); err == nil {
				t.Errorf("%q: it listens elsewhere too", host)
				x.Close()
			}
			if ok, _, err := c.SendRequest("cancel-tcpip-forward", true, ssh.Marshal(listenTCP{host, got.Port})); !ok || err != nil {
				t.Errorf("cancel: %v, %v", ok, err)
			}
			eventually(t, "nobody listens any more", func() bool {
				x, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(got.Port))))
				if err == nil {
					x.Close()
				}
				return err != nil
			})
			if ok, _, err := c.SendRequest("cancel-tcpip-forward", true, ssh.Marshal(listenTCP{host, got.Port})); ok || err != nil {
				t.Errorf("cancel again: %v, %v", ok, err)
			}
		}
	})
	t.Run("half-close", func(t *testing.T) {
		l, err := c.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			for {
				x, err := l.Accept()
				if err != nil {
					return
				}
				countAtEnd(x)
				x.Close()
			}
		}()
		for range 3 {
			x, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			halfClose(t, x.(*net.TCPConn), 3<<20)
			x.Close()
		}
	})
	t.Run("who came", func(t *testing.T) {
		l, err := c.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		x, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer x.Close()
		y, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer y.Close()
		if y.RemoteAddr().String() != x.LocalAddr().String() {
			t.Errorf("%v came from %v", y.RemoteAddr(), x.LocalAddr())
		}
	})
	t.Run("a port that is taken", func(t *testing.T) {
		taken := listen(t, "tcp", "127.0.0.1:0", echo)
		for _, host := range []string{"127.0.0.1", "localhost", ""} {
			if ok, _, err := c.SendRequest("tcpip-forward", true, ssh.Marshal(listenTCP{host, port(taken)})); ok || err != nil {
				t.Errorf("%q: %v, %v", host, ok, err)
			}
		}
	})
	t.Run("not allowed", func(t *testing.T) {
		for _, q := range []listenTCP{{"10.1.2.3", 0}, {"example.com", 0}, {"127.0.0.2", 0}, {"/tmp/x", 0}, {"localhost", 65536}, {"fe80::1%lo", 0}} {
			if ok, _, err := c.SendRequest("tcpip-forward", true, ssh.Marshal(q)); ok || err != nil {
				t.Errorf("%v: %v, %v", q, ok, err)
			}
		}
		for _, kind := range []string{"tcpip-forward", "cancel-tcpip-forward", "streamlocal-forward@openssh.com", "cancel-streamlocal-forward@openssh.com"} {
			if ok, _, err := c.SendRequest(kind, true, []byte{0, 0, 0, 9, 'x'}); ok || err != nil {
				t.Errorf("malformed %s: %v, %v", kind, ok, err)
			}
		}
		c := serveGuest(t, newServer(t), Guest{Rights: without(wire.MayReverse)}).dial(t)
		if _, err := c.Listen("tcp", "127.0.0.1:0"); err == nil {
			t.Error("listens without the right")
		}
		if _, err := c.ListenUnix(filepath.Join(openDir(t), "s")); err == nil {
			t.Error("listens at a socket without the right")
		}
	})
	t.Run("where the guest may", func(t *testing.T) {
		c := serveGuest(t, newServer(t), Guest{Rights: wire.Rights(), Listen: func(host string, at uint16) bool { return host == "localhost" && at == 0 }}).dial(t)
		for q, want := range map[listenTCP]bool{{"127.0.0.1", 0}: false, {"localhost", 8080}: false, {"", 0}: false, {"localhost", 0}: true} {
			if ok, _, err := c.SendRequest("tcpip-forward", true, ssh.Marshal(q)); ok != want || err != nil {
				t.Errorf("%v: %v, %v", q, ok, err)
			}
		}
	})
	t.Run("too many", func(t *testing.T) {
		c := serve(t, newServer(t)).dial(t)
		for i := range maxListeners + 1 {
			ok, _, err := c.SendRequest("tcpip-forward", true, ssh.Marshal(listenTCP{"127.0.0.1", 0}))
			if err != nil || ok != (i < maxListeners) {
				t.Fatalf("listener %d: %v, %v", i, ok, err)
			}
		}
	})
}

func TestReverseSocket(t *testing.T) {
	l := serve(t, newServer(t))
	c := l.dial(t)
	dir := openDir(t)
	path := filepath.Join(dir, "socket")
	s, err := c.ListenUnix(path)
	if err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil || st.Mode != unix.S_IFSOCK|0o600 || st.Uid != serverAccount(t).UID {
		t.Errorf("mode %o of uid %d: %v", st.Mode, st.Uid, err)
	}
	go func() {
		for {
			x, err := s.Accept()
			if err != nil {
				return
			}
			countAtEnd(x)
			x.Close()
		}
	}()
	x, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	halfClose(t, x.(*net.UnixConn), 1<<20)
	x.Close()

	// Nothing that is there is replaced: not a socket, not a file, not a link to nowhere.
	file, dangling, stale := filepath.Join(dir, "file"), filepath.Join(dir, "dangling"), filepath.Join(dir, "stale")
	writeFile(t, file, "mine")
	if err := os.Symlink(filepath.Join(dir, "nowhere"), dangling); err != nil {
		t.Fatal(err)
	}
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	left.Close()
	for _, there := range []string{path, file, dangling, stale, dir, "", "relative", "@abstract", "/proc/x", "/" + strings.Repeat("x", 107)} {
		if _, err := c.ListenUnix(there); err == nil {
			t.Errorf("%.30q is taken over", there)
		}
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "mine" {
		t.Errorf("%q, %v", text, err)
	}
	if _, err := os.Lstat(filepath.Join(dir, "nowhere")); err == nil {
		t.Error("a socket was made behind a link")
	}

	// One whose socket somebody removed makes room for the next at the same path.
	again := filepath.Join(dir, "again")
	for range 3 {
		if _, err := c.ListenUnix(again); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(again); err != nil {
			t.Fatal(err)
		}
	}
	if last, err := c.ListenUnix(again); err != nil {
		t.Error(err)
	} else {
		defer last.Close()
	}
	eventually(t, "one listens at a path", func() bool {
		all, err := os.ReadFile("/proc/net/unix")
		return err == nil && strings.Count(string(all), " "+again+"\n") == 1
	})
	if x, err := net.Dial("unix", again); err != nil {
		t.Error(err)
	} else {
		x.Close()
	}

	// It goes with the connection, unless it is another one by then.
	other := filepath.Join(dir, "other")
	if _, err := c.ListenUnix(other); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	writeFile(t, other, "new")
	third, err := c.ListenUnix(filepath.Join(dir, "third"))
	if err != nil {
		t.Fatal(err)
	}
	if err := third.Close(); err != nil {
		t.Error(err)
	}
	eventually(t, "a listener that is cancelled takes its socket along", func() bool {
		_, err := os.Lstat(filepath.Join(dir, "third"))
		return os.IsNotExist(err)
	})
	l.conn.Close()
	l.wait(t)
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the socket stays: %v", err)
	}
	if text, _ := os.ReadFile(other); string(text) != "new" {
		t.Errorf("a file that took the socket's place is gone: %q", text)
	}
	if pids := workers(t); len(pids) > 0 {
		t.Errorf("workers %v stay", pids)
	}
}

// A thousand streams at a time, none of which waits for another one.
func TestManyForwards(t *testing.T) {
	server := newServer(t)
	c := serve(t, server).dial(t)
	fast := listen(t, "tcp", "127.0.0.1:0", echo)
	wait := make(chan struct{})
	slow := listen(t, "tcp", "127.0.0.1:0", func(net.Conn) { <-wait })
	var stuck []stream
	for range 3 { // they read nothing, and their windows fill
		s := mustDial(t, c, slow)
		stuck = append(stuck, s)
		go func() { _, _ = s.Write(make([]byte, 8<<20)) }()
	}
	all := make([]stream, 1000)
	for i := range all {
		all[i] = mustDial(t, c, fast)
	}
	var work sync.WaitGroup
	for _, s := range all {
		work.Go(func() {
			data := make([]byte, 5000)
			_, _ = rand.Read(data)
			if _, err := s.Write(data); err != nil {
				t.Error(err)
				return
			}
			_ = s.CloseWrite()
			if got, err := io.ReadAll(s); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%d bytes, or others: %v", len(got), err)
			}
		})
	}
	work.Wait()
	// Ends from both sides, in great number and with much still on its way, pass each other: nobody waits for the other one.
	close(wait)
	over := make(chan struct{})
	go func() {
		defer close(over)
		for _, s := range append(all, stuck...) {
			_ = s.Close()
		}
	}()
	eventually(t, "all places are free", func() bool { return len(server.forwards) == 0 })
	<-over
}

// A flood ends at a bound, and holds nothing else up; the places are free again afterwards.
func TestForwardFlood(t *testing.T) {
	c := serve(t, newServer(t)).dial(t)
	l := listen(t, "tcp", "127.0.0.1:0", echo)
	var all []stream
	for {
		s, err := dial(c, "127.0.0.1", port(l))
		if err != nil {
			if reason(err) != ssh.ResourceShortage || len(all) != maxForwards {
				t.Errorf("after %d: %v", len(all), err)
			}
			break
		}
		all = append(all, s)
	}
	if out, err := newSession(t, c).Output("echo still here"); string(out) != "still here\n" {
		t.Errorf("meanwhile: %q, %v", out, err)
	}
	for _, s := range all {
		s.Close()
	}
	eventually(t, "the places are free again", func() bool {
		s, err := dial(c, "127.0.0.1", port(l))
		if err == nil {
			s.Close()
		}
		return err == nil
	})
}

// All guests together have no more than the process has file descriptors for.
func TestForwardsOfAllGuests(t *testing.T) {
	s := newServer(t)
	if n := cap(s.forwards); n < 256 {
		t.Errorf("%d places", n)
	}
	s.forwards = make(chan struct{}, 2)
	one, two := serve(t, s).dial(t), serve(t, s).dial(t)
	l := listen(t, "tcp", "127.0.0.1:0", echo)
	mustDial(t, one, l)
	last := mustDial(t, two, l)
	if _, err := dial(two, "127.0.0.1", port(l)); reason(err) != ssh.ResourceShortage {
		t.Errorf("one more: %v", err)
	}
	last.Close()
	eventually(t, "the place is free again", func() bool {
		x, err := dial(one, "127.0.0.1", port(l))
		if err == nil {
			x.Close()
		}
		return err == nil
	})
}

// Connections that come to a listener are bounded too, when the guest does not answer.
func TestReverseFlood(t *testing.T) {
	l := serve(t, newServer(t))
	c := l.dial(t)
	offered := c.HandleChannelOpen("forwarded-tcpip") // and nobody takes what comes
	ok, payload, err := c.SendRequest("tcpip-forward", true, ssh.Marshal(listenTCP{"127.0.0.1", 0}))
	got, _ := parse[listenedTCP](payload)
	if !ok || err != nil {
		t.Fatal(err)
	}
	var all []net.Conn
	defer func() {
		for _, x := range all {
			x.Close()
		}
		go func() {
			for range offered {
			}
		}()
	}()
	for range maxForwards + 50 {
		x, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(got.Port))))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, x)
	}
	last := all[len(all)-1]
	_ = last.SetReadDeadline(time.Now().Add(patience))
	if _, err := last.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
		t.Errorf("one too many: %v", err)
	}
	l.conn.Close()
	l.wait(t)
	if pids := workers(t); len(pids) > 0 {
		t.Errorf("workers %v stay", pids)
	}
}

// Everything of a connection ends with it.
func TestForwardsEndWithTheConnection(t *testing.T) {
	for name, cut := range map[string]func(*link, *ssh.Client){
		"transport": func(l *link, _ *ssh.Client) { l.conn.Close() },
		"client":    func(_ *link, c *ssh.Client) { c.Close() },
		"context":   func(l *link, _ *ssh.Client) { l.cancel(wire.Errorf(wire.Revoked, "test")) },
	} {
		t.Run(name, func(t *testing.T) {
			l := serve(t, newServer(t))
			c := l.dial(t)
			ended := make(chan struct{}, 3)
			target := listen(t, "tcp", "127.0.0.1:0", func(c net.Conn) {
				_, _ = io.Copy(io.Discard, c)
				ended <- struct{}{}
			})
			mustDial(t, c, target)
			busy := mustDial(t, c, target)
			go func() { _, _ = io.Copy(busy, rand.Reader) }()
			r, err := c.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(openDir(t), "socket")
			if _, err := c.ListenUnix(path); err != nil {
				t.Fatal(err)
			}
			x, err := net.Dial("tcp", r.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer x.Close()
			if len(workers(t)) != 1 {
				t.Errorf("workers %v", workers(t))
			}
			cut(l, c)
			l.wait(t)
			<-ended
			<-ended
			_ = x.SetReadDeadline(time.Now().Add(patience))
			if _, err := x.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
				t.Errorf("what came to the listener goes on: %v", err)
			}
			if pids := workers(t); len(pids) > 0 {
				t.Errorf("workers %v stay", pids)
			}
			if _, err := os.Lstat(path); !os.IsNotExist(err) {
				t.Errorf("the socket stays: %v", err)
			}
			if y, err := net.Dial("tcp", r.Addr().String()); err == nil {
				y.Close()
				t.Error("somebody listens")
			}
		})
	}
}

// A worker that is killed takes its listeners along, and the next forward has a new one.
func TestWorkerIsKilled(t *testing.T) {
	c := serve(t, newServer(t)).dial(t)
	target := listen(t, "tcp", "127.0.0.1:0", countAtEnd)
	before := mustDial(t, c, target)
	if _, err := c.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	pids := workers(t)
	if len(pids) != 1 {
		t.Fatalf("workers %v", pids)
	}
	if err := unix.Kill(pids[0], unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	var after stream
	eventually(t, "a new worker connects", func() bool {
		var err error
		after, err = dial(c, "127.0.0.1", port(target))
		return err == nil
	})
	halfClose(t, after, 100)
	halfClose(t, before, 100) // what was connected has nothing to do with the worker any more
	if _, err := c.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Error(err)
	}
	eventually(t, "the old one is reaped", func() bool { return len(workers(t)) == 1 && !alive(pids[0]) })
}

// Where no new worker starts, the old one is ended once all the same, and a later one is tried again.
func TestWorkerDoesNotStart(t *testing.T) {
	server := newServer(t)
	const self = "/proc/self/exe"
	link := filepath.Join(openDir(t), "worker")
	server.worker[0] = link
	if err := os.Symlink(self, link); err != nil {
		t.Fatal(err)
	}
	c := serve(t, server).dial(t)
	target := listen(t, "tcp", "127.0.0.1:0", countAtEnd)
	mustDial(t, c, target)
	pids := workers(t)
	if len(pids) != 1 {
		t.Fatalf("workers %v", pids)
	}
	if err := os.Remove(link); err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(pids[0], unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the old one is reaped", func() bool {
		_, err := dial(c, "127.0.0.1", port(target))
		return err != nil && !alive(pids[0])
	})
	for range 3 {
		if _, err := dial(c, "127.0.0.1", port(target)); reason(err) != ssh.ConnectionFailed {
			t.Errorf("without a worker: %v", err)
		}
	}
	if err := os.Symlink(self, link); err != nil {
		t.Fatal(err)
	}
	halfClose(t, mustDial(t, c, target), 100)
}

// A worker that is stopped holds up nothing but what needs it, and is killed at the end.
func TestWorkerIsStopped(t *testing.T) {
	l := serve(t, newServer(t))
	c := l.dial(t)
	target := listen(t, "tcp", "127.0.0.1:0", echo)
	mustDial(t, c, target)
	pids := workers(t)
	if len(pids) != 1 {
		t.Fatalf("workers %v", pids)
	}
	if err := unix.Kill(pids[0], unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all its threads are stopped", func() bool {
		tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pids[0]))
		return err == nil && !slices.ContainsFunc(tasks, func(task string) bool {
			stat, err := os.ReadFile(task)
			return err == nil && !bytes.Contains(stat, []byte(") T "))
		})
	})
	go func() { _, _ = dial(c, "127.0.0.1", port(target)) }()
	if ok, _, err := c.SendRequest("tcpip-forward", true, ssh.Marshal(listenTCP{"127.0.0.1", 0})); ok || err != nil {
		t.Errorf("a stopped worker listens: %v, %v", ok, err)
	}
	if out, err := newSession(t, c).Output("echo still here"); string(out) != "still here\n" {
		t.Errorf("meanwhile: %q, %v", out, err)
	}
	l.conn.Close()
	l.wait(t)
	if alive(pids[0]) {
		t.Error("it stays")
	}
}

// TestNativeForwards has OpenSSH's client forward.
func TestNativeForwards(t *testing.T) {
	n := newNative(t, newServer(t), wire.Rights())
	tcp := listen(t, "tcp", "127.0.0.1:0", countAtEnd)
	there := fmt.Sprintf("127.0.0.1:%d", port(tcp))
	count := func(t *testing.T, network, at string) {
		t.Helper()
		var c net.Conn
		eventually(t, "somebody listens at "+at, func() (ok bool) {
			var err error
			c, err = net.Dial(network, at)
			return err == nil
		})
		halfClose(t, c.(stream), 200_000)
		c.Close()
	}
	// while runs ssh with a forward until do is done.
	while := func(t *testing.T, do func(), args ...string) {
		t.Helper()
		ctx, cancel := context.WithCancel(n.ctx)
		defer cancel()
		cmd := n.ssh(append([]string{"-N", "-o", "ExitOnForwardFailure=yes"}, append(args, "envoy")...)...)
		var errs bytes.Buffer
		cmd.Stderr = &errs
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(unix.SIGTERM) })
		do()
		cancel()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("ssh said: %s", &errs)
		}
		n.ends(t, wire.None)
	}
	free := func(t *testing.T) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return strconv.Itoa(int(port(l)))
	}

	t.Run("-W", func(t *testing.T) {
		cmd := n.ssh("-W", there, "envoy")
		cmd.Stdin = strings.NewReader(strings.Repeat("x", 100_000))
		if out, err := cmd.Output(); string(out) != "100000 bytes" {
			t.Errorf("%q, %v", out, err)
		}
		n.ends(t, wire.None)
	})
	t.Run("-L", func(t *testing.T) {
		p := free(t)
		while(t, func() { count(t, "tcp", "127.0.0.1:"+p) }, "-L", p+":"+there)
	})
	t.Run("-L of a socket", func(t *testing.T) {
		path := filepath.Join(openDir(t), "s")
		listen(t, "unix", path, countAtEnd)
		if err := os.Chmod(path, 0o777); err != nil {
			t.Fatal(err)
		}
		here := filepath.Join(t.TempDir(), "s")
		while(t, func() { count(t, "unix", here) }, "-L", here+":"+path)
	})
	t.Run("-D", func(t *testing.T) {
		p := free(t)
		while(t, func() {
			var c net.Conn
			eventually(t, "ssh listens", func() bool {
				var err error
				c, err = net.Dial("tcp", "127.0.0.1:"+p)
				return err == nil
			})
			defer c.Close()
			if _, err := c.Write([]byte{5, 1, 0, 5, 1, 0, 1, 127, 0, 0, 1, byte(port(tcp) >> 8), byte(port(tcp))}); err != nil {
				t.Fatal(err)
			}
			head := make([]byte, 2+10)
			if _, err := io.ReadFull(c, head); err != nil || head[3] != 0 {
				t.Fatalf("%v, %v", head, err)
			}
			halfClose(t, c.(*net.TCPConn), 1000)
		}, "-D", p)
	})
	t.Run("-R", func(t *testing.T) {
		for _, host := range []string{"", "127.0.0.1:", "*:"} {
			p := free(t)
			while(t, func() { count(t, "tcp", "127.0.0.1:"+p) }, "-R", host+p+":"+there)
		}
	})
	t.Run("-R of a socket", func(t *testing.T) {
		path := filepath.Join(openDir(t), "s")
		while(t, func() { count(t, "unix", path) }, "-R", path+":"+there)
		if _, err := os.Lstat(path); !os.IsNotExist(err) {
			t.Errorf("the socket stays: %v", err)
		}
	})
	t.Run("-R of a free port", func(t *testing.T) {
		cmd, errs := n.ssh("-R", "0:"+there, "envoy", "cat"), newScreen()
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stderr = errs
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		errs.until(t, "Allocated port ")
		count(t, "tcp", "127.0.0.1:"+errs.until(t, " "))
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
		n.ends(t, wire.None)
	})
}
