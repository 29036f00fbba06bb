// Package bolt keeps a relay's state in one bbolt file.
//
// A commit that was acknowledged survives kill -9 and, as far as the disk keeps its promises, a
// power cut. The file has mode 0600, belongs to one process at a time, and has some space
// allocated ahead of its use, so that sessions can still be closed when the disk is full. After
// an end that was not clean the whole file is checked before it is used; a damaged file is
// refused, never repaired: the error says how to get out.
package bolt

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"scrier/relay/boltfile"
	"scrier/relay/store"
	"scrier/relay/tally"
)

// Config says where the state is.
type Config struct {
	Path        string        // the file; its directory exists, with a mode of its own
	LockTimeout time.Duration // how long to wait for another process to let go; 0: 1 s
	Headroom    int64         // bytes allocated ahead of use; 0: 4 MiB, negative: none
	Log         *slog.Logger  // nil: slog.Default()
}

const (
	// maxView bounds a snapshot's life: pages that it can see are not reused, so the file grows
	// meanwhile.
	maxView = 5 * time.Second

	defaultLockTimeout = time.Second
	defaultHeadroom    = 4 << 20 // closes some thousand sessions on a full disk
)

// DB is a [store.KV] in a file. Its methods are safe for concurrent use.
type DB struct {
	file *boltfile.File

	turn   chan struct{} // held by who writes; unlike bbolt's own lock a context ends the wait for it
	open   *batch        // nil: none; guarded by turn
	closed bool          // guarded by turn
	log    *slog.Logger

	mu  sync.Mutex
	low error // why there is no headroom, nil if there is; guarded by mu

	took tally.Times // changes that succeeded
}

var _ store.KV = (*DB)(nil)

// Open opens the state or makes a new one. A file that another process holds is
// [wire.StateInUse], one that a newer version wrote [wire.VersionMismatch].
func Open(cfg Config) (*DB, error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.LockTimeout <= 0 {
		cfg.LockTimeout = defaultLockTimeout
	}
	if cfg.Headroom == 0 {
		cfg.Headroom = defaultHeadroom
	}
	f, err := openFile(cfg)
	if err != nil {
		return nil, fmt.Errorf("open state: %w", err)
	}
	d := &DB{file: f, turn: make(chan struct{}, 1), log: cfg.Log}
	if err := store.CheckSchema(context.Background(), d); err != nil {
		return nil, errors.Join(fmt.Errorf("open state: %w", err), d.Close())
	}
	return d, nil
}

// View implements [store.KV]; it ends after five seconds.
func (d *DB) View(ctx context.Context, f func(store.Tx) error) error {
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("read state: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, maxView)
	defer cancel()
	b, err := d.file.DB.Begin(false)
	if err != nil {
		return fmt.Errorf("read state: %w", err)
	}
	defer b.Rollback()
	t := &tx{ctx: ctx, bucket: b.Bucket(kvBucket)}
	return t.run(f)
}

// Update implements [store.KV]. Changes that wait at the same time share a transaction of bbolt's ([batch]);
// f runs twice if that one comes to nothing because of another.
func (d *DB) Update(ctx context.Context, f func(store.Tx) error) error {
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("change state: %w", err)
	}
	began := time.Now()
	again, err := d.try(ctx, f, false)
	if again {
		_, err = d.try(ctx, f, true)
	}
	if err == nil {
		d.took.Since(began)
	}
	return err
}

// Took is how long changes took until they were durable, the wait for others included.
func (d *DB) Took() tally.Spread { return d.took.Read() }

// Bytes is how large the file is, as far as it is in use.
func (d *DB) Bytes() (int64, error) { return d.file.Used() }

// Healthy says whether the space that is allocated ahead is there. Without it changes may still succeed.
func (d *DB) Healthy() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.low
}

func (d *DB) noteHeadroom(err error) {
	d.mu.Lock()
	before := d.low
	d.low = err
	d.mu.Unlock()
	switch {
	case err != nil && before == nil:
		d.log.Warn("the disk is nearly full: no space ahead for the state", "path", d.file.Path(), "error", err)
	case err == nil && before != nil:
		d.log.Info("there is space ahead for the state again", "path", d.file.Path())
	}
}

// Close waits for the running transactions, marks the file as closed cleanly, and lets go of it.
func (d *DB) Close() error {
	d.turn <- struct{}{} // the wait ends when the commit under way does
	defer func() { <-d.turn }()
	if d.open != nil {
		d.commit()
	}
	if d.closed {
		return nil
	}
	d.closed = true
	if err := d.file.Close(); err != nil {
		return fmt.Errorf("close state: %w", err)
	}
	return nil
}

// Check reads the whole file and returns what is wrong with it. No change goes on meanwhile.
func (d *DB) Check() error {
	d.turn <- struct{}{} // bbolt's check and a writer would race for the free list
	defer func() { <-d.turn }()
	if d.open != nil {
		d.commit()
	}
	return d.file.Check()
}
