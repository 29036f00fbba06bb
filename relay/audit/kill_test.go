package audit

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	appenderEnv = "SCRIER_TEST_AUDIT_APPENDER" // directory: be the child of TestKilledAppender
	killsEnv    = "SCRIER_TEST_KILLS"          // how often it is killed
)

// appendUntilKilled appends from several goroutines, and prints what was acknowledged.
func appendUntilKilled(dir string) {
	cfg := config(dir)
	cfg.Log = slog.New(slog.DiscardHandler)
	cfg.CheckpointInterval = 5 * time.Millisecond
	cfg.CheckpointEvery = 16
	l, err := Open(cfg)
	if err != nil {
		fmt.Println("open:", err)
		return
	}
	var group sync.WaitGroup
	var mu sync.Mutex
	for w := range 4 {
		group.Go(func() {
			for i := 0; ; i++ {
				name := fmt.Sprintf("%d-%d-%d", os.Getpid(), w, i)
				r, err := l.Append(context.Background(), Event{Type: "test", Session: name, Detail: strings.Repeat("d", i%2000)})
				mu.Lock()
				if err != nil {
					fmt.Println("append:", err)
				} else {
					fmt.Println("ack", r.Seq, name)
				}
				mu.Unlock()
			}
		})
	}
	group.Wait()
}

// TestKilledAppender: whatever the moment of a kill -9, every acknowledged record is in its
// place, and the log is whole.
func TestKilledAppender(t *testing.T) {
	kills := 30
	if s := os.Getenv(killsEnv); s != "" {
		var err error
		if kills, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	acked := map[uint64]string{}
	for range kills {
		killAppender(t, dir, acked, time.Duration(rand.IntN(60_000))*time.Microsecond)
		cfg := config(dir)
		l := open(t, cfg)
		report := verify(t, export(t, l), VerifyOptions{Key: l.VerifierKey()})
		if report.Verdict != OK || report.Records != l.Size() {
			t.Fatalf("after a kill: %+v", report)
		}
		found := map[uint64]string{}
		for from := uint64(0); from < l.Size(); from += MaxRecords {
			records, err := l.Records(context.Background(), from, MaxRecords)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range records {
				found[r.Seq] = r.Session
			}
		}
		for seq, name := range acked {
			if found[seq] != name {
				t.Fatalf("record %d was acknowledged as %s, found %q", seq, name, found[seq])
			}
		}
		shut(t, l)
	}
	if len(acked) < kills {
		t.Errorf("only %d records in %d runs", len(acked), kills)
	}
	t.Logf("%d kills, %d acknowledged records", kills, len(acked))
}

func killAppender(t *testing.T, dir string, acked map[uint64]string, after time.Duration) {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), appenderEnv+"="+dir)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(time.Minute, func() { _ = child.Process.Kill() })
	defer timer.Stop()
	before := len(acked)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var seq uint64
		var name string
		if _, err := fmt.Sscanf(lines.Text(), "ack %d %s", &seq, &name); err != nil {
			t.Errorf("appender: %s", lines.Text())
			continue
		}
		if len(acked) == before {
			timer.Reset(after)
		}
		if old := acked[seq]; old != "" {
			t.Errorf("record %d was acknowledged as %s and as %s", seq, old, name)
		}
		acked[seq] = name
	}
	if err := child.Wait(); err == nil {
		t.Error("the appender ended by itself")
	}
}
