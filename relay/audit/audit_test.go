package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"scrier/wire"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(appenderEnv); dir != "" {
		appendUntilKilled(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

func config(dir string) Config {
	return Config{
		Path: filepath.Join(dir, "audit.db"), KeyPath: filepath.Join(dir, "audit.key"), Name: "scrier-relay/test",
		Log: slog.New(slog.DiscardHandler), Reserve: -1,
	}
}

func open(t *testing.T, cfg Config) *Log {
	t.Helper()
	l, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func shut(t *testing.T, l *Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func event(i int) Event {
	return Event{Type: "scrier.connect", Operator: "ada", EnvoyName: "web1", Session: fmt.Sprint("s", i), Code: "ok", Fields: map[string]string{"n": fmt.Sprint(i)}}
}

// fill appends n events at once and returns their records in order.
func fill(t *testing.T, l *Log, n int) {
	t.Helper()
	var group sync.WaitGroup
	base := int(l.Size())
	for i := range n {
		group.Go(func() {
			if _, err := l.Append(context.Background(), event(base+i)); err != nil {
				t.Errorf("append: %v", err)
			}
		})
	}
	group.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

func export(t *testing.T, l *Log) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := l.Export(context.Background(), &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func verify(t *testing.T, data []byte, opt VerifyOptions) Report {
	t.Helper()
	r, err := Verify(bytes.NewReader(data), opt)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func wantUnavailable(t *testing.T, what string, err error) {
	t.Helper()
	if wire.CodeOf(err) != wire.AuditUnavailable {
		t.Errorf("%s: %v, want %v", what, err, wire.AuditUnavailable)
	}
}

func TestAppendIsDurableAndOrdered(t *testing.T) {
	cfg := config(t.TempDir())
	clock := time.Date(2031, 5, 17, 12, 0, 0, 123456789, time.FixedZone("x", 3600))
	cfg.Now = func() time.Time { return clock }
	l := open(t, cfg)
	var want []Record
	for i := range 10 {
		r, err := l.Append(context.Background(), event(i))
		if err != nil {
			t.Fatal(err)
		}
		if r.Seq != uint64(i) || !r.Time.Equal(clock) || (i > 0) == (r.Prev == [32]byte{}) {
			t.Errorf("record %d: %+v", i, r)
		}
		want = append(want, r)
	}
	shut(t, l)
	for range 2 { // what is read does not depend on who wrote it
		l = open(t, cfg)
		if l.Size() != 10 {
			t.Errorf("size %d", l.Size())
		}
		got, err := l.Records(context.Background(), 0, 100)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Error(err, diff)
		}
		got, err = l.Records(context.Background(), 7, 2)
		if diff := cmp.Diff(want[7:9], got); diff != "" || err != nil {
			t.Error(err, diff)
		}
		if got, err = l.Records(context.Background(), 10, 5); len(got) != 0 || err != nil {
			t.Errorf("beyond the end: %v, %v", got, err)
		}
		report := verify(t, export(t, l), VerifyOptions{Key: l.VerifierKey()})
		if report.Verdict != OK || report.Records != 10 || report.Covered != 10 || !report.Trusted || !report.Exported.Equal(clock.Truncate(time.Second)) {
			t.Errorf("%+v", report)
		}
		shut(t, l)
	}
	for _, path := range []string{cfg.Path, cfg.KeyPath, anchorPath(cfg.Path)} {
		if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
}

func TestConcurrentAppends(t *testing.T) {
	cfg := config(t.TempDir())
	cfg.CheckpointEvery = 16
	l := open(t, cfg)
	defer shut(t, l)
	const workers, each = 40, 25
	var group sync.WaitGroup
	seen := make([]bool, workers*each)
	var mu sync.Mutex
	for w := range workers {
		group.Go(func() {
			last := int64(-1)
			for i := range each {
				r, err := l.Append(context.Background(), event(w*each+i))
				if err != nil {
					t.Error(err)
					return
				}
				if l.Size() <= r.Seq {
					t.Errorf("record %d is acknowledged, but the size is %d", r.Seq, l.Size())
				}
				if int64(r.Seq) <= last {
					t.Errorf("record %d comes after %d", r.Seq, last)
				}
				last = int64(r.Seq)
				mu.Lock()
				if seen[r.Seq] {
					t.Errorf("seq %d was given twice", r.Seq)
				}
				seen[r.Seq] = true
				mu.Unlock()
			}
		})
	}
	group.Wait()
	report := verify(t, export(t, l), VerifyOptions{Key: l.VerifierKey()})
	if report.Verdict != OK || report.Records != workers*each {
		t.Errorf("%+v", report)
	}
}

// What is appended soon has the order of the calls, and is there when it is said to be.
func TestAppendSoonKeepsTheOrder(t *testing.T) {
	cfg := config(t.TempDir())
	l := open(t, cfg)
	const many = 1000 // more than wait for the writer at a time
	var waits []func() error
	for i := range many {
		waits = append(waits, l.AppendSoon(t.Context(), event(i)))
	}
	for _, written := range waits {
		if err := written(); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.AppendSoon(t.Context(), Event{})(); wire.CodeOf(err) != wire.AuditUnavailable {
		t.Errorf("an event without a type: %v", err)
	}
	records, err := l.Records(t.Context(), 0, MaxRecords)
	if err != nil || len(records) != min(many, MaxRecords) {
		t.Fatal(len(records), err)
	}
	for i, r := range records {
		if r.Fields["n"] != fmt.Sprint(i) {
			t.Fatalf("record %d is %v", i, r.Fields)
		}
	}
	shut(t, l)
	if err := l.AppendSoon(t.Context(), event(0))(); wire.CodeOf(err) != wire.AuditUnavailable {
		t.Errorf("to a closed log: %v", err)
	}
}

func TestEmptyLog(t *testing.T) {
	cfg := config(t.TempDir())
	for range 2 {
		l := open(t, cfg)
		signed, err := l.Checkpoint(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		report := verify(t, export(t, l), VerifyOptions{Pinned: signed})
		if report.Verdict != OK || report.Records != 0 || report.Trusted || report.Key != l.VerifierKey() {
			t.Errorf("%+v", report)
		}
		shut(t, l)
	}
}

func TestAppendRefuses(t *testing.T) {
	l := open(t, config(t.TempDir()))
	_, err := l.Append(context.Background(), Event{Detail: "what was it?"})
	wantUnavailable(t, "no type", err)
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(wire.Errorf(wire.Cancelled, "gone"))
	_, err = l.Append(ctx, event(0))
	wantUnavailable(t, "context", err)
	if l.Size() != 0 {
		t.Errorf("size %d", l.Size())
	}
	shut(t, l)
	shut(t, l)
	_, err = l.Append(context.Background(), event(0))
	wantUnavailable(t, "append to a closed log", err)
	_, err = l.Checkpoint(context.Background())
	wantUnavailable(t, "checkpoint of a closed log", err)
	wantUnavailable(t, "health of a closed log", l.Healthy())
	if err := l.Export(context.Background(), &bytes.Buffer{}); l.Size() > 0 && err == nil {
		t.Error("export of a closed log succeeded")
	}
}

// TestCloseAnswersEveryone closes a log under load: each append either is in the log or got an
// error, and none waits for ever.
func TestCloseAnswersEveryone(t *testing.T) {
	cfg := config(t.TempDir())
	l := open(t, cfg)
	var group sync.WaitGroup
	var mu sync.Mutex
	acked := map[uint64]bool{}
	started := make(chan struct{}, 1000)
	for range 50 {
		group.Go(func() {
			for {
				r, err := l.Append(context.Background(), event(1))
				if err != nil {
					wantUnavailable(t, "append while closing", err)
					return
				}
				mu.Lock()
				acked[r.Seq] = true
				mu.Unlock()
				select {
				case started <- struct{}{}:
				default:
				}
			}
		})
	}
	for range 100 {
		<-started
	}
	shut(t, l)
	group.Wait()
	l = open(t, cfg)
	defer shut(t, l)
	for seq := range acked {
		if seq >= l.Size() {
			t.Errorf("record %d was acknowledged and is gone", seq)
		}
	}
	if r := verify(t, export(t, l), VerifyOptions{Key: l.VerifierKey()}); r.Verdict != OK {
		t.Errorf("%+v", r)
	}
}

func TestCheckpoints(t *testing.T) {
	cfg := config(t.TempDir())
	cfg.CheckpointEvery, cfg.CheckpointInterval = 8, time.Hour
	l := open(t, cfg)
	for i := range 21 { // one by one, so that no batch hides a boundary
		if _, err := l.Append(context.Background(), event(i)); err != nil {
			t.Fatal(err)
		}
	}
	signed, err := l.Checkpoint(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	again, err := l.Checkpoint(context.Background())
	if err != nil || !bytes.Equal(signed, again) {
		t.Errorf("a second checkpoint of the same records: %q, %v", again, err)
	}
	sizes := func() (all []uint64) {
		for line := range strings.Lines(string(export(t, l))) {
			if data, ok := strings.CutPrefix(line, checkpointWord); ok {
				c, err := openCheckpoint(decode64(t, strings.TrimSpace(data)), l.key.verifier)
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, c.size)
			}
		}
		return all
	}
	if diff := cmp.Diff([]uint64{8, 16, 21}, sizes()); diff != "" {
		t.Error(diff)
	}
	fill(t, l, 2)
	shut(t, l) // signs the end, in place of 21: they share a block
	l = open(t, cfg)
	if diff := cmp.Diff([]uint64{8, 16, 23}, sizes()); diff != "" {
		t.Error(diff)
	}
	if r := verify(t, export(t, l), VerifyOptions{Key: l.VerifierKey(), Pinned: signed}); r.Verdict != OK {
		t.Errorf("with a pinned checkpoint that is not in the file any more: %+v", r)
	}
	shut(t, l)

	cfg.CheckpointInterval = time.Millisecond
	l = open(t, cfg)
	defer shut(t, l)
	fill(t, l, 1)
	eventually(t, func() bool {
		all := sizes()
		return all[len(all)-1] == 24
	})
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatal("it did not happen in 10 s")
		}
	}
}

func TestKey(t *testing.T) {
	dir := t.TempDir()
	cfg := config(dir)
	l := open(t, cfg)
	fill(t, l, 3)
	public := l.VerifierKey()
	shut(t, l)
	l = open(t, cfg)
	if l.VerifierKey() != public {
		t.Errorf("the key changed from %s to %s", public, l.VerifierKey())
	}
	shut(t, l)
	good, err := os.ReadFile(cfg.KeyPath)
	if err != nil {
		t.Fatal(err)
	}
	refuse := func(what string, code wire.Code, mention string) {
		t.Helper()
		l, err := Open(cfg)
		if err == nil {
			shut(t, l)
		}
		if wire.CodeOf(err) != code || !strings.Contains(fmt.Sprint(err), mention) {
			t.Errorf("%s: %v, want %v and %q", what, err, code, mention)
		}
		if strings.Contains(fmt.Sprint(err), "PRIVATE") {
			t.Errorf("%s: the error shows the key: %v", what, err)
		}
	}
	write := func(data []byte, mode fs.FileMode) {
		t.Helper()
		if err := errors.Join(os.RemoveAll(cfg.KeyPath), os.WriteFile(cfg.KeyPath, data, mode), os.Chmod(cfg.KeyPath, mode)); err != nil {
			t.Fatal(err)
		}
	}
	write(good, 0o640)
	refuse("readable for others", wire.BadConfig, "chmod 600")
	write([]byte("PRIVATE+KEY+nonsense"), 0o600)
	refuse("garbage", wire.BadConfig, "not readable")
	write(good[:len(good)-6], 0o600)
	refuse("cut", wire.BadConfig, "not readable")
	if err := os.Remove(cfg.KeyPath); err != nil {
		t.Fatal(err)
	}
	refuse("gone", wire.AuditUnavailable, "signing key")
	if err := syscall.Mkfifo(cfg.KeyPath, 0o600); err != nil {
		t.Fatal(err)
	}
	refuse("fifo", wire.BadConfig, "regular file")

	other := config(t.TempDir())
	shut(t, open(t, other))
	foreign, err := os.ReadFile(other.KeyPath)
	if err != nil {
		t.Fatal(err)
	}
	write(foreign, 0o600)
	refuse("another key", wire.AuditUnavailable, "not signed by")
	write(good, 0o600)
	cfg.Name = "scrier-relay/other"
	refuse("another log's key", wire.BadConfig, "belongs to")
	for _, name := range []string{"", "a b", "a+b", "a\nb", "\xff", strings.Repeat("x", 300)} {
		cfg := config(t.TempDir())
		cfg.Name = name
		if _, err := Open(cfg); wire.CodeOf(err) != wire.BadConfig {
			t.Errorf("name %q: %v", name, err)
		}
	}
}

// TestKeys makes many keys: base64 has plus signs, which also separate a key's parts.
func TestKeys(t *testing.T) {
	plus := 0
	for range 300 {
		path := filepath.Join(t.TempDir(), "k")
		k, err := loadKey(path, "n", true)
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		plus += strings.Count(string(text), "+") - 4
		signed, err := checkpoint{origin: "n", size: 3}.sign(k.signer)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := openCheckpoint(signed, k.verifier); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
	if plus == 0 {
		t.Error("no key had a plus sign")
	}
}

func TestStateInUse(t *testing.T) {
	cfg := config(t.TempDir())
	l := open(t, cfg)
	defer shut(t, l)
	if _, err := Open(cfg); wire.CodeOf(err) != wire.StateInUse {
		t.Errorf("second process: %v", err)
	}
}
