// Package etcd keeps the state of several relays in one etcd cluster.
//
// Every change is one transaction of etcd's. It is committed only if nobody, at no relay, has changed anything since the
// revision that it has read: a key of its own, the head, is compared and written with each. So changes of all relays are
// serialised, scans included, without a lock that a relay could die with. Changes that wait at the same relay share a
// transaction, as in package bolt; who loses against another relay is run again.
//
//	scrier/head       the last transaction's name, and with its revision which one was the last
//	scrier/last/NAME  the last one of the relay of that name, which looks there when an answer was lost
//	scrier/state/KEY  the value of KEY
//	scrier/epoch/NAME the epoch of the lease that the relay of that name has, for as long as it has it (lease.go)
//
// A change that was acknowledged is on the disks of most members.
package etcd

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"scrier/relay/store"
)

// Config says where the state is.
type Config struct {
	// Client is the way to the cluster. It stays the caller's, and is closed after the DB.
	Client clientv3.KV

	// MaxOps is how many keys one transaction may write, as etcd's --max-txn-ops says; 0: 128, which is etcd's own default.
	// A change that needs more fails with [store.ErrTooLarge].
	MaxOps int

	// Name is this relay's, which no other one has; empty: a random one.
	Name string

	// Leases is the same cluster's, for a state that several relays share; nil: nobody has a lease.
	Leases clientv3.Lease
}

const (
	headKey  = "scrier/head"
	lastKey  = "scrier/last/"
	stateKey = "scrier/state/"

	// maxView bounds the life of a snapshot, which etcd may compact away.
	maxView = 5 * time.Second

	// callTime is how long etcd has for one answer: longer than an election takes.
	callTime = 5 * time.Second

	// retryTime is how long a change is run again because other relays were faster.
	retryTime = 15 * time.Second

	defaultMaxOps = 128
	headOps       = 2 // of each transaction, for who was the last
)

// ErrClosed is returned by a DB that was closed.
var ErrClosed = errors.New("the state is closed")

// DB is a [store.KV] in an etcd cluster. Its methods are safe for concurrent use, also in several processes.
type DB struct {
	client clientv3.KV
	leases clientv3.Lease
	maxOps int
	last   string // the key of our last transaction

	turn   chan struct{} // held by who changes
	open   *batch        // nil: none; guarded by turn
	closed bool          // guarded by turn

	views sync.WaitGroup
	mu    sync.Mutex
	over  bool // no more views; guarded by mu
}

var _ store.KV = (*DB)(nil)

// Open opens the state that a cluster has, or makes a new one. A state that a newer version wrote is
// [wire.VersionMismatch].
func Open(ctx context.Context, cfg Config) (*DB, error) {
	if cfg.MaxOps <= 0 {
		cfg.MaxOps = defaultMaxOps
	}
	d := &DB{client: cfg.Client, leases: cfg.Leases, maxOps: cfg.MaxOps - headOps, last: lastKey + cmp.Or(cfg.Name, rand.Text()), turn: make(chan struct{}, 1)}
	if err := store.CheckSchema(ctx, d); err != nil {
		return nil, errors.Join(fmt.Errorf("open state: %w", err), d.Close())
	}
	return d, nil
}

// View implements [store.KV]; it ends after five seconds.
func (d *DB) View(ctx context.Context, f func(store.Tx) error) error {
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("read state: %w", err)
	}
	if !d.enter() {
		return fmt.Errorf("read state: %w", ErrClosed)
	}
	defer d.views.Done()
	ctx, cancel := context.WithTimeout(ctx, maxView)
	defer cancel()
	s, err := d.now(ctx)
	if err != nil {
		return fmt.Errorf("read state: %w", err)
	}
	t := &tx{ctx: ctx, base: s}
	err = t.run(f)
	if errors.Is(err, rpctypes.ErrCompacted) { // a newer one is there
		if t.base, err = d.now(ctx); err != nil {
			return fmt.Errorf("read state: %w", err)
		}
		t = &tx{ctx: ctx, base: t.base}
		err = t.run(f)
	}
	return err
}

func (d *DB) enter() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.over {
		return false
	}
	d.views.Add(1)
	return true
}

// Update implements [store.KV]. Changes that wait at the same time share a transaction of etcd's ([batch]); f runs again
// when that one comes to nothing because of another one, here or at another relay.
func (d *DB) Update(ctx context.Context, f func(store.Tx) error) error {
	return d.update(ctx, store.Owner{}, f)
}

// MaxWrites is what [store.MaxWrites] asks for.
func (d *DB) MaxWrites() int { return d.maxOps }

func (d *DB) update(ctx context.Context, o store.Owner, f func(store.Tx) error) error {
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("change state: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, retryTime, errContended)
	defer cancel()
	alone := false
	for {
		next, err := d.try(ctx, o, f, alone)
		if next == finished {
			return err
		}
		alone = next == runAlone
	}
}

var errContended = errors.New("the state is changed too often at other relays")

// Close waits for the running transactions. The cluster keeps what it has.
func (d *DB) Close() error {
	d.mu.Lock()
	d.over = true
	d.mu.Unlock()
	d.views.Wait()
	d.turn <- struct{}{} // the wait ends when the commit under way does
	defer func() { <-d.turn }()
	if d.open != nil {
		d.commit()
	}
	d.closed = true
	return nil
}

// snapshot is the state as it was at a revision.
type snapshot struct {
	client clientv3.KV
	rev    int64 // of the whole cluster
	head   int64 // the revision of the head; 0: there is none yet
	name   []byte
}

// now is the newest snapshot: it has all that was acknowledged before, at whatever relay.
func (d *DB) now(ctx context.Context) (snapshot, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	resp, err := d.client.Get(ctx, headKey)
	if err != nil {
		return snapshot{}, told(ctx, err)
	}
	s := snapshot{client: d.client, rev: resp.Header.Revision}
	if len(resp.Kvs) > 0 {
		s.head, s.name = resp.Kvs[0].ModRevision, resp.Kvs[0].Value
	}
	return s, nil
}

// get asks one member, which is mostly enough: what the snapshot has is there already. If that one lags behind, the whole
// cluster is asked.
func (s snapshot) get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	opts = append(opts, clientv3.WithRev(s.rev))
	resp, err := s.client.Get(ctx, stateKey+key, append(opts, clientv3.WithSerializable())...)
	if errors.Is(err, rpctypes.ErrFutureRev) {
		resp, err = s.client.Get(ctx, stateKey+key, opts...)
	}
	if err != nil {
		return nil, told(ctx, err)
	}
	return resp, nil
}

// told is an error with the reason of a context that has ended.
func told(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		return fmt.Errorf("%w (%w)", cause, err)
	}
	return err
}
