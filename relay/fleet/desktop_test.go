package fleet

import (
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	far "scrier/agent"
	"scrier/wire"
)

// enrolled runs a real agent until the test ends.
func (b *base) enrolled(config far.Config) wire.EnvoyID {
	b.t.Helper()
	token, _, err := b.MakeToken(b.t.Context(), Order{Name: "web1", TTL: time.Minute})
	if err != nil {
		b.t.Fatal(err)
	}
	state := far.State{Dir: b.t.TempDir()}
	id, err := far.Enroll(b.t.Context(), far.Enrolment{Relay: b.addr, Token: token.String(), State: state, Now: time.Now})
	if err != nil {
		b.t.Fatal(err)
	}
	a, err := far.Open(far.Settings{State: state, Config: config, Now: time.Now, Log: slog.New(slog.NewTextHandler(b.t.Output(), nil))})
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := a.Run(ctx); err != nil {
			b.t.Errorf("the agent ended with %v", err)
		}
	})
	b.t.Cleanup(func() {
		cancel()
		wg.Wait()
		if err := a.Close(); err != nil {
			b.t.Error(err)
		}
	})
	for deadline := time.Now().Add(patience); b.agent(id) == nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatal("the agent does not connect")
		}
	}
	return id
}

// echoes is a server on loopback that gives back what it gets; it belongs to uid.
func echoes(t *testing.T, uid int) (port uint16) {
	t.Helper()
	// A socket belongs to the user of the thread that makes it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Setfsuid(uid); err != nil {
		t.Fatal(err)
	}
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err := unix.Setfsuid(0); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
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
	return l.Addr().(*net.TCPAddr).AddrPort().Port()
}

// A desktop by way of a real agent: its machine's policy, who listens, and the bytes.
func TestDesktopThroughAnAgent(t *testing.T) {
	b := newBase(t)
	config := far.DefaultConfig()
	config.Console.Enabled = false
	port, evil, other, closed := echoes(t, 0), echoes(t, 1500), echoes(t, 0), free(t)
	config.AllowedPorts = []uint16{22, port, evil, closed}
	id := b.enrolled(config)
	open := func(o wire.Open) (*Tunnel, error) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		o.Session, o.Operator, o.Timeout = wire.NewSessionID(), "ann", uint32(patience/time.Millisecond)
		return b.Open(ctx, id, &o, nil)
	}
	tunnel, err := open(wire.Open{Kind: wire.KindVNC, Port: port})
	if err != nil {
		t.Fatal(err)
	}
	if err := tunnel.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	sent := make([]byte, 1<<20)
	rand.Read(sent)
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := tunnel.Write(sent); err != nil {
			t.Error(err)
		}
		if err := tunnel.CloseWrite(); err != nil {
			t.Error(err)
		}
	})
	got, err := io.ReadAll(tunnel) // to the server's own end
	if err != nil || string(got) != string(sent) {
		t.Errorf("%d bytes of %d, %v", len(got), len(sent), err)
	}
	wg.Wait()
	for name, c := range map[string]struct {
		open wire.Open
		want wire.Code
	}{
		"a port that is not allowed": {wire.Open{Kind: wire.KindVNC, Port: other}, wire.PortNotAllowed},
		"the usual port, not here":   {wire.Open{Kind: wire.KindRDP}, wire.PortNotAllowed},
		"sshd without a key":         {wire.Open{Kind: wire.KindVNC, Port: 22}, wire.PortNotAllowed},
		"nobody listens":             {wire.Open{Kind: wire.KindVNC, Port: closed}, wire.TargetRefused},
		"nobody listens, rdp":        {wire.Open{Kind: wire.KindRDP, Port: closed}, wire.TargetRefused},
		"a user listens":             {wire.Open{Kind: wire.KindVNC, Port: evil}, wire.ListenerUntrusted},
		"a user listens, rdp":        {wire.Open{Kind: wire.KindRDP, Port: evil}, wire.ListenerUntrusted},
		"no RDP server":              {wire.Open{Kind: wire.KindRDP, Port: port}, wire.DesktopFailed},
		"an unknown kind":            {wire.Open{Kind: "x11", Port: port}, wire.BadRequest},
		"an unknown security":        {wire.Open{Kind: wire.KindRDP, Port: port, Security: "rdp"}, wire.BadRequest},
		"a screen that is not shared": {
			wire.Open{Kind: wire.KindVNC, Console: &wire.Console{Purpose: "to help"}}, wire.ConsoleOff,
		},
	} {
		tunnel, err := open(c.open)
		if wire.CodeOf(err) != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
		if err == nil {
			tunnel.Reset(wire.None)
		}
	}
}
