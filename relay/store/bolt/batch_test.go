package bolt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"scrier/relay/store"
)

// together has changes wait behind one that is under way, in order, and returns what becomes of each.
// meanwhile is called when all wait. The test runs in a bubble of package synctest.
func together(d *DB, meanwhile func(), changes ...func(store.Tx) error) []error {
	errs := make([]error, len(changes))
	over := make(chan struct{})
	go func() {
		_ = d.Update(context.Background(), func(store.Tx) error { <-over; return nil })
	}()
	synctest.Wait()
	for i, f := range changes {
		go func() {
			defer func() {
				if p := recover(); p != nil {
					errs[i] = fmt.Errorf("panic: %v", p)
				}
			}()
			errs[i] = d.Update(context.Background(), f)
		}()
		synctest.Wait()
	}
	meanwhile()
	close(over)
	synctest.Wait()
	return errs
}

func nothing() {}

// inBubble runs a test with a store whose goroutines can be waited for.
func inBubble(t *testing.T, test func(t *testing.T, d *DB)) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, filepath.Join(t.TempDir(), "state.db"))
		defer func() {
			if err := errors.Join(d.Check(), d.Close()); err != nil {
				t.Error(err)
			}
		}()
		test(t, d)
	})
}

// commits is how many transactions of bbolt's there have been.
func commits(t *testing.T, d *DB) int {
	t.Helper()
	b, err := d.file.DB.Begin(false)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Rollback()
	return b.ID()
}

func contents(t *testing.T, d *DB) map[string]string {
	t.Helper()
	all := map[string]string{}
	if err := d.View(context.Background(), func(tx store.Tx) error {
		for k, v := range tx.Scan("") {
			all[k] = string(v)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	delete(all, store.SchemaKey)
	return all
}

func putting(key, value string) func(store.Tx) error {
	return func(tx store.Tx) error { return tx.Put(key, []byte(value)) }
}

// All changes that wait share one commit, in the order in which they came, and each sees those before it.
// One that changes nothing costs none.
func TestWaitingChangesShareACommit(t *testing.T) {
	const n = 50
	inBubble(t, func(t *testing.T, d *DB) {
		put(t, d, "log", "")
		var changes []func(store.Tx) error
		want := ""
		for i := range n {
			want += strconv.Itoa(i) + " "
			changes = append(changes, func(tx store.Tx) error {
				v, err := tx.Get("log")
				return errors.Join(err, tx.Put("log", append(v, strconv.Itoa(i)+" "...)))
			})
		}
		before := commits(t, d)
		if err := errors.Join(together(d, nothing, changes...)...); err != nil {
			t.Fatal(err)
		}
		if got := contents(t, d)["log"]; got != want {
			t.Errorf("the order is %q", got)
		}
		if got := commits(t, d) - before; got != 1 {
			t.Errorf("%d changes took %d commits", n, got)
		}
		if err := d.Update(t.Context(), func(tx store.Tx) error { _, err := tx.Get("log"); return err }); err != nil {
			t.Error(err)
		}
		if got := commits(t, d) - before; got != 1 {
			t.Error("a change that changes nothing took a commit")
		}
	})
}

func TestBatchesAreBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, d *DB) {
		before := commits(t, d)
		var changes []func(store.Tx) error
		for i := range 2*maxBatch + 10 {
			changes = append(changes, putting(fmt.Sprint("row/", i), ""))
		}
		if err := errors.Join(together(d, nothing, changes...)...); err != nil {
			t.Fatal(err)
		}
		if got := commits(t, d) - before; got != 3 || len(contents(t, d)) != len(changes) {
			t.Errorf("%d changes are %d rows in %d commits", len(changes), len(contents(t, d)), got)
		}
	})
}

// A change that fails is taken back alone, whatever it has done, and nobody else hears of it.
func TestAFailedChangeIsTakenBackAlone(t *testing.T) {
	wrong := errors.New("no")
	inBubble(t, func(t *testing.T, d *DB) {
		put(t, d, "keep", "1")
		put(t, d, "change", "1")
		before := commits(t, d)
		errs := together(d, nothing,
			putting("a", "1"),
			func(tx store.Tx) error {
				return errors.Join(tx.Delete("keep"), tx.Put("change", []byte("2")), tx.Put("change", nil), tx.Put("a", []byte("2")),
					tx.Put("new", nil), tx.Delete("new"), tx.Put("newer", nil), tx.Delete("absent"), wrong)
			},
			func(tx store.Tx) error {
				v, err := tx.Get("a")
				if n := len(keys(tx)); n != 3 || string(v) != "1" {
					t.Errorf("the next one sees %d keys, and %q", n, v)
				}
				return errors.Join(err, tx.Put("b", []byte("1")))
			},
		)
		if errs[0] != nil || !errors.Is(errs[1], wrong) || errs[2] != nil {
			t.Errorf("they were answered %q", errs)
		}
		if got, want := contents(t, d), (map[string]string{"keep": "1", "change": "1", "a": "1", "b": "1"}); !maps.Equal(got, want) {
			t.Errorf("the store has %q", got)
		}
		if got := commits(t, d) - before; got != 1 {
			t.Errorf("it took %d commits", got)
		}
	})
}

func keys(tx store.Tx) (all []string) {
	for k := range tx.Scan("") {
		if k != store.SchemaKey {
			all = append(all, k)
		}
	}
	return all
}

// After a panic nobody knows what a transaction holds: the others are done anew.
func TestAPanicHitsNobodyElse(t *testing.T) {
	inBubble(t, func(t *testing.T, d *DB) {
		errs := together(d, nothing,
			putting("a", "1"),
			func(tx store.Tx) error {
				if err := tx.Put("bad", nil); err != nil {
					t.Error(err)
				}
				panic("boom")
			},
			putting("b", "1"),
		)
		if errs[0] != nil || errs[1] == nil || errs[1].Error() != "panic: boom" || errs[2] != nil {
			t.Errorf("they were answered %q", errs)
		}
		if got, want := contents(t, d), (map[string]string{"a": "1", "b": "1"}); !maps.Equal(got, want) {
			t.Errorf("the store has %q", got)
		}
	})
}

// A crash leaves nothing of a batch that was not committed, and all of one that was acknowledged.
func TestCrashWithinABatch(t *testing.T) {
	inBubble(t, func(t *testing.T, d *DB) {
		put(t, d, "before", "1")
		look := func(path string, want map[string]string) {
			t.Helper()
			c := open(t, path)
			if got := contents(t, c); !maps.Equal(got, want) {
				t.Errorf("after the crash there is %q", got)
			}
			if err := errors.Join(c.Check(), c.Close()); err != nil {
				t.Error(err)
			}
		}
		within := ""
		errs := together(d, nothing, putting("a", "1"), func(tx store.Tx) error {
			within = crash(t, d)
			return tx.Put("b", []byte("1"))
		})
		look(within, map[string]string{"before": "1"})
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		look(crash(t, d), map[string]string{"before": "1", "a": "1", "b": "1"})
	})
}

// A change for which the disk has no room does not take those down that there is room for.
func TestABatchThatFitsNotIsSplit(t *testing.T) {
	dir := smallDisk(t, 8<<20)
	synctest.Test(t, func(t *testing.T) {
		cfg := config(filepath.Join(dir, "state.db"))
		cfg.Headroom = 1 << 20
		d, err := Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		f, err := os.Create(filepath.Join(dir, "filler"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(f, endless{}); !errors.Is(err, unix.ENOSPC) {
			t.Fatalf("fill the disk: %v", err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		errs := together(d, nothing, putting("a", "1"), func(tx store.Tx) error {
			for i := range 100 {
				if err := tx.Put(fmt.Sprint("big/", i), make([]byte, 200_000)); err != nil {
					return err
				}
			}
			return nil
		}, putting("b", "1"))
		if errs[0] != nil || !errors.Is(errs[1], unix.ENOSPC) || errs[2] != nil {
			t.Errorf("they were answered %q", errs)
		}
		if got, want := contents(t, d), (map[string]string{"a": "1", "b": "1"}); !maps.Equal(got, want) {
			t.Errorf("the store has %d keys", len(got))
		}
	})
}

// Whoever closes the store finishes the batch that is open.
func TestCloseFinishesABatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "state.db")
		d, closed := open(t, path), make(chan error, 1)
		errs := together(d, func() {
			go func() { closed <- d.Close() }()
			synctest.Wait()
		}, putting("a", "1"))
		if err := errors.Join(append(errs, <-closed)...); err != nil {
			t.Fatal(err)
		}
		d = open(t, path)
		if got := contents(t, d); got["a"] != "1" {
			t.Errorf("the store has %q", got)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
}

// Whatever changes do before they fail, a batch has done what the others have.
func TestBatchesLikeAModel(t *testing.T) {
	type op struct {
		key   string
		value int // how many bytes; negative: delete
	}
	wrong := errors.New("no")
	rapid.Check(t, func(r *rapid.T) {
		one := rapid.Custom(func(r *rapid.T) op {
			return op{key: "k" + strconv.Itoa(rapid.IntRange(0, 40).Draw(r, "key")), value: rapid.SampledFrom([]int{-1, 0, 1, 100, 5000}).Draw(r, "value")}
		})
		history := rapid.SliceOfN(rapid.SliceOfN(one, 0, 20), 1, 12).Draw(r, "history")
		fails := rapid.SliceOfN(rapid.Bool(), len(history), len(history)).Draw(r, "fails")
		synctest.Test(t, func(t *testing.T) {
			d := open(t, filepath.Join(t.TempDir(), "state.db"))
			defer func() {
				if err := errors.Join(d.Check(), d.Close()); err != nil {
					r.Error(err)
				}
			}()
			model := map[string]string{}
			var changes []func(store.Tx) error
			for i, ops := range history {
				changes = append(changes, func(tx store.Tx) error {
					for _, o := range ops {
						var err error
						if o.value < 0 {
							err = tx.Delete(o.key)
						} else {
							err = tx.Put(o.key, []byte(strings.Repeat("v", o.value)))
						}
						if err != nil {
							return err
						}
					}
					if fails[i] {
						return wrong
					}
					return nil
				})
				for _, o := range ops {
					if fails[i] {
						break
					}
					if delete(model, o.key); o.value >= 0 {
						model[o.key] = strings.Repeat("v", o.value)
					}
				}
			}
			for i, err := range together(d, nothing, changes...) {
				if errors.Is(err, wrong) != fails[i] || err != nil && !fails[i] {
					r.Errorf("change %d was answered %v", i, err)
				}
			}
			if got := contents(t, d); !maps.Equal(got, model) {
				r.Errorf("the store has %d keys, the model %d, or they differ", len(got), len(model))
			}
		})
	})
}
