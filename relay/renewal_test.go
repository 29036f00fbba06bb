package relay

import (
	"context"
	"crypto"
	"crypto/tls"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"scrier/certs"
	"scrier/relay/access"
	"scrier/relay/audit"
	"scrier/relay/fleet"
	"scrier/relay/store"
	"scrier/wire"
)

// request makes a key and asks for a certificate for it.
func (m *machine) request() (*wire.Renew, *tls.Certificate) {
	m.t.Helper()
	key, err := certs.NewKey()
	if err != nil {
		m.t.Fatal(err)
	}
	csr, err := certs.NewRequest(key)
	if err != nil {
		m.t.Fatal(err)
	}
	return &wire.Renew{CSR: csr}, &tls.Certificate{PrivateKey: key}
}

// with is the machine with a new certificate.
func (m *machine) with(pair *tls.Certificate, chain [][]byte) *machine {
	n := *m
	n.cert = pair
	n.take(chain)
	return &n
}

// next is the machine with the certificate that it gets on a link of its own, as an agent does whose
// certificate has expired. keep says Kept.
func (m *machine) next(keep bool) (*machine, error) {
	m.t.Helper()
	link, err := tryDial(m.t, m.relay, wire.ALPNAgent, m.cert)
	if err != nil {
		return nil, err
	}
	defer link.Close(wire.None, "")
	s, err := link.Open(m.t.Context())
	if err != nil {
		return nil, err
	}
	if err := s.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	ask, pair := m.request()
	if err := wire.Send(s, ask); err != nil {
		return nil, err
	}
	answer, err := wire.Expect[wire.Renewed](s)
	if err != nil {
		if link.Err() != nil {
			err = link.Err()
		}
		return nil, err
	}
	if keep {
		if err := wire.Send(s, &wire.Kept{}); err != nil {
			return nil, err
		}
		wire.Finish(s, patience) // the relay ends it when it has noted that
	}
	return m.with(pair, answer.Chain), nil
}

// renew is next that has saved the new certificate.
func (m *machine) renew() error {
	n, err := m.next(false)
	if err == nil {
		*m = *n
	}
	return err
}

// next is the machine with the certificate that it gets on this link.
func (u *up) next(m *machine) (*machine, error) {
	m.t.Helper()
	ask, pair := m.request()
	if err := u.control.Send(ask); err != nil {
		return nil, err
	}
	select {
	case answer := <-u.answers:
		switch answer := answer.(type) {
		case *wire.Renewed:
			return m.with(pair, answer.Chain), nil
		case *wire.Refused:
			return nil, answer.Err()
		}
	case <-u.link.Context().Done():
		return nil, u.link.Err()
	case <-time.After(patience):
		m.t.Fatal("no answer to a renewal")
	}
	return nil, nil
}

func (u *up) mustNext(m *machine) *machine {
	m.t.Helper()
	n, err := u.next(m)
	if err != nil {
		m.t.Fatal(err)
	}
	return n
}

func (m *machine) mustNext(keep bool) *machine {
	m.t.Helper()
	n, err := m.next(keep)
	if err != nil {
		m.t.Fatal(err)
	}
	return n
}

// kept says that the certificate was saved, and waits until the relay knows.
func (u *up) kept(m *machine, generation uint64) {
	m.t.Helper()
	if err := u.control.Send(&wire.Kept{}); err != nil {
		m.t.Fatal(err)
	}
	waitFor(m.t, "the relay to note a certificate", func() bool { return m.row().Generation == generation })
}

// row is what the relay knows of the machine.
func (m *machine) row() (e store.Envoy) {
	m.t.Helper()
	if err := m.relay.kv.View(m.t.Context(), func(tx store.Tx) (err error) {
		e, err = store.GetEnvoy(tx, m.id)
		return err
	}); err != nil {
		m.t.Fatal(err)
	}
	return e
}

// restored puts a row back, as a backup of the relay's state does.
func (m *machine) restored(e store.Envoy) {
	m.t.Helper()
	if err := m.relay.kv.Update(m.t.Context(), func(tx store.Tx) error { return store.PutEnvoy(tx, e) }); err != nil {
		m.t.Fatal(err)
	}
}

// state is what the list of envoys shows.
func (m *machine) state() fleet.Envoy {
	m.t.Helper()
	e, err := m.relay.fleet.Find(m.t.Context(), m.id.String())
	if err != nil {
		m.t.Fatal(err)
	}
	return e
}

// gone ends a link and waits until the relay has noticed.
func (u *up) gone(m *machine) {
	m.t.Helper()
	_ = u.link.Close(wire.None, "")
	waitFor(m.t, "the link's end", func() bool { return m.state().State != fleet.Online })
}

// restartable is a relay that a test can end and start again on the same state.
type restartable struct {
	t     *testing.T
	s     Settings
	relay *Relay
	stop  func()
}

func newRestartable(t *testing.T, c *clock) *restartable {
	t.Helper()
	rs := &restartable{t: t, s: Settings{StateDir: t.TempDir(), Config: DefaultConfig(), Now: c.now, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}}
	rs.s.Config.Listen = "127.0.0.1:0"
	rs.run()
	t.Cleanup(func() { rs.stop() })
	return rs
}

func (rs *restartable) run() {
	rs.t.Helper()
	r, err := Open(rs.t.Context(), rs.s)
	if err != nil {
		rs.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	rs.relay, rs.stop = r, func() {
		cancel()
		if err := <-done; err != nil {
			rs.t.Errorf("the relay ended with %v", err)
		}
	}
}

// again restarts the relay under a machine.
func (rs *restartable) again(ms ...*machine) {
	rs.t.Helper()
	rs.stop()
	rs.run()
	for _, m := range ms {
		m.relay = rs.relay
	}
}

// An agent and its relay can stop at every step of a renewal, and an answer can be lost: the agent
// goes on with what is in its agent.pem, and nobody takes it for a copy. ARCHITECTURE.md has the steps.
func TestRenewalThatBreaksOff(t *testing.T) {
	for name, step := range map[string]func(rs *restartable, c *clock, m *machine) *machine{ // what is in agent.pem then
		"the answer is lost, and the agent asks again on a new link": func(_ *restartable, c *clock, m *machine) *machine {
			u := m.must()
			u.mustNext(m)
			u.gone(m)
			c.turn(store.RenewEvery)
			u = m.must()
			n := u.mustNext(m)
			u.kept(m, 3)
			u.gone(m)
			return n
		},
		"the answer is lost, and the agent goes on for a while": func(_ *restartable, _ *clock, m *machine) *machine {
			u := m.must()
			u.mustNext(m)
			u.gone(m)
			m.must().gone(m)
			return m
		},
		"the answer is lost, and comes after the certificate has expired": func(_ *restartable, c *clock, m *machine) *machine {
			u := m.must()
			u.mustNext(m)
			u.gone(m)
			c.turn(certs.AgentLife + time.Hour)
			return m.mustNext(true)
		},
		"two answers are lost": func(_ *restartable, c *clock, m *machine) *machine {
			c.turn(certs.AgentLife + time.Hour)
			m.mustNext(false)
			c.turn(store.RenewEvery)
			m.mustNext(false)
			c.turn(store.RenewEvery)
			return m.mustNext(true)
		},
		"the agent dies when it has saved": func(_ *restartable, _ *clock, m *machine) *machine {
			u := m.must()
			n := u.mustNext(m)
			u.gone(m)
			return n
		},
		"the agent dies when it has said so": func(_ *restartable, _ *clock, m *machine) *machine {
			u := m.must()
			n := u.mustNext(m)
			u.kept(m, 2)
			u.gone(m)
			return n
		},
		"the agent's link stays with the old certificate": func(_ *restartable, c *clock, m *machine) *machine {
			u := m.must()
			n := u.mustNext(m)
			u.kept(m, 2)
			c.turn(store.RenewEvery)
			n = u.mustNext(n)
			u.kept(m, 3)
			u.gone(m)
			return n
		},
		"the agent dies, and its link looks alive for a while": func(_ *restartable, _ *clock, m *machine) *machine {
			u := m.must()
			n := u.mustNext(m)
			u.mute.Store(true)
			return n
		},
		"a first link with an expired certificate saves, and dies": func(_ *restartable, c *clock, m *machine) *machine {
			c.turn(certs.AgentLife + time.Hour)
			return m.mustNext(false)
		},
		"the relay dies before the answer": func(rs *restartable, c *clock, m *machine) *machine {
			u := m.must()
			u.mustNext(m)
			rs.again(m)
			c.turn(store.RenewEvery)
			u = m.must()
			n := u.mustNext(m)
			u.gone(m)
			return n
		},
		"the relay dies before it hears that the certificate was kept": func(rs *restartable, _ *clock, m *machine) *machine {
			n := m.must().mustNext(m)
			rs.again(n)
			return n
		},
		"the relay dies behind that": func(rs *restartable, _ *clock, m *machine) *machine {
			u := m.must()
			n := u.mustNext(m)
			u.kept(m, 2)
			rs.again(n)
			return n
		},
		"the relay's state is a backup from before two renewals": func(rs *restartable, c *clock, m *machine) *machine {
			before := m.row()
			u := m.must()
			n := u.mustNext(m)
			u.kept(m, 2)
			c.turn(store.RenewEvery)
			n = u.mustNext(n)
			u.kept(m, 3)
			u.gone(m)
			rs.again(n)
			n.restored(before)
			return n
		},
		"the relay's state is a backup from within a renewal that was lost": func(rs *restartable, c *clock, m *machine) *machine {
			u := m.must()
			u.mustNext(m)
			u.gone(m)
			before := m.row()
			c.turn(store.RenewEvery)
			u = m.must()
			n := u.mustNext(m)
			u.kept(m, 3)
			u.gone(m)
			rs.again(n)
			n.restored(before)
			return n
		},
		"the relay's state is from before keys were remembered": func(_ *restartable, _ *clock, m *machine) *machine {
			e := m.row()
			e.Key = nil
			m.restored(e)
			u := m.must()
			n := u.mustNext(m)
			u.gone(m)
			return n
		},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			var c clock
			rs := newRestartable(t, &c)
			m := enrolled(t, rs.relay, "web1")
			m = step(rs, &c, m)
			for range 2 { // it connects, and renews, as if nothing had been
				u, err := m.connect()
				if err != nil {
					t.Fatal(err)
				}
				c.turn(store.RenewEvery)
				n := u.mustNext(m)
				u.gone(m)
				m = n
			}
			if s := m.state(); s.State == fleet.Quarantined {
				t.Errorf("in quarantine: %+v", s.Quarantine)
			}
			if n := audited(t, rs.relay, "envoy.duplicate") + audited(t, rs.relay, "envoy.quarantine"); n != 0 {
				t.Errorf("%d records of a copy", n)
			}
		})
	}
}

// Whatever a copy of an identity does: when two machines have used it, the envoy is in quarantine.
func TestCopiesAreNoticed(t *testing.T) {
	for name, c := range map[string]struct {
		// play is what m and its copy do. The last of it must be refused.
		play func(t *testing.T, c *clock, m, copied *machine) error
		why  string
	}{
		"an image, both renew when they have expired": {func(t *testing.T, c *clock, m, copied *machine) error {
			c.turn(certs.AgentLife + time.Hour)
			copied.mustNext(true)
			_, err := m.next(true)
			return err
		}, "an old certificate was used after a newer one"},
		"the copy renews, and the machine connects": {func(t *testing.T, c *clock, m, copied *machine) error {
			u := copied.must()
			u.mustNext(copied)
			u.kept(m, 2)
			u.gone(m)
			_, err := m.connect()
			return err
		}, "an old certificate was used after a newer one"},
		"the machine renews on its link, and the copy connects": {func(t *testing.T, c *clock, m, copied *machine) error {
			u := m.must()
			u.mustNext(m)
			u.kept(m, 2)
			_, err := copied.connect()
			if code := ended(t, u.link); code != wire.Quarantined {
				t.Errorf("the machine's link ended with %s", code)
			}
			return err
		}, "an old certificate was used after a newer one"},
		"both renew one certificate, the copy first, and the copy uses what it got": {func(t *testing.T, c *clock, m, copied *machine) error {
			c.turn(certs.AgentLife + time.Hour)
			n := copied.mustNext(false)
			c.turn(store.RenewEvery)
			m.mustNext(false)
			_, err := n.connect()
			return err
		}, "two machines have renewed one certificate"},
		"both renew one certificate, and the copy says later that it kept its own": {func(t *testing.T, c *clock, m, copied *machine) error {
			u := copied.must()
			n := u.mustNext(copied)
			u.mute.Store(true) // the relay thinks it dead
			c.turn(store.RenewEvery)
			v := m.must()
			v.mustNext(m)
			v.kept(m, 3)
			_, err := n.connect()
			return err
		}, "an old certificate was used after a newer one"},
		"two keys of one generation, behind a backup": {func(t *testing.T, c *clock, m, copied *machine) error {
			before := m.row()
			u := m.must()
			n := u.mustNext(m)
			u.kept(m, 2)
			u.gone(m)
			m.restored(before)
			c.turn(store.RenewEvery)
			v := copied.must()
			v.mustNext(copied)
			v.kept(m, 2)
			v.gone(m)
			_, err := n.connect()
			return err
		}, "two keys of one generation were used"},
		"two keys of one generation, none of them kept": {func(t *testing.T, c *clock, m, copied *machine) error {
			before := m.row()
			c.turn(certs.AgentLife + time.Hour)
			n := m.mustNext(false)
			m.restored(before)
			copied.mustNext(false)
			_, err := n.connect()
			return err
		}, "two keys of one generation were used"},
		"both are connected, each with a certificate of its own": {func(t *testing.T, c *clock, m, copied *machine) error {
			u := m.must()
			n := u.mustNext(m)
			_, err := n.connect() // the agent has not died: it answers
			if code := ended(t, u.link); code != wire.Quarantined {
				t.Errorf("the first link ended with %s", code)
			}
			return err
		}, "two machines are connected, each with a certificate of its own"},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			var clk clock
			r := start(t, clk.settings)
			m := enrolled(t, r, "web1")
			copied := *m
			if err := c.play(t, &clk, m, &copied); wire.CodeOf(err) != wire.DuplicateIdentity {
				t.Errorf("the last was told %v", err)
			}
			s := m.state()
			if s.State != fleet.Quarantined || s.Quarantine == nil || s.Quarantine.Why != c.why {
				t.Fatalf("%s, %+v", s.State, s.Quarantine)
			}
			if q := s.Quarantine; q.Counts.Source != "127.0.0.1" || q.Other.Source != "127.0.0.1" || q.Counts == q.Other || q.Counts.Key == q.Other.Key {
				t.Errorf("%+v", q)
			}
			if len(s.Warnings) == 0 || !strings.Contains(s.Warnings[0], c.why) {
				t.Errorf("warnings %q", s.Warnings)
			}
			if n := audited(t, r, "envoy.quarantine"); n != 1 {
				t.Errorf("%d records of the quarantine", n)
			}
			// Nobody gets in or gets a certificate, whoever they are.
			clk.turn(store.RenewEvery)
			for _, other := range []*machine{m, &copied} {
				if _, err := other.connect(); wire.CodeOf(err) != wire.Quarantined {
					t.Errorf("connected in quarantine: %v", err)
				}
				if _, err := other.next(false); wire.CodeOf(err) != wire.Quarantined {
					t.Errorf("renewed in quarantine: %v", err)
				}
			}
		})
	}
}

// A link that begins with Renew skips nothing: it is for certificates that have expired, and it looks
// for another machine as every link does.
func TestRenewFirst(t *testing.T) {
	var c clock
	r := start(t, c.settings)
	m := enrolled(t, r, "web1")
	if _, err := m.next(false); wire.CodeOf(err) != wire.Protocol {
		t.Errorf("with a good certificate: %v", err)
	}
	if g := m.row(); g.Issued.Generation != 0 {
		t.Errorf("generation %d was given out", g.Issued.Generation)
	}
	c.turn(certs.AgentLife - time.Minute)
	u := m.must()
	c.turn(2 * time.Minute) // the link's end is noticed within a minute
	if _, err := m.next(true); wire.CodeOf(err) != wire.DuplicateIdentity {
		t.Errorf("while another machine is connected: %v", err)
	}
	if u.link.Err() != nil {
		t.Error("the first was pushed out")
	}
	u.gone(m)
	n := m.mustNext(true)
	if _, err := n.next(false); wire.CodeOf(err) != wire.Protocol { // no storm: the new one is good
		t.Errorf("at once again: %v", err)
	}
	v := n.must()
	if _, err := v.next(n); wire.CodeOf(err) != wire.Busy {
		t.Errorf("on the link at once again: %v", err)
	}
}

// A certificate that was not given cannot be kept, and a renewal needs a key of its own.
func TestRenewalsThatAreNone(t *testing.T) {
	r := start(t)
	m := enrolled(t, r, "web1")
	u := m.must()
	csr, err := certs.NewRequest(m.cert.PrivateKey.(crypto.Signer))
	if err != nil {
		t.Fatal(err)
	}
	for name, der := range map[string][]byte{"the same key": csr, "junk": []byte("x"), "nothing": nil} {
		if err := u.control.Send(&wire.Renew{CSR: der}); err != nil {
			t.Fatal(err)
		}
		if refused, ok := (<-u.answers).(*wire.Refused); !ok || refused.Code != wire.BadRequest {
			t.Errorf("%s: %+v", name, refused)
		}
	}
	if err := u.control.Send(&wire.Kept{}); err != nil {
		t.Fatal(err)
	}
	if code := ended(t, u.link); code != wire.Protocol && code != wire.AgentLost {
		t.Errorf("ended with %s", code)
	}
	if e := m.row(); e.Generation != 1 {
		t.Errorf("generation %d", e.Generation)
	}
}

// A quarantine ends sessions, lets none begin, and lasts until an administrator decides.
func TestQuarantine(t *testing.T) {
	var c clock
	r := start(t, c.settings)
	e := serve(t, r, "web1", func(e *envoy, open *wire.Open, s wire.Stream) {
		e.opened(s)
		e.sshServer(s, open, echo)
	})
	m := e.machine
	ann := newPerson(t, r, "ann", access.Admin)
	v, err := ann.connect("web1")
	if err != nil {
		t.Fatal(err)
	}
	stale := *m
	fresh := e.up.mustNext(m)
	e.up.kept(m, 2)
	if _, err := stale.connect(); wire.CodeOf(err) != wire.DuplicateIdentity {
		t.Errorf("the copy was told %v", err)
	}
	if x := v.exit(t); x.Code != wire.Quarantined {
		t.Errorf("the session ended with %s", x.Code)
	}
	settled(t, r)
	if row := rows(t, r)[0]; row.Code != wire.Quarantined {
		t.Errorf("the row says %s", row.Reason)
	}
	if _, err := ann.connect("web1"); wire.CodeOf(err) != wire.Quarantined {
		t.Errorf("a new session: %v", err)
	}
	var quarantine audit.Record
	records, err := r.audit.Records(t.Context(), 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, rec := range records {
		if rec.Type == "envoy.quarantine" {
			quarantine = rec
		}
	}
	if f := quarantine.Fields; f["counts_generation"] != "2" || f["other_generation"] != "1" || f["counts_source"] != "127.0.0.1" || f["other_source"] != "127.0.0.1" || quarantine.Envoy != m.id.String() {
		t.Errorf("the record is %+v", quarantine)
	}

	// Only who may revoke may release. A restart changes nothing, as the row says it.
	for role, want := range map[access.Role]int{access.Viewer: 403, access.Compliance: 403} {
		who := access.Operator{Username: "x", Role: role}
		if status, out := asks(t, r, who, "POST", "/api/v1/envoys/web1/release", ""); status != want {
			t.Errorf("%s: %d %s", role, status, out)
		}
	}
	who := access.Operator{ID: ann.user.ID, Username: "ann", Role: access.Admin}
	shown := m.state().Quarantine.Since
	for body, want := range map[string]int{`{"since": "2026-11-23T16:46:16Z"}`: 409, `{"since": 1}`: 400, `{"until": ""}`: 400} {
		if status, out := asks(t, r, who, "POST", "/api/v1/envoys/web1/release", body); status != want {
			t.Errorf("%s: %d %s", body, status, out)
		}
	}
	status, out := asks(t, r, who, "POST", "/api/v1/envoys/web1/release", `{"since": "`+shown.Format(time.RFC3339Nano)+`"}`)
	if status != 200 || !strings.Contains(out, `"state":"quarantined"`) || !strings.Contains(out, `"why":"an old certificate was used after a newer one"`) {
		t.Errorf("%d %s", status, out)
	}
	if n := audited(t, r, "envoy.release"); n != 1 {
		t.Errorf("%d records of the release", n)
	}
	if status, _ := asks(t, r, who, "POST", "/api/v1/envoys/web1/release", ""); status != 409 {
		t.Errorf("released twice: %d", status)
	}

	// The newest certificate counts. The other is refused, which is no reason for a second quarantine.
	if _, err := stale.connect(); wire.CodeOf(err) != wire.DuplicateIdentity {
		t.Errorf("the copy behind the release: %v", err)
	}
	u, err := fresh.connect()
	if err != nil {
		t.Fatal(err)
	}
	if s := m.state(); s.State != fleet.Online || s.Quarantine != nil {
		t.Errorf("%s, %+v", s.State, s.Quarantine)
	}
	// A copy of the newest is another matter.
	c.turn(store.RenewEvery)
	u.mustNext(fresh)
	u.kept(m, 3)
	if _, err := fresh.connect(); wire.CodeOf(err) != wire.DuplicateIdentity {
		t.Error(err)
	}
	if s := m.state(); s.State != fleet.Quarantined {
		t.Errorf("state %s", s.State)
	}
	// It can be revoked instead.
	if status, out := asks(t, r, who, "POST", "/api/v1/envoys/web1/revoke", ""); status != 200 {
		t.Errorf("%d %s", status, out)
	}
	if s := m.state(); s.State != fleet.Revoked {
		t.Errorf("state %s", s.State)
	}
	if status, _ := asks(t, r, who, "POST", "/api/v1/envoys/web1/release", ""); status != 409 {
		t.Errorf("a revoked envoy was released: %d", status)
	}
}

// twice uses an old certificate of a machine after a newer one.
func twice(t *testing.T, m *machine) error {
	t.Helper()
	u := m.must()
	u.mustNext(m)
	u.kept(m, 2)
	_, err := m.connect()
	return err
}

// A quarantine outlives the relay that found it.
func TestQuarantineOverARestart(t *testing.T) {
	var c clock
	rs := newRestartable(t, &c)
	m := enrolled(t, rs.relay, "web1")
	stale := *m
	u := m.must()
	n := u.mustNext(m)
	u.kept(m, 2)
	if _, err := stale.connect(); wire.CodeOf(err) != wire.DuplicateIdentity {
		t.Error(err)
	}
	rs.again(m, n)
	if _, err := n.connect(); wire.CodeOf(err) != wire.Quarantined {
		t.Error(err)
	}
	if s := m.state(); s.State != fleet.Quarantined {
		t.Error(s.State)
	}
}

// A log that cannot be written delays no quarantine, and lets none end.
func TestQuarantineWithoutALog(t *testing.T) {
	r := start(t)
	m := enrolled(t, r, "web1")
	good := r.fleet.Journal
	full := &breaking{Journal: r.sessions.Journal}
	full.broken.Store(true)
	r.fleet.Journal = full
	if err := twice(t, m); wire.CodeOf(err) != wire.DuplicateIdentity {
		t.Error(err)
	}
	if s := m.state(); s.State != fleet.Quarantined {
		t.Errorf("state %s", s.State)
	}
	if err := r.fleet.Release(t.Context(), audit.Event{}, m.id, time.Time{}); wire.CodeOf(err) != wire.AuditUnavailable {
		t.Errorf("released: %v", err)
	}
	if s := m.state(); s.State != fleet.Quarantined {
		t.Errorf("state %s", s.State)
	}
	r.fleet.Journal = good
	if err := r.fleet.Release(t.Context(), audit.Event{}, m.id, time.Time{}); err != nil {
		t.Error(err)
	}
}

// The first use of a copy is written down at once, and of those that follow how many there were.
func TestCopiesThatInsist(t *testing.T) {
	var c clock
	rs := newRestartable(t, &c)
	m := enrolled(t, rs.relay, "web1")
	stale := *m
	u := m.must()
	u.mustNext(m)
	u.kept(m, 2)
	if _, err := stale.connect(); wire.CodeOf(err) != wire.DuplicateIdentity {
		t.Error(err)
	}
	if err := rs.relay.fleet.Release(t.Context(), audit.Event{Operator: "test"}, m.id, time.Time{}); err != nil {
		t.Fatal(err)
	}
	const more = 100
	for range more {
		if _, err := stale.connect(); wire.CodeOf(err) != wire.DuplicateIdentity {
			t.Fatal(err)
		}
	}
	if n := audited(t, rs.relay, "envoy.duplicate"); n != 1 {
		t.Errorf("%d records", n)
	}
	rs.again()
	records, err := rs.relay.audit.Records(t.Context(), 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	records = slices.DeleteFunc(records, func(r audit.Record) bool { return r.Type != "envoy.duplicate" })
	if len(records) != 2 || records[1].Fields["repeated"] != fmt.Sprint(more) {
		t.Errorf("%+v", records)
	}
}

// Of many copies that come at once, one makes the quarantine.
func TestManyCopiesAtOnce(t *testing.T) {
	r := start(t)
	m := enrolled(t, r, "web1")
	stale := *m
	u := m.must()
	u.mustNext(m)
	u.kept(m, 2)
	errs := make(chan error)
	const copies = 32
	for range copies {
		go func() {
			link, err := roadOf(t)(t.Context(), r.Addr(), r.trusting(wire.ALPNAgent, stale.cert).TLS())
			if err == nil {
				<-link.Context().Done()
				err = link.Err()
				_ = link.Close(wire.None, "")
			}
			errs <- err
		}()
	}
	for range copies {
		if code := wire.CodeOf(<-errs); code != wire.DuplicateIdentity && code != wire.Quarantined && code != wire.Busy {
			t.Errorf("a copy was told %s", code)
		}
	}
	if q, d := audited(t, r, "envoy.quarantine"), audited(t, r, "envoy.duplicate"); q != 1 || d != 1 {
		t.Errorf("%d records of a quarantine, %d of a copy", q, d)
	}
}
