package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"scrier/relay/access"
	"scrier/relay/audit"
	"scrier/relay/kind"
	"scrier/relay/session"
	"scrier/relay/store"
	"scrier/wire"
)

// echo is a shell that says back what it hears until "exit", and ends with status 7.
func echo(c ssh.Channel) {
	buf := make([]byte, 1024)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		if _, err := c.Write(buf[:n]); err != nil {
			return
		}
		if bytes.Contains(buf[:n], []byte("exit")) {
			exit(c, 7)
			return
		}
	}
}

func TestSession(t *testing.T) {
	r := start(t)
	serve(t, r, "web1", func(e *envoy, open *wire.Open, s wire.Stream) {
		// I2: what is asked of the envoy was written down before it was asked.
		if audited(t, r, "scrier.connect") != 1 {
			t.Error("the envoy was asked before the audit log knew")
		}
		e.opened(s)
		e.sshServer(s, open, echo)
	})
	v, err := newPerson(t, r, "ann", access.Admin).connect("web1")
	if err != nil {
		t.Fatal(err)
	}
	if v.attached.Login != "deploy" || v.attached.Envoy != "web1" {
		t.Errorf("attached as %+v", v.attached)
	}
	const typed = "hello exit"
	v.types(t, typed)
	if e := v.exit(t); e.Code != wire.None || e.Status != 7 {
		t.Errorf("ended with %+v", e)
	}
	settled(t, r)
	row := rows(t, r)[0]
	if row.Operator != "ann" || row.Login != "deploy" || row.Reason != "exit" || row.Sent != uint64(len(typed)) || row.Received != uint64(len(typed)) || row.Opened.IsZero() {
		t.Errorf("row %+v", row)
	}
}

// H57: a viewer that does not read stops the far end: what the relay holds is bounded by the
// windows, however long it lasts.
func TestSlowViewerStopsTheShell(t *testing.T) {
	r := start(t, func(s *Settings) { s.Config.Scrier.DetachGrace = Duration(time.Second) })
	var produced atomic.Int64
	serve(t, r, "web1", func(e *envoy, open *wire.Open, s wire.Stream) {
		e.opened(s)
		e.sshServer(s, open, func(c ssh.Channel) {
			chunk := bytes.Repeat([]byte("y\r\n"), 10_000)
			for {
				n, err := c.Write(chunk)
				produced.Add(int64(n))
				if err != nil {
					return
				}
			}
		})
	})
	serve(t, r, "web2", func(e *envoy, open *wire.Open, s wire.Stream) {
		e.opened(s)
		e.sshServer(s, open, echo)
	})
	clock, err := newPerson(t, r, "bob", access.Admin).connect("web2")
	if err != nil {
		t.Fatal(err)
	}
	v, err := newPerson(t, r, "ann", access.Admin).connect("web1")
	if err != nil {
		t.Fatal(err)
	}
	// It goes on until all windows are full, and then stands still: while another session through the
	// same relay makes many round trips, which a busy machine slows as it does this one.
	var last int64
	for still := 0; still < 200; still++ {
		clock.roundTrip(t)
		if now := produced.Load(); now != last || now == 0 {
			last, still = now, 0
		}
	}
	// x/crypto's channel window is 2 MiB; a stream's is 1 MiB on each of the two links, and the
	// senders' buffers come on top.
	if last > 8<<20 {
		t.Errorf("the shell wrote %d bytes that nobody read", last)
	}
	// When the viewer reads again it goes on.
	read := 0
	for int64(read) < last+1<<20 {
		m, err := v.Receive()
		if err != nil {
			t.Fatal(err)
		}
		if d, ok := m.(*wire.Data); ok {
			read += len(d.Bytes)
			if err := v.Send(&wire.Ack{Offset: uint64(read)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	v.Reset(wire.ViewerLost)
	clock.types(t, "exit")
	clock.exit(t)
	settled(t, r)
	if row := rows(t, r)[0]; row.Code != wire.ViewerLost {
		t.Errorf("closed with %s", row.Code)
	}
}

// Whoever ends a session, its operator is told why, and the row says it too.
func TestSessionsAreEndedFromOutside(t *testing.T) {
	for want, end := range map[wire.Code]func(t *testing.T, r *Relay, e *envoy, p *person, v *viewer) error{
		wire.Killed: func(t *testing.T, r *Relay, _ *envoy, _ *person, v *viewer) error {
			return r.sessions.Kill(t.Context(), audit.Event{Operator: "root"}, v.attached.Session)
		},
		wire.Revoked: func(t *testing.T, r *Relay, e *envoy, _ *person, _ *viewer) error {
			return r.fleet.Revoke(t.Context(), audit.Event{}, e.id)
		},
		wire.OperatorChanged: func(t *testing.T, r *Relay, _ *envoy, p *person, _ *viewer) error {
			return r.access.Delete(t.Context(), access.Local("test"), p.user.Username)
		},
		wire.AgentLost: func(_ *testing.T, _ *Relay, e *envoy, _ *person, _ *viewer) error {
			return e.link.Close(wire.None, "")
		},
	} {
		t.Run(want.String(), func(t *testing.T) {
			r := start(t)
			e := serve(t, r, "web1", func(e *envoy, open *wire.Open, s wire.Stream) {
				e.opened(s)
				e.sshServer(s, open, echo)
			})
			p := newPerson(t, r, "ann", access.Admin)
			v, err := p.connect("web1")
			if err != nil {
				t.Fatal(err)
			}
			if err := end(t, r, e, p, v); err != nil {
				t.Fatal(err)
			}
			if x := v.exit(t); x.Code != want {
				t.Errorf("the operator was told %s: %s", x.Code, x.Detail)
			}
			settled(t, r)
			if row := rows(t, r)[0]; row.Code != want {
				t.Errorf("the row says %s", row.Reason)
			}
		})
	}
}

// The relay is told to end while sessions are open: they end in order first.
func TestShutdownTellsTheSessions(t *testing.T) {
	t.Run("run", func(t *testing.T) {
		r := start(t)
		serve(t, r, "web1", func(e *envoy, open *wire.Open, s wire.Stream) {
			e.opened(s)
			e.sshServer(s, open, echo)
		})
		v, err := newPerson(t, r, "ann", access.Admin).connect("web1")
		if err != nil {
			t.Fatal(err)
		}
		r.sessions.EndWhere(func(store.Session) bool { return true }, &wire.Error{Code: wire.RelayShutdown})
		if x := v.exit(t); x.Code != wire.RelayShutdown {
			t.Errorf("the operator was told %s", x.Code)
		}
		settled(t, r)
	})
}

// H85: the limit holds however many come at once, and every slot comes back.
func TestLimitUnderPressure(t *testing.T) {
	const limit, attempts = 3, 24
	r := start(t, func(s *Settings) { s.Config.Scrier.MaxSessions = limit })
	var open, most atomic.Int32
	serve(t, r, "web1", func(e *envoy, o *wire.Open, s wire.Stream) {
		n := open.Add(1)
		defer open.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		if err := wire.Send(s, wire.Refuse(wire.Errorf(wire.TargetRefused, "no"))); err != nil {
			t.Error(err)
		}
		_, _ = io.Copy(io.Discard, s)
	})
	p := newPerson(t, r, "ann", access.Admin)
	cert, err := p.login(attempt{})
	if err != nil {
		t.Fatal(err)
	}
	link := dial(t, r, wire.ALPNClient, cert)
	var wg sync.WaitGroup
	for range attempts {
		wg.Go(func() {
			s, err := link.Open(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			if err := wire.Send(s, &wire.Connect{Envoy: "web1", Kind: wire.KindSSH}); err != nil {
				t.Error(err)
			}
			if _, err := wire.Expect[wire.Attached](s); wire.CodeOf(err) != wire.Limit && wire.CodeOf(err) != wire.TargetRefused {
				t.Errorf("refused with %v", err)
			}
			wire.Finish(s, time.Second)
		})
	}
	wg.Wait()
	if most.Load() > limit {
		t.Errorf("%d sessions at once, the limit is %d", most.Load(), limit)
	}
	settled(t, r)
}

// breaking is an audit log that can be made to fail, as on a full disk.
type breaking struct {
	session.Journal
	broken atomic.Bool
}

func (b *breaking) err() error {
	if b.broken.Load() {
		return wire.Errorf(wire.AuditUnavailable, "no space left on device")
	}
	return nil
}

func (b *breaking) AppendEnd(ctx context.Context, e audit.Event) (audit.Record, error) {
	if err := b.err(); err != nil {
		return audit.Record{}, err
	}
	return b.Journal.AppendEnd(ctx, e)
}

func (b *breaking) Append(ctx context.Context, e audit.Event) (audit.Record, error) {
	if err := b.err(); err != nil {
		return audit.Record{}, err
	}
	return b.Journal.Append(ctx, e)
}

func (b *breaking) Healthy() error { return errors.Join(b.err(), b.Journal.Healthy()) }

// breakable is a relay whose sessions' audit log can be made to fail.
func breakable(t *testing.T, edit ...func(*Settings)) (*Relay, *breaking) {
	t.Helper()
	r := loaded(t, edit...)
	j := &breaking{Journal: r.sessions.Journal}
	r.sessions.Journal = j
	run(t, r)
	return r, j
}

// asked is a request of ann's for a shell on web1.
func asked(p *person) (access.Operator, *session.Request) {
	return access.Operator{ID: p.user.ID, Username: p.user.Username, Role: access.Admin, Epoch: 1},
		&session.Request{Envoy: "web1", Kind: wire.KindSSH, Keys: []ssh.PublicKey{p.signer.PublicKey()}}
}

// H78: what cannot be written down is not asked of an envoy.
func TestNoAuditNoSession(t *testing.T) {
	r, j := breakable(t)
	var told atomic.Bool
	serve(t, r, "web1", func(*envoy, *wire.Open, wire.Stream) { told.Store(true) })
	p := newPerson(t, r, "ann", access.Admin)
	j.broken.Store(true)
	who, req := asked(p)
	if _, err := r.open(t.Context(), who, req); wire.CodeOf(err) != wire.AuditUnavailable {
		t.Errorf("opened with %v", err)
	}
	if told.Load() {
		t.Error("the envoy was asked")
	}
	for _, row := range rows(t, r) {
		if row.State == store.Waiting || row.State == store.Active {
			t.Error("the slot is still taken")
		}
	}
}

// H78, I1: while the audit log cannot be written, what is open ends after a while, and is recorded later.
func TestLogFailsWhileASessionIsOpen(t *testing.T) {
	r, j := breakable(t, func(s *Settings) { s.Config.Scrier.AuditGrace = Duration(time.Second) })
	servedBy(t, r, echo)
	v, err := newPerson(t, r, "ann", access.Admin).connect("web1")
	if err != nil {
		t.Fatal(err)
	}
	j.broken.Store(true)
	if x := v.exit(t); x.Code != wire.AuditUnavailable {
		t.Errorf("the operator was told %+v", x)
	}
	waitFor(t, "the session to end", func() bool { return rows(t, r)[0].State == store.Closing })
	j.broken.Store(false)
	settled(t, r)
	if row := rows(t, r)[0]; row.Code != wire.AuditUnavailable {
		t.Errorf("the row says %s", row.Reason)
	}
}

// I11: whoever loses the right to a session while it opens does not get it, and a machine that is revoked
// meanwhile serves none.
func TestRightTakenWhileOpening(t *testing.T) {
	for name, c := range map[string]struct {
		take func(*testing.T, *Relay, *person, *envoy) error
		want wire.Code
	}{
		"deleted": {func(t *testing.T, r *Relay, p *person, _ *envoy) error {
			return r.access.Delete(t.Context(), access.Local("root"), p.user.Username)
		}, wire.OperatorChanged},
		"another role": {func(t *testing.T, r *Relay, p *person, _ *envoy) error {
			_, err := r.access.Update(t.Context(), access.Local("root"), p.user.Username, access.User{Role: access.Viewer})
			return err
		}, wire.OperatorChanged},
		"envoy revoked": {func(t *testing.T, r *Relay, _ *person, e *envoy) error {
			return r.fleet.Revoke(t.Context(), audit.Event{}, e.id)
		}, wire.Revoked},
		"envoy removed": {func(t *testing.T, r *Relay, _ *person, e *envoy) error {
			return r.fleet.Remove(t.Context(), audit.Event{}, e.id)
		}, wire.Revoked},
	} {
		t.Run(name, func(t *testing.T) {
			r := loaded(t)
			between := &kindBetween{}
			between.Kind, r.kind[wire.KindSSH] = r.kind[wire.KindSSH], between
			run(t, r)
			var told atomic.Bool
			e := serve(t, r, "web1", func(*envoy, *wire.Open, wire.Stream) { told.Store(true) })
			p := newPerson(t, r, "ann", access.Admin)
			between.check = func() {
				if err := c.take(t, r, p, e); err != nil {
					t.Error(err)
				}
			}
			who, req := asked(p)
			if _, err := r.open(t.Context(), who, req); wire.CodeOf(err) != c.want && wire.CodeOf(err) != wire.NoSuchEnvoy {
				t.Errorf("opened with %v", err)
			}
			if told.Load() {
				t.Error("the envoy was asked")
			}
			for _, row := range rows(t, r) {
				if row.State != store.Closed {
					t.Errorf("left is %+v", row)
				}
			}
		})
	}
}

// kindBetween does something after an operator was looked at, and before there is a session.
type kindBetween struct {
	kind.Kind
	check func()
}

func (k *kindBetween) Check(req *session.Request) error {
	k.check()
	return k.Kind.Check(req)
}

// An envoy that does not answer is told about with what is known of it.
func TestSilentEnvoy(t *testing.T) {
	r := start(t, func(s *Settings) { s.Config.Scrier.AgentTimeout = Duration(300 * time.Millisecond) })
	e := serve(t, r, "web1", func(_ *envoy, _ *wire.Open, s wire.Stream) { _, _ = io.Copy(io.Discard, s) })
	if err := e.control.Send(&wire.Heartbeat{Time: wire.Millis(time.Now().Add(20 * time.Minute)), Facts: wire.Facts{Disk: 99}}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the heartbeat", func() bool {
		v, err := r.fleet.Find(t.Context(), "web1")
		return err == nil && v.Facts.Disk == 99
	})
	_, err := newPerson(t, r, "ann", access.Admin).connect("web1")
	if wire.CodeOf(err) != wire.AgentTimeout {
		t.Fatalf("connect: %v", err)
	}
	for _, part := range []string{"99% full", "clock is 20m", "ahead"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not tell %q", err, part)
		}
	}
	settled(t, r)
}

// An agent that goes while its SSH server is being spoken to is lost, whichever is seen first: the
// end of its link or the tunnel's.
func TestAgentLostWhileOpening(t *testing.T) {
	for name, c := range map[string]struct {
		leave  func(*envoy)
		rounds int // a race of two ends: one round may see either first
	}{
		"the link ends":           {func(e *envoy) { _ = e.link.Close(wire.None, "") }, 12},       // says that it is closed already
		"another link takes over": {func(e *envoy) { e.mute.Store(true); _, _ = e.connect() }, 3}, // the test may end before it does
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t)
			p := newPerson(t, r, "ann", access.Admin)
			for n := range c.rounds {
				web := fmt.Sprintf("web%d", n)
				serve(t, r, web, func(e *envoy, _ *wire.Open, s wire.Stream) {
					e.opened(s)
					c.leave(e)
				})
				if _, err := p.connect(web); wire.CodeOf(err) != wire.AgentLost {
					t.Errorf("%s: the session ended with %v", web, err)
				}
			}
			settled(t, r)
		})
	}
}
