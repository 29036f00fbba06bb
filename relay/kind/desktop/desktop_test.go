package desktop

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"scrier/relay/guac/guactest"
	"scrier/relay/session"
	"scrier/relay/session/display"
	"scrier/wire"
	"scrier/wire/wiretest"
)

const patience = 30 * time.Second

// begin starts a desktop whose server is played by f.
func begin(t *testing.T, behave guactest.Behaviour, l limits, f func(wire.Stream), edit ...func(*Params)) (*Desktop, *guactest.Server, error) {
	t.Helper()
	g := guactest.Start(t, behave, guactest.Greet("hello", 7))
	near, far := wiretest.Streams()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(far)
	}()
	t.Cleanup(func() {
		far.Reset(wire.None)
		<-done
	})
	guacd, err := Dial(t.Context(), []string{"127.0.0.1:1", g.Addr()}) // the first one is not there
	if err != nil {
		t.Fatal(err)
	}
	p := Params{
		Guacd: guacd, Hostname: "127.0.0.1", Kind: wire.KindVNC, Tunnel: &session.Tunnel{Stream: near},
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	for _, e := range edit {
		e(&p)
	}
	d, err := start(t.Context(), p, l)
	if err == nil {
		t.Cleanup(d.Close)
	}
	return d, g, err
}

// polite is a desktop server that greets and then listens.
func polite(s wire.Stream) {
	if _, err := io.ReadFull(s, make([]byte, 5)); err != nil {
		return
	}
	if _, err := io.WriteString(s, "welcome"); err != nil {
		return
	}
	_, _ = io.Copy(io.Discard, s)
}

func ended(t *testing.T, d *Desktop) error {
	t.Helper()
	select {
	case <-d.Done():
	case <-time.After(patience):
		t.Fatal("the desktop does not end")
	}
	return d.Err()
}

func join(t *testing.T, d *Desktop) display.Screen {
	t.Helper()
	s, err := d.Join(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// shows reads until the screen shows it.
func shows(t *testing.T, s io.Reader, text string) {
	t.Helper()
	var all strings.Builder
	b := make([]byte, 100) // instructions are cut anywhere
	for !strings.Contains(all.String(), text) {
		n, err := s.Read(b)
		all.Write(b[:n])
		if err != nil {
			t.Fatalf("%v before %q; shown: %q", err, text, all.String())
		}
	}
}

// Nobody comes: the root is read and answered all the same, and whoever comes later joins.
func TestParkedRoot(t *testing.T) {
	l := usual
	l.firstViewer = time.Millisecond
	d, g, err := begin(t, guactest.Normal, l, polite)
	if err != nil {
		t.Fatal(err)
	}
	g.Await(t, "the picture's acknowledgement", func(all []guactest.Connection) bool { return all[0].Said("sync") })
	s := join(t, d)
	shows(t, s, "4.sync,")
	if g.Users(d.id) != 2 {
		t.Errorf("%d users, not the root and one that joined", g.Users(d.id))
	}
	s.Close()
	g.Await(t, "the end of the second user", func(all []guactest.Connection) bool { return all[1].Over })
	if d.ctx.Err() != nil {
		t.Errorf("the desktop ended with its viewer: %v", d.Err())
	}
}

// A guacd that has not told the root how large the screen is gets its viewer as another user; what the
// viewer types goes there too, and the desktop survives them both.
func TestLostBeginning(t *testing.T) {
	d, g, err := begin(t, guactest.LosesBeginning, usual, polite)
	if err != nil {
		t.Fatal(err)
	}
	s := join(t, d)
	shows(t, s, "4.size,1.0,4.1024,3.768;")
	in, out := io.Pipe()
	typed := make(chan error, 1)
	go func() { typed <- s.Type(in) }()
	if _, err := io.WriteString(out, "4.sync,1.1;3.key,2.97,1.1;3.key,2.97,1.0;"); err != nil {
		t.Fatal(err)
	}
	g.Await(t, "a key at the second user", func(all []guactest.Connection) bool {
		return len(all) == 2 && all[1].Said("key", "97", "1") && all[1].Said("key", "97", "0") && !all[0].Said("key", "97", "1")
	})
	if !s.Active() {
		t.Error("who has typed is not active")
	}
	_ = out.Close()
	if err := <-typed; err != nil {
		t.Errorf("type: %v", err)
	}
	s.Close()
	g.Await(t, "the end of the second user", func(all []guactest.Connection) bool { return all[1].Over })
	again := join(t, d)
	shows(t, again, "4.size,1.0,4.1024,3.768;")
	again.Close()
	if d.ctx.Err() != nil {
		t.Errorf("the desktop ended with its viewer: %v", d.Err())
	}
}

// A question that comes when the root is parked reaches who has joined meanwhile.
func TestLateQuestion(t *testing.T) {
	l := usual
	l.firstViewer = time.Millisecond
	talk := make(chan struct{})
	d, g, err := begin(t, guactest.Asks, l, func(s wire.Stream) {
		if _, err := io.ReadFull(s, make([]byte, 5)); err != nil {
			return
		}
		<-talk // guacd asks when the server has greeted
		if _, err := io.WriteString(s, "welcome"); err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, s)
	})
	if err != nil {
		t.Fatal(err)
	}
	for !func() bool { d.mu.Lock(); defer d.mu.Unlock(); return d.taken }() {
		time.Sleep(time.Millisecond) // until the root is parked
	}
	s := join(t, d)
	close(talk)
	shows(t, s, "8.required,8.password;")
	g.Await(t, "two connections", func(all []guactest.Connection) bool { return len(all) == 2 })
	s.Close()
}

// H69: a guacd that hangs ends its desktop, whether somebody looks or not.
func TestSilentGuacd(t *testing.T) {
	for name, first := range map[string]time.Duration{"parked": time.Millisecond, "watched": time.Minute} {
		t.Run(name, func(t *testing.T) {
			l := limits{firstViewer: first, callback: time.Minute, silence: 300 * time.Millisecond}
			d, _, err := begin(t, guactest.HangsAfterReady, l, polite)
			if err != nil {
				t.Fatal(err)
			}
			if name == "watched" {
				if _, err := join(t, d).Read(make([]byte, 10)); wire.CodeOf(err) != wire.GuacdUnavailable {
					t.Errorf("the screen ended with %v", err)
				}
			}
			if err := ended(t, d); wire.CodeOf(err) != wire.GuacdUnavailable {
				t.Errorf("ended with %v", err)
			}
		})
	}
}

// A guacd that does not call back gets no second chance.
func TestGuacdThatDoesNotCallBack(t *testing.T) {
	l := usual
	l.callback = 200 * time.Millisecond
	d, _, err := begin(t, guactest.NeverDials, l, polite)
	if err == nil {
		err = ended(t, d)
	}
	if wire.CodeOf(err) != wire.GuacdUnavailable || !strings.Contains(wire.DetailOf(err), "proxy_hostname") {
		t.Errorf("ended with %v", err)
	}
}

// The machine's own reason wins over what guacd makes of it.
func TestTunnelKnowsWhy(t *testing.T) {
	for name, f := range map[string]func(wire.Stream){
		"at once": func(s wire.Stream) { s.Reset(wire.ConsoleEnded) },
		"later": func(s wire.Stream) {
			if _, err := io.ReadFull(s, make([]byte, 5)); err == nil {
				_, _ = io.WriteString(s, "welcome")
			}
			s.Reset(wire.ConsoleEnded)
		},
	} {
		t.Run(name, func(t *testing.T) {
			d, _, err := begin(t, guactest.Normal, usual, f)
			if err == nil {
				err = ended(t, d)
			}
			if wire.CodeOf(err) != wire.ConsoleEnded {
				t.Errorf("ended with %v", err)
			}
		})
	}
}

// guacd says 519 for a wrong password as well as for a server that is not there.
func TestWrongPassword(t *testing.T) {
	d, _, err := begin(t, guactest.Normal, usual, func(s wire.Stream) {
		if _, err := io.ReadFull(s, make([]byte, 5)); err == nil {
			_, _ = io.WriteString(s, "no") // shorter than what the fake expects: it says 519
		}
		_ = s.CloseWrite()
		_, _ = io.Copy(io.Discard, s)
	})
	if err == nil {
		_, err = io.Copy(io.Discard, join(t, d))
		if err == nil {
			err = ended(t, d)
		}
	}
	if wire.CodeOf(err) != wire.DesktopLogin && wire.CodeOf(d.Err()) != wire.DesktopLogin {
		t.Errorf("ended with %v", err)
	}
}

// H70: another user of this machine who connects to the port of the callback as fast as they can
// never gets it, and does not keep guacd from it.
func TestCallbackIsForGuacdAlone(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("a process of another user is needed: run it as root")
	}
	guacd, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer guacd.Close()
	for range 10 {
		conn, err := net.Dial("tcp", guacd.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := guacd.Accept()
		if err != nil {
			t.Fatal(err)
		}
		back, err := listen(t.Context(), "127.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		addr := back.listener.Addr().String()
		// Whoever is first in the queue: the other user is.
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = []string{racer + "=" + addr, "GORACE=atexit_sleep_ms=0"}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(out)
		if line, err := lines.ReadString('\n'); line != "racing\n" {
			t.Fatalf("the other user says %q, %v", line, err)
		}
		go func() { // guacd
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			_, _ = io.Copy(io.Discard, c)
		}()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		won, err := back.accept(ctx, conn, patience)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := won.Write([]byte("x")); err != nil {
			t.Error(err)
		}
		_ = won.Close()
		rest, _ := io.ReadAll(lines)
		if err := cmd.Wait(); err != nil || len(rest) > 0 {
			t.Errorf("the other user says %q, %v", rest, err)
		}
		_ = conn.Close()
		_ = theirs.Close()
	}
}
