package proxy

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	sshagent "golang.org/x/crypto/ssh/agent"

	"scrier/wire"
)

// ends are two pipes, of which each side has one end of both.
type ends struct {
	in, out *os.File
}

func (e ends) Read(b []byte) (int, error)  { return e.in.Read(b) }
func (e ends) Write(b []byte) (int, error) { return e.out.Write(b) }
func (e ends) Close() error                { return errors.Join(e.in.Close(), e.out.Close()) }

// served is a [Serve] that runs, and its client.
type served struct {
	*ssh.Client
	pipe  ends
	said  *bytes.Buffer // to the person; behind done
	ended chan error
}

// serve serves a client in this process.
func (m *machine) serve(ctx context.Context) *served {
	m.t.Helper()
	upR, upW, err := os.Pipe()
	m.must(err)
	downR, downW, err := os.Pipe()
	m.must(err)
	s := &served{pipe: ends{downR, upW}, said: new(bytes.Buffer), ended: make(chan error, 1)}
	go func() {
		s.ended <- Serve(ctx, Config{Conn: ends{upR, downW}, HostKey: readKey(m.path("proxy_key")), Open: openers(m.dir), Report: report, Messages: s.said})
	}()
	conn, channels, requests, err := ssh.NewClientConn(&pipes{ReadWriteCloser: s.pipe, gone: func() {}}, "x", &ssh.ClientConfig{
		User: "anybody", HostKeyCallback: ssh.FixedHostKey(readKey(m.path("proxy_key")).PublicKey()),
	})
	m.must(err)
	s.Client = ssh.NewClient(conn, channels, requests)
	m.t.Cleanup(func() {
		_ = s.Close()
		_ = s.Wait()
	})
	return s
}

// await is how Serve ended.
func (m *machine) await(s *served) error {
	m.t.Helper()
	select {
	case err := <-s.ended:
		return err
	case <-time.After(patience):
		m.t.Fatal("Serve does not end")
		return nil
	}
}

// halfCloser is what the tests of forwards close.
type halfCloser interface {
	io.ReadWriteCloser
	CloseWrite() error
}

// exchange sends a request, ends that direction, and reads the answer; the other side answers only then.
func exchange(t *testing.T, near, far halfCloser, size int) {
	t.Helper()
	question, answer := make([]byte, size), make([]byte, size)
	rand.Read(question)
	rand.Read(answer)
	var wg sync.WaitGroup
	wg.Go(func() {
		got, err := io.ReadAll(far)
		if err != nil || !bytes.Equal(got, question) {
			t.Errorf("the far side got %d bytes, %v", len(got), err)
		}
		if _, err := far.Write(answer); err != nil {
			t.Error(err)
		}
		if err := far.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := near.Write(question); err != nil {
		t.Error(err)
	}
	if err := near.CloseWrite(); err != nil {
		t.Error(err)
	}
	got, err := io.ReadAll(near)
	if err != nil || !bytes.Equal(got, answer) {
		t.Errorf("the near side got %d bytes, %v", len(got), err)
	}
	wg.Wait()
	_ = near.Close()
}

// accepted gives the next connection.
func accepted(t *testing.T, l net.Listener) halfCloser {
	t.Helper()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return c.(halfCloser)
}

// TestHalfClose: on each kind of forward, who has sent all still hears the answer.
func TestHalfClose(t *testing.T) {
	m := newMachine(t)
	s := m.serve(t.Context())
	const size = 3 << 20
	socket := m.path("socket")
	for _, c := range []struct {
		name   string
		listen func() (net.Listener, error)       // where somebody waits
		dial   func(net.Addr) (halfCloser, error) // where somebody comes from
	}{
		{"-L", func() (net.Listener, error) { return net.Listen("tcp", "127.0.0.1:0") }, func(a net.Addr) (halfCloser, error) {
			c, err := s.Dial("tcp", a.String())
			if err != nil {
				return nil, err
			}
			return c.(halfCloser), nil
		}},
		{"-L socket", func() (net.Listener, error) { return net.Listen("unix", socket) }, func(net.Addr) (halfCloser, error) {
			c, err := s.Dial("unix", socket)
			if err != nil {
				return nil, err
			}
			return c.(halfCloser), nil
		}},
		{"-R", func() (net.Listener, error) { return s.Listen("tcp", "127.0.0.1:0") }, func(a net.Addr) (halfCloser, error) {
			c, err := net.Dial("tcp", a.String())
			if err != nil {
				return nil, err
			}
			return c.(halfCloser), nil
		}},
		{"-R socket", func() (net.Listener, error) { return s.ListenUnix(socket + "2") }, func(net.Addr) (halfCloser, error) {
			c, err := net.Dial("unix", socket+"2")
			if err != nil {
				return nil, err
			}
			return c.(halfCloser), nil
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, err := c.listen()
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				near, err := c.dial(l.Addr())
				if err != nil {
					t.Fatal(err)
				}
				exchange(t, near, accepted(t, l), size)
			}
			if err := l.Close(); err != nil {
				t.Error(err)
			}
			if near, err := c.dial(l.Addr()); err == nil && strings.HasPrefix(c.name, "-R") {
				t.Error("the machine goes on listening")
				_ = near.Close()
			}
		})
	}
	_, err := s.Dial("tcp", "127.0.0.1:1")
	if e, ok := errors.AsType[*ssh.OpenChannelError](err); !ok || e.Reason != ssh.ConnectionFailed || !strings.Contains(e.Message, "(forward_failed)") {
		t.Errorf("a port at which nobody listens: %v", err)
	}
	_, _, err = s.OpenChannel("x11", nil)
	if e, ok := errors.AsType[*ssh.OpenChannelError](err); !ok || e.Reason != ssh.UnknownChannelType {
		t.Errorf("a channel of a type that there is not: %v", err)
	}
	_, _, err = s.OpenChannel("direct-tcpip", []byte("short"))
	if e, ok := errors.AsType[*ssh.OpenChannelError](err); !ok || !strings.Contains(e.Message, "(bad_request)") {
		t.Errorf("a channel that is asked for wrongly: %v", err)
	}
}

// TestBroken: what breaks at the machine does not look like an end to the client.
func TestBroken(t *testing.T) {
	m := newMachine(t)
	s := m.serve(t.Context())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	m.must(err)
	near, err := s.Dial("tcp", l.Addr().String())
	m.must(err)
	far := accepted(t, l)
	if _, err := far.Write([]byte("some")); err != nil {
		t.Fatal(err)
	}
	m.must(far.(*net.TCPConn).SetLinger(0))
	m.must(far.Close())
	if got, err := io.ReadAll(near); err != nil || string(got) != "some" { // the channel is closed: there is no other word in SSH
		t.Errorf("got %q, %v", got, err)
	}
	m.until("writing fails", func() bool { _, err := near.Write([]byte("x")); return err != nil })

	// And the other way round: what the client had sent before it closed the channel arrives.
	near, err = s.Dial("tcp", l.Addr().String())
	m.must(err)
	sent := bytes.Repeat([]byte("x"), 1<<20)
	_, err = near.Write(sent)
	m.must(err)
	m.must(near.Close())
	if got, err := io.ReadAll(accepted(t, l)); err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d bytes of %d arrived: %v", len(got), len(sent), err)
	}
}

// TestMany has 1,000 channels at once, one of which nobody reads.
func TestMany(t *testing.T) {
	m := newMachine(t)
	s := m.serve(t.Context())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	m.must(err)
	var far sync.WaitGroup
	defer far.Wait()
	defer l.Close()
	far.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			far.Go(func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			})
		}
	})
	stuck, err := s.Dial("tcp", l.Addr().String())
	m.must(err)
	var wrote sync.WaitGroup
	wrote.Go(func() {
		for {
			if _, err := stuck.Write(make([]byte, 64<<10)); err != nil {
				return // it was closed
			}
		}
	})
	const n = 1000
	conns := make([]net.Conn, n)
	var wg sync.WaitGroup
	for i := range conns {
		wg.Go(func() {
			c, err := s.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Errorf("channel %d: %v", i, err)
			}
			conns[i] = c
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	for i, c := range conns {
		wg.Go(func() {
			word := fmt.Sprintf("channel %d", i)
			if _, err := io.WriteString(c, word); err != nil {
				t.Error(err)
			}
			got := make([]byte, len(word))
			if _, err := io.ReadFull(c, got); err != nil || string(got) != word {
				t.Errorf("got %q, %v", got, err)
			}
			_ = c.Close()
		})
	}
	wg.Wait()
	_ = stuck.Close()
	wrote.Wait()
}

// TestAgent: a program of the machine reaches the agent of the client, if the client wants that.
func TestAgent(t *testing.T) {
	m := newMachine(t)
	if out := m.fine(m.command("sh", "-ec", `
eval $(ssh-agent -s) >/dev/null
trap 'ssh-agent -k >/dev/null' EXIT
ssh-add -q user_key
ssh -F config -A x 'ssh-add -l' | grep -c ED25519
ssh -F config x 'ssh-add -l' 2>&1 || true
`)); out != "1\nCould not open a connection to your authentication agent.\n" {
		t.Errorf("got %q", out)
	}
	m.write("refused", "agent_forwarding")
	s := m.serve(t.Context())
	m.must(sshagent.ForwardToAgent(s.Client, sshagent.NewKeyring()))
	p, err := s.NewSession()
	m.must(err)
	m.must(sshagent.RequestAgentForwarding(p))
	if out, err := p.CombinedOutput("echo fine"); err != nil || string(out) != "fine\n" {
		t.Errorf("got %q, %v", out, err)
	}
	_ = s.Close()
	if err := m.await(s); err != nil {
		t.Error(err)
	}
	if !strings.Contains(s.said.String(), "scrier: your SSH agent is not forwarded: ") {
		t.Errorf("the person is told %q", s.said)
	}
}

// TestEnd: it ends with its client, with the session and with its context, and leaves nothing.
func TestEnd(t *testing.T) {
	m := newMachine(t)
	busy := func(s *served) {
		t.Helper()
		p, err := s.NewSession()
		m.must(err)
		out, err := p.StdoutPipe()
		m.must(err)
		m.must(p.Start("echo begun; sleep 20"))
		if _, err := io.ReadFull(out, make([]byte, 6)); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("client", func(t *testing.T) {
		s := m.serve(t.Context())
		busy(s)
		m.must(s.pipe.out.Close())
		if err := m.await(s); err != nil || s.said.Len() > 0 {
			t.Errorf("got %v, %q", err, s.said)
		}
	})
	t.Run("context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := m.serve(ctx)
		busy(s)
		cancel()
		if err := m.await(s); err != nil || s.said.Len() > 0 {
			t.Errorf("got %v, %q", err, s.said)
		}
	})
	t.Run("session", func(t *testing.T) {
		s := m.serve(t.Context())
		busy(s)
		m.fine(m.command("sh", "-c", `pkill -P "$(cat pid)"`))
		if err := m.await(s); wire.CodeOf(err) != wire.AgentLost || strings.Count(s.said.String(), "agent_lost") != 1 {
			t.Errorf("got %v, %q", err, s.said)
		}
	})
	t.Run("client before it is let in", func(t *testing.T) {
		upR, upW, err := os.Pipe()
		m.must(err)
		downR, downW, err := os.Pipe()
		m.must(err)
		opening := make(chan struct{})
		ended := make(chan error, 1)
		go func() {
			ended <- Serve(t.Context(), Config{Conn: ends{upR, downW}, HostKey: readKey(m.path("proxy_key")), Report: report, Messages: io.Discard,
				Open: func(ctx context.Context, _ string, _ io.Writer) (Session, error) {
					close(opening)
					<-ctx.Done() // a relay that does not answer
					return nil, ctx.Err()
				}})
		}()
		go func() {
			<-opening
			_ = upW.Close()
		}()
		_, _, _, err = ssh.NewClientConn(&pipes{ReadWriteCloser: ends{downR, upW}, gone: func() {}}, "x", &ssh.ClientConfig{HostKeyCallback: ssh.InsecureIgnoreHostKey()})
		if err == nil {
			t.Error("it is let in")
		}
		if err := m.await(&served{ended: ended}); err != nil {
			t.Error(err)
		}
	})
	t.Run("no SSH client", func(t *testing.T) {
		upR, upW, err := os.Pipe()
		m.must(err)
		downR, downW, err := os.Pipe()
		m.must(err)
		defer downR.Close()
		defer upW.Close()
		_, err = upW.WriteString("GET / HTTP/1.1\r\n" + strings.Repeat("x", 1000))
		m.must(err)
		said := new(bytes.Buffer)
		if err := Serve(t.Context(), Config{Conn: ends{upR, downW}, HostKey: readKey(m.path("proxy_key")), Report: report, Messages: said}); wire.CodeOf(err) != wire.Protocol {
			t.Errorf("got %v", err)
		}
	})
}

// TestRequests: replies come in the order of the requests, also if what is asked takes its time; a client that never
// reads them does not fill the memory.
func TestRequests(t *testing.T) {
	m := newMachine(t)
	s := m.serve(t.Context())
	var ports []uint32
	for range 3 {
		ok, payload, err := s.SendRequest("tcpip-forward", true, ssh.Marshal(struct {
			Host string
			Port uint32
		}{"127.0.0.1", 0}))
		if err != nil || !ok || len(payload) != 4 {
			t.Fatalf("got %v, %x, %v", ok, payload, err)
		}
		var m struct{ Port uint32 }
		if err := ssh.Unmarshal(payload, &m); err != nil {
			t.Fatal(err)
		}
		ports = append(ports, m.Port)
		if ok, _, err := s.SendRequest("keepalive@openssh.com", true, nil); err != nil || ok {
			t.Errorf("a keepalive gets %v, %v", ok, err)
		}
	}
	cancel := func(port uint32) bool {
		ok, _, err := s.SendRequest("cancel-tcpip-forward", true, ssh.Marshal(struct {
			Host string
			Port uint32
		}{"127.0.0.1", port}))
		m.must(err)
		return ok
	}
	for _, port := range ports {
		if !cancel(port) || cancel(port) {
			t.Errorf("port %d is not cancelled once", port)
		}
		m.until("the machine does not listen", func() bool {
			c, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(int(port)))
			if err == nil {
				_ = c.Close()
			}
			return err != nil
		})
	}
	for _, r := range []string{"tcpip-forward", "cancel-tcpip-forward", "streamlocal-forward@openssh.com", "cancel-streamlocal-forward@openssh.com"} {
		if ok, _, err := s.SendRequest(r, true, []byte{1}); err != nil || ok {
			t.Errorf("a malformed %s gets %v, %v", r, ok, err)
		}
	}
	// A size, an agent, a signal and the rest are answered, or ignored, on any channel of a session.
	ch, requests, err := s.OpenChannel("session", nil)
	m.must(err)
	go ssh.DiscardRequests(requests)
	for _, c := range []struct {
		kind    string
		payload any
		want    bool
	}{
		{"env", struct{ Name, Value string }{"LC_ALL", "C"}, true},
		{"env", struct{ Name, Value string }{"LD_PRELOAD", "evil.so"}, false},
		{"env", struct{ Name string }{"LANG"}, false},
		{"pty-req", struct{ Term string }{"xterm"}, false},
		{"x11-req", struct{ Single bool }{}, false},
		{"window-change", struct{ Cols, Rows, W, H uint32 }{90, 30, 0, 0}, false},
		{"pty-req", struct {
			Term             string
			Cols, Rows, W, H uint32
			Modes            string
		}{"xterm", 1, 1, 0, 0, ""}, true},
		{"window-change", struct{ Cols, Rows, W, H uint32 }{90, 30, 0, 0}, true},
		{"exec", struct{ Command string }{"stty -echo size; read line; stty size; echo $LC_ALL"}, true},
		{"exec", struct{ Command string }{"true"}, false},
		{"keepalive@openssh.com", struct{ Nothing string }{}, false},
		{"signal", struct{ Name string }{"TERM"}, false},
	} {
		if ok, err := ch.SendRequest(c.kind, true, ssh.Marshal(c.payload)); err != nil || ok != c.want {
			t.Errorf("%s %v gets %v, %v", c.kind, c.payload, ok, err)
		}
	}
	out := make([]byte, 7)
	if _, err := io.ReadFull(ch, out); err != nil || string(out) != "30 90\r\n" {
		t.Errorf("got %q, %v", out, err)
	}
	if ok, err := ch.SendRequest("window-change", true, ssh.Marshal(struct{ Cols, Rows, W, H uint32 }{91, 31, 0, 0})); err != nil || !ok {
		t.Errorf("a size gets %v, %v", ok, err)
	}
	time.Sleep(200 * time.Millisecond)
	_, err = io.WriteString(ch, "\n")
	m.must(err)
	if out, err := io.ReadAll(ch); err != nil || string(out) != "31 91\r\nC\r\n" {
		t.Errorf("got %q, %v", out, err)
	}
}
