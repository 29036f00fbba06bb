package bolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"scrier/relay/store"
	"scrier/relay/store/storetest"
	"scrier/wire"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(writerEnv); path != "" {
		write(path)
		return
	}
	goleak.VerifyTestMain(m)
}

func TestSuite(t *testing.T) {
	storetest.Run(t, func(t *testing.T, dir string) store.KV { return open(t, filepath.Join(dir, "state.db")) })
}

func config(path string) Config {
	return Config{Path: path, LockTimeout: 100 * time.Millisecond, Log: slog.New(slog.DiscardHandler)}
}

func open(t *testing.T, path string) *DB {
	t.Helper()
	d, err := Open(config(path))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func put(t *testing.T, d *DB, key, value string) {
	t.Helper()
	if err := d.Update(context.Background(), func(tx store.Tx) error { return tx.Put(key, []byte(value)) }); err != nil {
		t.Fatal(err)
	}
}

// crash makes a copy of an open store, as it would be after a power cut.
func crash(t *testing.T, d *DB) string {
	t.Helper()
	data, err := os.ReadFile(d.file.Path())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "state.db")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestStateInUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	d := open(t, path)
	_, err := Open(config(path))
	if wire.CodeOf(err) != wire.StateInUse || !strings.Contains(err.Error(), path) {
		t.Errorf("second process: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	d := open(t, path)
	put(t, d, store.SchemaKey, fmt.Sprint(store.Schema+1))
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the refusal itself leaves the file closed
		if _, err := Open(config(path)); wire.CodeOf(err) != wire.VersionMismatch {
			t.Fatalf("newer schema: %v", err)
		}
	}
}

// TestDamageIsRefused flips, cuts and overwrites a crashed file. Whatever is done to it, Open
// returns: with an error that says how to get out, or with all that was written.
func TestDamageIsRefused(t *testing.T) {
	cfg := config(filepath.Join(t.TempDir(), "state.db"))
	cfg.Headroom = -1 // a small file to spoil
	d, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	const rows = 400
	for i := range 20 {
		err := d.Update(context.Background(), func(tx store.Tx) error {
			for j := range rows / 20 {
				if err := tx.Put(fmt.Sprintf("row/%05d", i*20+j), []byte(strings.Repeat("v", 100))); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	used := int64(0)
	if b, err := d.file.DB.Begin(false); err == nil {
		used = b.Size()
		if err := b.Rollback(); err != nil {
			t.Fatal(err)
		}
	}
	path := crash(t, d)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	page := os.Getpagesize()
	cases := map[string]func([]byte) []byte{
		"both metas":     func(b []byte) []byte { clear(b[:2*page]); return b },
		"garbage":        func(b []byte) []byte { return []byte(strings.Repeat("not a database ", 9000)) },
		"short garbage":  func(b []byte) []byte { return []byte("x") },
		"cut to 2 pages": func(b []byte) []byte { return b[:2*page] },
		"cut to 3 pages": func(b []byte) []byte { return b[:3*page] },
		"cut in half":    func(b []byte) []byte { return b[:used/2] },
		"cut by a page":  func(b []byte) []byte { return b[:used-int64(page)] },
	}
	for p := 2; p < int(used)/page; p++ {
		cases[fmt.Sprintf("page %d of zeros", p)] = func(b []byte) []byte { clear(b[p*page : (p+1)*page]); return b }
		cases[fmt.Sprintf("page %d of ones", p)] = func(b []byte) []byte {
			for i := range page {
				b[p*page+i] = 0xff
			}
			return b
		}
		cases[fmt.Sprintf("page %d header", p)] = func(b []byte) []byte { b[p*page+8] ^= 0x07; return b }
		cases[fmt.Sprintf("page %d count", p)] = func(b []byte) []byte { b[p*page+11] ^= 0x7f; return b }
		cases[fmt.Sprintf("page %d element", p)] = func(b []byte) []byte { b[p*page+16+15] ^= 0x01; return b }
	}
	refused := 0
	for name, spoil := range cases {
		t.Run(name, func(t *testing.T) {
			spoilt := spoil(bytes.Clone(whole))
			if err := os.WriteFile(path, spoilt, 0o600); err != nil {
				t.Fatal(err)
			}
			cfg.Path = path
			d, err := Open(cfg)
			if err != nil {
				refused++
				if wire.CodeOf(err) != wire.BadConfig || !strings.Contains(wire.HintOf(err), "backup") {
					t.Errorf("the refusal does not say how to get out: %v", err)
				}
				if now, _ := os.ReadFile(path); !bytes.Equal(now, spoilt) {
					t.Error("the damaged file was changed")
				}
				return
			}
			got := 0 // the page was a free one
			err = d.View(context.Background(), func(tx store.Tx) error {
				for _, v := range tx.Scan("row/") {
					if string(v) == strings.Repeat("v", 100) {
						got++
					}
				}
				return nil
			})
			if err := errors.Join(err, d.Check(), d.Close()); got != rows || err != nil {
				t.Errorf("opened with %d of %d rows, %v", got, rows, err)
			}
		})
	}
	if refused < len(cases)/4 {
		t.Errorf("only %d of %d kinds of damage were refused", refused, len(cases))
	}
}

// Changes are counted with the time that they took, and those that failed are not.
func TestTook(t *testing.T) {
	d := open(t, filepath.Join(t.TempDir(), "state.db"))
	defer d.Close()
	before := d.Took().Count
	put(t, d, "a", "1")
	failed := errors.New("as a test")
	if err := d.Update(context.Background(), func(store.Tx) error { return failed }); !errors.Is(err, failed) {
		t.Fatal(err)
	}
	if took := d.Took(); took.Count != before+1 || took.Seconds <= 0 {
		t.Errorf("%+v, and before it was %d", took, before)
	}
	if n, err := d.Bytes(); err != nil || n < 4096 {
		t.Errorf("%d bytes, %v", n, err)
	}
}
