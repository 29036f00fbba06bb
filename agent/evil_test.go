package agent

import (
	"bytes"
	"io"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"scrier/agent/keys"
	"scrier/wire"
	"scrier/wire/relaytest"
	"scrier/wire/wiretest"
)

// echo is a desktop server of root's that sends back what it gets.
func echo(t *testing.T) (port uint16) {
	t.Helper()
	l, port := listen(t, "tcp4", "127.0.0.1:0")
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.AcceptTCP()
			if err != nil {
				return
			}
			wg.Go(func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	return port
}

// quiet is a log that is looked at afterwards.
type quiet struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (q *quiet) Write(p []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.b.Len() < 1<<20 {
		q.b.Write(p)
	}
	return len(p), nil
}

func (q *quiet) String() string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.b.String()
}

// Whatever a relay does, an agent ends the link or goes on as if nothing had been, another session of the
// same link too; and nothing is left: no session, no descriptor, no goroutine (goleak).
func TestEvilRelays(t *testing.T) {
	port := echo(t)
	before := descriptors(t)
	t.Run("all", func(t *testing.T) {
		for _, b := range relaytest.Agents() {
			t.Run(b.Name, func(t *testing.T) {
				t.Parallel()
				suffer(t, b, port)
			})
		}
	})
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if after := descriptors(t); after <= before {
			return
		} else if time.Now().After(end) {
			t.Fatalf("%d descriptors are open, %d were", after, before)
		}
	}
}

// descriptors is how many are open, without the pipes that package net keeps for its splices.
func descriptors(t *testing.T) int {
	t.Helper()
	runtime.GC()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// serving runs an agent's link to a relay that the test plays: far is its end, and control the agent's first stream there.
// ran gets how the link ended.
func serving(t *testing.T, config Config, log *slog.Logger) (l *agentLink, far wire.Link, control *wire.Framed, ran <-chan error) {
	t.Helper()
	a := &Agent{Settings: Settings{State: State{t.TempDir()}, Config: config, Now: time.Now, Log: log}}
	var err error
	if a.keys, err = keys.New(keys.Config{Agent: wire.NewEnvoyID(), StateDir: t.TempDir(), LockDir: t.TempDir(), Worker: []string{"/bin/false"}}); err != nil {
		t.Fatal(err)
	}
	near, far := wiretest.Pair(wire.Peer{}, wire.Peer{})
	s, err := near.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c, err := far.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	a.leaf = certificate(time.Now(), time.Now().Add(24*time.Hour))
	l = &agentLink{Agent: a, link: near, control: wire.NewFramed(s), interval: time.Hour}
	end := make(chan error, 1)
	go func() { end <- l.run(t.Context()) }()
	return l, far, wire.NewFramed(c), end
}

func suffer(t *testing.T, b relaytest.Agent, port uint16) {
	var log quiet
	config := DefaultConfig()
	config.AllowedPorts = []uint16{22, port, 3389} // and nobody listens at 3389
	config.SSH.Addr = "127.0.0.1:1"                // nor there
	l, far, control, ran := serving(t, config, slog.New(slog.NewTextHandler(&log, nil)))
	heard := make(chan wire.Message)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	if !b.Deaf {
		wg.Go(func() {
			defer close(heard)
			for {
				m, err := control.Receive()
				if err != nil {
					return
				}
				select {
				case heard <- m:
				case <-stop:
					return
				}
			}
		})
	}
	r := &relaytest.Relay{Link: far, Control: control, Heard: heard, Grant: func() *wire.Open {
		return &wire.Open{Session: wire.NewSessionID(), Kind: wire.KindVNC, Port: port, Operator: "ann" + relaytest.Evil, Timeout: uint32(patience / time.Millisecond)}
	}}
	beside, _, err := r.Ask(r.Grant())
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Behave(r); err != nil {
		t.Error(err)
	}
	if !b.Ends {
		if err := relaytest.Echo(beside); err != nil {
			t.Errorf("another session: %v", err)
		}
		another, _, err := r.Ask(r.Grant())
		if err == nil {
			err = relaytest.Echo(another)
		}
		if err != nil {
			t.Errorf("a new session: %v", err)
		}
		_ = far.Close(wire.RelayShutdown, "the test is over")
	}
	select {
	case err := <-ran:
		if err == nil || wire.Printable(wire.DetailOf(err)) != wire.DetailOf(err) && b.Name != "goes in the middle of a session" {
			t.Errorf("the link ended with %v", err)
		}
	case <-time.After(2 * patience):
		t.Error("the link goes on")
	}
	if err := far.Err(); err == nil {
		t.Error("the agent has not ended the link")
	}
	close(stop)
	_ = far.Close(wire.None, "")
	wg.Wait()
	l.sessions.mu.Lock()
	defer l.sessions.mu.Unlock()
	if len(l.sessions.on) != 0 {
		t.Errorf("%d sessions are left", len(l.sessions.on))
	}
	for line := range strings.Lines(log.String()) {
		if line := strings.TrimSuffix(line, "\n"); wire.Printable(line) != line && len(line) < 4096 {
			t.Errorf("the log has %q", line)
		}
	}
}

// A relay that does not admit the agent as it should has 15 seconds for it, and no number that it sends is
// taken as it is.
func TestEvilWelcomes(t *testing.T) {
	for name, c := range map[string]struct {
		answer   func(*wire.Framed) error
		interval time.Duration // 0: the agent does not go on
	}{
		"nothing":         {func(*wire.Framed) error { return nil }, 0},
		"half a message":  {func(f *wire.Framed) error { _, err := f.Stream.Write([]byte{0x02, 0x40, 0xff, 0xa1}); return err }, 0},
		"another message": {func(f *wire.Framed) error { return f.Send(&wire.Ping{N: 1}) }, 0},
		"a refusal":       {func(f *wire.Framed) error { return f.Send(&wire.Refused{Code: 60000, Detail: relaytest.Evil}) }, 0},
		"the end":         {func(f *wire.Framed) error { return f.CloseWrite() }, 0},
		"no interval":     {func(f *wire.Framed) error { return f.Send(&wire.Welcome{}) }, time.Second},
		"a long interval": {func(f *wire.Framed) error { return f.Send(&wire.Welcome{Interval: 1<<32 - 1, Time: 1<<63 - 1}) }, maxInterval},
		"a time long ago": {func(f *wire.Framed) error {
			return f.Send(&wire.Welcome{Interval: 5, Time: -1 << 63, Relay: relaytest.Evil})
		}, 5 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			near, far := wiretest.Streams()
			link, _ := wiretest.Pair(wire.Peer{}, wire.Peer{})
			a := &Agent{Settings: Settings{Config: DefaultConfig(), Now: time.Now, Log: slog.New(slog.DiscardHandler)}}
			a.Config.SSH.Addr = "127.0.0.1:1"
			a.Config.AllowedPorts, a.Config.Console.Enabled = nil, false
			l := &agentLink{Agent: a, link: link, control: wire.NewFramed(near)}
			relay := wire.NewFramed(far)
			var wg sync.WaitGroup
			wg.Go(func() {
				_, err := wire.Expect[wire.Hello](relay)
				if err == nil {
					err = c.answer(relay)
				}
				if err != nil {
					t.Error(err)
				}
			})
			start := time.Now()
			err := l.greet()
			if interval := l.interval; interval != c.interval || (err == nil) != (c.interval != 0) || wire.Printable(wire.DetailOf(err)) != wire.DetailOf(err) {
				t.Errorf("%s: %s, %v", name, l.interval, err)
			}
			if took := time.Since(start); took > 20*time.Second { // by the bubble's clock
				t.Errorf("%s: took %s", name, took)
			}
			wg.Wait()
			_ = link.Close(wire.None, "")
		})
	}
}

// The relay's last word on how its fleet comes back counts.
func TestSpreadIsRemembered(t *testing.T) {
	near, far := wiretest.Streams()
	link, _ := wiretest.Pair(wire.Peer{}, wire.Peer{})
	a := &Agent{Settings: Settings{Config: DefaultConfig(), Now: time.Now, Log: slog.New(slog.DiscardHandler)}}
	a.Config.SSH.Addr = "127.0.0.1:1"
	a.Config.AllowedPorts, a.Config.Console.Enabled = nil, false
	l := &agentLink{Agent: a, link: link, control: wire.NewFramed(near)}
	relay := wire.NewFramed(far)
	says := func(m wire.Message) {
		if err := relay.Send(m); err != nil {
			t.Error(err)
		}
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := wire.Expect[wire.Hello](relay); err != nil {
			t.Error(err)
		}
		says(&wire.Welcome{Interval: 15, Spread: 2000})
	})
	if err := l.greet(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if got := time.Duration(a.spread.Load()); got != 2*time.Second {
		t.Errorf("after Welcome it is %s", got)
	}
	wg.Go(func() { _ = l.listen() }) // ends with the stream
	says(&wire.Spread{Millis: 1<<32 - 1})
	says(&wire.Spread{Millis: 3000})
	says(&wire.Ping{N: 1})
	if _, err := wire.Expect[wire.Pong](relay); err != nil {
		t.Fatal(err)
	}
	if got := time.Duration(a.spread.Load()); got != 3*time.Second {
		t.Errorf("after Spread it is %s", got)
	}
	near.Reset(wire.None)
	wg.Wait()
	_ = link.Close(wire.None, "")
}
