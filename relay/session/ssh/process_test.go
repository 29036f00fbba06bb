package ssh

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"scrier/relay/session/ssh/sshtest"
	"scrier/wire"
)

// A program that is left is not there for long, though sshd takes no signal for root's: it sees a broken pipe. The
// story exec has one that gets SIGHUP.
func TestHangup(t *testing.T) {
	c, err := newServer(t).dial(t)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	gone := filepath.Join(t.TempDir(), "gone")
	p, err := c.Start(t.Context(), Program{Command: []byte("trap 'echo >" + gone + "' EXIT; trap '' PIPE; while echo here; do sleep 0.1; done")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(p, make([]byte, len("here\n"))); err != nil {
		t.Fatal(err)
	}
	p.Hangup()
	for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(gone); err == nil {
			return
		}
		if time.Since(start) > patience {
			t.Fatal("it is still there")
		}
	}
}

// Whoever waits for output of a program that is left hears of its end, and nobody waits behind them for ever, whether the
// program says something meanwhile or not.
func TestHangupWhileOutputIsRead(t *testing.T) {
	for _, says := range []string{"", "something"} {
		synctest.Test(t, func(t *testing.T) {
			c, err := behind(t, func(s *sshtest.Server) { _ = new(sshtest.Honest).Serve(s) })
			if err != nil {
				t.Fatal(err)
			}
			p, err := c.Start(t.Context(), Program{})
			if err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			for _, r := range []io.Reader{p, p.Stderr()} {
				wg.Go(func() { _, _ = io.Copy(io.Discard, r) })
			}
			synctest.Wait()
			wg.Go(p.Hangup)
			synctest.Wait()
			if _, err := p.Write([]byte(says)); err != nil { // it says that again
				t.Error(err)
			}
			wg.Wait()
			c.Close()
		})
	}
}

// expecting takes the bytes of a reader, and keeps the beginning of what is none of them.
type expecting struct {
	want io.Reader
	odd  []byte
}

func (e *expecting) Write(p []byte) (int, error) {
	want := make([]byte, len(p))
	n, _ := io.ReadFull(e.want, want)
	for i := range p {
		if len(e.odd) < 300 && (len(e.odd) > 0 || i >= n || p[i] != want[i]) {
			e.odd = append(e.odd, p[i])
		}
	}
	return len(p), nil
}

// Bytes of any number pass through sshd as they are, in pieces of any size, with standard error apart, and the end of
// the input too.
func TestBytesThroughSSHD(t *testing.T) {
	for _, size := range []int{0, 1, wire.MaxData - 1, wire.MaxData, wire.MaxData + 1, 5<<20 + 3, 64 << 20} {
		c, err := newServer(t).dial(t)
		if err != nil {
			t.Fatal(err)
		}
		p, err := c.Start(t.Context(), Program{Command: []byte("tee /dev/stderr; exit 7")})
		if err != nil {
			t.Fatal(err)
		}
		watchdog := time.AfterFunc(2*patience, c.shut)
		seed := rand.Uint64()
		source := func() io.Reader { return rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}) }
		var wg sync.WaitGroup
		wg.Go(func() {
			in, sum := io.LimitReader(source(), int64(size)), 0
			for buf := make([]byte, 100<<10); ; {
				n, err := in.Read(buf[:1+rand.IntN(len(buf))])
				if n > 0 {
					if _, err := p.Write(buf[:n]); err != nil {
						t.Errorf("behind %d bytes: %v", sum, err)
						return
					}
					sum += n
				}
				if err != nil {
					break
				}
			}
			if err := p.CloseWrite(); err != nil {
				t.Error(err)
			}
		})
		for name, r := range map[string]io.Reader{"output": p, "errors": p.Stderr()} {
			wg.Go(func() {
				want := &expecting{want: io.LimitReader(source(), int64(size))}
				n, err := io.Copy(want, r)
				if err != nil || int(n) != size || len(want.odd) > 0 {
					t.Errorf("%d bytes of %s come as %d others, %v; what is wrong begins with %q", size, name, n, err, want.odd)
				}
			})
		}
		wg.Wait()
		watchdog.Stop()
		if e := p.Wait(t.Context()); e == nil || e.Status != 7 {
			t.Errorf("it ended with %+v", e)
		}
		p.Close()
		c.Close()
	}
}

// A program whose output nobody takes any more sees a broken pipe, and how that ended it is told.
func TestCloseOutput(t *testing.T) {
	c, err := newServer(t).dial(t)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	defer time.AfterFunc(patience, c.shut).Stop()
	p, err := c.Start(t.Context(), Program{Command: []byte("exec yes")})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.CloseOutput(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, p); err != nil {
		t.Error(err)
	}
	if e := p.Wait(t.Context()); e == nil || e.Signal != "PIPE" {
		t.Errorf("it ended with %+v", e)
	}
}

// Many programs in a row on one connection leave nothing behind.
func TestManyPrograms(t *testing.T) {
	c, err := newServer(t).dial(t)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	stay, err := c.Start(t.Context(), Program{Command: []byte("cat")})
	if err != nil {
		t.Fatal(err)
	}
	before := 0
	for i := range 60 {
		p, err := c.Start(t.Context(), Program{Command: []byte("true")})
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, p)
		if e := p.Wait(t.Context()); e == nil || e.Status != 0 {
			t.Fatalf("%d ended with %+v", i, e)
		}
		p.Close()
		if i == 10 {
			before = runtime.NumGoroutine()
		}
	}
	if after := runtime.NumGoroutine(); after > before+20 {
		t.Errorf("%d goroutines, and %d before", after, before)
	}
	stay.Close()
}

// A subsystem is started by its name, and one that is not there is told so.
func TestSubsystem(t *testing.T) {
	c := connected(t, "Subsystem sftp internal-sftp")
	p, err := c.Start(t.Context(), Program{Command: []byte("sftp"), Subsystem: true})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := p.Write([]byte{0, 0, 0, 5, 1, 0, 0, 0, 3}); err != nil { // SSH_FXP_INIT, version 3
		t.Fatal(err)
	}
	answer := make([]byte, 9)
	if _, err := io.ReadFull(p, answer); err != nil || !bytes.Equal(answer[4:], []byte{2, 0, 0, 0, 3}) { // SSH_FXP_VERSION
		t.Errorf("it answers %v, %v", answer, err)
	}
	_, err = c.Start(t.Context(), Program{Command: []byte("none\x1b[m"), Subsystem: true})
	if wire.CodeOf(err) != wire.TargetRefused || wire.HintOf(err) == "" {
		t.Errorf("another subsystem: %v", err)
	}
	plain(t, err)
}

// A server that starts no more programs on a connection says so, and those that there are go on.
func TestMaxSessions(t *testing.T) {
	c := connected(t, "MaxSessions 2")
	var programs []*Process
	for range 2 {
		p, err := c.Start(t.Context(), Program{Command: []byte("cat")})
		if err != nil {
			t.Fatal(err)
		}
		programs = append(programs, p)
	}
	if _, err := c.Start(t.Context(), Program{Command: []byte("cat")}); wire.CodeOf(err) != wire.Busy || !strings.Contains(wire.HintOf(err), "MaxSessions") {
		t.Errorf("one more: %v", err)
	}
	for _, p := range programs {
		echoes(t, p)
		p.Close()
	}
	empty(t, c, 1)
	p, err := c.Start(t.Context(), Program{Command: []byte("cat")})
	if err != nil {
		t.Fatal(err)
	}
	echoes(t, p)
}

// Of many that are asked for at once, on a connection that has none yet, those too many hear the same.
func TestMaxSessionsAtOnce(t *testing.T) {
	for range 5 {
		c := connected(t, "MaxSessions 3")
		var wg sync.WaitGroup
		var started atomic.Int32
		for range 10 {
			wg.Go(func() {
				p, err := c.Start(t.Context(), Program{Command: []byte("cat")})
				switch {
				case err == nil:
					started.Add(1)
					t.Cleanup(p.Close)
				case wire.CodeOf(err) != wire.Busy:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := started.Load(); n != 3 {
			t.Errorf("%d were started", n)
		}
	}
}

// A terminal is there though other channels are opened in the very moment in which it is asked for.
func TestTerminalBesideOthers(t *testing.T) {
	target := listening(t, "tcp", func(conn wire.HalfCloser) { _, _ = io.Copy(conn, conn) })
	c := connected(t)
	for range 15 {
		var wg sync.WaitGroup
		wg.Go(func() {
			p, err := c.Start(t.Context(), Program{Command: []byte("tty"), PTY: &PTY{Term: "xterm"}})
			if err != nil {
				t.Error(err)
				return
			}
			defer p.Close()
			if out, err := io.ReadAll(p); err != nil || !strings.HasPrefix(string(out), "/dev/pts/") {
				t.Errorf("the terminal is %q, %v", out, err)
			}
		})
		for i := range 6 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 50 * time.Microsecond)
				conn, err := c.Dial(t.Context(), target)
				if err != nil {
					t.Error(err)
					return
				}
				echoes(t, conn)
				conn.Reset(wire.None)
			})
		}
		wg.Go(func() {
			l, err := c.Listen(t.Context(), Target{Host: "localhost"})
			if err != nil {
				t.Error(err)
				return
			}
			l.Close()
		})
		wg.Wait()
		empty(t, c, 1)
	}
}
