package cluster

import (
	"strings"
	"testing"
	"time"

	"scrier/relay/audit"
	"scrier/wire"
)

// Three relays become a cluster by two joins; it goes on when one of them is gone, and is two when that one is removed. The one that was
// removed is out, also with all that it has.
func TestThree(t *testing.T) {
	a := first(t, false)
	if err := a.put("from", "a"); err != nil {
		t.Fatal(err)
	}
	b := a.join("b")
	c := b.join("c") // whom it asks makes no difference
	a.want("a", "b", "c")
	c.want("a", "b", "c")
	for _, n := range []*node{b, c} {
		if got := n.get("from"); got != "a" {
			t.Errorf("%s reads %q", n.Member.Name(), got)
		}
		if n.CA.Pin() != a.CA.Pin() {
			t.Errorf("%s has another CA", n.Member.Name())
		}
	}
	eventually(t, "all members are well, as all of them see it", func() bool {
		for _, n := range []*node{a, b, c} {
			h, err := n.Member.Health(within(t))
			if err != nil || len(h) != 3 {
				return false
			}
			leaders := 0
			for i, one := range h {
				if one.Err != "" || one.Learner || one.Name != []string{"a", "b", "c"}[i] {
					return false
				}
				if one.Leader {
					leaders++
				}
			}
			if leaders != 1 {
				return false
			}
		}
		return true
	})

	// A lease that one holds is seen by the others, and renewed wherever the leader is.
	for _, n := range []*node{a, b, c} {
		l, err := n.Member.Client().Grant(within(t), 60)
		if err != nil {
			t.Fatalf("%s: a lease: %v", n.Member.Name(), err)
		}
		if _, err := n.Member.Client().KeepAliveOnce(within(t), l.ID); err != nil {
			t.Errorf("%s: renew a lease: %v", n.Member.Name(), err)
		}
	}

	c.stop() // it is gone without a word to us
	if err := b.put("without", "c"); err != nil {
		t.Fatal(err)
	}
	if err := b.Remove(within(t), audit.Event{Operator: "alice"}, "a", false); wire.CodeOf(err) != wire.Conflict {
		t.Errorf("removed one of the two that are left of three: %v", err)
	}
	a.want("a", "b", "c")
	if err := a.Remove(within(t), audit.Event{Operator: "alice"}, "c", false); err != nil {
		t.Fatal(err)
	}
	a.want("a", "b")
	b.want("a", "b")
	if k := b.key(); strings.Join(k.Names, " ") != "a b" {
		t.Errorf("the CA's key is sealed for %q", k.Names)
	} else if _, err := c.Member.CA(k); wire.CodeOf(err) != wire.Forbidden {
		t.Errorf("the removed one opens the CA's key: %v", err)
	}
	if got := b.get("without"); got != "c" {
		t.Errorf("b reads %q", got)
	}

	// It comes back with its data, and nobody takes its connections.
	m, err := Start(within(t), c.cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	before := time.Now()
	ctx, cancel := contextFor(t, 5*time.Second)
	defer cancel()
	if err := m.Ready(ctx); err == nil {
		t.Errorf("a removed member is ready after %s", time.Since(before))
	}
	for _, n := range []*node{a, b} {
		h, err := n.Member.Health(within(t))
		if err != nil || len(h) != 2 {
			t.Errorf("health: %+v, %v", h, err)
		}
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}

	// Its name is free again, for another relay.
	c = b.join("c")
	a.want("a", "b", "c")
	if got := c.get("without"); got != "c" {
		t.Errorf("c reads %q", got)
	}
	if got := strings.Join(a.journal.types(), " "); got != "relay.token relay.join relay.remove" {
		t.Errorf("a's audit log has %q", got)
	}
}
