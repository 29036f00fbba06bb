package audit

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	"golang.org/x/mod/sumdb/tlog"

	"scrier/relay/boltfile"
	"scrier/relay/tally"
	"scrier/wire"
)

// Config says where a log is and how it is signed.
type Config struct {
	Path               string           // the log's file; its directory exists
	KeyPath            string           // the signing key, mode 0600; made with the log
	Name               string           // origin of the checkpoints, e.g. "scrier-relay/main"; no space, no plus sign
	Now                func() time.Time // nil: time.Now
	Log                *slog.Logger     // nil: slog.Default()
	CheckpointEvery    int              // records; 0: 256
	CheckpointInterval time.Duration    // the longest a record stays without a checkpoint; 0: 1 s
	Reserve            int64            // bytes allocated ahead, for [Log.AppendEnd]; 0: 16 MiB, negative: none

	// Expected says that there was a log before: one that is gone, or empty without an anchor, is no new
	// one then.
	Expected bool
	// AcceptRollback opens a log that is older than its anchor, which is what a restored backup
	// looks like, that has lost its anchor, or that is gone, and records that it did.
	AcceptRollback bool
}

func (c Config) withDefaults() Config {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.CheckpointEvery <= 0 {
		c.CheckpointEvery = 256
	}
	if c.CheckpointInterval <= 0 {
		c.CheckpointInterval = time.Second
	}
	if c.Reserve == 0 {
		c.Reserve = 16 << 20
	}
	return c
}

// What [Open] finds wrong with a log, to be tested with errors.Is. All come as
// [wire.AuditUnavailable].
var (
	ErrRollback = errors.New("the audit log is older than it was")
	ErrNoAnchor = errors.New("the audit log has lost its anchor")
	ErrTampered = errors.New("the audit log was tampered with")
)

// errClosed is the error of a closed log.
var errClosed = errors.New("the audit log is closed")

// Log is an open log. Its methods are safe for concurrent use.
type Log struct {
	cfg  Config
	file *boltfile.File
	key  signingKey

	requests chan *request
	quit     chan struct{} // closed by Close
	done     chan struct{} // closed when the writer has ended
	stop     sync.Once
	closeErr error // valid after done

	writer writer // the writer goroutine's own

	mu   sync.Mutex
	head head // what is durable; guarded by mu

	took tally.Times // appends that succeeded
}

// head is the end of the log.
type head struct {
	tree tree
	last tlog.Hash // leaf of the newest record, the next one's Prev
}

func (h head) same(o head) bool {
	return h.tree.size == o.tree.size && h.tree.root() == o.tree.root() && h.last == o.last
}

// Open opens the log, or makes a new one, and starts its writer. What it finds must agree with
// the last signed checkpoint in the file and with the anchor beside it; if not, the error is
// [ErrTampered], or [ErrRollback] if the log is merely shorter than the anchor says, or [ErrNoAnchor] if
// there is none to compare it with.
func Open(cfg Config) (*Log, error) {
	cfg = cfg.withDefaults()
	if err := cfg.checkWhole(); err != nil {
		return nil, fmt.Errorf("open audit log: %w", err)
	}
	f, err := openFile(cfg)
	if err != nil {
		return nil, fmt.Errorf("open audit log: %w", err)
	}
	l := &Log{
		cfg: cfg, file: f,
		requests: make(chan *request, backlog), quit: make(chan struct{}), done: make(chan struct{}),
	}
	rollback, err := l.load()
	if err != nil {
		// The file is not marked as clean, so the next start checks all of it, as this one did.
		return nil, errors.Join(fmt.Errorf("open audit log: %w", err), f.Abandon())
	}
	go l.write()
	if rollback != nil {
		if _, err := l.AppendEnd(context.Background(), rollback.event()); err != nil {
			return nil, errors.Join(fmt.Errorf("record the accepted rollback: %w", err), l.Close())
		}
		if _, err := l.Checkpoint(context.Background()); err != nil { // with it comes the new anchor
			return nil, errors.Join(fmt.Errorf("record the accepted rollback: %w", err), l.Close())
		}
	}
	return l, nil
}

// Close writes what is under way and a last checkpoint, and lets go of the file. It may be called
// twice.
func (l *Log) Close() error {
	l.stop.Do(func() { close(l.quit) })
	<-l.done
	return l.closeErr
}

// Size is the number of records that are durable.
func (l *Log) Size() uint64 { return l.snapshot().tree.size }

// Bytes is how large the log's file is, as far as it is in use.
func (l *Log) Bytes() (int64, error) { return l.file.Used() }

// Took is how long records took until they were durable.
func (l *Log) Took() tally.Spread { return l.took.Read() }

// VerifierKey is the public half of the signing key, in the form of package note.
func (l *Log) VerifierKey() string { return l.key.public }

func (l *Log) snapshot() head {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.head
}

// MaxRecords is the most records that one call of [Log.Records] returns.
const MaxRecords = 1000

// Records returns records in order, beginning with from, at most limit and at most [MaxRecords].
func (l *Log) Records(ctx context.Context, from uint64, limit int) ([]Record, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, fmt.Errorf("read audit log: %w", err)
	}
	limit = min(limit, MaxRecords)
	var records []Record
	err := l.file.DB.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(recordsBucket).Cursor()
		for k, v := c.Seek(key(from)); k != nil && len(records) < limit; k, v = c.Next() {
			r, err := decodeRecord(v)
			if err == nil && (r.Seq != number(k) || r.Seq != from+uint64(len(records))) {
				err = errors.New("the record is not in its place")
			}
			if err != nil {
				return tampered("record %d: %v", from+uint64(len(records)), err)
			}
			records = append(records, r)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read audit log: %w", err)
	}
	return records, nil
}

// key and number are the form of numbers in the file: in the order of their bytes.
func key(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func number(key []byte) uint64 {
	if len(key) != 8 {
		return 1<<64 - 1 // no record has it
	}
	return binary.BigEndian.Uint64(key)
}

// unavailable is every error of writing.
func unavailable(err error) error {
	if wire.CodeOf(err) == wire.AuditUnavailable {
		return err
	}
	return wire.Errorf(wire.AuditUnavailable, "the audit log cannot be written, so nothing may start: %w", err)
}

func tampered(format string, args ...any) error {
	return wire.Errorf(wire.AuditUnavailable, "%w: %s", ErrTampered, fmt.Sprintf(format, args...)).
		Advise("keep a copy of its files as evidence; to begin a new log, move them away and start with --accept-rollback")
}
