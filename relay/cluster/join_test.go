package cluster

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"scrier/relay/audit"
	"scrier/relay/store"
	"scrier/wire"
	"scrier/wire/wiretest"
)

// dying is a store of a member that dies after some changes.
type dying struct {
	store.KV
	left int
}

var errDied = errors.New("died")

func (d *dying) Update(ctx context.Context, f func(store.Tx) error) error {
	if d.left--; d.left < 0 {
		return errDied
	}
	return d.KV.Update(ctx, f)
}

// Wherever one of the two dies while a relay joins, it joins when it asks again, with the same token, whomever it asks. Nobody else can.
func TestJoinIsTakenUpAgain(t *testing.T) {
	a := first(t, false)
	b := a.join("b")
	listen := port(t)
	cfg := configOf(t, listen)
	token := a.token("c")
	q := Request{Token: token, Name: "c", Peer: listen}

	// The member dies before its first change, then before its second one, with the row and the learner there already.
	for left := range 2 {
		kv := a.KV
		a.KV = &dying{KV: kv, left: left}
		_, err := a.Admit(within(t), "", joinOf(t, cfg, q))
		if a.KV = kv; !errors.Is(err, errDied) {
			t.Fatalf("after %d changes: %v", left, err)
		}
	}
	a.want("a", "b", "c (joining)")
	if k := a.key(); !slices.Equal(k.Names, []string{"a", "b"}) {
		t.Errorf("the CA's key is sealed for %q before it has joined", k.Names)
	}
	// Who has found the token out meanwhile has another key, or another recipient.
	if _, err := b.Admit(within(t), "", request(t, token, "c", listen)); wire.CodeOf(err) != wire.TokenInvalid {
		t.Errorf("a thief of the token: %v", err)
	}
	thief := joinOf(t, cfg, q)
	thief.Recipient = request(t, token, "c", listen).Recipient
	if _, err := b.Admit(within(t), "", thief); wire.CodeOf(err) != wire.TokenInvalid {
		t.Errorf("a thief of the token and the request: %v", err)
	}
	// The relay dies before it has the answer.
	near, far := wiretest.Streams()
	go func() {
		m, err := wire.Expect[wire.Join](far)
		if err == nil {
			_, err = b.Admit(context.Background(), "", m)
		}
		if err != nil {
			t.Error(err)
		}
		far.Reset(wire.Internal)
	}()
	if err := Join(within(t), cfg, q, near); err == nil {
		t.Error("it has joined without an answer")
	}
	// It asks another member than before, and gets in; then once more, which changes nothing.
	for range 2 {
		if err := Join(within(t), cfg, q, b.stream()); err != nil {
			t.Fatal(err)
		}
	}
	// It dies when etcd has begun, before it has a vote.
	m, err := Start(within(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if m, err = Start(within(t), cfg); err != nil {
		t.Fatal(err)
	}
	c := run(t, cfg, nil, false, m)
	c.want("a", "b", "c")
	if err := c.put("k", "v"); err != nil {
		t.Error(err)
	}
	if k := c.key(); !slices.Equal(k.Names, []string{"a", "b", "c"}) {
		t.Errorf("the CA's key is sealed for %q", k.Names)
	}
	if err := Join(within(t), cfg, Request{Token: token, Name: "d", Peer: listen}, a.stream()); wire.CodeOf(err) != wire.Conflict {
		t.Errorf("a member joins under another name: %v", err)
	}
}

// joinOf is what a relay says that has begun to join.
func joinOf(t *testing.T, cfg Config, q Request) *wire.Join {
	t.Helper()
	near, far := wiretest.Streams()
	said := make(chan *wire.Join, 1)
	go func() {
		m, err := wire.Expect[wire.Join](far)
		if err != nil {
			t.Error(err)
		}
		said <- m
		far.Reset(wire.Internal)
	}()
	if err := Join(within(t), cfg, q, near); err == nil {
		t.Error("it has joined without an answer")
	}
	return <-said
}

// Members that join and go between the answer and the start do not keep a new one from starting.
func TestMembersChangeBeforeTheStart(t *testing.T) {
	a := first(t, false)
	b := a.join("b")
	listen := port(t)
	cfg := configOf(t, listen)
	if err := Join(within(t), cfg, Request{Token: a.token("c"), Name: "c", Peer: listen}, a.stream()); err != nil {
		t.Fatal(err)
	}
	b.stop()
	eventually(t, "b is seen to be gone", func() bool {
		h, err := a.Member.Health(within(t))
		return err == nil && slices.ContainsFunc(h, func(h Health) bool { return h.Name == "b" && h.Err != "" })
	})
	m, err := Start(within(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	// Two members have a vote, and one is gone: nothing can be decided, and that is what it says.
	ctx, cancel := contextFor(t, 3*retryEvery)
	defer cancel()
	if err := m.Ready(ctx); wire.CodeOf(err) != wire.Busy {
		t.Errorf("without a quorum: %v", err)
	}
	b = b.again()
	if err := m.Ready(within(t)); err != nil {
		t.Fatal(err)
	}
	b.want("a", "b", "c")
}

// With local, the CA's key stays where it is: members have no key, nobody joins at them, and the one that has it cannot be removed.
func TestLocalCA(t *testing.T) {
	a := first(t, true)
	if k := a.key(); len(k.Sealed) > 0 || k.Local != "a" {
		t.Errorf("the CA's key is %+v", k)
	}
	b := a.join("b")
	if b.CA != nil {
		t.Error("b has the CA's key")
	}
	if _, err := b.Member.CA(b.key()); wire.CodeOf(err) != wire.NotFound {
		t.Errorf("b opens the CA's key: %v", err)
	}
	if _, _, err := b.MakeToken(within(t), Order{TTL: DefaultTokenTTL}); wire.CodeOf(err) != wire.Forbidden {
		t.Errorf("b makes a token: %v", err)
	}
	if _, err := b.Admit(within(t), "", request(t, a.token("c"), "c", "127.0.0.1:1")); wire.CodeOf(err) != wire.Forbidden {
		t.Errorf("c joins at b: %v", err)
	}
	if err := b.Remove(within(t), audit.Event{}, "a", true); wire.CodeOf(err) != wire.Conflict {
		t.Errorf("the key's holder is removed: %v", err)
	}
	c := a.join("c")
	c.want("a", "b", "c")
	if err := c.Remove(within(t), audit.Event{}, "b", false); err != nil {
		t.Errorf("without the key: %v", err)
	}
	a.want("a", "c")
}

// When most are gone for good, one goes on alone with what it has, and then others can join again.
func TestAlone(t *testing.T) {
	a := first(t, false)
	b := a.join("b")
	c := a.join("c")
	if err := c.put("k", "v"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a has it too", func() bool { return a.get("k") == "v" })
	b.stop()
	c.stop()
	ctx, cancel := contextFor(t, retryEvery)
	defer cancel()
	if err := a.kv.Update(ctx, func(tx store.Tx) error { return tx.Put("k", nil) }); err == nil {
		t.Error("one of three decides by itself")
	}
	a.stop()
	cfg := a.cfg
	cfg.Alone = true
	m, err := Start(within(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	a = run(t, cfg, nil, false, m)
	if got := a.get("k"); got != "v" {
		t.Errorf("k is %q", got)
	}
	a.want("a", "b (half)", "c (half)")
	for _, name := range []string{"b", "c"} {
		if err := a.Remove(within(t), audit.Event{}, name, false); err != nil {
			t.Errorf("remove %s: %v", name, err)
		}
	}
	a.want("a")
	a.stop()
	a = a.again()
	d := a.join("d")
	d.want("a", "d")
}

// A member whose data is gone does not begin anew under its name: it may have promised something to the others, and who has formed the
// cluster would form another one.
func TestDataIsGone(t *testing.T) {
	a := first(t, false)
	b := a.join("b")
	for _, n := range []*node{b, a} {
		n.stop()
		if err := os.RemoveAll(filepath.Join(n.cfg.Dir, "etcd")); err != nil {
			t.Fatal(err)
		}
		m, err := Start(within(t), n.cfg)
		if err == nil {
			_ = m.Close()
		}
		if wire.CodeOf(err) != wire.BadConfig {
			t.Errorf("%s: %v", n.Member.Name(), err)
		}
	}
	// The same for one that was killed before it had noted that it was at work: the others know.
	c := first(t, false)
	d, e := c.join("d"), c.join("e")
	e.stop()
	r, err := e.Member.home.roster()
	if err != nil {
		t.Fatal(err)
	}
	if r.Number = 0; e.Member.home.saveRoster(r) != nil || os.RemoveAll(filepath.Join(e.cfg.Dir, "etcd")) != nil {
		t.Fatal("cannot change the directory")
	}
	if _, err := Start(within(t), e.cfg); wire.CodeOf(err) != wire.BadConfig {
		t.Errorf("e: %v", err)
	}
	d.want("a", "d", "e")
}
