package agent

import (
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"scrier/agent/console"
	"scrier/wire"
	"scrier/wire/wiretest"
)

// asked sends Open to an agent's link, and returns the session's stream and the agent's answer.
func asked(t *testing.T, l *agentLink, open wire.Open) (wire.Stream, *wire.Opened, error) {
	t.Helper()
	near, far := wiretest.Streams()
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.serve(t.Context(), far)
	}()
	t.Cleanup(func() {
		near.Reset(wire.None)
		<-done
	})
	open.Session, open.Timeout, open.Operator = wire.NewSessionID(), uint32(patience/time.Millisecond), "ann"
	if err := wire.Send(near, &open); err != nil {
		t.Fatal(err)
	}
	if err := near.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	opened, err := wire.Expect[wire.Opened](near)
	return near, opened, err
}

// If the server ends the connection in order, so does the session. If it breaks off, the relay gets
// an error.
func TestDesktopEnds(t *testing.T) {
	l := desktopLink(t)
	for name, c := range map[string]struct {
		end  func(*net.TCPConn)
		want wire.Code
	}{
		"in order": {func(c *net.TCPConn) { _ = c.CloseWrite(); _, _ = io.Copy(io.Discard, c) }, wire.None},
		"broken":   {func(c *net.TCPConn) { _ = c.SetLinger(0); _ = c.Close() }, wire.DesktopFailed},
	} {
		server, port := listen(t, "tcp4", "127.0.0.1:0")
		l.Config.AllowedPorts = []uint16{port}
		served := make(chan error, 1)
		go func() {
			conn, err := server.AcceptTCP()
			if err == nil {
				_, err = conn.Write([]byte("RFB 003.008\n"))
			}
			if err == nil {
				_, err = io.ReadFull(conn, make([]byte, 3))
			}
			if err == nil {
				c.end(conn)
				_ = conn.Close()
			}
			served <- err
		}()
		s, opened, err := asked(t, l, wire.Open{Kind: wire.KindVNC, Port: port})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if opened.Login != "" || opened.Security != "" || opened.Certificate != nil || opened.View {
			t.Errorf("%s: %+v", name, opened)
		}
		var hello [12]byte
		if _, err := io.ReadFull(s, hello[:]); err != nil || string(hello[:]) != "RFB 003.008\n" {
			t.Errorf("%s: %q, %v", name, hello, err)
		}
		if _, err := s.Write([]byte("bye")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		rest, err := io.ReadAll(s)
		if len(rest) > 0 || wire.CodeOf(err) != c.want {
			t.Errorf("%s: %d bytes, %v", name, len(rest), err)
		}
		if err := s.CloseWrite(); c.want == wire.None && err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	}
}

// With RDP the relay learns what the server has chosen before anything is sent to it, and the agent
// asks for the server's certificate once.
func TestDesktopRDP(t *testing.T) {
	cert, sum := rdpCert(t)
	l := desktopLink(t)
	port := xrdp(t, cert, "security_layer=tls")
	l.Config.AllowedPorts = []uint16{port}
	s, opened, err := asked(t, l, wire.Open{Kind: wire.KindRDP, Port: port})
	if err != nil || opened.Security != wire.TLS || !slices.Equal(opened.Certificate, sum) {
		t.Fatalf("%+v, %v", opened, err)
	}
	if _, err := s.Write(connectionRequest(protocolSSL)); err != nil {
		t.Fatal(err)
	}
	body, err := readConfirm(s)
	if err != nil {
		t.Fatal(err)
	}
	if chosen, err := parseConfirm(body); err != nil || chosen != protocolSSL {
		t.Errorf("behind Opened the server chooses %d, %v", chosen, err)
	}
}

// fakeShare is a sharing without a screen.
type fakeShare struct {
	done chan struct{}
	err  error
}

func (f *fakeShare) Done() <-chan struct{} { return f.done }
func (f *fakeShare) Err() error            { return f.err }

// pair is a socket pair, as a screen's bytes come through one.
func pair(t *testing.T) (near, far *net.UnixConn) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: t.TempDir() + "/s", Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err = net.DialUnix("unix", nil, l.Addr().(*net.UnixAddr))
	if err != nil {
		t.Fatal(err)
	}
	far, err = l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = near.Close(), far.Close() })
	return near, far
}

// However the sharing ends, the relay learns why. When the relay goes, the sharing ends.
func TestShareEnds(t *testing.T) {
	ended := wire.Errorf(wire.ConsoleEnded, "bob ended it")
	for name, c := range map[string]struct {
		end  func(far *net.UnixConn, s *fakeShare, relay wire.Stream)
		want wire.Code // for the relay
	}{
		"the user ends it": {func(_ *net.UnixConn, s *fakeShare, _ wire.Stream) {
			s.err = ended
			close(s.done)
		}, wire.ConsoleEnded},
		"the bytes end before the reason is known": {func(far *net.UnixConn, s *fakeShare, _ wire.Stream) {
			_ = far.Close()
			s.err = ended
			time.AfterFunc(100*time.Millisecond, func() { close(s.done) })
		}, wire.ConsoleEnded},
		"it ends in order": {func(far *net.UnixConn, s *fakeShare, _ wire.Stream) {
			close(s.done)
			_ = far.Close()
		}, wire.None},
		"the relay ends it": {func(far *net.UnixConn, s *fakeShare, relay wire.Stream) {
			_ = relay.CloseWrite()
			if n, err := far.Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
				t.Errorf("the screen's side: %d bytes, %v", n, err)
			}
			s.err = wire.Errorf(wire.DesktopFailed, "the server saw its viewer go")
			close(s.done)
		}, wire.None},
		"the relay breaks off": {func(far *net.UnixConn, s *fakeShare, relay wire.Stream) {
			relay.Reset(wire.Killed)
			if n, err := far.Read(make([]byte, 1)); n > 0 || err == nil {
				t.Errorf("the screen's side: %d bytes, %v", n, err)
			}
			close(s.done)
		}, wire.Killed},
	} {
		t.Run(name, func(t *testing.T) {
			relay, agent := wiretest.Streams()
			near, far := pair(t)
			share := &fakeShare{done: make(chan struct{})}
			var wg sync.WaitGroup
			var err error
			wg.Go(func() { _, _, err = spliceShare(t.Context(), agent, near, share) })
			if _, err := far.Write([]byte("RFB")); err != nil {
				t.Fatal(err)
			}
			if err := relay.SetReadDeadline(time.Now().Add(patience)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(relay, make([]byte, 3)); err != nil {
				t.Fatal(err)
			}
			c.end(far, share, relay)
			if _, err := io.ReadAll(relay); wire.CodeOf(err) != c.want {
				t.Errorf("the relay sees %v, want %s", err, c.want)
			}
			_ = relay.CloseWrite()
			wg.Wait()
			if wire.CodeOf(err) != c.want {
				t.Errorf("the agent says %v, want %s", err, c.want)
			}
		})
	}
}

// An agent reports the servers that a session could reach, and no others.
func TestDesktopFacts(t *testing.T) {
	l := desktopLink(t)
	server, port := listen(t, "tcp4", "127.0.0.1:0")
	if l.Config.serves(t.Context(), port) {
		t.Error("a port that is not allowed")
	}
	l.Config.AllowedPorts = []uint16{port}
	if !l.Config.serves(t.Context(), port) {
		t.Error("a server of root is not told of")
	}
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	if l.Config.serves(t.Context(), port) {
		t.Error("a server that is gone")
	}
	port, _ = stranger(t, 3999999999, "tcp4!127.0.0.1:0")
	l.Config.AllowedPorts = []uint16{port}
	if l.Config.serves(t.Context(), port) {
		t.Error("a stranger's server")
	}
	l.Config.Console = console.Config{}
	if got := l.desktops(t.Context()); got != (desktops{}) { // not its console, and no port that it allows
		t.Errorf("%+v", got)
	}
	if f := (facts{desktops: desktops{rdp: true, vnc: true, console: "bob"}}).read(); !f.RDP || !f.VNC || f.Console != "bob" {
		t.Errorf("%+v", f)
	}
}
