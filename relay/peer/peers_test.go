package peer

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"scrier/relay/fleet"
	"scrier/relay/panics"
	"scrier/relay/store"
	"scrier/wire"
	"scrier/wire/wiretest"
)

const patience = 20 * time.Second

// machines is a relay to whose agents a test decides what happens.
type machines struct {
	open  func(ctx context.Context, id wire.EnvoyID, open *wire.Open, early []byte) (*fleet.Tunnel, error)
	asked func(n fleet.Newcomer) (fleet.Answer, error)

	mu   sync.Mutex
	told []wire.SessionID
}

func (m *machines) OpenHere(ctx context.Context, id wire.EnvoyID, open *wire.Open, early []byte) (*fleet.Tunnel, error) {
	return m.open(ctx, id, open, early)
}

func (m *machines) AuthenticatedHere(_ wire.EnvoyID, session wire.SessionID) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.told = append(m.told, session)
	return nil
}

func (m *machines) Asked(_ context.Context, n fleet.Newcomer) (fleet.Answer, error) {
	return m.asked(n)
}

// echo is an agent whose server sends back what comes, behind what came early.
func echo(agent wire.Link) func(context.Context, wire.EnvoyID, *wire.Open, []byte) (*fleet.Tunnel, error) {
	return func(ctx context.Context, _ wire.EnvoyID, open *wire.Open, early []byte) (*fleet.Tunnel, error) {
		near, far := wiretest.Streams()
		go func() {
			if _, err := far.Write(early); err == nil {
				if _, err = io.Copy(far, far); err == nil {
					_ = far.CloseWrite()
				}
			}
		}()
		return fleet.NewTunnel(near, &wire.Opened{Login: open.Login, Gates: true}, agent), nil
	}
}

// two are relay a, which asks, and relay b, which has the agents. Their links are in memory.
type two struct {
	a, b  *Peers
	here  *machines
	agent wire.Link // of all agents of b
	far   wire.Link // its other end

	mu    sync.Mutex
	dials int
	links []wire.Link
}

func newTwo(t *testing.T) *two {
	t.Helper()
	w := &two{here: &machines{}}
	w.agent, w.far = wiretest.Pair(wire.Peer{}, wire.Peer{})
	w.here.open = echo(w.agent)
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	w.b = New(Config{Here: w.here, Panics: &panics.Boundary{Log: log}, Log: log})
	w.a = New(Config{Panics: &panics.Boundary{Log: log}, Log: log, Dial: func(_ context.Context, name string) (wire.Link, error) {
		if name != "b" {
			return nil, wire.Errorf(wire.RelayUntrusted, "there is no %s", name)
		}
		near, far := wiretest.Pair(wire.Peer{}, wire.Peer{})
		w.mu.Lock()
		w.dials++
		w.links = append(w.links, near)
		w.mu.Unlock()
		serving.Go(func() { _ = w.b.Serve(ctx, far, "a") })
		return near, nil
	}})
	t.Cleanup(func() {
		if err := errors.Join(w.a.Close(), w.b.Close()); err != nil {
			t.Error(err)
		}
		_ = w.agent.Close(wire.None, "")
		cancel()
		serving.Wait()
	})
	return w
}

var holder = store.Holder{Envoy: wire.NewEnvoyID(), Relay: "b", Epoch: 1}

func (w *two) opened(t *testing.T) *fleet.Tunnel {
	t.Helper()
	tunnel, err := w.a.Open(t.Context(), holder, &wire.Open{Session: wire.NewSessionID(), Login: "root", Timeout: 5000}, []byte("SSH-2.0-x\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	return tunnel
}

// What goes through another relay arrives as it was, in both directions, with the ends of both.
func TestOpen(t *testing.T) {
	w := newTwo(t)
	tunnel := w.opened(t)
	if tunnel.Opened.Login != "root" || tunnel.Opened.Gates {
		t.Errorf("opened: %+v", tunnel.Opened)
	}
	data := make([]byte, 3<<20)
	rand.Read(data)
	var wrote sync.WaitGroup
	wrote.Go(func() {
		if _, err := tunnel.Write(data); err != nil {
			t.Error(err)
		}
		if err := tunnel.CloseWrite(); err != nil {
			t.Error(err)
		}
	})
	got, err := io.ReadAll(tunnel)
	wrote.Wait()
	if err != nil || sha256.Sum256(got) != sha256.Sum256(append([]byte("SSH-2.0-x\r\n"), data...)) {
		t.Fatalf("%d bytes of %d came back, %v", len(got), len(data)+11, err)
	}
	if c, _, err := w.a.place("b"); c == nil || c.streams != 1 || err != nil {
		t.Errorf("the place was not given back: %+v, %v", c, err)
	}
}

// Why a session is refused, or ends, is the same as if the agent were here.
func TestWhy(t *testing.T) {
	w := newTwo(t)
	w.here.open = func(context.Context, wire.EnvoyID, *wire.Open, []byte) (*fleet.Tunnel, error) {
		return nil, wire.Errorf(wire.LoginNotAllowed, "root is not allowed").Advise("ask")
	}
	_, err := w.a.Open(t.Context(), holder, &wire.Open{}, nil)
	if wire.CodeOf(err) != wire.LoginNotAllowed || wire.DetailOf(err) != "root is not allowed" {
		t.Errorf("refused: %v", err)
	}
	w.here.open = func(context.Context, wire.EnvoyID, *wire.Open, []byte) (*fleet.Tunnel, error) {
		panic("a mistake of ours")
	}
	if _, err := w.a.Open(t.Context(), holder, &wire.Open{}, nil); wire.CodeOf(err) != wire.Internal {
		t.Errorf("a panic: %v", err)
	}
	if _, err := w.a.Open(t.Context(), holder, &wire.Open{}, make([]byte, wire.MaxEarly+1)); err == nil {
		t.Error("too much was sent early")
	}

	w.here.open = echo(w.agent)
	tunnel := w.opened(t)
	if _, err := io.ReadFull(tunnel, make([]byte, 11)); err != nil {
		t.Fatal(err)
	}
	near, far := wiretest.Streams()
	w.here.open = func(context.Context, wire.EnvoyID, *wire.Open, []byte) (*fleet.Tunnel, error) {
		return fleet.NewTunnel(near, &wire.Opened{}, w.agent), nil
	}
	lost := w.opened(t)
	_ = w.far.Close(wire.Internal, "")
	far.Reset(wire.Internal) // as the streams of a link that ends
	if _, err := lost.Read(make([]byte, 1)); wire.CodeOf(lost.Why(err)) != wire.AgentLost {
		t.Errorf("the agent's link has ended: %v", err)
	}

	// The link between the relays is the only thing that is missing.
	w.mu.Lock()
	link := w.links[0]
	w.mu.Unlock()
	_ = link.Close(wire.Internal, "")
	if _, err := tunnel.Read(make([]byte, 1)); wire.CodeOf(tunnel.Why(err)) != wire.AgentLost {
		t.Errorf("the relay's link has ended: %v", err)
	}
	w.here.open = echo(w.agent)
	again := w.opened(t)
	again.Reset(wire.None)
	if _, err := w.a.Open(t.Context(), store.Holder{Relay: "c"}, &wire.Open{}, nil); wire.CodeOf(err) != wire.RelayUnreachable || !strings.Contains(wire.DetailOf(err), "relay c") {
		t.Errorf("no such relay: %v", err)
	}
}

// Who gives up is not waited for, on either side.
func TestGivenUp(t *testing.T) {
	w := newTwo(t)
	asked, over := make(chan struct{}), make(chan error, 1)
	w.here.open = func(ctx context.Context, _ wire.EnvoyID, _ *wire.Open, _ []byte) (*fleet.Tunnel, error) {
		close(asked)
		<-ctx.Done()
		over <- context.Cause(ctx)
		return nil, context.Cause(ctx)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		<-asked
		cancel(&wire.Error{Code: wire.Killed})
	}()
	if _, err := w.a.Open(ctx, holder, &wire.Open{Timeout: 60_000}, nil); wire.CodeOf(err) != wire.Killed {
		t.Errorf("given up: %v", err)
	}
	select {
	case err := <-over:
		if wire.CodeOf(err) != wire.Cancelled {
			t.Errorf("the other relay was told %v", err)
		}
	case <-time.After(patience):
		t.Fatal("the other relay still waits for the agent")
	}
}

// An agent that does not answer has the time that Open says, and no more than there is.
func TestTimeToOpen(t *testing.T) {
	for millis, want := range map[uint32]time.Duration{5000: 5*time.Second + sayTime, 1 << 31: maxOpen} {
		synctest.Test(t, func(t *testing.T) {
			w := newTwo(t)
			w.here.open = func(ctx context.Context, _ wire.EnvoyID, _ *wire.Open, _ []byte) (*fleet.Tunnel, error) {
				<-ctx.Done()
				return nil, context.Cause(ctx)
			}
			began := time.Now()
			if _, err := w.a.Open(t.Context(), holder, &wire.Open{Timeout: millis}, nil); wire.CodeOf(err) != wire.AgentTimeout || time.Since(began) != want {
				t.Errorf("%d ms: after %s: %v", millis, time.Since(began), err)
			}
		})
	}
}

// Sessions share links, and no link has more than its window is good for. What nobody needs ends.
func TestLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTwo(t)
		const sessions = 3*linkStreams + 1
		tunnels := make([]*fleet.Tunnel, sessions)
		var all sync.WaitGroup
		for i := range tunnels {
			all.Go(func() { tunnels[i] = w.opened(t) })
		}
		all.Wait()
		if w.dials != 4 {
			t.Errorf("%d links for %d sessions", w.dials, sessions)
		}
		for _, tunnel := range tunnels {
			tunnel.Reset(wire.None)
			tunnel.Reset(wire.None) // gives nothing back twice
		}
		time.Sleep(idleTime - time.Second)
		kept := w.opened(t)
		if w.dials != 4 {
			t.Errorf("%d links, and those that there were had room", w.dials)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		living := 0
		for _, l := range w.links {
			if l.Err() == nil {
				living++
			}
		}
		if living != 1 {
			t.Errorf("%d links live for one session", living)
		}
		kept.Reset(wire.None)
	})
}

// A relay that does not answer holds nobody up for longer than a dial takes, however many ask.
func TestSilentRelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dials := 0
		p := New(Config{Dial: func(ctx context.Context, _ string) (wire.Link, error) {
			dials++ // one at a time
			<-ctx.Done()
			return nil, context.Cause(ctx)
		}})
		began := time.Now()
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				if _, err := p.Open(t.Context(), holder, &wire.Open{}, nil); wire.CodeOf(err) != wire.RelayUnreachable {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if took := time.Since(began); took != dialTime {
			t.Errorf("it took %s", took)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if _, err := p.Open(t.Context(), holder, &wire.Open{}, nil); wire.CodeOf(err) != wire.RelayShutdown {
			t.Errorf("closed: %v", err)
		}
	})
}

// A relay asks another one whether a machine still answers there, and has it told what an agent is to hear.
func TestAsk(t *testing.T) {
	w := newTwo(t)
	want := fleet.Answer{Answers: true, Boot: "boot", Cert: store.Certificate{Generation: 3, Key: []byte{1}, Source: "192.0.2.1", Time: time.UnixMilli(5)}}
	var asked fleet.Newcomer
	w.here.asked = func(n fleet.Newcomer) (fleet.Answer, error) {
		asked = n
		return want, nil
	}
	got, err := w.a.Ask(t.Context(), holder, fleet.Newcomer{Envoy: holder.Envoy, Move: []byte{7}, At: "forged"})
	if err != nil || got.Boot != want.Boot || !got.Answers || got.Expected || got.Cert.Generation != 3 || !bytes.Equal(got.Cert.Key, []byte{1}) || got.Cert.Source != "192.0.2.1" || !got.Cert.Time.Equal(want.Cert.Time) {
		t.Errorf("%+v, %v", got, err)
	}
	if asked.Envoy != holder.Envoy || !bytes.Equal(asked.Move, []byte{7}) || asked.At != "a" { // as its certificate says
		t.Errorf("asked %+v", asked)
	}
	w.here.asked = func(fleet.Newcomer) (fleet.Answer, error) { return fleet.Answer{}, wire.Errorf(wire.BadRequest, "no") }
	if _, err := w.a.Ask(t.Context(), holder, fleet.Newcomer{}); wire.CodeOf(err) != wire.BadRequest {
		t.Errorf("refused: %v", err)
	}
	session := wire.NewSessionID()
	if err := w.a.Authenticated(t.Context(), holder, session); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		w.here.mu.Lock()
		told := len(w.here.told) == 1 && w.here.told[0] == session
		w.here.mu.Unlock()
		if told {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the agent is not told")
		}
	}
}

// What is no request of a relay's is refused, and holds nothing.
func TestStrangeRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTwo(t)
		link, err := w.a.Dial(t.Context(), "b")
		if err != nil {
			t.Fatal(err)
		}
		defer link.Close(wire.None, "")
		for _, m := range []wire.Message{&wire.Hello{}, &wire.PeerAnswer{}, &wire.PeerOpen{Early: make([]byte, wire.MaxEarly+1)}} {
			s, err := link.Open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := wire.Send(s, m); err != nil {
				t.Fatal(err)
			}
			if _, err := wire.Expect[wire.Opened](s); wire.CodeOf(err) != wire.Protocol {
				t.Errorf("%T: %v", m, err)
			}
			s.Reset(wire.None)
		}
		silent, err := link.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := silent.Write([]byte{0x40}); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if _, err := io.ReadAll(silent); time.Since(began) > 2*sayTime {
			t.Errorf("who says half a frame holds a stream for %s, %v", time.Since(began), err)
		}
		silent.Reset(wire.None)
	})
}
