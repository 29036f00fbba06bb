package fleet

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"scrier/certs"
	"scrier/relay/audit"
	"scrier/wire"
)

// road is one of a machine's links, on which it answers pings.
type road struct {
	*named
	link    wire.Link
	control *wire.Framed
	heard   chan wire.Message // but for pings; closed at the end
}

// road makes a link and says Hello.
func (m *named) road(h wire.Hello) *road {
	t := m.t
	t.Helper()
	pin := m.ca.Pin()
	link, err := wire.Dialer{TLS: certs.Client{ALPN: wire.ALPNAgent, Pin: &pin, Cert: m.cert, Now: time.Now}.TLS()}.Dial(t.Context(), m.addr)
	if err != nil {
		t.Fatal(err)
	}
	s, err := link.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r := &road{m, link, wire.NewFramed(s), make(chan wire.Message, 16)}
	h.Boot, h.Time, h.Facts.Hostname = "boot", wire.Millis(time.Now()), "web1"
	if err := r.control.Send(&h); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(r.heard)
		for {
			m, err := r.control.Receive()
			if err != nil {
				return
			}
			if p, ok := m.(*wire.Ping); ok {
				_ = r.control.Send(&wire.Pong{N: p.N})
				continue
			}
			r.heard <- m
		}
	})
	t.Cleanup(func() {
		_ = link.Close(wire.None, "")
		wg.Wait()
	})
	return r
}

// welcome demands that the relay takes it.
func (r *road) welcome() *road {
	r.t.Helper()
	w, ok := r.hears().(*wire.Welcome)
	if !ok || !w.Moves {
		r.t.Fatalf("the relay answered %+v", w)
	}
	return r
}

// refused demands that it does not.
func (r *road) refused(code wire.Code) {
	r.t.Helper()
	m := r.hears()
	if no, ok := m.(*wire.Refused); !ok || no.Code != code {
		r.t.Fatalf("the relay answered %T %+v, want %v", m, m, code)
	}
}

func (r *road) hears() wire.Message {
	r.t.Helper()
	select {
	case m := <-r.heard:
		return m
	case <-time.After(patience):
		r.t.Fatal("the relay says nothing")
		return nil
	}
}

func (r *road) says(m wire.Message) {
	r.t.Helper()
	if err := r.control.Send(m); err != nil {
		r.t.Fatal(err)
	}
}

// ended waits until the relay has ended the link.
func (r *road) ended(code wire.Code) {
	r.t.Helper()
	select {
	case <-r.link.Context().Done():
	case <-time.After(patience):
		r.t.Fatal("the link goes on")
	}
	if got := wire.CodeOf(r.link.Err()); got != code {
		r.t.Errorf("the link ended with %v, want %v", got, code)
	}
}

// beside makes one more link, as an agent does that moves.
func (r *road) beside(id string, why string) *road {
	r.t.Helper()
	r.says(&wire.Move{ID: moveID(id)})
	return r.road(wire.Hello{Move: moveID(id), Why: why}).welcome()
}

func moveID(s string) []byte { return bytes.Repeat([]byte(s), wire.MoveSize)[:wire.MoveSize] }

// session opens one, which must come by this link, and sends back what it gets.
func (r *road) session() *Tunnel {
	r.t.Helper()
	tunnel, err := r.opens(r.id, r.link, &wire.Open{Session: wire.NewSessionID(), Kind: wire.KindVNC, Port: 5900}, func(s wire.Stream) {
		if err := wire.Send(s, &wire.Opened{}); err != nil {
			r.t.Error(err)
		}
		go func() { _, _ = io.Copy(s, s); _ = s.CloseWrite() }()
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { tunnel.Reset(wire.None) })
	return tunnel
}

// echoes says whether a session goes on.
func (r *road) echoes(tunnel *Tunnel, word string) {
	r.t.Helper()
	got := make([]byte, len(word))
	err := tunnel.SetDeadline(time.Now().Add(patience))
	if err == nil {
		_, err = tunnel.Write([]byte(word))
	}
	if err == nil {
		_, err = io.ReadFull(tunnel, got)
	}
	if err != nil || string(got) != word {
		r.t.Fatalf("the session sends %q back: %v", got, err)
	}
}

// losses counts what ended the sessions of an envoy.
type losses struct {
	mu  sync.Mutex
	why []error
}

func (l *losses) count(_ wire.EnvoyID, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.why = append(l.why, err)
}

func (l *losses) all() []error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.why
}

func newMover(t *testing.T) (*named, *losses) {
	var lost losses
	b := newBase(t, func(c *Config) { c.Lost = lost.count })
	return b.comes(Order{Name: "web1"}, "web1"), &lost
}

// An agent that moves to another link keeps its sessions, gets new ones on the new link, and ends the old one when it likes.
func TestMove(t *testing.T) {
	m, lost := newMover(t)
	first := m.road(wire.Hello{Why: "UDP got no answer"}).welcome()
	if v, err := m.get(t.Context(), m.id); err != nil || v.Transport != wire.QUIC || v.TransportReason != "UDP got no answer" {
		t.Errorf("it is connected by %q: %q, %v", v.Transport, v.TransportReason, err)
	}
	one := first.session()
	second := first.beside("a", "")
	if v, err := m.get(t.Context(), m.id); err != nil || v.State != Online || v.TransportReason != "" || len(v.Warnings) > 1 {
		t.Errorf("it is %s, by %q, %q, %v", v.State, v.TransportReason, v.Warnings, err)
	}
	first.echoes(one, "still here")
	two := second.session()
	second.echoes(two, "here too")
	first.says(&wire.Heartbeat{Time: wire.Millis(time.Now()), Facts: wire.Facts{Hostname: "web1", SSH: true, Load: 7}})
	m.until(func() bool {
		v, err := m.get(t.Context(), m.id)
		return err == nil && v.Facts.Load == 7
	})
	if err := m.Authenticated(t.Context(), m.id, wire.NewSessionID()); err != nil {
		t.Error(err)
	}
	for _, r := range []*road{first, second} {
		if m, ok := r.hears().(*wire.Authenticated); !ok {
			t.Errorf("it hears %T", m)
		}
	}
	one.Reset(wire.None)
	if err := first.link.Close(wire.None, ""); err != nil {
		t.Error(err)
	}
	m.until(func() bool { return len(m.linksOf(m.id)) == 1 })
	second.echoes(two, "and now")
	second.echoes(second.session(), "one more")
	if why := lost.all(); len(why) != 0 || len(m.records("envoy.duplicate")) != 0 {
		t.Errorf("sessions ended: %v; copies: %v", why, m.records("envoy.duplicate"))
	}
	third := second.beside("b", "") // and so on
	third.echoes(third.session(), "again")
	if err := errors.Join(second.link.Close(wire.None, ""), third.link.Close(wire.None, "")); err != nil {
		t.Error(err)
	}
	m.until(func() bool { return len(lost.all()) == 1 && m.agent(m.id) == nil })
	if v, err := m.get(t.Context(), m.id); err != nil || v.State != Offline || v.Transport != "" {
		t.Errorf("it is %s, by %q, %v", v.State, v.Transport, err)
	}
}

// Sessions are opened on the older link again when the newer one has ended, for the relay or for the agent alone.
func TestMoveBack(t *testing.T) {
	m, lost := newMover(t)
	first := m.road(wire.Hello{}).welcome()
	one := first.session()
	second := first.beside("a", "")
	two := second.session()
	first.says(&wire.Move{ID: moveID("b"), Over: true}) // there is none of this ID
	first.says(&wire.Move{ID: moveID("a"), Over: true})
	second.ended(wire.AgentLost)
	if _, err := two.Read(make([]byte, 1)); wire.CodeOf(two.Why(err)) != wire.AgentLost {
		t.Errorf("its session ended with %v", err)
	}
	first.echoes(one, "still here")
	first.echoes(first.session(), "here again")
	third := first.beside("c", "")
	third.says(&wire.Heartbeat{Time: wire.Millis(time.Now())})
	if err := third.link.Close(wire.Internal, "broken"); err != nil {
		t.Error(err)
	}
	m.until(func() bool { return len(m.linksOf(m.id)) == 1 })
	first.echoes(first.session(), "and again")
	first.echoes(one, "to the end")
	if why := lost.all(); len(why) != 0 {
		t.Errorf("sessions ended: %v", why)
	}
}

// Whoever has the certificate and not the ID that was said on the first link is met like any copy; so is who comes with it
// again. The machine goes on.
func TestMoveOfACopy(t *testing.T) {
	m, lost := newMover(t)
	first := m.road(wire.Hello{}).welcome()
	one := first.session()
	m.road(wire.Hello{Move: moveID("x")}).refused(wire.DuplicateIdentity)
	m.road(wire.Hello{Move: []byte("short")}).refused(wire.Protocol)
	m.road(wire.Hello{Move: make([]byte, 60_000)}).refused(wire.Protocol)
	second := first.beside("a", "")
	for _, id := range []string{"a", "x"} {
		m.road(wire.Hello{Move: moveID(id)}).refused(wire.DuplicateIdentity)
	}
	m.road(wire.Hello{}).refused(wire.DuplicateIdentity)
	first.echoes(one, "still here")
	second.echoes(second.session(), "here too")
	if n := len(lost.all()); n != 0 {
		t.Errorf("sessions ended %d times", n)
	}
	if n := len(m.records("envoy.duplicate")); n == 0 {
		t.Error("nothing of it is in the audit log")
	}
	// It has two links, and no more.
	second.says(&wire.Move{ID: moveID("c")})
	m.road(wire.Hello{Move: moveID("c")}).refused(wire.Busy)
	first.echoes(one, "to the end")
}

// What is said on the first link may be on its way when the second one comes: the relay asks, and the answer is behind it. If
// there is no answer in time, nothing ends: the agent tries again later.
func TestMoveThatComesEarly(t *testing.T) {
	m, lost := newMover(t)
	up := m.up("web1") // answers nothing by itself
	early := m.road(wire.Hello{Move: moveID("a")})
	ping, err := wire.Expect[wire.Ping](up.control)
	if err != nil {
		t.Fatal(err)
	}
	early.refused(wire.Busy)
	if err := errors.Join(up.link.Err(), up.control.Send(&wire.Pong{N: ping.N})); err != nil {
		t.Fatal(err)
	}
	second := m.road(wire.Hello{Move: moveID("b")})
	if ping, err = wire.Expect[wire.Ping](up.control); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(up.control.Send(&wire.Move{ID: moveID("b")}), up.control.Send(&wire.Pong{N: ping.N})); err != nil {
		t.Fatal(err)
	}
	second.welcome()
	if err := up.link.Err(); err != nil || len(lost.all()) != 0 {
		t.Errorf("the first link: %v; sessions ended: %v", err, lost.all())
	}
}

// An agent that is started anew, or has lost all of its links, is no move: what was there goes when it does not answer.
func TestMoveAndReturn(t *testing.T) {
	m, lost := newMover(t)
	up := m.up("web1") // answers no ping
	second := m.road(wire.Hello{}).welcome()
	select {
	case <-up.link.Context().Done():
	case <-time.After(patience):
		t.Fatal("the link that does not answer stays")
	}
	if why := lost.all(); len(why) != 1 {
		t.Errorf("sessions ended: %v", why)
	}
	second.echoes(second.session(), "here")
}

// What ends an agent ends both of its links.
func TestEndOfBothLinks(t *testing.T) {
	for name, end := range map[string]struct {
		do   func(m *named) error
		code wire.Code
	}{
		"revoked": {func(m *named) error { return m.Revoke(context.Background(), audit.Event{Operator: "ann"}, m.id) }, wire.Revoked},
		"removed": {func(m *named) error { return m.Remove(context.Background(), audit.Event{Operator: "ann"}, m.id) }, wire.Revoked},
		"expired": {func(m *named) error {
			a := m.agent(m.id)
			a.mu.Lock()
			a.expires = time.Now().Add(-time.Second)
			a.mu.Unlock()
			m.findExpired()
			return nil
		}, wire.Expired},
	} {
		t.Run(name, func(t *testing.T) {
			m, lost := newMover(t)
			first := m.road(wire.Hello{}).welcome()
			second := first.beside("a", "")
			if err := end.do(m); err != nil {
				t.Fatal(err)
			}
			first.ended(end.code)
			second.ended(end.code)
			m.until(func() bool { return len(lost.all()) == 1 })
		})
	}
}

// A session that is being opened on a link which the agent leaves just then is opened on the other one.
func TestOpenWhileItMoves(t *testing.T) {
	m, lost := newMover(t)
	first := m.road(wire.Hello{}).welcome()
	opened := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		tunnel, err := m.Open(ctx, m.id, &wire.Open{Session: wire.NewSessionID(), Kind: wire.KindVNC, Port: 5900}, []byte("early"))
		if err == nil {
			tunnel.Reset(wire.None)
		}
		opened <- err
	}()
	if _, err := first.link.Accept(t.Context()); err != nil { // it is on its way, and nobody serves it
		t.Fatal(err)
	}
	second := first.beside("a", "")
	if err := first.link.Close(wire.None, "moved"); err != nil {
		t.Fatal(err)
	}
	s, err := second.link.Accept(t.Context())
	if err == nil {
		_, err = wire.Expect[wire.Open](s)
	}
	early := make([]byte, 5)
	if err == nil {
		_, err = io.ReadFull(s, early)
	}
	if err == nil {
		err = wire.Send(s, &wire.Opened{})
	}
	if err != nil || string(early) != "early" {
		t.Fatalf("it got %q: %v", early, err)
	}
	if err := <-opened; err != nil {
		t.Error(err)
	}
	if why := lost.all(); len(why) != 0 {
		t.Errorf("sessions ended: %v", why)
	}
}

// A certificate that was asked for on one link is the agent's on both.
func TestRenewalWhileItMoves(t *testing.T) {
	m, lost := newMover(t)
	first := m.road(wire.Hello{}).welcome()
	first.says(&wire.Renew{CSR: request(t)})
	if m, ok := first.hears().(*wire.Renewed); !ok {
		t.Fatalf("it hears %T", m)
	}
	second := first.beside("a", "") // with the old certificate
	first.says(&wire.Kept{})
	m.until(func() bool {
		row, _ := m.envoy(m.id.String())
		return row.Generation == 2
	})
	second.echoes(second.session(), "here") // neither has ended
	if err := first.link.Err(); err != nil {
		t.Errorf("the first link ended: %v", err)
	}
	m.road(wire.Hello{}).refusedOrEnded() // the old certificate, at somebody else's
	first.ended(wire.Quarantined)
	second.ended(wire.Quarantined)
	if _, v := m.envoy(m.id.String()); v.State != Quarantined || len(lost.all()) != 1 {
		t.Errorf("it is %s, and sessions ended: %v", v.State, lost.all())
	}
}

// refusedOrEnded waits for the refusal of a link that comes before its Hello is read.
func (r *road) refusedOrEnded() {
	r.t.Helper()
	select {
	case <-r.link.Context().Done():
	case <-time.After(patience):
		r.t.Fatal("the link goes on")
	}
}
