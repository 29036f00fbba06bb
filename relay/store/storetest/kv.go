package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"scrier/relay/store"
)

func values(t *testing.T, open Backend) {
	kv := fresh(t, open)
	in := map[string][]byte{"a": []byte("1"), "empty": {}, "nil": nil, "zero": {0}, "\xff\x00": bytes.Repeat([]byte{7}, 70_000)}
	update(t, kv, func(tx store.Tx) error {
		for k, v := range in {
			if err := tx.Put(k, v); err != nil {
				return err
			}
			got, err := tx.Get(k) // sees its own writes
			if err != nil || !bytes.Equal(got, v) {
				t.Errorf("%q within the transaction: %d bytes, %v", k, len(got), err)
			}
		}
		return nil
	})
	view(t, kv, func(tx store.Tx) error {
		for k, v := range in {
			got, err := tx.Get(k)
			if err != nil || got == nil || !bytes.Equal(got, v) {
				t.Errorf("%q: %d bytes, %v", k, len(got), err)
			}
		}
		if _, err := tx.Get("b"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("absent key: %v", err)
		}
		return nil
	})
	buffer := []byte("mine")
	var kept []byte
	update(t, kv, func(tx store.Tx) error {
		if err := tx.Put("a", buffer); err != nil {
			return err
		}
		buffer[0] = 'X' // the caller's again as soon as Put returns
		return tx.Delete("empty")
	})
	view(t, kv, func(tx store.Tx) (err error) {
		kept, err = tx.Get("a")
		if _, err := tx.Get("empty"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("deleted key: %v", err)
		}
		return err
	})
	update(t, kv, func(tx store.Tx) error {
		return errors.Join(tx.Put("a", []byte("else")), tx.Delete("was never there"))
	})
	if string(kept) != "mine" {
		t.Errorf("a value became %q after its transaction", kept)
	}
}

func limits(t *testing.T, open Backend) {
	kv := fresh(t, open)
	long := strings.Repeat("k", store.MaxKey)
	update(t, kv, func(tx store.Tx) error {
		for _, c := range []struct {
			key  string
			size int
			want error
		}{
			{long, store.MaxValue, nil},
			{"v", store.MaxValue + 1, store.ErrTooLarge},
			{long + "k", 1, store.ErrBadKey},
			{"", 1, store.ErrBadKey},
		} {
			if err := tx.Put(c.key, make([]byte, c.size)); !errors.Is(err, c.want) {
				t.Errorf("put key of %d with %d bytes: %v, want %v", len(c.key), c.size, err, c.want)
			}
			if c.want == store.ErrBadKey {
				if _, err := tx.Get(c.key); !errors.Is(err, store.ErrBadKey) {
					t.Errorf("get key of %d: %v", len(c.key), err)
				}
				if err := tx.Delete(c.key); !errors.Is(err, store.ErrBadKey) {
					t.Errorf("delete key of %d: %v", len(c.key), err)
				}
			}
		}
		return nil
	})
}

func scans(t *testing.T, open Backend) {
	kv := fresh(t, open)
	all := []string{"a", "a/", "a/\x00", "a/1", "a/10", "a/2", "a/\xfe", "a/\xff", "a/\xff\xff", "a0", "b/", "\xff", "\xff\xff"}
	update(t, kv, func(tx store.Tx) error {
		for _, i := range rand.Perm(len(all)) {
			if err := tx.Put(all[i], []byte(all[i])); err != nil {
				return err
			}
		}
		return nil
	})
	view(t, kv, func(tx store.Tx) error {
		for _, prefix := range []string{"", "a", "a/", "a/1", "a/\xff", "a0", "b", "c", "\xff", "\xff\xff\xff"} {
			var want []string
			for _, k := range all {
				if strings.HasPrefix(k, prefix) {
					want = append(want, k)
				}
			}
			got := slices.DeleteFunc(keys(tx, prefix), func(k string) bool { return k == store.SchemaKey })
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("scan %q: %s", prefix, diff)
			}
			for _, from := range append(all, "", "a/15", "zz", "a/1\x00") {
				want := slices.DeleteFunc(slices.Clone(want), func(k string) bool { return k < from })
				got := []string{}
				for k, v := range tx.ScanFrom(prefix, from) {
					if k == store.SchemaKey {
						continue
					}
					if string(v) != k {
						t.Errorf("value of %q is %q", k, v)
					}
					got = append(got, k)
				}
				if !slices.Equal(want, got) {
					t.Errorf("scan %q from %q: %q, want %q", prefix, from, got, want)
				}
			}
		}
		for k := range tx.Scan("a") { // leaving early is allowed
			if k == "a/1" {
				break
			}
		}
		return nil
	})
}

func scanWhileWriting(t *testing.T, open Backend) {
	kv := fresh(t, open)
	const n = 2000 // several pages
	key := func(i int) string { return fmt.Sprintf("row/%05d", i) }
	update(t, kv, func(tx store.Tx) error {
		for i := range n {
			if err := tx.Put(key(i), []byte("x")); err != nil {
				return err
			}
		}
		return nil
	})
	update(t, kv, func(tx store.Tx) error {
		seen := 0
		for k := range tx.Scan("row/") {
			if want := key(seen); k != want {
				return fmt.Errorf("row %d is %q, want %q", seen, k, want)
			}
			if err := tx.Delete(k); err != nil {
				return err
			}
			if err := tx.Put("old/"+k, []byte("y")); err != nil {
				return err
			}
			seen++
		}
		if seen != n {
			t.Errorf("saw %d rows of %d", seen, n)
		}
		if left := keys(tx, "row/"); len(left) != 0 {
			t.Errorf("%d rows are left", len(left))
		}
		if moved := keys(tx, "old/"); len(moved) != n {
			t.Errorf("%d rows were moved", len(moved))
		}
		return nil
	})
}

func readOnly(t *testing.T, open Backend) {
	kv := fresh(t, open)
	update(t, kv, func(tx store.Tx) error { return tx.Put("a", []byte("1")) })
	view(t, kv, func(tx store.Tx) error {
		if err := tx.Put("a", []byte("2")); !errors.Is(err, store.ErrReadOnly) {
			t.Errorf("put: %v", err)
		}
		if err := tx.Delete("a"); !errors.Is(err, store.ErrReadOnly) {
			t.Errorf("delete: %v", err)
		}
		v, err := tx.Get("a")
		if string(v) != "1" {
			t.Errorf("a view changed the value to %q", v)
		}
		return err
	})
}

func snapshot(t *testing.T, open Backend) {
	kv := fresh(t, open)
	set := func(v string) {
		update(t, kv, func(tx store.Tx) error { return errors.Join(tx.Put("a", []byte(v)), tx.Put("n/"+v, nil)) })
	}
	set("before")
	view(t, kv, func(tx store.Tx) error {
		done := make(chan struct{})
		go func() { defer close(done); set("after") }()
		<-done // the commit is over, and durable
		v, err := tx.Get("a")
		if string(v) != "before" {
			t.Errorf("the snapshot shows %q", v)
		}
		if got := keys(tx, "n/"); !slices.Equal(got, []string{"n/before"}) {
			t.Errorf("the snapshot's scan shows %q", got)
		}
		return err
	})
	view(t, kv, func(tx store.Tx) error {
		v, err := tx.Get("a")
		if string(v) != "after" {
			t.Errorf("the next snapshot shows %q", v)
		}
		return err
	})
}

func atomic(t *testing.T, open Backend) {
	kv := fresh(t, open)
	update(t, kv, func(tx store.Tx) error { return tx.Put("keep", []byte("1")) })
	wrong := errors.New("no")
	err := kv.Update(context.Background(), func(tx store.Tx) error {
		return errors.Join(tx.Put("a", nil), tx.Delete("keep"), wrong)
	})
	if !errors.Is(err, wrong) {
		t.Errorf("update returned %v", err)
	}
	view(t, kv, func(tx store.Tx) error {
		_, errA := tx.Get("a")
		_, errKeep := tx.Get("keep")
		if !errors.Is(errA, store.ErrNotFound) || errKeep != nil {
			t.Errorf("a failed update left something behind: %v, %v", errA, errKeep)
		}
		return nil
	})
	if err := kv.View(context.Background(), func(store.Tx) error { return wrong }); !errors.Is(err, wrong) {
		t.Errorf("view returned %v", err)
	}
}

func panics(t *testing.T, open Backend) {
	kv := fresh(t, open)
	func() {
		defer func() {
			if recover() != "boom" {
				t.Error("the panic did not reach the caller")
			}
		}()
		_ = kv.Update(context.Background(), func(tx store.Tx) error {
			if err := tx.Put("a", nil); err != nil {
				t.Error(err)
			}
			panic("boom")
		})
	}()
	update(t, kv, func(tx store.Tx) error { // and the store goes on
		if _, err := tx.Get("a"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("the panicking update left: %v", err)
		}
		return nil
	})
}

func serialised(t *testing.T, open Backend) {
	kv := fresh(t, open)
	const workers, rounds = 8, 25
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for range rounds {
				err := kv.Update(context.Background(), func(tx store.Tx) error {
					n := 0
					switch v, err := tx.Get("counter"); {
					case err == nil:
						n, _ = strconv.Atoi(string(v))
					case !errors.Is(err, store.ErrNotFound):
						return err
					}
					return tx.Put("counter", strconv.AppendInt(nil, int64(n+1), 10))
				})
				if err != nil {
					t.Errorf("update: %v", err)
				}
			}
		})
	}
	group.Wait()
	view(t, kv, func(tx store.Tx) error {
		v, err := tx.Get("counter")
		if string(v) != strconv.Itoa(workers*rounds) {
			t.Errorf("counted %s of %d", v, workers*rounds)
		}
		return err
	})
}

// failing has changes that fail, panic and succeed at the same time.
func failing(t *testing.T, open Backend) {
	kv := fresh(t, open)
	update(t, kv, func(tx store.Tx) error { return tx.Put("shared", []byte("0")) })
	wrong := errors.New("no")
	const workers, rounds = 9, 20
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			for i := range rounds {
				key := fmt.Sprintf("row/%d/%02d", w, i)
				err := func() (err error) {
					defer func() {
						if p := recover(); p != nil {
							err = fmt.Errorf("%v", p)
						}
					}()
					return kv.Update(context.Background(), func(tx store.Tx) error {
						v, err := tx.Get("shared")
						if string(v) != "0" {
							t.Errorf("%s sees what another had to take back: %q, %v", key, v, err)
						}
						if err := tx.Put(key, nil); err != nil || w%3 == 0 {
							return err
						}
						if err := errors.Join(tx.Put("shared", []byte(key)), tx.Delete("row/0/00")); err != nil {
							return err
						}
						if w%3 == 1 {
							return wrong
						}
						panic("boom")
					})
				}()
				if good := w%3 == 0; good != (err == nil) || w%3 == 1 && !errors.Is(err, wrong) {
					t.Errorf("%s: %v", key, err)
				}
			}
		})
	}
	group.Wait()
	view(t, kv, func(tx store.Tx) error {
		if got := keys(tx, "row/"); len(got) != workers/3*rounds {
			t.Errorf("%d rows are there, %d were acknowledged", len(got), workers/3*rounds)
		}
		return nil
	})
}

func cancelled(t *testing.T, open Backend) {
	kv := fresh(t, open)
	cause := errors.New("the operator went away")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(cause)
	never := func(store.Tx) error { t.Error("a transaction began although its context had ended"); return nil }
	if err := kv.View(ctx, never); !errors.Is(err, cause) {
		t.Errorf("view: %v", err)
	}
	if err := kv.Update(ctx, never); !errors.Is(err, cause) {
		t.Errorf("update: %v", err)
	}

	// A context that ends while another writer is at work ends the waiting.
	ctx, cancel = context.WithCancelCause(context.Background())
	update(t, kv, func(store.Tx) error {
		result := make(chan error)
		go func() { result <- kv.Update(ctx, never) }()
		cancel(cause)
		if err := <-result; !errors.Is(err, cause) {
			t.Errorf("waiting update: %v", err)
		}
		return nil
	})

	// One that ends during a scan stops it, and what was seen is not taken for the whole.
	ctx, cancel = context.WithCancelCause(context.Background())
	err := kv.Update(ctx, func(tx store.Tx) error {
		if err := errors.Join(tx.Put("s/1", nil), tx.Put("s/2", nil)); err != nil {
			return err
		}
		for range tx.Scan("s/") {
			cancel(cause)
		}
		return nil
	})
	if !errors.Is(err, cause) {
		t.Errorf("update with a scan that was cut short: %v", err)
	}
	view(t, kv, func(tx store.Tx) error {
		if left := keys(tx, "s/"); left != nil {
			t.Errorf("it left %q behind", left)
		}
		return nil
	})
}

func afterwards(t *testing.T, open Backend) {
	kv := fresh(t, open)
	var leaked store.Tx
	update(t, kv, func(tx store.Tx) error { leaked = tx; return tx.Put("a", nil) })
	_, err := leaked.Get("a")
	for name, err := range map[string]error{"get": err, "put": leaked.Put("b", nil), "delete": leaked.Delete("a")} {
		if !errors.Is(err, store.ErrTxDone) {
			t.Errorf("%s after the end: %v", name, err)
		}
	}
	if got := keys(leaked, ""); got != nil {
		t.Errorf("scan after the end: %q", got)
	}
}

func durable(t *testing.T, open Backend) {
	dir := t.TempDir()
	want := map[string]string{}
	for round := range 3 {
		kv := open(t, dir)
		for i := range 40 {
			k, v := fmt.Sprintf("k/%d/%d", round, i), strings.Repeat("v", rand.IntN(9000))
			update(t, kv, func(tx store.Tx) error { return tx.Put(k, []byte(v)) })
			want[k] = v
		}
		if err := kv.Close(); err != nil {
			t.Fatalf("close: %v", err)
		}
		kv = open(t, dir)
		got := map[string]string{}
		view(t, kv, func(tx store.Tx) error {
			for k, v := range tx.Scan("k/") {
				got[k] = string(v)
			}
			return nil
		})
		if !cmp.Equal(want, got) {
			t.Errorf("round %d: %d keys of %d are as written", round, len(got), len(want))
		}
		if err := kv.Close(); err != nil {
			t.Fatalf("close: %v", err)
		}
	}
}

func closing(t *testing.T, open Backend) {
	kv := open(t, t.TempDir())
	for range 2 {
		if err := kv.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	f := func(store.Tx) error { t.Error("a transaction began on a closed store"); return nil }
	if err := kv.View(context.Background(), f); err == nil {
		t.Error("view of a closed store succeeded")
	}
	if err := kv.Update(context.Background(), f); err == nil {
		t.Error("update of a closed store succeeded")
	}
}
