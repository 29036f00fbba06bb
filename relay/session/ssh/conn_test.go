package ssh

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"scrier/wire"
	"scrier/wire/wiretest"
)

// connected is a client of a real sshd, which is held.
func connected(t *testing.T, lines ...string) *Client {
	t.Helper()
	c, err := newServer(t, lines...).dial(t)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if _, err := c.Hold(); err != nil {
		t.Fatal(err)
	}
	watchdog := time.AfterFunc(3*patience, c.shut)
	t.Cleanup(func() { watchdog.Stop() })
	return c
}

// listening is a server of a test's, which serves each connection beside the others; and the target that leads there.
func listening(t *testing.T, network string, serve func(wire.HalfCloser)) Target {
	t.Helper()
	target := Target{Host: "127.0.0.1"}
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "socket")
		target = Target{Unix: true, Host: address}
	}
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	if a, ok := l.Addr().(*net.TCPAddr); ok {
		target.Port = uint16(a.Port)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				serve(conn.(wire.HalfCloser))
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	return target
}

// source is random bytes that a seed gives again.
func source(seed uint64, size int) io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)}), int64(size))
}

func sum(r io.Reader) (size int64, hash [32]byte, err error) {
	h := sha256.New()
	size, err = io.Copy(h, r)
	return size, [32]byte(h.Sum(nil)), err
}

// send writes a source in pieces of any size.
func send(w io.Writer, seed uint64, size int) error {
	in := source(seed, size)
	for buf := make([]byte, 100<<10); ; {
		n, err := in.Read(buf[:1+rand.IntN(len(buf))])
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return err
			}
		}
		if err != nil {
			return nil
		}
	}
}

// A peer that hears the end of one direction answers in the other, and each byte arrives, on every kind of forward.
func TestHalfClose(t *testing.T) {
	c := connected(t)
	for _, network := range []string{"tcp", "unix"} {
		for _, size := range []int{0, 1, 32<<10 + 1, 5<<20 + 3} {
			t.Run(network+" "+strconv.Itoa(size), func(t *testing.T) {
				seed := rand.Uint64()
				_, want, _ := sum(source(seed, size))
				t.Run("this side first", func(t *testing.T) {
					target := listening(t, network, func(conn wire.HalfCloser) {
						n, got, err := sum(conn)
						if err != nil || int(n) != size || got != want {
							t.Errorf("%d bytes arrive as %d others, %v", size, n, err)
						}
						if err := errors.Join(send(conn, seed, size), conn.CloseWrite()); err != nil {
							t.Error(err)
						}
					})
					conn, err := c.Dial(t.Context(), target)
					if err != nil {
						t.Fatal(err)
					}
					if err := errors.Join(send(conn, seed, size), conn.CloseWrite()); err != nil {
						t.Error(err)
					}
					if n, got, err := sum(conn); err != nil || int(n) != size || got != want {
						t.Errorf("%d bytes come back as %d others, %v", size, n, err)
					}
				})
				t.Run("the other side first", func(t *testing.T) {
					arrived := make(chan struct{})
					target := listening(t, network, func(conn wire.HalfCloser) {
						defer close(arrived)
						if err := errors.Join(send(conn, seed, size), conn.CloseWrite()); err != nil {
							t.Error(err)
						}
						if n, got, err := sum(conn); err != nil || int(n) != size || got != want {
							t.Errorf("%d bytes arrive as %d others, %v", size, n, err)
						}
					})
					conn, err := c.Dial(t.Context(), target)
					if err != nil {
						t.Fatal(err)
					}
					if n, got, err := sum(conn); err != nil || int(n) != size || got != want {
						t.Errorf("%d bytes come as %d others, %v", size, n, err)
					}
					if err := errors.Join(send(conn, seed, size), conn.CloseWrite()); err != nil {
						t.Error(err)
					}
					<-arrived
				})
			})
		}
	}
}

// The last bytes of the last channel arrive, though the connection ends with it.
func TestLastBytes(t *testing.T) {
	for range 20 {
		c, err := newServer(t).dial(t)
		if err != nil {
			t.Fatal(err)
		}
		const size = 1 << 20
		got := make(chan []byte, 1)
		conn, err := c.Dial(t.Context(), listening(t, "tcp", func(conn wire.HalfCloser) {
			_ = conn.CloseWrite()
			all, _ := io.ReadAll(conn)
			got <- all
		}))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(conn); err != nil {
			t.Error(err)
		}
		want := make([]byte, size)
		if _, err := conn.Write(want); err != nil {
			t.Error(err)
		}
		if err := conn.CloseWrite(); err != nil {
			t.Error(err)
		}
		c.Close()
		if !bytes.Equal(<-got, want) {
			t.Fatal("bytes are lost")
		}
	}
}

// What the server does not allow, or cannot reach, is told with its words, and other channels go on.
func TestDialRefused(t *testing.T) {
	target := listening(t, "tcp", func(conn wire.HalfCloser) { _, _ = io.Copy(conn, conn) })
	closed := target
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Port = uint16(l.Addr().(*net.TCPAddr).Port)
	_ = l.Close()
	permitted := "PermitOpen " + target.String()
	long := Target{Unix: true, Host: "/" + strings.Repeat("x", 200)}
	for _, c := range []struct {
		name   string
		lines  []string
		target Target
		words  string
	}{
		{"nothing listens", nil, closed, "connect failed: Connection refused"},
		{"no such name", nil, Target{Host: "no-such-host.invalid", Port: 80}, "connect failed: Name or service not known"},
		{"no forwarding", []string{"AllowTcpForwarding no"}, target, "administratively prohibited"},
		{"only from the machine", []string{"AllowTcpForwarding remote"}, target, "administratively prohibited"},
		{"another target", []string{permitted}, closed, "administratively prohibited"},
		{"no socket", nil, Target{Unix: true, Host: "/no/such/socket"}, "connect failed"},
		{"no sockets", []string{"AllowStreamLocalForwarding no"}, Target{Unix: true, Host: "/dev/log"}, "open failed"},
		{"too long a path", nil, long, "connect failed"},
		{"control characters", nil, Target{Host: "a\x1b[2Jb\u202e", Port: 80}, "connect failed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := connected(t, c.lines...)
			beside, err := client.Start(t.Context(), Program{Command: []byte("cat")})
			if err != nil {
				t.Fatal(err)
			}
			defer beside.Close()
			_, err = client.Dial(t.Context(), c.target)
			if wire.CodeOf(err) != wire.ForwardFailed || !strings.Contains(wire.DetailOf(err), c.words) {
				t.Errorf("%v", err)
			}
			plain(t, err)
			echoes(t, beside)
		})
	}
	client := connected(t, permitted)
	conn, err := client.Dial(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	echoes(t, conn)
	conn.Reset(wire.None)
}

// echoes checks that what is written comes back.
func echoes(t *testing.T, rw io.ReadWriter) {
	t.Helper()
	want := []byte("still here")
	if _, err := rw.Write(want); err != nil {
		t.Error(err)
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(rw, got); err != nil || !bytes.Equal(got, want) {
		t.Errorf("it says %q, %v", got, err)
	}
}

// sshd ends the connection, with all its channels, at what it takes for a broken protocol: nobody can ask for that.
func TestBadTargets(t *testing.T) {
	c := connected(t)
	beside, err := c.Start(t.Context(), Program{Command: []byte("cat")})
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range []Target{
		{}, {Host: "localhost"}, {Port: 80}, {Unix: true}, {Host: "local\x00host", Port: 80}, {Unix: true, Host: "/tmp/\x00"},
		{Host: "localhost", Port: 80, Origin: "127.0.0.1\x00"}, {Host: strings.Repeat("x", wire.MaxTarget+1), Port: 80},
	} {
		if _, err := c.Dial(t.Context(), target); wire.CodeOf(err) != wire.BadRequest {
			t.Errorf("dialling %q: %v", target, err)
		}
		if target.Host == "" && !target.Unix || target.Host == "localhost" && target.Origin == "" {
			continue // all addresses, or any port
		}
		if _, err := c.Listen(t.Context(), target); wire.CodeOf(err) != wire.BadRequest {
			t.Errorf("listening at %q: %v", target, err)
		}
	}
	for _, p := range []Program{{Command: []byte("echo \x00")}, {Command: []byte("sf\x00tp"), Subsystem: true}, {Subsystem: true}} {
		if _, err := c.Start(t.Context(), p); wire.CodeOf(err) != wire.BadRequest {
			t.Errorf("starting %q: %v", p.Command, err)
		}
	}
	echoes(t, beside)
}

// There are 1,000 channels at a time, and each goes on while nobody reads on half of them, to which more is sent than
// they hold. There are no more than 1,024; one that ends gives its place to another.
func TestThousandChannels(t *testing.T) {
	c := connected(t)
	flood := listening(t, "tcp", func(conn wire.HalfCloser) {
		buf := make([]byte, 64<<10)
		for {
			if _, err := conn.Write(buf); err != nil {
				return
			}
		}
	})
	echo := listening(t, "unix", func(conn wire.HalfCloser) { _, _ = io.Copy(conn, conn) })
	var slow []*Conn
	for range 20 { // each has 2 MiB of this process's
		conn, err := c.Dial(t.Context(), flood)
		if err != nil {
			t.Fatal(err)
		}
		slow = append(slow, conn)
	}
	var wg sync.WaitGroup
	conns := make(chan *Conn, maxChannels)
	for range 1000 - len(slow) {
		wg.Go(func() {
			conn, err := c.Dial(t.Context(), echo)
			if err != nil {
				t.Error(err)
				return
			}
			conns <- conn
			echoes(t, conn)
		})
	}
	wg.Wait()
	close(conns)
	for conn := range conns {
		wg.Go(func() {
			echoes(t, conn)
			if err := conn.CloseWrite(); err != nil {
				t.Error(err)
			}
			if n, err := conn.Read(make([]byte, 1)); n != 0 || err != io.EOF {
				t.Errorf("%d, %v", n, err)
			}
		})
	}
	wg.Wait()
	for _, conn := range slow {
		conn.Reset(wire.None)
		conn.Reset(wire.None) // once more changes nothing
	}
	empty(t, c, 1)

	var many []*Conn
	for range maxChannels {
		conn, err := c.Dial(t.Context(), echo)
		if err != nil {
			t.Fatal(err)
		}
		many = append(many, conn)
	}
	if _, err := c.Dial(t.Context(), echo); wire.CodeOf(err) != wire.Busy || !strings.Contains(wire.DetailOf(err), "1100") {
		t.Errorf("one more: %v", err)
	}
	if _, err := c.Start(t.Context(), Program{Command: []byte("true")}); wire.CodeOf(err) != wire.Busy {
		t.Errorf("a program more: %v", err)
	}
	for _, conn := range many {
		conn.Reset(wire.None)
	}
	empty(t, c, 1)
	conn, err := c.Dial(t.Context(), echo)
	if err != nil {
		t.Fatal(err)
	}
	echoes(t, conn)
	conn.Reset(wire.None)
}

// empty waits until the server has closed every channel, and so many uses are left of the connection.
func empty(t *testing.T, c *Client, left int) {
	t.Helper()
	for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		c.mu.Lock()
		channels, uses := c.channels, c.uses
		c.mu.Unlock()
		if channels == 0 && uses == left {
			return
		}
		if time.Since(start) > patience {
			t.Fatalf("%d channels and %d uses are left", channels, uses)
		}
	}
}

// A reset frees whoever reads or writes, at once and though the server does not know yet, and so does a deadline.
func TestConnFreed(t *testing.T) {
	stop := make(chan struct{})
	defer close(stop)
	target := listening(t, "tcp", func(wire.HalfCloser) { <-stop }) // it neither reads nor writes
	for name, free := range map[string]struct {
		free func(*Conn)
		err  func(error) bool
	}{
		"reset":            {func(c *Conn) { c.Reset(wire.Killed) }, func(err error) bool { return wire.CodeOf(err) == wire.Killed }},
		"deadline":         {func(c *Conn) { _ = c.SetDeadline(time.Now().Add(-time.Second)) }, func(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }},
		"a later deadline": {func(c *Conn) { _ = c.SetDeadline(time.Now().Add(50 * time.Millisecond)) }, func(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }},
		"client closed":    {func(c *Conn) { c.channel.client.shut() }, func(err error) bool { return wire.CodeOf(err) == wire.Cancelled }},
	} {
		t.Run(name, func(t *testing.T) {
			c := connected(t)
			conn, err := c.Dial(t.Context(), target)
			if err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			var full atomic.Int64
			wg.Go(func() {
				if _, err := conn.Read(make([]byte, 1)); !free.err(err) {
					t.Errorf("reading: %v", err)
				}
			})
			wg.Go(func() {
				for {
					n, err := conn.Write(make([]byte, 64<<10))
					if err != nil {
						if !free.err(err) {
							t.Errorf("writing: %v", err)
						}
						return
					}
					full.Add(int64(n))
				}
			})
			for before := int64(-1); before != full.Load(); time.Sleep(100 * time.Millisecond) { // until it takes no more
				before = full.Load()
			}
			free.free(conn)
			wg.Wait()
			if strings.Contains(name, "deadline") { // a later one revives it
				_ = conn.SetDeadline(time.Time{})
				wg.Go(func() { _, err = conn.Read(make([]byte, 1)) })
				time.Sleep(10 * time.Millisecond)
				conn.Reset(wire.Left)
				if wg.Wait(); wire.CodeOf(err) != wire.Left {
					t.Errorf("behind it: %v", err)
				}
			}
			if _, err := conn.Write([]byte("x")); err == nil {
				t.Error("it still takes something")
			}
		})
	}
}

// The end of a connection that breaks is not taken for the end of what was sent.
func TestBrokenConnection(t *testing.T) {
	for range 5 {
		c := connected(t)
		target := listening(t, "tcp", func(conn wire.HalfCloser) {
			buf := make([]byte, 1<<10)
			for {
				if _, err := conn.Write(buf); err != nil {
					return
				}
			}
		})
		var wg sync.WaitGroup
		for range 8 {
			conn, err := c.Dial(t.Context(), target)
			if err != nil {
				t.Fatal(err)
			}
			wg.Go(func() {
				if _, err := io.Copy(io.Discard, conn); err == nil || !errors.Is(err, c.Err()) {
					t.Errorf("it ended with %v, the connection with %v", err, c.Err())
				}
			})
		}
		p, err := c.Start(t.Context(), Program{Command: []byte("kill $PPID; exec sleep 60")})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, p); wire.CodeOf(err) != wire.TargetRefused {
			t.Errorf("the program's output ended with %v", err)
		}
		wg.Wait()
		<-c.Ended()
		if _, err := c.Dial(t.Context(), target); err == nil || !errors.Is(err, c.Err()) {
			t.Errorf("dialling: %v", err)
		}
		if _, err := c.Hold(); err == nil || !errors.Is(err, c.Err()) {
			t.Errorf("holding: %v", err)
		}
		if _, err := c.Start(t.Context(), Program{}); err == nil || !errors.Is(err, c.Err()) {
			t.Errorf("starting: %v", err)
		}
	}
}

// A held connection outlives its last channel, until it is released.
func TestHold(t *testing.T) {
	c, err := newServer(t).dial(t)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	one, err := c.Hold()
	if err != nil {
		t.Fatal(err)
	}
	two, err := c.Hold()
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		p, err := c.Start(t.Context(), Program{Command: []byte("true")})
		if err != nil {
			t.Fatal(err)
		}
		p.Close()
		one()
		one() // once more changes nothing
	}
	two()
	<-c.Ended()
	if wire.CodeOf(c.Err()) != wire.Cancelled {
		t.Errorf("it ended with %v", c.Err())
	}
}

// wire.Splice carries a connection to its ends.
func TestSplice(t *testing.T) {
	c := connected(t)
	const size = 3<<20 + 1
	target := listening(t, "tcp", func(conn wire.HalfCloser) {
		_, _ = io.Copy(conn, conn)
		_ = conn.CloseWrite()
	})
	conn, err := c.Dial(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	near, far := wiretest.Streams()
	var wg sync.WaitGroup
	wg.Go(func() {
		if sent, received, err := wire.Splice(t.Context(), far, conn); err != nil || sent != size || received != size {
			t.Errorf("%d there, %d back, %v", sent, received, err)
		}
	})
	wg.Go(func() {
		if err := errors.Join(send(near, 1, size), near.CloseWrite()); err != nil {
			t.Error(err)
		}
	})
	_, want, _ := sum(source(1, size))
	if n, got, err := sum(near); err != nil || n != size || got != want {
		t.Errorf("%d bytes come back, %v", n, err)
	}
	wg.Wait()
	empty(t, c, 1)
}
