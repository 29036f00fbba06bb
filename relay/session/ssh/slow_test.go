package ssh

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"

	"scrier/relay/session/ssh/sshtest"
	"scrier/wire"
	"scrier/wire/wiretest"
)

// pair is a client, which is held, and the server's side of its connection, which a test plays.
func pair(t *testing.T) (*Client, *ssh.ServerConn, <-chan ssh.NewChannel, <-chan *ssh.Request) {
	t.Helper()
	near, far := wiretest.Streams()
	host := newSigner(t)
	config := &ssh.ServerConfig{PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return nil, nil }}
	config.AddHostKey(host)
	var wg sync.WaitGroup
	var server *ssh.ServerConn
	var channels <-chan ssh.NewChannel
	var requests <-chan *ssh.Request
	wg.Go(func() {
		var err error
		server, channels, requests, err = ssh.NewServerConn(&wire.NetConn{Stream: far, End: func(s wire.Stream) { s.Reset(wire.None) }}, config)
		if err != nil {
			t.Error(err)
		}
	})
	_, _ = near.Write(Greeting)
	c, err := Dial(t.Context(), near, Config{Signer: newSigner(t), Login: "ann", HostKeys: [][]byte{host.PublicKey().Marshal()}, Authenticated: func() {}})
	if err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if _, err := c.Hold(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		_ = server.Wait()
	})
	return c, server, channels, requests
}

// take lets a channel be, and throws away what is asked on it.
func take(t *testing.T, n ssh.NewChannel) ssh.Channel {
	t.Helper()
	ch, requests, err := n.Accept()
	if err != nil {
		t.Fatal(err)
	}
	go ssh.DiscardRequests(requests)
	return ch
}

// A server that is slow to open one channel holds up no other. What it opens when nobody waits any more is closed.
func TestSlowOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _, channels, _ := pair(t)
		start := time.Now()
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				_, err := c.Dial(t.Context(), Target{Host: "slow", Port: 80})
				if wire.CodeOf(err) != wire.SSHTimeout || time.Since(start) != time.Minute {
					t.Errorf("after %s: %v", time.Since(start), err)
				}
				plain(t, err)
			})
		}
		given, giveUp := context.WithCancelCause(t.Context())
		wg.Go(func() {
			if _, err := c.Dial(given, Target{Host: "slow", Port: 80}); wire.CodeOf(err) != wire.Left {
				t.Errorf("given up: %v", err)
			}
		})
		var late []ssh.NewChannel
		for range 4 {
			late = append(late, <-channels)
		}
		giveUp(&wire.Error{Code: wire.Left})
		go func() {
			n := <-channels
			take(t, n)
			n = <-channels
			_, requests, err := n.Accept()
			if err != nil {
				t.Error(err)
				return
			}
			for r := range requests {
				_ = r.Reply(true, nil)
			}
		}()
		conn, err := c.Dial(t.Context(), Target{Host: "fast", Port: 80})
		if err != nil {
			t.Fatal(err)
		}
		p, err := c.Start(t.Context(), Program{PTY: &PTY{}})
		if err != nil || time.Since(start) != 0 {
			t.Fatalf("after %s: %v", time.Since(start), err)
		}
		wg.Wait()
		p.Close()
		conn.Reset(wire.None)
		for _, n := range late {
			ch := take(t, n)
			if _, err := ch.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("a late one reads %v", err)
			}
			if _, err := ch.Write([]byte("x")); err == nil {
				t.Error("a late one is not closed")
			}
		}
		synctest.Wait()
		empty(t, c, 1)
	})
}

// forwarded has the server pass a connection on.
func forwarded(server *ssh.ServerConn, host string, port uint32) (ssh.Channel, error) {
	ch, requests, err := server.OpenChannel(forwardedTCP, ssh.Marshal(struct {
		Host       string
		Port       uint32
		Origin     string
		OriginPort uint32
	}{host, port, "192.0.2.1", 1234}))
	if err == nil {
		go ssh.DiscardRequests(requests)
	}
	return ch, err
}

// A connection that nobody accepts is refused after two minutes, and at once if 1024 wait: there is room for what the operator opens.
func TestNobodyAccepts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, server, _, requests := pair(t)
		go func() {
			for r := range requests {
				_ = r.Reply(true, nil)
			}
		}()
		l, err := c.Listen(t.Context(), Target{Host: "127.0.0.1", Port: 4000})
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		start := time.Now()
		refused := func(reason ssh.RejectionReason, after time.Duration) {
			_, err := forwarded(server, "127.0.0.1", 4000)
			if e, ok := errors.AsType[*ssh.OpenChannelError](err); !ok || e.Reason != reason || time.Since(start) != after {
				t.Errorf("after %s: %v", time.Since(start), err)
			}
		}
		for range maxArrivals {
			wg.Go(func() { refused(ssh.ConnectionFailed, acceptWait) })
		}
		synctest.Wait()
		refused(ssh.ResourceShortage, 0)
		if err := c.enter(t.Context()); err != nil {
			t.Errorf("one of the operator's: %v", err)
		} else {
			c.exit()
			c.leave()
		}
		wg.Wait()
		empty(t, c, 2)
		wg.Go(func() {
			ch, err := forwarded(server, "127.0.0.1", 4000)
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = ch.Write([]byte("hello"))
			_ = ch.Close()
		})
		conn, origin, port, err := l.Accept(t.Context())
		if err != nil || origin != "192.0.2.1" || port != 1234 {
			t.Fatalf("%q, %d, %v", origin, port, err)
		}
		if got, err := io.ReadAll(conn); err != nil || string(got) != "hello" {
			t.Errorf("%q, %v", got, err)
		}
		conn.Reset(wire.None)
		wg.Wait()
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(&wire.Error{Code: wire.Left})
		if _, _, _, err := l.Accept(ctx); wire.CodeOf(err) != wire.Left {
			t.Errorf("given up: %v", err)
		}
		start = time.Now()
		for range 5 {
			wg.Go(func() { refused(ssh.ConnectionFailed, 0) })
		}
		synctest.Wait()
		l.Close()
		wg.Wait()
		refused(ssh.Prohibited, 0)
	})
}

// What comes to a port that the server has chosen is not lost when it comes with the port's number, or before it.
func TestEarlyArrivals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, server, _, requests := pair(t)
		var wg sync.WaitGroup
		wg.Go(func() {
			r := <-requests
			for _, port := range []uint32{40_000, 40_001, 40_000} {
				wg.Go(func() {
					ch, err := forwarded(server, "", port)
					if (err == nil) != (port == 40_000) {
						t.Errorf("%d: %v", port, err)
					}
					if err == nil {
						_ = ch.Close()
					}
				})
			}
			if _, err := forwarded(server, "localhost", 40_000); err == nil {
				t.Error("what came to another address is accepted")
			}
			synctest.Wait()
			_ = r.Reply(true, ssh.Marshal(struct{ Port uint32 }{40_000}))
			ch, err := forwarded(server, "", 40_000)
			if err != nil {
				t.Error(err)
				return
			}
			_ = ch.Close()
		})
		l, err := c.Listen(t.Context(), Target{})
		if err != nil || l.Port() != 40_000 {
			t.Fatalf("%d, %v", l.Port(), err)
		}
		for range 3 {
			conn, _, _, err := l.Accept(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			conn.Reset(wire.None)
		}
		wg.Wait()
		l.Close()
	})
}

// An answer that comes too late is nobody else's, and ends with its listener's.
func TestLateListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _, channels, requests := pair(t)
		start := time.Now()
		var wg sync.WaitGroup
		heard := make(chan string, 10)
		wg.Go(func() {
			r := <-requests
			time.Sleep(90 * time.Second)
			_ = r.Reply(true, ssh.Marshal(struct{ Port uint32 }{40_000}))
			for range 3 {
				r := <-requests
				var m struct {
					Host string
					Port uint32
				}
				if err := ssh.Unmarshal(r.Payload, &m); err != nil {
					t.Error(err)
				}
				if heard <- r.Type; r.WantReply {
					_ = r.Reply(true, ssh.Marshal(struct{ Port uint32 }{40_001}))
				} else if m.Port != 40_000 && m.Port != 40_001 {
					t.Errorf("%s of port %d", r.Type, m.Port)
				}
			}
		})
		wg.Go(func() {
			time.Sleep(50 * time.Second)
			l, err := c.Listen(t.Context(), Target{Host: "localhost"}) // its turn comes when the first is answered
			if err != nil || l.Port() != 40_001 || time.Since(start) != 90*time.Second {
				t.Errorf("after %s: %v", time.Since(start), err)
				return
			}
			l.Close()
		})
		if _, err := c.Listen(t.Context(), Target{}); wire.CodeOf(err) != wire.SSHTimeout || time.Since(start) != time.Minute {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
		go func() { take(t, <-channels) }()
		conn, err := c.Dial(t.Context(), Target{Host: "localhost", Port: 1})
		if err != nil || time.Since(start) != time.Minute {
			t.Fatalf("meanwhile: %v", err)
		}
		conn.Reset(wire.None)
		wg.Wait()
		got := map[string]int{<-heard: 1}
		got[<-heard]++
		got[<-heard]++
		if got["tcpip-forward"] != 1 || got["cancel-tcpip-forward"] != 2 {
			t.Errorf("the server heard %v", got)
		}
		synctest.Wait()
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.listening != 0 || len(c.listeners) != 0 || c.asking != nil || c.uses != 1 {
			t.Errorf("%d listeners and %d uses are left", c.listening, c.uses)
		}
	})
}

// A server must say at which port it listens, and may not name one that another listener has.
func TestStrangePorts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _, _, requests := pair(t)
		answers := [][]byte{nil, {1}, ssh.Marshal(struct{ Port uint32 }{0}), ssh.Marshal(struct{ Port uint32 }{1 << 16}), ssh.Marshal(struct{ Port uint32 }{4000})}
		go func() {
			_ = (<-requests).Reply(true, nil)
			for _, a := range answers {
				_ = (<-requests).Reply(true, a)
			}
			for r := range requests {
				if r.WantReply {
					t.Errorf("asked for %s", r.Type)
				}
			}
		}()
		l, err := c.Listen(t.Context(), Target{Host: "localhost", Port: 4000})
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range answers {
			if _, err := c.Listen(t.Context(), Target{Host: "localhost"}); wire.CodeOf(err) != wire.ForwardFailed {
				t.Errorf("%v: %v", a, err)
			}
		}
		l.Close()
		empty(t, c, 1)
	})
}

// Whoever says their last word and closes is heard, though more is sent to them meanwhile. That is not taken for ever.
func TestLastWords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _, channels, _ := pair(t)
		words := make([]byte, 1<<20)
		closed := make(chan struct{})
		go func() {
			defer close(closed)
			ch := take(t, <-channels)
			_, _ = io.ReadFull(ch, make([]byte, 100))
			if _, err := ch.Write(words); err != nil {
				t.Error(err)
			}
			_ = ch.CloseWrite()
			_ = ch.Close()
		}()
		conn, err := c.Dial(t.Context(), Target{Host: "localhost", Port: 80})
		if err != nil {
			t.Fatal(err)
		}
		near, far := wiretest.Streams()
		var wg sync.WaitGroup
		var spliced error
		wg.Go(func() { _, _, spliced = wire.Splice(t.Context(), far, conn) })
		var lost time.Duration
		start := time.Now()
		wg.Go(func() {
			for {
				if _, err := near.Write(make([]byte, 10<<10)); err != nil {
					lost = time.Since(start)
					return
				}
				time.Sleep(100 * time.Millisecond)
			}
		})
		<-closed
		synctest.Wait()
		time.Sleep(time.Second) // it is read late, when more was sent
		if got, err := io.ReadAll(near); err != nil || len(got) != len(words) {
			t.Errorf("%d bytes of %d, %v", len(got), len(words), err)
		}
		wg.Wait()
		if spliced == nil || lost < lostWait {
			t.Errorf("after %s: %v", lost, spliced)
		}
		empty(t, c, 1)
	})
}

// The later of both ends waits until the server has closed the channel, so that all has arrived, but not for ever.
func TestEndsWait(t *testing.T) {
	for name, c := range map[string]struct {
		after time.Duration // when the server closes
		want  time.Duration
	}{"at once": {0, 0}, "slow": {3 * time.Second, 3 * time.Second}, "when it is told to": {time.Minute, closeWait}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, _, channels, _ := pair(t)
				over := make(chan struct{})
				defer close(over)
				go func() {
					ch := take(t, <-channels)
					_ = ch.CloseWrite()
					_, _ = io.Copy(io.Discard, ch)
					select {
					case <-time.After(c.after):
					case <-over:
					}
					_ = ch.Close()
				}()
				conn, err := client.Dial(t.Context(), Target{Host: "localhost", Port: 80})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
					t.Error(err)
				}
				start := time.Now()
				if err := conn.CloseWrite(); err != nil || time.Since(start) != c.want {
					t.Errorf("after %s: %v", time.Since(start), err)
				}
			})
		})
	}
	t.Run("never", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			all := sshtest.Forwards()
			c, err := behind(t, all[slices.IndexFunc(all, func(f sshtest.Forward) bool { return f.Name == "never closes" })].Serve)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			conn, err := c.Dial(t.Context(), Target{Host: "localhost", Port: 80})
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			if err := conn.CloseWrite(); err != nil { // the server says the same; either may come later
				t.Error(err)
			}
			if _, err := conn.Read(make([]byte, 1)); err != io.EOF || time.Since(start) != closeWait+drainWait {
				t.Errorf("after %s: %v", time.Since(start), err)
			}
			<-c.Ended() // with its last channel
		})
	})
}

// While a terminal and its program are asked for in one go nobody else sends anything, and that is not done when
// somebody could.
func TestAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, server, channels, requests := pair(t)
		if _, alone := c.goAhead(); alone {
			t.Error("without a channel")
		}
		go func() { take(t, <-channels) }()
		conn, err := c.Dial(t.Context(), Target{Host: "localhost", Port: 80})
		if err != nil {
			t.Fatal(err)
		}
		over, alone := c.goAhead()
		if !alone {
			t.Fatal("not alone")
		}
		if _, again := c.goAhead(); again {
			t.Error("twice")
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			conn, err := c.Dial(t.Context(), Target{Host: "localhost", Port: 80})
			if err != nil {
				t.Error(err)
				return
			}
			conn.Reset(wire.None)
		})
		var l *Listener
		wg.Go(func() {
			if l, err = c.Listen(t.Context(), Target{Host: "localhost", Port: 4000}); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() { _, _, _ = server.SendRequest("keepalive@openssh.com", true, nil) })
		wg.Go(func() { _, _, _ = server.OpenChannel("x11", nil) })
		given, giveUp := context.WithCancelCause(t.Context())
		wg.Go(func() {
			if _, err := c.Dial(given, Target{Host: "localhost", Port: 80}); wire.CodeOf(err) != wire.Left {
				t.Errorf("given up: %v", err)
			}
		})
		next := c.transport.nextWrite()
		synctest.Wait()
		giveUp(&wire.Error{Code: wire.Left})
		synctest.Wait()
		select {
		case <-next:
			t.Error("something was sent")
		default:
		}
		over()
		over() // once more changes nothing
		take(t, <-channels)
		_ = (<-requests).Reply(true, nil)
		wg.Wait()
		synctest.Wait()
		if _, alone := c.goAhead(); alone {
			t.Error("with a listener")
		}
		l.Close()
		synctest.Wait()
		if over, alone = c.goAhead(); !alone {
			t.Error("not alone any more")
		}
		over()
		conn.Reset(wire.None)
	})
}

// What nobody reads takes a bounded part of the memory, in pieces of whatever size, and ends the connection then. That it
// lies there for long, while others carry much, does not.
func TestHeld(t *testing.T) {
	const most = 4 << 20
	t.Run("tiny pieces", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, _, channels, _ := pair(t)
			c.transport.most = most
			go func() {
				ch := take(t, <-channels)
				for {
					if _, err := ch.Write([]byte{1}); err != nil {
						return
					}
				}
			}()
			conn, err := c.Dial(t.Context(), Target{Host: "localhost", Port: 80})
			if err != nil {
				t.Fatal(err)
			}
			<-c.Ended()
			if err := c.Err(); wire.CodeOf(err) != wire.Busy || wire.HintOf(err) == "" {
				t.Errorf("it ended with %v", err)
			}
			if _, err := io.Copy(io.Discard, conn); !errors.Is(err, c.Err()) {
				t.Errorf("reading ends with %v", err)
			}
		})
	})
	t.Run("others go on", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, _, channels, _ := pair(t)
			c.transport.most = most
			more := make(chan struct{})
			go func() {
				unread := take(t, <-channels)
				_, _ = unread.Write(make([]byte, 1<<18))
				<-more
				_, _ = unread.Write(make([]byte, 3<<18))
				echo := take(t, <-channels)
				_, _ = io.Copy(echo, echo)
			}()
			if _, err := c.Dial(t.Context(), Target{Host: "localhost", Port: 80}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait() // it is known that nobody reads: what comes from now on counts
			close(more)
			conn, err := c.Dial(t.Context(), Target{Host: "localhost", Port: 80})
			if err != nil {
				t.Fatal(err)
			}
			for _, size := range []int{1, 100, 4 << 10, 64 << 10} {
				buf := make([]byte, size)
				for range 1000 {
					if _, err := conn.Write(buf); err != nil {
						t.Fatal(err)
					}
					if _, err := io.ReadFull(conn, buf); err != nil {
						t.Fatal(err)
					}
				}
			}
			c.transport.mu.Lock()
			defer c.transport.mu.Unlock()
			if held := c.transport.held; held < 3<<18 || held > 5<<18 {
				t.Errorf("%d bytes are held", held)
			}
		})
	})
}
