package relay

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"scrier/certs"
	"scrier/relay/access"
	"scrier/relay/audit"
	"scrier/relay/fleet"
	"scrier/relay/session"
	"scrier/relay/store"
	"scrier/wire"
)

// A relay whose clock was wrong for a while takes back the agents that it renewed meanwhile.
func TestClockThatJumpedAndCameBack(t *testing.T) {
	var c clock
	r := start(t, c.settings)
	m := enrolled(t, r, "web1")
	c.turn(48 * time.Hour)
	if _, err := m.connect(); wire.CodeOf(err) != wire.Expired {
		t.Fatalf("two days ahead: %v", err)
	}
	if err := m.renew(); err != nil {
		t.Fatal(err)
	}
	c.turn(-48 * time.Hour)
	if _, err := m.connect(); wire.CodeOf(err) != wire.Expired {
		t.Errorf("a certificate from the day after tomorrow: %v", err)
	}
	if err := m.renew(); err != nil {
		t.Fatalf("renewal after the clock was set right: %v", err)
	}
	m.must()
}

// The reasons that end sessions are the relay's to give; a hostile agent's do not reach the rows,
// the audit log or the operator.
func TestAgentsCannotForgeReasons(t *testing.T) {
	for _, code := range []wire.Code{wire.None, wire.Killed, wire.OperatorChanged, wire.AuditUnavailable, wire.RelayShutdown, wire.Revoked, 999} {
		want := wire.Protocol
		if code == wire.None { // no reason at all: then the server on the machine broke off
			want = wire.TargetRefused
		}
		r := start(t)
		serve(t, r, "evil", func(_ *envoy, _ *wire.Open, s wire.Stream) {
			if err := wire.Send(s, &wire.Refused{Code: code, Detail: "ended by bob"}); err != nil {
				t.Error(err)
			}
			_, _ = io.Copy(io.Discard, s)
		})
		if _, err := newPerson(t, r, "ann", access.Admin).connect("evil"); wire.CodeOf(err) != want {
			t.Errorf("%s: the operator was told %v", code, err)
		}
		settled(t, r)
		if row := rows(t, r)[0]; row.Code != want {
			t.Errorf("%s: the row says %s", code, row.Reason)
		}
	}
}

// A stranger who tries tokens is slowed down before the audit log fills.
func TestGuessedTokensAreSlowed(t *testing.T) {
	r := start(t)
	for range 50 {
		if _, err := enrol(t, r, certs.NewToken(r.ca.Pin()), nil); wire.CodeOf(err) == wire.Busy {
			if n := audited(t, r, "envoy.enrol_refused"); n > 10 {
				t.Errorf("%d audit records", n)
			}
			return
		}
	}
	t.Error("fifty guesses cost nothing")
}

// An enrolment that fails leaves its token good, and is written down.
func TestFailedEnrolmentKeepsTheToken(t *testing.T) {
	r := start(t)
	token, _, err := r.fleet.MakeToken(t.Context(), fleet.Order{TTL: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	key, err := certs.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	csr, err := certs.NewRequest(key)
	if err != nil {
		t.Fatal(err)
	}
	try := func(host string) error {
		_, err := r.fleet.Enrol(t.Context(), "test", &wire.Enrol{Secret: token.Secret[:], CSR: csr, Facts: wire.Facts{Hostname: host}})
		return err
	}
	if err := try("no name\x1b[2J"); wire.CodeOf(err) != wire.BadRequest {
		t.Errorf("a hostname that is none: %v", err)
	}
	if audited(t, r, "envoy.enrol_refused") != 1 || audited(t, r, "envoy.enrol") != 0 {
		t.Error("the failure is not in the audit log")
	}
	if err := try("web1"); err != nil {
		t.Errorf("the same token with a good name: %v", err)
	}
}

// The tokens of an operator who is gone enrol nobody.
func TestDeletedOperatorsTokens(t *testing.T) {
	r := start(t)
	p := newPerson(t, r, "ann", access.Admin)
	token, _, err := r.fleet.MakeToken(t.Context(), fleet.Order{By: audit.Event{Operator: "ann"}, Maker: p.user.ID, Name: "x", TTL: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.access.Delete(t.Context(), access.Local("test"), p.user.Username); err != nil {
		t.Fatal(err)
	}
	if _, err := enrol(t, r, token, nil); wire.CodeOf(err) != wire.TokenInvalid {
		t.Errorf("enrolled with %v", err)
	}
}

// What the agent says that it has kept makes all before it old, on the living link.
func TestKeptCertificate(t *testing.T) {
	r := start(t)
	m := enrolled(t, r, "web1")
	old := *m
	u := m.must()
	key, err := certs.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	csr, err := certs.NewRequest(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := u.control.Send(&wire.Renew{CSR: csr}); err != nil {
		t.Fatal(err)
	}
	if err := u.control.Send(&wire.Kept{}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the generation to be saved", func() bool {
		var e store.Envoy
		err := r.kv.View(t.Context(), func(tx store.Tx) (err error) {
			e, err = store.GetEnvoy(tx, m.id)
			return err
		})
		return err == nil && e.Generation == 2
	})
	if _, err := old.connect(); wire.CodeOf(err) != wire.DuplicateIdentity {
		t.Errorf("the certificate from before: %v", err)
	}
}

// flaky is a store whose next commits fail.
type flaky struct {
	store.KV
	fail atomic.Int32
}

func (f *flaky) Update(ctx context.Context, do func(store.Tx) error) error {
	if f.fail.Add(-1) >= 0 {
		return errors.New("no space left on device")
	}
	return f.KV.Update(ctx, do)
}

// A row that could not be closed is closed later: its slot comes back without a restart.
func TestCloseIsTriedAgain(t *testing.T) {
	r := start(t, func(s *Settings) { s.Config.Scrier.MaxSessions = 1 })
	kv := &flaky{KV: r.kv}
	table := session.NewTable(func() session.Config { c := r.sessions.Config; c.KV = kv; return c }())
	s, err := table.Reserve(t.Context(), store.Session{Operator: "ann", Envoy: wire.NewEnvoyID(), Kind: "ssh", Source: "test"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Intent(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	kv.fail.Store(1)
	if err := s.Close(wire.None, ""); err == nil {
		t.Fatal("the commit did not fail")
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- table.Run(ctx) }()
	settled(t, r)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Browsers' connections have a bound for each network, and give their place back. Those over TCP leave
// QUIC alone.
func TestBrowsersAreCounted(t *testing.T) {
	r := start(t)
	for _, c := range []*crowd{&r.listener.overTCP, &r.listener.overQUIC} {
		c.mu.Lock()
		c.each = 3
		c.mu.Unlock()
	}
	conf := &tls.Config{RootCAs: trust(t, r), NextProtos: []string{"http/1.1"}}
	hello := func() (*tls.Conn, error) {
		c, err := tls.Dial("tcp", r.Addr(), conf)
		if err != nil {
			return nil, err
		}
		if _, err = c.Write([]byte("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")); err == nil {
			_, err = c.Read(make([]byte, 1))
		}
		if err != nil {
			_ = c.Close() // there was no place
			return nil, err
		}
		return c, nil
	}
	var open []*tls.Conn
	for range 3 {
		c, err := hello()
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
	}
	if c, err := hello(); err == nil {
		t.Error("a fourth connection was served")
		_ = c.Close()
	}
	if s, err := webTransport(t, r, "https://"+r.Addr(), wire.NewSessionID()); err != nil {
		t.Errorf("over QUIC there was room: %v", err)
	} else {
		s.Reset(wire.None)
	}
	for _, c := range open {
		_ = c.Close() // the end is all that counts
	}
	waitFor(t, "the places to be free again", func() bool {
		c, err := hello()
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}
