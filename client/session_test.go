package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"scrier/wire"
	"scrier/wire/relaytest"
	"scrier/wire/wiretest"
)

// channels is a relay with one session, of which a test plays the channels.
type channels struct {
	t     *testing.T
	relay *Relay
	near  wire.Link
	id    wire.SessionID
	hold  func(*wire.Framed, *wire.Connect) // nil: holds until its end
	raw   func(wire.Stream, *wire.Connect)  // of all kinds but Hold
	wg    sync.WaitGroup
}

func newChannels(t *testing.T) *channels {
	near, far := wiretest.Pair(wire.Peer{}, wire.Peer{})
	c := &channels{t: t, near: near, relay: Over(near), id: wire.NewSessionID()}
	c.wg.Go(func() {
		for {
			stream, err := far.Accept(context.Background())
			if err != nil {
				return
			}
			c.wg.Go(func() { c.serve(stream) })
		}
	})
	t.Cleanup(func() {
		_ = near.Close(wire.None, "")
		c.wg.Wait()
	})
	return c
}

func (c *channels) attached() *wire.Attached {
	return &wire.Attached{
		Session: c.id, Envoy: "web1", Login: "ann", Kind: wire.KindSSH, Channel: true, Part: 1, Window: wire.ViewerWindow,
		Rights: []wire.Right{wire.MayForward, wire.MayShell},
	}
}

func (c *channels) serve(stream wire.Stream) {
	m, err := wire.Expect[wire.Connect](stream)
	if err != nil {
		return
	}
	if m.Channel != nil && m.Channel.Kind == wire.Hold {
		f := wire.NewFramed(stream)
		if c.hold != nil {
			c.hold(f, m)
			return
		}
		c.keep(f)
		return
	}
	c.raw(stream, m)
}

// keep is an honest Hold.
func (c *channels) keep(f *wire.Framed) {
	_ = f.Send(c.attached())
	if _, err := f.Receive(); errors.Is(err, io.EOF) {
		_ = f.Send(&wire.Exit{})
		_ = f.CloseWrite()
	}
}

func (c *channels) open() *Session {
	c.t.Helper()
	s, err := c.relay.Open(c.t.Context(), SessionRequest{Envoy: "web1"})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { s.Close() })
	return s
}

func TestSessionIsHeld(t *testing.T) {
	c := newChannels(t)
	asked := make(chan *wire.Connect, 1)
	left := make(chan error, 1)
	c.hold = func(f *wire.Framed, m *wire.Connect) {
		asked <- m
		_ = f.Send(c.attached())
		_, err := f.Receive()
		left <- err
		_ = f.Send(&wire.Exit{})
	}
	s, err := c.relay.Open(t.Context(), SessionRequest{Envoy: "web1", Login: "ann", Needs: []wire.Right{wire.MayForward}, Likes: []wire.Right{wire.MayReverse}})
	if err != nil {
		t.Fatal(err)
	}
	m := <-asked
	if m.Envoy != "web1" || m.Login != "ann" || !m.Share || m.Needs[0] != wire.MayForward || m.Likes[0] != wire.MayReverse || m.Channel.Kind != wire.Hold {
		t.Errorf("asked for %+v", m)
	}
	if s.ID() != c.id || s.Envoy() != "web1" || s.Login() != "ann" || len(s.Rights()) != 2 || s.Err() != nil {
		t.Errorf("%v %v", s.is, s.Err())
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-left; !errors.Is(err, io.EOF) {
		t.Errorf("the relay sees %v", err)
	}
	if _, err := s.SFTP(t.Context()); wire.CodeOf(err) != wire.Cancelled {
		t.Errorf("behind its end: %v", err)
	}
}

func TestSessionEnds(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(*channels, *wire.Framed)
		code wire.Code
	}{
		"killed":   {func(_ *channels, f *wire.Framed) { _ = f.Send(&wire.Exit{Code: wire.Killed, Detail: "by bob"}) }, wire.Killed},
		"ended":    {func(_ *channels, f *wire.Framed) { _ = f.Send(&wire.Exit{}) }, wire.Cancelled},
		"broken":   {func(_ *channels, f *wire.Framed) { f.Reset(wire.None) }, wire.RelayUnreachable},
		"cut":      {func(_ *channels, f *wire.Framed) { _ = f.CloseWrite() }, wire.RelayUnreachable},
		"data":     {func(_ *channels, f *wire.Framed) { _ = f.WriteData(wire.DataFrame(make([]byte, 10), 5)) }, wire.Protocol},
		"arrivals": {func(_ *channels, f *wire.Framed) { _ = f.Send(&wire.Arrived{Number: 1}) }, wire.Protocol},
		"link":     {func(c *channels, _ *wire.Framed) { go c.near.Close(wire.RelayRestart, "") }, wire.RelayRestart},
	} {
		t.Run(name, func(t *testing.T) {
			r := newChannels(t)
			over := make(chan struct{})
			r.hold = func(f *wire.Framed, _ *wire.Connect) {
				_ = f.Send(r.attached())
				<-over
				c.end(r, f)
			}
			r.raw = func(s wire.Stream, _ *wire.Connect) {
				_ = wire.Send(s, r.attached())
				_, _ = io.Copy(io.Discard, s)
			}
			s := r.open()
			conn, err := s.Dial(t.Context(), "tcp", "localhost", 80, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			l, err := s.Listen(t.Context(), "unix", "/run/x", 0)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			p, err := s.Program(t.Context(), ProgramRequest{Command: []byte("true")})
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			close(over)
			if _, err := conn.Read(make([]byte, 1)); wire.CodeOf(err) != c.code {
				t.Errorf("a connection ends with %v", err)
			}
			if _, _, _, err := l.Accept(t.Context()); wire.CodeOf(err) != c.code {
				t.Errorf("a listener ends with %v", err)
			}
			if _, err := p.Wait(t.Context()); wire.CodeOf(err) != c.code {
				t.Errorf("a program ends with %v", err)
			}
			<-s.Done()
			if err := s.Err(); wire.CodeOf(err) != c.code {
				t.Errorf("it ends with %v", err)
			}
		})
	}
}

// A relay that knows less opens a shell: that ends.
func TestSessionAtAnOldRelay(t *testing.T) {
	c := newChannels(t)
	left := make(chan error, 1)
	c.hold = func(f *wire.Framed, _ *wire.Connect) {
		a := c.attached()
		a.Part = 0
		_ = f.Send(a)
		_, err := f.Receive()
		left <- err
		f.Reset(wire.None)
	}
	if _, err := c.relay.Open(t.Context(), SessionRequest{Envoy: "web1"}); wire.CodeOf(err) != wire.VersionMismatch {
		t.Errorf("%v", err)
	}
	if err := <-left; !errors.Is(err, io.EOF) {
		t.Errorf("the shell is left with %v", err)
	}
}

// Bytes pass as they are, and each direction has its own end.
func TestConn(t *testing.T) {
	c := newChannels(t)
	c.raw = func(s wire.Stream, m *wire.Connect) {
		if m.Session != c.id || m.Channel.Kind != wire.DialTCP || m.Channel.Host != "db" || m.Channel.Port != 5432 || m.Channel.Origin != "127.0.0.1" || m.Channel.OriginPort != 9 {
			t.Errorf("asked for %+v", m)
		}
		var b bytes.Buffer
		_ = wire.Send(&b, c.attached())
		b.WriteString("hello ") // in the same Write
		_, _ = s.Write(b.Bytes())
		_, _ = io.Copy(s, s)
		_ = s.CloseWrite()
	}
	s := c.open()
	conn, err := s.Dial(t.Context(), "tcp", "db", 5432, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9})
	if err != nil {
		t.Fatal(err)
	}
	sent := make([]byte, 1<<20)
	rand.Read(sent)
	go func() {
		_, _ = conn.Write(sent)
		_ = conn.CloseWrite()
	}()
	if got, err := io.ReadAll(conn); err != nil || !bytes.Equal(got, append([]byte("hello "), sent...)) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
}

// Close takes nothing back that was finished, and resets the rest.
func TestConnClose(t *testing.T) {
	for name, c := range map[string]struct {
		before func(Conn)
		want   string
		code   wire.Code // what the relay's Write meets
	}{
		"finished": {func(c Conn) { _, _ = c.Write([]byte("all")); _ = c.CloseWrite() }, "all", wire.None},
		"not":      {func(c Conn) {}, "", wire.None},
	} {
		t.Run(name, func(t *testing.T) {
			r := newChannels(t)
			got := make(chan string, 1)
			failed := make(chan error, 2)
			closed := make(chan struct{})
			r.raw = func(s wire.Stream, _ *wire.Connect) {
				_ = wire.Send(s, r.attached())
				<-closed
				b, err := io.ReadAll(s)
				failed <- err
				_, werr := s.Write([]byte("x"))
				failed <- werr
				got <- string(b)
			}
			conn, err := r.open().Dial(t.Context(), "unix", "/run/x.sock", 0, nil)
			if err != nil {
				t.Fatal(err)
			}
			c.before(conn)
			_ = conn.Close()
			close(closed)
			rerr, werr := <-failed, <-failed
			if b := <-got; b != c.want || (rerr == nil) != (c.want != "") || werr == nil {
				t.Errorf("the relay read %q, %v, and wrote: %v", b, rerr, werr)
			}
		})
	}
}

func TestChannelIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		answer wire.Message
		code   wire.Code
	}{
		"refused":         {&wire.Refused{Code: wire.ForwardFailed, Detail: "Connection refused"}, wire.ForwardFailed},
		"not allowed":     {&wire.Refused{Code: wire.ChannelNotAllowed, Detail: relaytest.Evil}, wire.ChannelNotAllowed},
		"another session": {&wire.Attached{Session: wire.NewSessionID(), Part: 2, Kind: wire.KindSSH, Channel: true}, wire.Protocol},
		"exit":            {&wire.Exit{Code: wire.Killed, Detail: relaytest.Evil}, wire.Killed},
		"nonsense":        {&wire.Arrived{}, wire.Protocol},
	} {
		t.Run(name, func(t *testing.T) {
			r := newChannels(t)
			r.raw = func(s wire.Stream, _ *wire.Connect) { _ = wire.Send(s, c.answer); _ = s.CloseWrite() }
			s := r.open()
			for what, open := range map[string]func() error{
				"dial":    func() error { _, err := s.Dial(t.Context(), "tcp", "h", 1, nil); return err },
				"sftp":    func() error { _, err := s.SFTP(t.Context()); return err },
				"listen":  func() error { _, err := s.Listen(t.Context(), "tcp", "", 1); return err },
				"agent":   func() error { _, err := s.ListenAgent(t.Context()); return err },
				"program": func() error { _, err := s.Program(t.Context(), ProgramRequest{}); return err },
				"screen":  func() error { _, err := s.Program(t.Context(), ProgramRequest{PTY: &PTY{}}); return err },
			} {
				err := open()
				if d := wire.DetailOf(err); wire.CodeOf(err) != c.code || wire.Printable(d) != d {
					t.Errorf("%s: %v", what, err)
				}
			}
			if s.Err() != nil {
				t.Errorf("the session ended with %v", s.Err())
			}
		})
	}
}

// A channel that does not open costs its own caller only, and not for ever.
func TestChannelIsNotAnswered(t *testing.T) {
	r := newChannels(t)
	r.raw = func(s wire.Stream, _ *wire.Connect) { _, _ = io.Copy(io.Discard, s) }
	s := r.open()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := s.SFTP(ctx); wire.CodeOf(err) != wire.Cancelled {
		t.Errorf("%v", err)
	}
	if _, err := s.open(t.Context(), &wire.Channel{Kind: wire.SFTP}, 50*time.Millisecond); wire.CodeOf(err) != wire.RelayUnreachable || s.Err() != nil {
		t.Errorf("%v, and the session %v", err, s.Err())
	}
}

func TestChannelBounds(t *testing.T) {
	s := newChannels(t).open()
	for name, open := range map[string]func() error{
		"long host": func() error { _, err := s.Dial(t.Context(), "tcp", strings.Repeat("x", 256), 1, nil); return err },
		"no host":   func() error { _, err := s.Dial(t.Context(), "tcp", "", 1, nil); return err },
		"no path":   func() error { _, err := s.Listen(t.Context(), "unix", "", 0); return err },
		"long command": func() error {
			_, err := s.Program(t.Context(), ProgramRequest{Command: make([]byte, wire.MaxCommand+1)})
			return err
		},
		"two things": func() error {
			_, err := s.Program(t.Context(), ProgramRequest{Subsystem: "x", PTY: &PTY{}})
			return err
		},
	} {
		if err := open(); wire.CodeOf(err) != wire.BadRequest {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestListener(t *testing.T) {
	c := newChannels(t)
	c.raw = func(s wire.Stream, m *wire.Connect) {
		a := c.attached()
		switch m.Channel.Kind {
		case wire.ListenTCP:
			a.Port = 4711
			f := wire.NewFramed(s)
			_ = f.Send(a)
			for i := range uint32(3) {
				_ = f.Send(&wire.Arrived{Number: i + 1, Origin: "10.0.0.1", OriginPort: 99})
			}
			_, _ = f.Receive()
		case wire.Accept:
			if m.Channel.Number == 2 { // it has gone
				_ = wire.Send(s, &wire.Refused{Code: wire.NotFound})
				_ = s.CloseWrite()
				return
			}
			_ = wire.Send(s, a)
			_, _ = s.Write([]byte{byte(m.Channel.Number)})
			_ = s.CloseWrite()
			_, _ = io.Copy(io.Discard, s)
		}
	}
	l, err := c.open().Listen(t.Context(), "tcp", "localhost", 0)
	if err != nil {
		t.Fatal(err)
	}
	if l.Port() != 4711 {
		t.Errorf("port %d", l.Port())
	}
	sum := 0
	for range 2 {
		conn, origin, port, err := l.Accept(t.Context())
		if err != nil || origin != "10.0.0.1" || port != 99 {
			t.Fatal(origin, port, err)
		}
		b, err := io.ReadAll(conn)
		if err != nil || len(b) != 1 {
			t.Fatal(b, err)
		}
		sum += int(b[0])
		_ = conn.Close()
	}
	if sum != 4 {
		t.Errorf("the connections add up to %d", sum)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, _, _, err := l.Accept(ctx); wire.CodeOf(err) != wire.Cancelled {
		t.Error(err)
	}
	_ = l.Close()
	if _, _, _, err := l.Accept(t.Context()); wire.CodeOf(err) != wire.Cancelled {
		t.Error(err)
	}
}

// A relay that tells of connections without end is not read on, and whoever listens still ends.
func TestListenerIsFlooded(t *testing.T) {
	c := newChannels(t)
	var mu sync.Mutex
	most, now := 0, 0
	flooded := make(chan struct{})
	c.raw = func(s wire.Stream, m *wire.Connect) {
		if m.Channel.Kind == wire.Accept {
			mu.Lock()
			if now++; now > most {
				most = now
			}
			if now == maxArriving {
				close(flooded)
			}
			mu.Unlock()
			_, _ = io.Copy(io.Discard, s)
			mu.Lock()
			now--
			mu.Unlock()
			return
		}
		f := wire.NewFramed(s)
		_ = f.Send(c.attached())
		for f.Send(&wire.Arrived{Number: 1, Origin: relaytest.Evil}) == nil {
		}
	}
	l, err := c.open().ListenAgent(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	<-flooded
	_ = l.Close()
	mu.Lock()
	defer mu.Unlock()
	if most > maxArriving {
		t.Errorf("%d connections were taken at once", most)
	}
}

// Ports that are none, or that nobody asked for.
func TestListenerPorts(t *testing.T) {
	for name, answer := range map[string]func(wire.Stream, *wire.Attached){
		"another": func(s wire.Stream, a *wire.Attached) { a.Port = 81; _ = wire.Send(s, a) },
		"huge": func(s wire.Stream, a *wire.Attached) { // 17: 1<<32
			_, _ = s.Write([]byte{0x21, 0x07, 0xa1, 0x11, 0x1a, 0xff, 0xff, 0xff, 0xff})
		},
	} {
		c := newChannels(t)
		c.raw = func(s wire.Stream, _ *wire.Connect) { answer(s, c.attached()) }
		if _, err := c.open().Listen(t.Context(), "tcp", "", 80); wire.CodeOf(err) != wire.Protocol {
			t.Errorf("%s: %v", name, err)
		}
	}
	c := newChannels(t)
	c.raw = func(s wire.Stream, _ *wire.Connect) { _ = wire.Send(s, c.attached()) }
	if _, err := c.open().Listen(t.Context(), "tcp", "", 0); wire.CodeOf(err) != wire.Protocol {
		t.Errorf("no port: %v", err)
	}
}

// What cannot work any more is not tried again.
func TestAgainGivesUp(t *testing.T) {
	for code, want := range map[wire.Code]int{wire.NotFound: 1, wire.Revoked: 1, wire.RelayUnreachable: 3, wire.Internal: 3} {
		synctest.Test(t, func(t *testing.T) {
			tries := 0
			_, err := again(t.Context(), time.Hour, func(context.Context) (int, error) {
				if tries++; tries == 3 {
					return 0, nil
				}
				return 0, &wire.Error{Code: code}
			})
			if tries != want || (err == nil) != (want == 3) {
				t.Errorf("%s: %d attempts, %v", code, tries, err)
			}
		})
	}
}

// A link that has ended with a word of the relay's is not lost, but for one word: that this program seemed to be gone, which it is not.
func TestBroke(t *testing.T) {
	for code, lost := range map[wire.Code]bool{wire.Internal: true, wire.ViewerLost: true, wire.None: false, wire.Killed: false, wire.OperatorChanged: false, wire.RelayShutdown: false} {
		near, far := wiretest.Pair(wire.Peer{}, wire.Peer{})
		if broke(near) {
			t.Error("a link that lives is lost")
		}
		_ = far.Close(code, "")
		<-near.Context().Done()
		r := &Relay{link: near}
		if got := wire.CodeOf(r.why()) == wire.RelayUnreachable; broke(near) != lost || got != lost {
			t.Errorf("%s: lost: %t, %v", code, broke(near), r.why())
		}
	}
}
