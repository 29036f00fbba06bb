// Package sharedtest is a state in memory that several relays share, for tests. It behaves as the one in etcd does: changes are
// tried on a snapshot and serialised when they are committed, leases end by the cluster's own clock. And it does to a relay what
// machines and networks do: cuts it off, stops its process and lets it go on, kills it, loses answers.
package sharedtest

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"scrier/relay/store"
)

// Cluster is the state.
type Cluster struct {
	turn chan struct{} // of who changes it; nil: they race

	mu     sync.Mutex
	rows   []row // by key; never changed in place
	head   uint64
	leases map[string]lease // by name
}

type row struct {
	key   string
	value []byte
}

type lease struct {
	epoch uint64
	ttl   time.Duration
	until time.Time
}

// New is an empty state. In one that is racy, changes are all tried at once, and run again if others were faster.
func New(racy bool) *Cluster {
	c := &Cluster{leases: map[string]lease{}, rows: []row{{store.SchemaKey, strconv.AppendUint(nil, store.Schema, 10)}}}
	if !racy {
		c.turn = make(chan struct{}, 1)
	}
	return c
}

// snapshot is the state at one moment.
func (c *Cluster) snapshot() ([]row, uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expireLocked()
	return c.rows, c.head
}

// commit makes changes, if the head is still the one that they have read, and their owner has the lease.
func (c *Cluster) commit(o store.Owner, head uint64, changes map[string][]byte) (done bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expireLocked()
	if o != (store.Owner{}) && !c.hasLocked(o) {
		return false, store.ErrLost
	}
	if head != c.head {
		return false, nil
	}
	if len(changes) > 0 {
		c.head++
		c.setLocked(changes)
	}
	return true, nil
}

func (c *Cluster) hasLocked(o store.Owner) bool {
	l, ok := c.leases[o.Name]
	return ok && l.epoch == o.Epoch
}

func (c *Cluster) setLocked(changes map[string][]byte) {
	rows := slices.Clone(c.rows)
	for key, to := range changes {
		rows = set(rows, key, to)
	}
	c.rows = rows
}

// set changes rows in place; nil deletes.
func set(rows []row, key string, to []byte) []row {
	at, found := find(rows, key)
	switch {
	case found && to == nil:
		return slices.Delete(rows, at, at+1)
	case found:
		rows[at].value = to
	case to != nil:
		return slices.Insert(rows, at, row{key, to})
	}
	return rows
}

func find(rows []row, key string) (int, bool) {
	return slices.BinarySearchFunc(rows, key, func(r row, key string) int { return cmp.Compare(r.key, key) })
}

// expireLocked ends the leases whose time is over.
func (c *Cluster) expireLocked() {
	now := time.Now()
	for name, l := range c.leases {
		if !now.Before(l.until) {
			c.endLocked(name)
		}
	}
}

func (c *Cluster) endLocked(name string) {
	delete(c.leases, name)
	c.setLocked(map[string][]byte{store.LeasePrefix + name: nil})
}

func (c *Cluster) register(l store.Lease, ttl time.Duration) (store.Lease, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expireLocked()
	counter := store.EpochPrefix + l.Name
	l.Epoch = 1
	if at, found := find(c.rows, counter); found {
		before, err := strconv.ParseUint(string(c.rows[at].value), 10, 63)
		if err != nil {
			return l, err
		}
		l.Epoch = before + 1
	}
	value, err := l.Encode()
	if err != nil {
		return l, err
	}
	c.leases[l.Name] = lease{l.Epoch, ttl, time.Now().Add(ttl)}
	c.setLocked(map[string][]byte{counter: strconv.AppendUint(nil, l.Epoch, 10), store.LeasePrefix + l.Name: value})
	return l, nil
}

func (c *Cluster) renew(o store.Owner) (time.Duration, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expireLocked()
	if !c.hasLocked(o) {
		return 0, store.ErrLost
	}
	l := c.leases[o.Name]
	l.until = time.Now().Add(l.ttl)
	c.leases[o.Name] = l
	return l.ttl, nil
}

func (c *Cluster) release(o store.Owner) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expireLocked()
	if c.hasLocked(o) {
		c.endLocked(o.Name)
	}
}

// Dump is the state for people, who look for what is wrong with it.
func (c *Cluster) Dump() string {
	rows, _ := c.snapshot()
	var b strings.Builder
	for _, r := range rows {
		b.WriteString(strconv.Quote(r.key) + " " + strconv.Quote(string(r.value)) + "\n")
	}
	return b.String()
}
