package fleet

import (
	"crypto/tls"
	"crypto/x509"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"scrier/certs"
	"scrier/relay/audit"
	"scrier/relay/store"
	"scrier/wire"
)

// named is an agent that a test plays, and that may say anything of its hostname.
type named struct {
	*base
	id      wire.EnvoyID
	cert    *tls.Certificate
	link    wire.Link
	control *wire.Framed
}

// comes enrols a machine that has this hostname.
func (b *base) comes(o Order, hostname string) *named {
	b.t.Helper()
	o.TTL = time.Minute
	token, _, err := b.MakeToken(b.t.Context(), o)
	if err != nil {
		b.t.Fatal(err)
	}
	key, err := certs.NewKey()
	if err != nil {
		b.t.Fatal(err)
	}
	csr, err := certs.NewRequest(key)
	if err != nil {
		b.t.Fatal(err)
	}
	answer, err := b.Enrol(b.t.Context(), "test", &wire.Enrol{Secret: token.Secret[:], CSR: csr, Facts: wire.Facts{Hostname: hostname}})
	if err != nil {
		b.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(answer.Chain[0])
	if err != nil {
		b.t.Fatal(err)
	}
	return &named{base: b, id: answer.Envoy, cert: &tls.Certificate{Certificate: answer.Chain, PrivateKey: key, Leaf: leaf}}
}

// up connects it.
func (m *named) up(hostname string) *named {
	m.t.Helper()
	pin := m.ca.Pin()
	var err error
	if m.link, err = (wire.Dialer{TLS: certs.Client{ALPN: wire.ALPNAgent, Pin: &pin, Cert: m.cert, Now: time.Now}.TLS()}).Dial(m.t.Context(), m.addr); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(m.down)
	s, err := m.link.Open(m.t.Context())
	if err != nil {
		m.t.Fatal(err)
	}
	m.control = wire.NewFramed(s)
	if err := m.control.Send(&wire.Hello{Boot: "boot", Time: wire.Millis(time.Now()), Facts: wire.Facts{Hostname: hostname}}); err != nil {
		m.t.Fatal(err)
	}
	if _, err := wire.Expect[wire.Welcome](m.control); err != nil {
		m.t.Fatal(err)
	}
	return m
}

// down ends its link, and waits until the fleet knows.
func (m *named) down() {
	_ = m.link.Close(wire.None, "")
	m.until(func() bool { return m.agent(m.id) == nil })
}

func (m *named) until(done func() bool) {
	m.t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			m.t.Fatal("it never happens")
		}
	}
}

// says reports a hostname, and has the fleet look.
func (m *named) says(hostname string) {
	m.t.Helper()
	if err := m.control.Send(&wire.Heartbeat{Time: wire.Millis(time.Now()), Facts: wire.Facts{Hostname: hostname}}); err != nil {
		m.t.Fatal(err)
	}
	a := m.agent(m.id)
	m.until(func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.facts.Hostname == hostname
	})
	m.followAll(m.t.Context())
}

// is looks how the fleet shows it: its name, and a warning that holds a text (none: "").
func (m *named) is(what, name, warning string) {
	m.t.Helper()
	v, err := m.get(m.t.Context(), m.id)
	if err != nil {
		m.t.Fatal(err)
	}
	all := strings.Join(v.Warnings, "; ")
	if v.Hostname != name || !strings.Contains(all, warning) || warning == "" && strings.Contains(all, "name") {
		m.t.Errorf("%s: %s is called %s, with the warnings %q", what, m.id, v.Hostname, v.Warnings)
	}
}

// finds looks where a name leads; nil: nowhere, with this code.
func (b *base) finds(what, name string, want *named, code wire.Code) *Doubt {
	b.t.Helper()
	e, doubt, err := b.FindLive(b.t.Context(), name)
	if wire.CodeOf(err) != code || want != nil && e.ID != want.id {
		b.t.Errorf("%s: %s is %s, %v", what, name, e.ID, err)
	}
	return doubt
}

// later is a clock that a test sets forward.
func later(t *testing.T) (forward func(time.Duration), edit func(*Config)) {
	t.Helper()
	var by atomic.Int64
	return func(d time.Duration) { by.Add(int64(d)) }, func(c *Config) {
		c.Now = func() time.Time { return time.Now().Add(time.Duration(by.Load())) }
	}
}

// An envoy without a given name is found under the hostname that its machine has now.
func TestNameFollows(t *testing.T) {
	forward, clock := later(t)
	b := newBase(t, clock)
	web := b.comes(Order{}, "web1").up("web1")
	given := b.comes(Order{Name: "db"}, "ip-10-0-0-7").up("ip-10-0-0-7")
	web.says("shop1")
	web.is("renamed", "shop1", "")
	b.finds("the new name", "shop1", web, wire.None)
	b.finds("the old name", "web1", nil, wire.NoSuchEnvoy)
	given.says("ip-10-0-0-8")
	given.is("given", "db", "")
	b.finds("a hostname beside a given name", "ip-10-0-0-8", nil, wire.NoSuchEnvoy)
	if r := b.records("envoy.hostname_changed"); len(r) != 1 || r[0].EnvoyName != "web1" || r[0].Fields["now"] != "shop1" || r[0].Source == "" {
		t.Errorf("%+v", r)
	}

	// Not faster than the log bears, and to no name that none can be.
	web.says("shop2")
	web.is("too early", "shop1", "")
	forward(2 * followEvery)
	web.says("shop2")
	web.is("later", "shop2", "")
	forward(2 * followEvery)
	for _, bad := range []string{"", "shop 3", "shop\x1b[2J", strings.Repeat("x", maxName+1)} {
		web.says(bad)
		web.is("no name", "shop2", "")
	}

	// A name that is given stays until it is given back.
	if err := b.Rename(t.Context(), audit.Event{Operator: "ann"}, web.id, "front"); err != nil {
		t.Fatal(err)
	}
	forward(2 * followEvery)
	web.says("shop4")
	web.is("pinned", "front", "")
	if err := b.Rename(t.Context(), audit.Event{Operator: "ann"}, web.id, ""); err != nil {
		t.Fatal(err)
	}
	web.is("given back", "shop4", "")
	if r := b.records("envoy.rename"); len(r) != 2 || r[0].Operator != "ann" || r[0].Fields["before"] != "shop2" || r[0].Fields["now"] != "front" {
		t.Errorf("%+v", r)
	}
	for name, code := range map[string]wire.Code{"db": wire.Conflict, "DB": wire.Conflict, "a b": wire.BadRequest, "front": wire.None} {
		if err := b.Rename(t.Context(), audit.Event{}, web.id, name); wire.CodeOf(err) != code {
			t.Errorf("rename to %q: %v", name, err)
		}
	}
	if err := b.Rename(t.Context(), audit.Event{}, wire.NewEnvoyID(), "x"); wire.CodeOf(err) != wire.NoSuchEnvoy {
		t.Error(err)
	}

	// Those that were revoked hide nobody who has the name too.
	for range 2 * maxTwins {
		b.comes(Order{Name: "many"}, "x")
	}
	all, err := b.List(t.Context()) // by name, then by id, as they are looked through
	if err != nil {
		t.Fatal(err)
	}
	all = slices.DeleteFunc(all, func(e Envoy) bool { return e.Hostname != "many" })
	for _, e := range all[:len(all)-1] {
		if err := b.Revoke(t.Context(), audit.Event{}, e.ID); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Rename(t.Context(), audit.Event{}, web.id, "many"); wire.CodeOf(err) != wire.Conflict {
		t.Errorf("rename to the name of one envoy and of many revoked ones: %v", err)
	}

	// A row of an older relay has a name that stays.
	old := b.comes(Order{}, "old1").up("old1")
	if err := b.KV.Update(t.Context(), func(tx store.Tx) error {
		e, err := store.GetEnvoy(tx, old.id)
		e.Follows = false
		if err == nil {
			err = store.PutEnvoy(tx, e)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	old.says("old2")
	old.is("from before", "old1", "")
}

// No agent gets by its report a name that another envoy has, connected or not.
func TestNameIsNotTakenOver(t *testing.T) {
	forward, clock := later(t)
	b := newBase(t, clock)
	web := b.comes(Order{}, "web1").up("web1")
	gone := b.comes(Order{}, "gone1")
	given := b.comes(Order{Name: "bank"}, "x")
	liar := b.comes(Order{}, "liar").up("liar")
	for i, victim := range []struct {
		*named
		name string
	}{{web, "web1"}, {gone, "gone1"}, {given, "bank"}, {given, "BANK"}} {
		forward(2 * followEvery)
		liar.says(victim.name)
		liar.says(victim.name)
		liar.is("a clash", "liar", "its hostname is "+victim.name+" now, which is the name of another envoy")
		b.finds("the victim", victim.name, victim.named, wire.None)
		if r := b.records("envoy.name_clash"); len(r) != i+1 || r[i].Envoy != liar.id.String() || r[i].Fields["holder"] != victim.id.String() {
			t.Errorf("%s: %+v", victim.name, r)
		}
	}
	forward(2 * followEvery)
	liar.says("liar")
	liar.is("honest again", "liar", "")
	liar.says("web1")
	forward(2 * followEvery)

	// What lists show of another's id is not a name either, and where it is one, nothing is guessed.
	short := gone.id.String()[:8]
	liar.says(short)
	liar.is("an id", "liar", "its hostname is "+short)
	b.finds("the id", short, gone, wire.None)
	posing := b.comes(Order{}, short).up(short)
	b.finds("an id and a name", short, nil, wire.AmbiguousEnvoy)
	b.finds("the whole id", gone.id.String(), gone, wire.None)
	if err := b.Remove(t.Context(), audit.Event{}, posing.id); err != nil {
		t.Fatal(err)
	}
	forward(2 * followEvery)
	liar.says("web1")
	forward(2 * followEvery)

	// When the holder is gone, the name is free.
	if err := b.Remove(t.Context(), audit.Event{}, web.id); err != nil {
		t.Fatal(err)
	}
	b.followAll(t.Context())
	liar.is("free", "web1", "")

	// One that is revoked keeps its name until it is removed.
	if err := b.Revoke(t.Context(), audit.Event{}, gone.id); err != nil {
		t.Fatal(err)
	}
	forward(2 * followEvery)
	liar.says("gone1")
	liar.is("of a revoked one", "web1", "gone1")
}

// A machine that was enrolled again is the one that is meant, once the other is not connected.
func TestTwins(t *testing.T) {
	b := newBase(t)
	first := b.comes(Order{Name: "web1"}, "h").up("h")
	second := b.comes(Order{Name: "web1"}, "h")
	if b.finds("the first is there", "web1", first, wire.None) != nil {
		t.Error("a given name is in doubt")
	}
	first.is("connected", "web1", "has the same name and is not connected")
	second.is("not connected", "web1", "is connected; if it is this machine, enrolled again, remove this one")
	second.up("h")
	b.finds("both are there", "web1", nil, wire.AmbiguousEnvoy)
	first.is("both are connected", "web1", "is connected too; rename or remove one")
	first.down()
	if b.finds("the second is there", "web1", second, wire.None) != nil {
		t.Error("a given name is in doubt")
	}
	if _, err := b.Find(t.Context(), "web1"); wire.CodeOf(err) != wire.AmbiguousEnvoy || !strings.Contains(wire.DetailOf(err), first.id.String()+"), offline: `scrier envoys remove "+first.id.String()[:8]+"`") {
		t.Errorf("what changes an envoy guesses: %v", err)
	}
	second.down()
	b.finds("none is there", "web1", nil, wire.AmbiguousEnvoy)

	// Who only says that it has the name stands behind whom it was given, and is in doubt beside an older one.
	liar := b.comes(Order{}, "web1").up("web1")
	b.finds("none of the given is there", "web1", nil, wire.AmbiguousEnvoy)
	if err := b.Remove(t.Context(), audit.Event{}, second.id); err != nil {
		t.Fatal(err)
	}
	b.finds("the given one is not there", "web1", first, wire.None)
	liar.is("a liar", "web1", "has the same name and is not connected")

	old := b.comes(Order{}, "shop")
	keys := []string{"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"}
	has := func(m *named, keys []string) {
		t.Helper()
		if err := b.KV.Update(t.Context(), func(tx store.Tx) error {
			e, err := store.GetEnvoy(tx, m.id)
			e.HostKeys = keys
			if err == nil {
				err = store.PutEnvoy(tx, e)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	has(old, keys)
	again := b.comes(Order{}, "shop").up("shop")
	if d := b.finds("enrolled again", "shop", again, wire.None); d == nil || len(d.HostKeys) != 1 || d.HostKeys[0] != keys[0] {
		t.Errorf("%+v", d)
	}
	again.down()

	// A key of its own from before, of an envoy that is in doubt itself, does not help who is enrolled once more.
	other := []string{"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB"}
	twice := b.comes(Order{}, "shop").up("shop")
	if d := b.finds("no keys are known of the one between", "shop", twice, wire.None); d == nil || !slices.Equal(d.HostKeys, keys) {
		t.Errorf("%+v", d)
	}
	has(again, other)
	b.finds("both can be nobody", "shop", nil, wire.AmbiguousEnvoy)
	has(again, append(other, keys...))
	if d := b.finds("what both have", "shop", twice, wire.None); d == nil || !slices.Equal(d.HostKeys, keys) {
		t.Errorf("%+v", d)
	}
	has(again, nil)
	twice.down()

	old.up("shop")
	if d := b.finds("the older one", "shop", old, wire.None); d != nil {
		t.Errorf("%+v", d)
	}

	// Who had the name first is not who is meant, if operators have gone to the newer one by it.
	has(again, other)
	if d := b.finds("the older one, beside one that was used", "shop", old, wire.None); d == nil || !slices.Equal(d.HostKeys, other) {
		t.Errorf("%+v", d)
	}
}

// A token can take an envoy's place when it is used.
func TestTokenReplaces(t *testing.T) {
	b := newBase(t)
	for _, c := range []struct {
		o    Order
		code wire.Code
	}{{Order{Replace: true}, wire.BadRequest}, {Order{Name: "web1", Replace: true}, wire.NoSuchEnvoy}} {
		c.o.TTL = time.Minute
		if _, _, err := b.MakeToken(t.Context(), c.o); wire.CodeOf(err) != c.code {
			t.Errorf("%+v: %v", c.o, err)
		} else if c.code == wire.NoSuchEnvoy && !strings.Contains(wire.HintOf(err), "leave --replace out") {
			t.Errorf("%+v: the hint is %q", c.o, wire.HintOf(err))
		}
	}
	first := b.comes(Order{Name: "web1"}, "h").up("h")
	if err := b.Reported(t.Context(), first.id, [][]byte{hostKey(1)}); err != nil {
		t.Fatal(err)
	}
	second := b.comes(Order{By: audit.Event{Operator: "local:ann"}, Name: "WEB1", Replace: true}, "h")
	select {
	case <-first.link.Context().Done():
	case <-time.After(patience):
		t.Fatal("the first is still connected")
	}
	if _, err := b.get(t.Context(), first.id); wire.CodeOf(err) != wire.NoSuchEnvoy {
		t.Error(err)
	}
	b.finds("the second", "web1", second, wire.None)
	if r := b.records("envoy.remove"); len(r) != 1 || r[0].Operator != "local:ann" || r[0].Envoy != first.id.String() || r[0].Fields["replaced_by"] != second.id.String() {
		t.Errorf("%+v", r)
	}
	if err := b.Reported(t.Context(), second.id, [][]byte{hostKey(2)}); err != nil || len(b.records("envoy.host_keys_changed")) != 1 {
		t.Errorf("new host keys under the old name are not noticed: %v", err)
	}

	// It takes the place of one envoy, the one that was there when it was made.
	b.comes(Order{Name: "twin"}, "h")
	b.comes(Order{Name: "twin"}, "h")
	if _, _, err := b.MakeToken(t.Context(), Order{Name: "twin", Replace: true, TTL: time.Minute}); wire.CodeOf(err) != wire.AmbiguousEnvoy {
		t.Error(err)
	}
	token, shown, err := b.MakeToken(t.Context(), Order{Name: "web1", Replace: true, TTL: time.Minute})
	if err != nil || shown.Replaces == nil || *shown.Replaces != second.id {
		t.Fatal(shown, err)
	}
	if err := b.Remove(t.Context(), audit.Event{}, second.id); err != nil {
		t.Fatal(err)
	}
	third := b.comes(Order{Name: "web1"}, "h")
	key, err := certs.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	csr, err := certs.NewRequest(key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Enrol(t.Context(), "test", &wire.Enrol{Secret: token.Secret[:], CSR: csr, Facts: wire.Facts{Hostname: "h"}}); err != nil {
		t.Error(err)
	}
	if _, err := b.get(t.Context(), third.id); err != nil {
		t.Errorf("an envoy that nobody meant was removed: %v", err)
	}
}
