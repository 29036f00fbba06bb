// Package sessiontest gives tests a table of sessions, with a real store and an audit log in memory.
package sessiontest

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"scrier/relay/audit"
	"scrier/relay/session"
	"scrier/relay/store"
	"scrier/relay/store/bolt"
	"scrier/wire"
)

// Journal keeps what is written down.
type Journal struct {
	mu     sync.Mutex
	events []audit.Event
	broken error
}

// Break makes it fail from now on; nil: it works again.
func (j *Journal) Break(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.broken = err
}

// Append implements [session.Journal].
func (j *Journal) Append(_ context.Context, e audit.Event) (audit.Record, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.broken != nil {
		return audit.Record{}, j.broken
	}
	j.events = append(j.events, e)
	return audit.Record{Seq: uint64(len(j.events) - 1), Event: e}, nil
}

// AppendEnd implements [session.Journal].
func (j *Journal) AppendEnd(ctx context.Context, e audit.Event) (audit.Record, error) {
	return j.Append(ctx, e)
}

// Records implements [session.Journal].
func (j *Journal) Records(_ context.Context, from uint64, limit int) (records []audit.Record, _ error) {
	for i, e := range j.Events() {
		if uint64(i) >= from && len(records) < limit {
			records = append(records, audit.Record{Seq: uint64(i), Event: e})
		}
	}
	return records, nil
}

// Size implements [session.Journal].
func (j *Journal) Size() uint64 { return uint64(len(j.Events())) }

// Healthy implements [session.Journal].
func (j *Journal) Healthy() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.broken
}

// Events are what was written down.
func (j *Journal) Events() []audit.Event {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]audit.Event(nil), j.events...)
}

// Table makes a table for five sessions.
func Table(t testing.TB) (*session.Table, *Journal) {
	t.Helper()
	kv, err := bolt.Open(bolt.Config{Path: filepath.Join(t.TempDir(), "state.db"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := kv.Close(); err != nil {
			t.Error(err)
		}
	})
	j := new(Journal)
	return session.NewTable(session.Config{
		KV: kv, Journal: j, Now: time.Now, Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Max: 5, MaxAge: time.Hour, Grace: time.Minute, AuditGrace: time.Minute,
	}), j
}

// Reserve begins a session of ann's on a made-up envoy, and gives its first channel.
func Reserve(t testing.TB, table *session.Table) *session.Channel {
	t.Helper()
	s, err := table.Reserve(t.Context(), store.Session{Operator: "ann", OperatorID: "1", Envoy: wire.NewEnvoyID(), Kind: "ssh", Source: "test"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s.First()
}
