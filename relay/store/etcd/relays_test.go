package etcd

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"scrier/relay/lease"
	"scrier/relay/session"
	"scrier/relay/session/sessiontest"
	"scrier/relay/store"
	"scrier/wire"
)

// wires is a way to the cluster that can be cut. What is under way may have been done.
type wires struct {
	clientv3.KV
	clientv3.Lease
	cut atomic.Bool
}

var errCut = errors.New("no way to the cluster")

func (w *wires) err() error {
	if w.cut.Load() {
		return errCut
	}
	return nil
}

type cutKV struct {
	clientv3.KV
	*wires
}

func (k cutKV) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	if err := k.err(); err != nil {
		return nil, err
	}
	r, err := k.KV.Get(ctx, key, opts...)
	return r, errors.Join(err, k.err())
}

func (k cutKV) Txn(ctx context.Context) clientv3.Txn { return cutTxn{k.KV.Txn(ctx), k.wires} }

type cutTxn struct {
	clientv3.Txn
	w *wires
}

func (t cutTxn) If(cs ...clientv3.Cmp) clientv3.Txn   { return cutTxn{t.Txn.If(cs...), t.w} }
func (t cutTxn) Then(ops ...clientv3.Op) clientv3.Txn { return cutTxn{t.Txn.Then(ops...), t.w} }
func (t cutTxn) Else(ops ...clientv3.Op) clientv3.Txn { return cutTxn{t.Txn.Else(ops...), t.w} }
func (t cutTxn) Commit() (*clientv3.TxnResponse, error) {
	if err := t.w.err(); err != nil {
		return nil, err
	}
	r, err := t.Txn.Commit()
	return r, errors.Join(err, t.w.err())
}

type cutLease struct {
	clientv3.Lease
	*wires
}

func (l cutLease) KeepAliveOnce(ctx context.Context, id clientv3.LeaseID) (*clientv3.LeaseKeepAliveResponse, error) {
	if err := l.err(); err != nil {
		return nil, err
	}
	r, err := l.Lease.KeepAliveOnce(ctx, id)
	return r, errors.Join(err, l.err())
}

func (l cutLease) Grant(ctx context.Context, ttl int64) (*clientv3.LeaseGrantResponse, error) {
	if err := l.err(); err != nil {
		return nil, err
	}
	return l.Lease.Grant(ctx, ttl)
}

// oneRelay is one run of a relay.
type oneRelay struct {
	name   string
	way    *wires
	keeper *lease.Keeper
	table  *session.Table
	stop   context.CancelFunc
	done   sync.WaitGroup
}

// crew are several relays on one cluster; their logs outlive them.
type crew struct {
	t      *testing.T
	client *clientv3.Client
	logs   map[string]*sessiontest.Journal
	max    int
}

func (c *crew) start(name string) *oneRelay {
	c.t.Helper()
	log := slog.New(slog.DiscardHandler)
	r := &oneRelay{name: name, way: &wires{}}
	db, err := Open(c.t.Context(), Config{Client: cutKV{c.client.KV, r.way}, Leases: cutLease{c.client.Lease, r.way}, MaxOps: 8192})
	if err != nil {
		c.t.Fatal(err)
	}
	if r.keeper, err = lease.New(lease.Config{Store: db, Name: name, TTL: 2 * time.Second, Now: time.Now, Log: log}); err != nil {
		c.t.Fatal(err)
	}
	if err := r.keeper.Begin(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	if c.logs[name] == nil {
		c.logs[name] = new(sessiontest.Journal)
	}
	r.table = session.NewTable(session.Config{
		KV: r.keeper.KV(), Lease: r.keeper, Journal: c.logs[name], Now: time.Now, Log: log, Max: c.max, MaxAge: time.Hour, Grace: time.Minute, AuditGrace: time.Hour,
	})
	if err := r.table.Restart(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	r.done.Go(func() { _ = r.keeper.Run(ctx) })
	r.done.Go(func() { _ = r.table.Run(ctx) })
	return r
}

// kill ends a run as kill -9 does: nothing that it has begun reaches the cluster any more.
func (r *oneRelay) kill() {
	r.way.cut.Store(true)
	r.stop()
	r.done.Wait()
}

func (c *crew) ends() map[string][]string {
	in := map[string][]string{}
	for name, j := range c.logs {
		for _, e := range j.Events() {
			if e.Type == "scrier.disconnect" {
				in[e.Session] = append(in[e.Session], name)
			}
		}
	}
	return in
}

// Three relays on a real etcd open and end sessions while they are cut off, killed and started: slots are never exceeded (I4) nor
// lost, each session ends once, with one record in all logs together (I1), and none is left without an owner.
func TestRelaysOnOneCluster(t *testing.T) {
	c := &crew{t: t, client: member(t), logs: map[string]*sessiontest.Journal{}, max: 6}
	watch, err := Open(t.Context(), Config{Client: c.client, Leases: c.client, MaxOps: 8192})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Close()
	names := []string{"a", "b", "c"}
	all := map[string]*oneRelay{}
	for _, name := range names {
		all[name] = c.start(name)
	}
	look := func() (rows []store.Session, slots int) {
		t.Helper()
		if err := watch.View(t.Context(), func(tx store.Tx) (err error) {
			slots = 0
			for range tx.Scan("open/") {
				slots++
			}
			rows, err = store.Sessions(tx, store.MaxSessions, wire.SessionID{})
			return err
		}); err != nil {
			t.Fatal(err)
		}
		open := 0
		for _, row := range rows {
			if row.State == store.Waiting || row.State == store.Active {
				open++
			}
		}
		if slots != open || slots > c.max {
			t.Fatalf("I4: %d slots are taken for %d open sessions, of %d", slots, open, c.max)
		}
		return rows, slots
	}
	random := rand.New(rand.NewPCG(14, 3))
	var group sync.WaitGroup
	for round := range 12 {
		for _, name := range names {
			r := all[name]
			for range 3 {
				d, ends := time.Duration(random.IntN(1500))*time.Millisecond, random.IntN(3) > 0
				group.Go(func() { // a session, for as long as its relay has it
					s, err := r.table.Reserve(context.Background(), store.Session{Operator: "ann", Envoy: wire.NewEnvoyID(), Kind: "ssh"}, nil)
					if err != nil {
						return
					}
					if ends {
						select {
						case <-s.Context().Done():
						case <-time.After(d):
							s.End(wire.Errorf(wire.Killed, "ended by bob"))
						}
					}
					<-s.Context().Done()
					_ = s.Close(wire.CodeOf(context.Cause(s.Context())), "")
				})
			}
		}
		time.Sleep(300 * time.Millisecond)
		look()
		name := names[round%len(names)]
		switch round % 4 {
		case 0:
			all[name].kill()
			all[name].table.EndAll(errors.New("killed"))
			if round%8 == 0 { // the others have time to close its rows
				time.Sleep(4 * time.Second)
				look()
			}
			all[name] = c.start(name)
		case 1:
			all[name].way.cut.Store(true)
			time.Sleep(4 * time.Second)
			look()
			all[name].way.cut.Store(false)
		case 2: // its lease ends while it is there
			if err := watch.Release(t.Context(), all[name].keeper.Owner()); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, name := range names {
		all[name].table.EndAll(&wire.Error{Code: wire.RelayShutdown})
	}
	group.Wait()
	var rows []store.Session
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		rows, _ = look()
		left := 0
		for _, row := range rows {
			if row.State != store.Closed {
				left++
			}
		}
		if left == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d sessions are not closed: %+v", left, len(rows), rows)
		}
	}
	in := c.ends()
	lost := 0
	for _, row := range rows {
		if got := in[row.ID.String()]; len(got) != 1 || got[0] != row.Closer {
			t.Errorf("I1: %s was closed by %s, and its end is in the logs of %v", row.ID, row.Closer, got)
		}
		if row.Code == wire.RelayLost {
			lost++
		}
	}
	if len(in) != len(rows) || len(rows) == 0 {
		t.Errorf("%d sessions and %d ends", len(rows), len(in))
	}
	t.Logf("%d sessions, %d of lost relays", len(rows), lost)
	for _, name := range names {
		all[name].stop()
		all[name].done.Wait()
	}
}
