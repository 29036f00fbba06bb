package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	"golang.org/x/mod/sumdb/tlog"

	"scrier/wire"
)

// edit changes the file of a closed log behind its back.
func edit(t *testing.T, cfg Config, f func(records, hashes, checkpoints *bbolt.Bucket) error) {
	t.Helper()
	db, err := bbolt.Open(cfg.Path, 0o600, &bbolt.Options{Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		return f(tx.Bucket(recordsBucket), tx.Bucket(hashesBucket), tx.Bucket(checkpointsBucket))
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

func changed(t *testing.T, data []byte) []byte {
	t.Helper()
	r, err := decodeRecord(data)
	if err != nil {
		t.Fatal(err)
	}
	r.Operator = "eve"
	data, err = r.encode()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestOpenFindsTampering changes the file in ways that the start-up comparison must find, and in
// one that it leaves to Verify.
func TestOpenFindsTampering(t *testing.T) {
	const covered, size = 20, 26 // the records behind the last checkpoint are not covered
	type buckets = func(records, hashes, checkpoints *bbolt.Bucket) error
	for name, spoil := range map[string]buckets{
		"last covered record": func(r, _, _ *bbolt.Bucket) error { return r.Put(key(covered-1), changed(t, r.Get(key(covered-1)))) },
		"record in the tail":  func(r, _, _ *bbolt.Bucket) error { return r.Put(key(covered+2), changed(t, r.Get(key(covered+2)))) },
		"last record":         func(r, _, _ *bbolt.Bucket) error { return r.Put(key(size-1), changed(t, r.Get(key(size-1)))) },
		"last record deleted": func(r, _, _ *bbolt.Bucket) error { return r.Delete(key(size - 1)) },
		"tail deleted": func(r, _, _ *bbolt.Bucket) error {
			for i := uint64(covered); i < size; i++ {
				if err := r.Delete(key(i)); err != nil {
					return err
				}
			}
			return nil
		},
		"gap in the tail":     func(r, _, _ *bbolt.Bucket) error { return r.Delete(key(covered + 1)) },
		"covered records cut": func(r, _, _ *bbolt.Bucket) error { return errors.Join(deleteFrom(r, covered-3)) },
		"everything deleted":  func(r, h, c *bbolt.Bucket) error { return errors.Join(deleteFrom(r, 0), deleteFrom(h, 0)) },
		"record added":        func(r, _, _ *bbolt.Bucket) error { return r.Put(key(size), changed(t, r.Get(key(size-1)))) },
		"record far ahead":    func(r, _, _ *bbolt.Bucket) error { return r.Put(key(1<<40), r.Get(key(0))) },
		"record not canonical": func(r, _, _ *bbolt.Bucket) error {
			return r.Put(key(size-1), append(bytes.Clone(r.Get(key(size-1))), 0))
		},
		"foreign key in bucket": func(r, _, _ *bbolt.Bucket) error { return r.Put([]byte("~"), nil) },
		"hash of the tree": func(_, h, _ *bbolt.Bucket) error {
			// 16 records make up the left half of the covered 20.
			return h.Put(key(uint64(tlog.StoredHashIndex(4, 0))), make([]byte, 32))
		},
		"hash of the tail": func(_, h, _ *bbolt.Bucket) error {
			return h.Put(key(uint64(tlog.StoredHashIndex(0, covered+1))), make([]byte, 32))
		},
		"hash missing": func(_, h, _ *bbolt.Bucket) error { return h.Delete(key(uint64(tlog.StoredHashIndex(4, 0)))) },
		"hash short":   func(_, h, _ *bbolt.Bucket) error { return h.Put(key(uint64(tlog.StoredHashIndex(4, 0))), []byte{1}) },
		"hash added":   func(_, h, _ *bbolt.Bucket) error { return h.Put(key(9999), make([]byte, 32)) },
		"checkpoint edited": func(_, _, c *bbolt.Bucket) error {
			return c.Put(key(covered), bytes.Replace(c.Get(key(covered)), []byte("20"), []byte("10"), 1))
		},
		"checkpoint moved":   func(_, _, c *bbolt.Bucket) error { return c.Put(key(covered+1), c.Get(key(covered))) },
		"checkpoint garbage": func(_, _, c *bbolt.Bucket) error { return c.Put(key(covered), []byte("x")) },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(t.TempDir())
			withTail(t, cfg, covered, size)
			edit(t, cfg, spoil)
			for range 2 { // and it stays refused
				l, err := Open(cfg)
				if err == nil {
					shut(t, l)
					t.Fatal("it was opened")
				}
				wantUnavailable(t, "open", err)
				if !errors.Is(err, ErrTampered) && !errors.Is(err, ErrRollback) {
					t.Errorf("open: %v", err)
				}
			}
		})
	}

	t.Run("covered record", func(t *testing.T) {
		cfg := config(t.TempDir())
		withTail(t, cfg, covered, size)
		edit(t, cfg, func(r, _, _ *bbolt.Bucket) error { return r.Put(key(7), changed(t, r.Get(key(7)))) })
		l := open(t, cfg)
		defer shut(t, l)
		if r := verify(t, export(t, l), VerifyOptions{Key: l.VerifierKey()}); r.Verdict != Tampered || r.FirstBad != 7 {
			t.Errorf("%+v", r)
		}
	})
	t.Run("untouched", func(t *testing.T) {
		cfg := config(t.TempDir())
		withTail(t, cfg, covered, size)
		l := open(t, cfg)
		defer shut(t, l)
		if r := verify(t, export(t, l), VerifyOptions{Key: l.VerifierKey()}); r.Verdict != OK || r.Records != size {
			t.Errorf("%+v", r)
		}
	})
}

func deleteFrom(b *bbolt.Bucket, n uint64) error {
	var keys [][]byte
	c := b.Cursor()
	for k, _ := c.Seek(key(n)); k != nil; k, _ = c.Next() {
		keys = append(keys, bytes.Clone(k))
	}
	var err error
	for _, k := range keys {
		err = errors.Join(err, b.Delete(k))
	}
	return err
}

// withTail makes a log that died with records which no checkpoint covers.
func withTail(t *testing.T, cfg Config, covered, size int) {
	t.Helper()
	cfg.CheckpointInterval = time.Hour
	l := open(t, cfg)
	fill(t, l, covered)
	if _, err := l.Checkpoint(context.Background()); err != nil {
		t.Fatal(err)
	}
	fill(t, l, size-covered)
	data, err := os.ReadFile(cfg.Path)
	if err != nil {
		t.Fatal(err)
	}
	anchor, err := os.ReadFile(anchorPath(cfg.Path))
	if err != nil {
		t.Fatal(err)
	}
	shut(t, l)
	if err := errors.Join(os.WriteFile(cfg.Path, data, 0o600), os.WriteFile(anchorPath(cfg.Path), anchor, 0o600)); err != nil {
		t.Fatal(err)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestRollback restores a backup of the log: refused, unless it was on purpose, which is
// recorded; and a checkpoint from before shows what was lost.
func TestRollback(t *testing.T) {
	cfg := config(t.TempDir())
	l := open(t, cfg)
	fill(t, l, 5)
	shut(t, l)
	backup := filepath.Join(t.TempDir(), "backup")
	copyFile(t, cfg.Path, backup)
	l = open(t, cfg)
	fill(t, l, 5)
	pin, err := l.Checkpoint(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	shut(t, l)
	copyFile(t, backup, cfg.Path)

	_, err = Open(cfg)
	wantUnavailable(t, "rolled back log", err)
	if !errors.Is(err, ErrRollback) || errors.Is(err, ErrTampered) {
		t.Errorf("rolled back log: %v", err)
	}
	accept := cfg
	accept.AcceptRollback = true
	l = open(t, accept)
	records, err := l.Records(context.Background(), 0, 10)
	if err != nil || len(records) != 6 || records[5].Type != "scrier.audit.rollback" || records[5].Fields["anchored"] != "10" || records[5].Fields["size"] != "5" {
		t.Errorf("%v, %v", records, err)
	}
	key := l.VerifierKey()
	if r := verify(t, export(t, l), VerifyOptions{Key: key}); r.Verdict != OK {
		t.Errorf("by itself: %+v", r)
	}
	if r := verify(t, export(t, l), VerifyOptions{Key: key, Pinned: pin}); r.Verdict != Tampered || r.FirstBad != 6 {
		t.Errorf("with a checkpoint from before: %+v", r)
	}
	fill(t, l, 10) // beyond the pin: now it is a fork
	if r := verify(t, export(t, l), VerifyOptions{Key: key, Pinned: pin}); r.Verdict != Tampered || r.FirstBad != 0 || r.Covered != 0 {
		t.Errorf("a fork: %+v", r)
	}
	shut(t, l)
	shut(t, open(t, cfg)) // the rollback is over: it needs no flag any more

	// The file is gone altogether: that is a rollback too.
	if err := os.Remove(cfg.Path); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(cfg); !errors.Is(err, ErrRollback) {
		t.Errorf("deleted log: %v", err)
	}
	// A fork that is longer than the anchor is no rollback, and cannot be accepted.
	fork := config(t.TempDir())
	copyFile(t, cfg.KeyPath, fork.KeyPath)
	l = open(t, fork)
	fill(t, l, 30)
	shut(t, l)
	copyFile(t, fork.Path, cfg.Path)
	for _, cfg := range []Config{cfg, accept} {
		cfg.Path = accept.Path
		if _, err := Open(cfg); !errors.Is(err, ErrTampered) {
			t.Errorf("forked log: %v", err)
		}
	}
	if err := os.WriteFile(anchorPath(cfg.Path), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(accept); !errors.Is(err, ErrTampered) {
		t.Errorf("garbage in the anchor: %v", err)
	}
}

// TestAnchorGone: a log whose anchor is gone may be older than it was. Nobody can tell, so it is refused,
// unless that was accepted, which is recorded.
func TestAnchorGone(t *testing.T) {
	cfg := config(t.TempDir())
	shut(t, open(t, cfg))
	if _, err := os.Stat(anchorPath(cfg.Path)); err != nil {
		t.Errorf("a log without records has no anchor: %v", err) // a crash behind its first record would leave it without one
	}
	l := open(t, cfg)
	fill(t, l, 5)
	shut(t, l)
	if err := os.Remove(anchorPath(cfg.Path)); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(cfg.Path)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // it does not come right by itself
		_, err := Open(cfg)
		wantUnavailable(t, "a log without its anchor", err)
		if !errors.Is(err, ErrNoAnchor) || !strings.Contains(wire.HintOf(err), "--accept-rollback") || !strings.Contains(err.Error(), anchorPath(cfg.Path)) {
			t.Errorf("a log without its anchor: %v", err)
		}
	}
	accept := cfg
	accept.AcceptRollback = true
	l = open(t, accept)
	records, err := l.Records(context.Background(), 0, 10)
	if err != nil || len(records) != 6 || records[5].Type != "scrier.audit.rollback" || records[5].Fields["anchored"] != "unknown" || records[5].Fields["size"] != "5" {
		t.Errorf("%v, %v", records, err)
	}
	if err := l.file.Abandon(); err != nil { // the relay is killed
		t.Fatal(err)
	}
	if err := l.Close(); err == nil {
		t.Error("an abandoned file was closed in order")
	}
	shut(t, open(t, cfg)) // it has its anchor again: no flag is needed any more

	// No record at all, and no anchor, is a new log only where none was expected.
	empty := config(t.TempDir())
	shut(t, open(t, empty))
	if err := os.Remove(anchorPath(empty.Path)); err != nil {
		t.Fatal(err)
	}
	empty.Expected = true
	if _, err := Open(empty); !errors.Is(err, ErrNoAnchor) {
		t.Errorf("an empty log in an old one's place: %v", err)
	}
	empty.Expected = false
	shut(t, open(t, empty))
	if err := os.WriteFile(cfg.Path, before, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(cfg); !errors.Is(err, ErrRollback) {
		t.Errorf("the log from before: %v", err)
	}
}

// TestLogGone: where a log was expected, none is made in its place, and nothing is written.
func TestLogGone(t *testing.T) {
	for name, c := range map[string]struct {
		gone []string
		want string // in the message
		lost string // how many records there were, by the record of the acceptance; empty: it cannot be accepted
	}{
		"the log":            {[]string{"audit.db"}, "audit.db is gone", "5"},
		"log and anchor":     {[]string{"audit.db", "audit.db.head"}, "audit.db is gone", "unknown"},
		"all of it":          {[]string{"audit.db", "audit.db.head", "audit.key"}, "audit.db is gone", "unknown"},
		"log and key":        {[]string{"audit.db", "audit.key"}, "audit.db is gone", ""},
		"the key":            {[]string{"audit.key"}, "signing key", ""},
		"the key and anchor": {[]string{"audit.key", "audit.db.head"}, "signing key", ""},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(t.TempDir())
			l := open(t, cfg)
			fill(t, l, 5)
			shut(t, l)
			dir := filepath.Dir(cfg.Path)
			for _, f := range c.gone {
				if err := os.Remove(filepath.Join(dir, f)); err != nil {
					t.Fatal(err)
				}
			}
			left, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			cfg.Expected = true
			for range 2 {
				_, err = Open(cfg)
				wantUnavailable(t, "open", err)
				if !strings.Contains(fmt.Sprint(err), c.want) {
					t.Errorf("%v does not say %q", err, c.want)
				}
			}
			if now, err := os.ReadDir(dir); err != nil || len(now) != len(left) {
				t.Errorf("there were %v, and now %v, %v", left, now, err)
			}
			cfg.AcceptRollback = true
			l, err = Open(cfg)
			if c.lost == "" {
				wantUnavailable(t, "accepted", err)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer shut(t, l)
			records, err := l.Records(context.Background(), 0, 10)
			if err != nil || len(records) != 1 || records[0].Type != "scrier.audit.rollback" || records[0].Fields["anchored"] != c.lost || records[0].Fields["size"] != "0" {
				t.Errorf("%+v, %v", records, err)
			}
		})
	}
}

// TestFailedCommitThatHappened: after an error of the disk the file may hold the batch or not;
// the log goes on from what is there.
func TestFailedCommitThatHappened(t *testing.T) {
	for _, happened := range []bool{false, true} {
		cfg := config(t.TempDir())
		l := open(t, cfg)
		fill(t, l, 3)
		close(l.quit) // take the writer's place
		<-l.done
		if err := l.closeErr; err != nil {
			t.Fatal(err)
		}
		var err error
		if l.file, err = openFile(cfg); err != nil {
			t.Fatal(err)
		}
		e := event(3)
		b, err := l.prepare([]*request{{event: &e}}, true, false)
		if err != nil {
			t.Fatal(err)
		}
		if happened {
			if err := l.file.DB.Update(func(tx *bbolt.Tx) error { return l.put(tx, b) }); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.reload(b); err != nil {
			t.Fatal(err)
		}
		if want := map[bool]uint64{false: 3, true: 4}[happened]; l.Size() != want || l.writer.covered != want {
			t.Errorf("happened %v: size %d, covered %d", happened, l.Size(), l.writer.covered)
		}
		if err := l.file.DB.Update(func(tx *bbolt.Tx) error { return tx.Bucket(recordsBucket).Put(key(l.Size()-1), []byte{0xa0}) }); err != nil {
			t.Fatal(err)
		}
		if err := l.reload(b); !errors.Is(err, ErrTampered) {
			t.Errorf("happened %v: a changed file: %v", happened, err)
		}
		if err := l.file.Abandon(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDamagedFile: Open answers, with a code and a way out, whatever is in the file.
func TestDamagedFile(t *testing.T) {
	cfg := config(t.TempDir())
	withTail(t, cfg, 300, 310)
	whole, err := os.ReadFile(cfg.Path)
	if err != nil {
		t.Fatal(err)
	}
	anchor, err := os.ReadFile(anchorPath(cfg.Path))
	if err != nil {
		t.Fatal(err)
	}
	page := os.Getpagesize()
	db, err := bbolt.Open(cfg.Path, 0o600, &bbolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	damaged, pages := 0, 0
	if err := db.View(func(tx *bbolt.Tx) error { pages = int(tx.Size()) / page; return nil }); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for p := range pages {
		for _, fill := range []byte{0, 0xff} {
			b := bytes.Clone(whole)
			copy(b[p*page:], bytes.Repeat([]byte{fill}, page))
			if err := os.WriteFile(cfg.Path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			l, err := Open(cfg)
			if err != nil {
				damaged++
				wantUnavailable(t, "open", err)
				continue
			}
			r := verify(t, export(t, l), VerifyOptions{Key: l.VerifierKey()})
			if r.Verdict != OK || r.Records != 310 { // a free page
				t.Errorf("page %d of %#x: %+v", p, fill, r)
			}
			shut(t, l)
			if err := os.WriteFile(anchorPath(cfg.Path), anchor, 0o600); err != nil { // that of whole
				t.Fatal(err)
			}
		}
	}
	for _, n := range []int{1, page, 2 * page, 3 * page, (pages - 1) * page} {
		if err := os.WriteFile(cfg.Path, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		if l, err := Open(cfg); err == nil {
			shut(t, l)
			t.Errorf("a file of %d bytes of %d was opened", n, len(whole))
		} else {
			wantUnavailable(t, "cut file", err)
		}
	}
	if damaged < pages/2 {
		t.Errorf("%d of %d damaged files were refused", damaged, 2*pages)
	}
}
