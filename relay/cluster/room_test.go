package cluster

import (
	"errors"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// An etcd that has no room left writes again once what is old is gone, without a person who could not reach it anyway.
func TestRoom(t *testing.T) {
	ca, listen := newCA(t), port(t)
	cfg := configOf(t, listen)
	cfg.Quota = 16 << 20
	m, err := Form(within(t), cfg, ca, "a", listen)
	if err != nil {
		t.Fatal(err)
	}
	a := run(t, cfg, ca, false, m)
	large := strings.Repeat("x", 1<<20)
	var last int64
	for i := 0; ; i++ {
		r, err := m.Client().Put(within(t), "large", large)
		if errors.Is(err, rpctypes.ErrNoSpace) {
			break
		}
		if err != nil || i > 100 {
			t.Fatalf("put %d: %v", i, err)
		}
		last = r.Header.Revision
	}
	if h, err := m.Health(within(t)); err != nil || len(h) != 1 || len(h[0].State.Alarms) != 1 || h[0].State.Alarms[0] != "NOSPACE" {
		t.Errorf("health: %+v, %v", h, err)
	}
	if err := m.MakeRoom(within(t)); err == nil {
		t.Error("there is room all of a sudden")
	}
	if _, err := m.Client().Compact(within(t), last, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	if err := m.MakeRoom(within(t)); err != nil {
		t.Fatal(err)
	}
	if err := a.put("k", "v"); err != nil {
		t.Error(err)
	}
	if h, err := m.Health(within(t)); err != nil || len(h[0].State.Alarms) != 0 {
		t.Errorf("health: %+v, %v", h, err)
	}
	if err := m.MakeRoom(within(t)); err != nil {
		t.Error(err)
	}
}
