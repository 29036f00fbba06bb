package ssh

import (
	"crypto/ed25519"
	cryptorand "crypto/rand"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh/agent"

	"scrier/wire"
)

// What connects at the machine comes here, with who it is, and half-close is kept in both directions.
func TestListen(t *testing.T) {
	c := connected(t)
	for name, target := range map[string]Target{
		"any port": {Host: "127.0.0.1"}, "a name": {Host: "localhost"}, "all addresses": {}, "a socket": {Unix: true, Host: t.TempDir() + "/socket"},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := c.Listen(t.Context(), target)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			network, address := "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(l.Port())))
			if target.Unix {
				network, address = "unix", target.Host
			}
			for _, size := range []int{0, 1, 5<<20 + 3} {
				seed := rand.Uint64()
				_, want, _ := sum(source(seed, size))
				there, err := net.Dial(network, address)
				if err != nil {
					t.Fatal(err)
				}
				here, origin, port, err := l.Accept(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if a, ok := there.LocalAddr().(*net.TCPAddr); ok && (origin != a.IP.String() || int(port) != a.Port) || !ok && origin != "" {
					t.Errorf("%s is told as %q, %d", there.LocalAddr(), origin, port)
				}
				var wg sync.WaitGroup
				wg.Go(func() {
					if err := errors.Join(send(there, seed, size), there.(interface{ CloseWrite() error }).CloseWrite()); err != nil {
						t.Error(err)
					}
				})
				if n, got, err := sum(here); err != nil || int(n) != size || got != want {
					t.Errorf("%d bytes come as %d others, %v", size, n, err)
				}
				wg.Go(func() {
					if err := errors.Join(send(here, seed, size), here.CloseWrite()); err != nil {
						t.Error(err)
					}
				})
				if n, got, err := sum(there); err != nil || int(n) != size || got != want {
					t.Errorf("%d bytes go as %d others, %v", size, n, err)
				}
				if _, err := here.Read(make([]byte, 1)); err != io.EOF {
					t.Error(err)
				}
				_ = there.Close()
				wg.Wait()
			}
		})
	}
}

// What the server does not allow, and what is taken, is refused; other channels go on.
func TestListenRefused(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := uint16(taken.Addr().(*net.TCPAddr).Port)
	for name, c := range map[string]struct {
		lines  []string
		target Target
	}{
		"a port that is taken":       {nil, Target{Host: "127.0.0.1", Port: port}},
		"no forwarding":              {[]string{"AllowTcpForwarding no"}, Target{Host: "localhost"}},
		"only to the machine":        {[]string{"AllowTcpForwarding local"}, Target{Host: "localhost"}},
		"another port":               {[]string{"PermitListen 127.0.0.1:1"}, Target{Host: "localhost"}},
		"no sockets":                 {[]string{"AllowStreamLocalForwarding no"}, Target{Unix: true, Host: t.TempDir() + "/socket"}},
		"a folder that is not there": {nil, Target{Unix: true, Host: t.TempDir() + "/none/socket"}},
	} {
		t.Run(name, func(t *testing.T) {
			client := connected(t, c.lines...)
			beside, err := client.Start(t.Context(), Program{Command: []byte("cat")})
			if err != nil {
				t.Fatal(err)
			}
			defer beside.Close()
			for range 2 {
				_, err = client.Listen(t.Context(), c.target)
				if wire.CodeOf(err) != wire.ForwardFailed || wire.HintOf(err) == "" {
					t.Errorf("%v", err)
				}
				plain(t, err)
			}
			echoes(t, beside)
			client.mu.Lock()
			defer client.mu.Unlock()
			if client.listening != 0 || len(client.listeners) != 0 || client.asking != nil {
				t.Errorf("%d listeners are left", client.listening)
			}
		})
	}
}

// A listener that is closed listens no more: who waits is closed, who was accepted goes on, and its port is free.
func TestListenerClosed(t *testing.T) {
	c := connected(t)
	for name, target := range map[string]Target{"tcp": {Host: "127.0.0.1"}, "unix": {Unix: true, Host: t.TempDir() + "/socket"}} {
		t.Run(name, func(t *testing.T) {
			l, err := c.Listen(t.Context(), target)
			if err != nil {
				t.Fatal(err)
			}
			target.Port = l.Port()
			if _, err := c.Listen(t.Context(), target); wire.CodeOf(err) != wire.Conflict {
				t.Errorf("a second one: %v", err)
			}
			network, address := "tcp", target.String()
			if target.Unix {
				network = "unix"
			}
			dial := func() net.Conn {
				t.Helper()
				conn, err := net.Dial(network, address)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = conn.Close() })
				return conn
			}
			accepted := dial()
			conn, _, _, err := l.Accept(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Reset(wire.None)
			waiting := dial()
			for here := 0; here == 0; time.Sleep(time.Millisecond) {
				c.mu.Lock()
				here = len(l.waiting)
				c.mu.Unlock()
			}
			l.Close()
			l.Close() // once more changes nothing
			if _, _, _, err := l.Accept(t.Context()); wire.CodeOf(err) != wire.Cancelled {
				t.Errorf("accepting: %v", err)
			}
			if n, err := waiting.Read(make([]byte, 1)); n != 0 || err == nil {
				t.Errorf("who waits reads %d bytes, %v", n, err)
			}
			go func() { _, _ = io.Copy(conn, conn) }()
			echoes(t, accepted)
			if target.Unix {
				return // sshd leaves the file
			}
			again, err := c.Listen(t.Context(), target)
			if err != nil {
				t.Fatalf("again: %v", err)
			}
			again.Close()
			sync, err := c.Listen(t.Context(), Target{Host: "127.0.0.1"}) // its answer comes behind what was cancelled
			if err != nil {
				t.Fatal(err)
			}
			defer sync.Close()
			if _, err := net.Dial(network, address); err == nil {
				t.Error("it still listens")
			}
		})
	}
}

// There are 64 listeners, and the answer to each is its own.
func TestManyListeners(t *testing.T) {
	c := connected(t)
	var wg sync.WaitGroup
	listeners := make(chan *Listener, maxListeners)
	for range maxListeners {
		wg.Go(func() {
			l, err := c.Listen(t.Context(), Target{Host: "127.0.0.1"})
			if err != nil {
				t.Error(err)
				return
			}
			listeners <- l
		})
	}
	wg.Wait()
	close(listeners)
	if _, err := c.Listen(t.Context(), Target{Host: "127.0.0.1"}); wire.CodeOf(err) != wire.Busy {
		t.Errorf("one more: %v", err)
	}
	if _, err := c.ListenAgent(); wire.CodeOf(err) != wire.Busy {
		t.Errorf("an agent more: %v", err)
	}
	for l := range listeners {
		wg.Go(func() {
			there, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(l.Port()))))
			if err != nil {
				t.Error(err)
				return
			}
			defer there.Close()
			here, _, port, err := l.Accept(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			if int(port) != there.LocalAddr().(*net.TCPAddr).Port {
				t.Errorf("what went to %s came from %d, not from %s", there.RemoteAddr(), port, there.LocalAddr())
			}
			here.Reset(wire.None)
			l.Close()
		})
	}
	wg.Wait()
	empty(t, c, 1)
}

// Programs reach the agent of the operator when they ask for it, and the server lets them.
func TestAgent(t *testing.T) {
	c := connected(t)
	_, key, err := ed25519.GenerateKey(cryptorand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys := agent.NewKeyring()
	if err := keys.Add(agent.AddedKey{PrivateKey: key, Comment: "a key of the operator's"}); err != nil {
		t.Fatal(err)
	}
	l, err := c.ListenAgent()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.ListenAgent(); wire.CodeOf(err) != wire.Conflict {
		t.Errorf("a second agent: %v", err)
	}
	run := func(p Program) string {
		t.Helper()
		process, err := c.Start(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		defer process.Close()
		if process.Agent() != p.Agent { // the second time sshd refuses what it has granted already
			t.Errorf("the agent: %v", process.Agent())
		}
		go func() { _, _ = io.Copy(io.Discard, process.Stderr()) }()
		out, err := io.ReadAll(process)
		if err != nil {
			t.Error(err)
		}
		return string(out)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, origin, port, err := l.Accept(t.Context())
			if err != nil {
				return
			}
			if origin != "" || port != 0 {
				t.Errorf("%q, %d connects to the agent", origin, port)
			}
			wg.Go(func() {
				_ = agent.ServeAgent(keys, conn)
				_ = conn.CloseWrite()
			})
		}
	})
	if got := run(Program{Command: []byte("echo $SSH_AUTH_SOCK")}); got != "\n" {
		t.Errorf("a program that does not ask has %q", got)
	}
	list := Program{Command: []byte("ssh-add -l"), Agent: true}
	for _, p := range []Program{list, {Command: list.Command, Agent: true, PTY: &PTY{Term: "xterm"}}} {
		if got := run(p); !strings.Contains(got, "a key of the operator's (ED25519)") {
			t.Errorf("the keys are %q", got)
		}
	}
	l.Close()
	wg.Wait()
	if got := run(list); strings.Contains(got, "operator") {
		t.Errorf("without an agent the keys are %q", got)
	}
	if l, err = c.ListenAgent(); err != nil {
		t.Fatal(err)
	}
	l.Close()

	c = connected(t, "AllowAgentForwarding no")
	process, err := c.Start(t.Context(), Program{Command: []byte("cat"), Agent: true})
	if err != nil {
		t.Fatal(err)
	}
	if process.Agent() {
		t.Error("the agent is told as there")
	}
	echoes(t, process)
}
