package guactest_test

import (
	"io"
	"net"
	"strconv"
	"testing"
	"time"

	"scrier/relay/guac"
	"scrier/relay/guac/guactest"
)

// target is a desktop server that takes connections, and closes them when it is told to.
type target struct {
	l    net.Listener
	took chan net.Conn
	done chan struct{}
}

func listen(t *testing.T) *target {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &target{l, make(chan net.Conn, 8), make(chan struct{})}
	go func() {
		defer close(d.done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			d.took <- c
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-d.done
		for len(d.took) > 0 {
			_ = (<-d.took).Close()
		}
	})
	return d
}

func (d *target) next(t *testing.T) net.Conn {
	t.Helper()
	select {
	case c := <-d.took:
		t.Cleanup(func() { _ = c.Close() })
		_ = c.SetDeadline(time.Now().Add(30 * time.Second))
		return c
	case <-time.After(30 * time.Second):
		t.Fatal("guacd does not call")
		return nil
	}
}

func connect(t *testing.T, s *guactest.Server, d *target) (net.Conn, *guac.Connection) {
	t.Helper()
	c, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	args := guac.VNC{Hostname: "127.0.0.1", Port: d.l.Addr().(*net.TCPAddr).Port}.Args()
	conn, err := guac.Handshake(t.Context(), c, guac.Params{Protocol: "vnc", Args: args})
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	return c, conn
}

// until reads up to an opcode.
func until(t *testing.T, conn *guac.Connection, opcode string) *guac.Instruction {
	t.Helper()
	for {
		i, err := conn.Next()
		if err != nil {
			t.Fatalf("no %s: %v", opcode, err)
		}
		if i.Is(opcode) {
			return i
		}
	}
}

func TestNormalDialsAndGreets(t *testing.T) {
	d := listen(t)
	s := guactest.Start(t, guactest.Normal, guactest.Greet("hello", 5), guactest.Ping(10*time.Millisecond))
	c, conn := connect(t, s, d)
	up := d.next(t)
	b := make([]byte, 5)
	if _, err := io.ReadFull(up, b); err != nil || string(b) != "hello" {
		t.Fatalf("%q, %v", b, err)
	}
	if _, err := io.WriteString(up, "world"); err != nil {
		t.Fatal(err)
	}
	until(t, conn, "sync")
	until(t, conn, "nop")
	if _, err := c.Write(guac.Append(nil, "key", "97", "1")); err != nil {
		t.Fatal(err)
	}
	all := s.Await(t, "a key", func(all []guactest.Connection) bool { return all[0].Said("key", "97", "1") })
	if all[0].Read != "world" || all[0].Dialled != 1 || s.Users(conn.ID) != 1 {
		t.Errorf("%+v, %d users", all[0], s.Users(conn.ID))
	}

	// The desktop goes: everybody is told.
	_ = up.Close()
	if i := until(t, conn, "error"); string(i.Arg(1)) != strconv.Itoa(515) {
		t.Errorf("%q", i.Raw())
	}
	until(t, conn, "disconnect")
	s.Await(t, "the end", func(all []guactest.Connection) bool { return all[0].Over && s.Users(conn.ID) == 0 })
}

func TestTheLastUserEndsTheDesktop(t *testing.T) {
	d := listen(t)
	s := guactest.Start(t, guactest.Normal)
	c, conn := connect(t, s, d)
	up := d.next(t)
	until(t, conn, "sync")
	if _, err := c.Write(guac.Append(nil, "disconnect")); err != nil {
		t.Fatal(err)
	}
	if _, err := up.Read(make([]byte, 1)); err == nil {
		t.Error("the connection to the desktop is still there")
	}
}

func TestDialsTwiceAndNever(t *testing.T) {
	d := listen(t)
	s := guactest.Start(t, guactest.DialsTwice)
	_, conn := connect(t, s, d)
	d.next(t)
	d.next(t)
	until(t, conn, "sync")

	d = listen(t)
	s = guactest.Start(t, guactest.NeverDials)
	_, conn = connect(t, s, d)
	until(t, conn, "sync")
	if n := len(d.took); n != 0 || s.Connections()[0].Dialled != 0 {
		t.Errorf("it dialled %d times", n)
	}
}

func TestAClosedPortIs519(t *testing.T) {
	d := listen(t)
	_ = d.l.Close()
	s := guactest.Start(t, guactest.Normal)
	_, conn := connect(t, s, d)
	if i := until(t, conn, "error"); string(i.Arg(1)) != "519" {
		t.Errorf("%q", i.Raw())
	}
}

func TestBehavioursHaveNames(t *testing.T) {
	seen := map[string]bool{}
	for _, b := range guactest.All() {
		if name := b.String(); name == "" || seen[name] {
			t.Errorf("behaviour %d has the name %q", b, name)
		} else {
			seen[name] = true
		}
	}
	if len(seen) < 20 {
		t.Errorf("%d behaviours", len(seen))
	}
}

// Whose screen decides about the size: an RDP desktop's is its viewer's, a VNC server has one, which guacd
// changes from 1.6 on if it is let.
func TestSize(t *testing.T) {
	let := guac.VNC{}.Args()
	delete(let, "disable-display-resize")
	for name, c := range map[string]struct {
		behave guactest.Behaviour
		p      guac.Params
		want   string
		after  string // the viewer's screen has changed; empty: nothing is drawn
	}{
		"rdp":           {guactest.Version16, guac.Params{Protocol: "rdp", Args: guac.RDP{}.Args()}, "1100", "640"},
		"vnc":           {guactest.Version16, guac.Params{Protocol: "vnc", Args: guac.VNC{}.Args()}, "1024", ""},
		"vnc, 1.6, let": {guactest.Version16, guac.Params{Protocol: "vnc", Args: let}, "1100", "640"},
		"vnc, 1.3":      {guactest.Version13, guac.Params{Protocol: "vnc", Args: let}, "1024", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := guactest.Start(t, c.behave)
			conn, err := net.Dial("tcp", s.Addr())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			c.p.Width, c.p.Height = 1100, 633
			g, err := guac.Handshake(t.Context(), conn, c.p)
			if err != nil {
				t.Fatal(err)
			}
			_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
			if i := until(t, g, "size"); string(i.Arg(1)) != c.want {
				t.Errorf("%q", i.Raw())
			}
			until(t, g, "sync")
			if _, err := conn.Write(guac.Append(guac.Append(nil, "size", "640", "480"), "argv", "0", "text/plain", "x")); err != nil {
				t.Fatal(err)
			}
			after := ""
			for { // the second one is answered last
				i, err := g.Next()
				if err != nil {
					t.Fatal(err)
				}
				if i.Is("ack") {
					break
				}
				if i.Is("size") && string(i.Arg(0)) == "0" {
					if after = string(i.Arg(1)); after != c.after {
						t.Errorf("%q", i.Raw())
					}
				}
			}
			if after != c.after {
				t.Errorf("it is %q wide after that, not %q", after, c.after)
			}
		})
	}
}
