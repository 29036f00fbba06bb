package bolt

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"scrier/relay/store"
)

const (
	writerEnv = "SCRIER_TEST_BOLT_WRITER" // path: be the writer of TestKilledWriter
	killsEnv  = "SCRIER_TEST_KILLS"       // how often the writer is killed
)

// writers change the state at the same time.
const writers = 4

// write changes the state until it is killed, and prints the number of each change that was
// acknowledged. Change n of a writer puts its row n, and takes away its row n-50.
func write(path string) {
	d, err := Open(config(path))
	if err != nil {
		fmt.Println("open:", err)
		return
	}
	var next [writers]int
	err = d.View(context.Background(), func(tx store.Tx) error {
		for key := range tx.Scan("row/") {
			w, n := rowOf(key)
			next[w] = n + 1
		}
		return nil
	})
	fmt.Println("ready", err)
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			for n := next[w]; err == nil; n++ {
				if err := d.Update(context.Background(), func(tx store.Tx) error {
					if err := tx.Put(rowKey(w, n), []byte(strings.Repeat("v", n%3000))); err != nil {
						return err
					}
					return tx.Delete(rowKey(w, n-50))
				}); err != nil {
					fmt.Println("update:", err)
					return
				}
				fmt.Println("ack", w, n)
			}
		})
	}
	group.Wait()
}

func rowKey(writer, n int) string { return fmt.Sprintf("row/%d/%09d", writer, n) }

func rowOf(key string) (writer, n int) {
	_, _ = fmt.Sscanf(key, "row/%d/%d", &writer, &n)
	return writer, n
}

// TestKilledWriter is H74: whatever the moment of a kill -9, all that was acknowledged is there,
// nothing half, and the file passes the check.
func TestKilledWriter(t *testing.T) {
	kills := 30
	if s := os.Getenv(killsEnv); s != "" {
		var err error
		if kills, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "state.db")
	total := 0
	for range kills {
		acked := killWriter(t, path, time.Duration(rand.IntN(60_000))*time.Microsecond)
		d := open(t, path)
		if err := d.Check(); err != nil {
			t.Fatalf("check after a kill: %v", err)
		}
		err := d.View(context.Background(), func(tx store.Tx) error {
			var last, rows [writers]int
			for w := range last {
				last[w] = -1
			}
			for key, value := range tx.Scan("row/") {
				w, i := rowOf(key)
				if last[w] >= 0 && i != last[w]+1 || len(value) != i%3000 {
					t.Errorf("row %d of writer %d with %d bytes follows row %d", i, w, len(value), last[w])
				}
				last[w] = i
				rows[w]++
			}
			total = 0
			for w, last := range last {
				// At most the one change that was on its way when the process died goes beyond.
				if last < acked[w] || acked[w] >= 0 && last > acked[w]+1 || rows[w] > 50 || last+1 >= 50 && rows[w] != 50 {
					t.Errorf("writer %d: acknowledged up to %d, found %d rows up to %d", w, acked[w], rows[w], last)
				}
				total += last + 1
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		// Half of the kills follow a clean end, half another kill.
		if rand.IntN(2) == 0 {
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
		} else if err := d.file.DB.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if total < kills {
		t.Errorf("only %d changes in %d runs", total, kills)
	}
	t.Logf("%d kills, %d acknowledged changes", kills, total)
}

// killWriter runs the writers, kills them some time after their first acknowledged change, and returns
// the last that each of them acknowledged, -1 if none.
func killWriter(t *testing.T, path string, after time.Duration) (acked [writers]int) {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), writerEnv+"="+path)
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
	for w := range acked {
		acked[w] = -1
	}
	begun := false
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var w, n int
		switch _, err := fmt.Sscanf(lines.Text(), "ack %d %d", &w, &n); {
		case err == nil:
			if !begun {
				timer.Reset(after)
			}
			begun = true
			acked[w] = n
		case lines.Text() != "ready <nil>":
			t.Errorf("writer: %s", lines.Text())
		}
	}
	if err := child.Wait(); err == nil {
		t.Error("the writer ended by itself")
	}
	if !begun {
		t.Fatal("the writers acknowledged nothing")
	}
	return acked
}
