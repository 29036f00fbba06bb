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
	"testing"
	"time"

	"scrier/relay/store"
)

const (
	writerEnv = "SCRIER_TEST_BOLT_WRITER" // path: be the writer of TestKilledWriter
	killsEnv  = "SCRIER_TEST_KILLS"       // how often the writer is killed
)

// write changes the state until it is killed, and prints the number of each change that was
// acknowledged. Change n puts row n, and takes away row n-50.
func write(path string) {
	d, err := Open(config(path))
	if err != nil {
		fmt.Println("open:", err)
		return
	}
	next := 0
	err = d.View(context.Background(), func(tx store.Tx) error {
		for key := range tx.Scan("row/") {
			n, _ := strconv.Atoi(strings.TrimPrefix(key, "row/"))
			next = n + 1
		}
		return nil
	})
	fmt.Println("ready", next)
	for n := next; err == nil; n++ {
		err = d.Update(context.Background(), func(tx store.Tx) error {
			if err := tx.Put(fmt.Sprintf("row/%09d", n), []byte(strings.Repeat("v", n%3000))); err != nil {
				return err
			}
			return tx.Delete(fmt.Sprintf("row/%09d", n-50))
		})
		if err == nil {
			fmt.Println("ack", n)
		}
	}
	fmt.Println("update:", err)
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
		total = max(total, acked+1)
		d := open(t, path)
		if err := d.Check(); err != nil {
			t.Fatalf("check after a kill: %v", err)
		}
		err := d.View(context.Background(), func(tx store.Tx) error {
			last, n := -1, 0
			for key, value := range tx.Scan("row/") {
				i, _ := strconv.Atoi(strings.TrimPrefix(key, "row/"))
				if last >= 0 && i != last+1 || len(value) != i%3000 {
					t.Errorf("row %d with %d bytes follows row %d", i, len(value), last)
				}
				last = i
				n++
			}
			// At most the one change that was on its way when the process died goes beyond.
			if last < acked || n > 50 || last+1 >= 50 && n != 50 {
				t.Errorf("acknowledged up to %d, found %d rows up to %d", acked, n, last)
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

// killWriter runs a writer, kills it some time after its first acknowledged change, and returns
// the last that it acknowledged.
func killWriter(t *testing.T, path string, after time.Duration) (acked int) {
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
	acked = -1
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var n int
		switch _, err := fmt.Sscanf(lines.Text(), "ack %d", &n); {
		case err == nil:
			if acked < 0 {
				timer.Reset(after)
			}
			acked = n
		case !strings.HasPrefix(lines.Text(), "ready"):
			t.Errorf("writer: %s", lines.Text())
		}
	}
	if err := child.Wait(); err == nil {
		t.Error("the writer ended by itself")
	}
	if acked < 0 {
		t.Fatal("the writer acknowledged nothing")
	}
	return acked
}
