package relay

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"scrier/wire"
)

// begun is what a relay that has run, and was ended, is started with.
func begun(t *testing.T) Settings {
	t.Helper()
	s := Settings{StateDir: t.TempDir(), Config: DefaultConfig(), Now: time.Now, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	s.Config.Listen = "127.0.0.1:0"
	again(t, s)
	return s
}

// again starts a relay and ends it.
func again(t *testing.T, s Settings) {
	t.Helper()
	r, err := Open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
}

// content is all that is in a directory, without the audit log's and the store's own notes on being open.
func content(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(e.Name(), ".db") {
			data = nil
		}
		all = append(all, fmt.Sprintf("%s %x", e.Name(), data))
	}
	return all
}

// A relay does not start on half a state, says what is missing, and writes nothing in its place.
func TestHalfAState(t *testing.T) {
	for gone, code := range map[string]wire.Code{
		"ca.key": wire.BadConfig, "ca.crt": wire.BadConfig, "state.db": wire.BadConfig,
		"ca.key ca.crt": wire.BadConfig, "ca.key ca.crt state.db": wire.BadConfig, "state.db audit.db audit.db.head audit.key": wire.BadConfig,
		"audit.key": wire.AuditUnavailable, "audit.db": wire.AuditUnavailable, "audit.db.head": wire.AuditUnavailable,
		"audit.db audit.db.head": wire.AuditUnavailable, "audit.db audit.db.head audit.key": wire.AuditUnavailable,
	} {
		t.Run(gone, func(t *testing.T) {
			s := begun(t)
			names := strings.Fields(gone)
			for _, name := range names {
				if err := os.Rename(filepath.Join(s.StateDir, name), filepath.Join(t.TempDir(), name)); err != nil {
					t.Fatal(err)
				}
			}
			before := content(t, s.StateDir)
			for range 2 {
				_, err := Open(t.Context(), s)
				if wire.CodeOf(err) != code || !strings.Contains(err.Error(), filepath.Join(s.StateDir, names[0])) && !strings.Contains(err.Error(), names[0]+" ") {
					t.Errorf("started with %v", err)
				}
				if after := content(t, s.StateDir); !slices.Equal(before, after) {
					t.Errorf("there was\n%q\nand now\n%q", before, after)
				}
			}
		})
	}
}

// An empty file is none: a store would begin anew in it.
func TestEmptyState(t *testing.T) {
	for _, name := range []string{"ca.key", "ca.crt", "state.db"} {
		s := begun(t)
		if err := os.Truncate(filepath.Join(s.StateDir, name), 0); err != nil {
			t.Fatal(err)
		}
		before := content(t, s.StateDir)
		if _, err := Open(t.Context(), s); wire.CodeOf(err) != wire.BadConfig || !strings.Contains(err.Error(), name+" is missing or empty") {
			t.Errorf("started with %v", err)
		}
		if info, err := os.Stat(filepath.Join(s.StateDir, name)); err != nil || info.Size() != 0 || !slices.Equal(before, content(t, s.StateDir)) {
			t.Errorf("something was written: %v, %v", info, err)
		}
	}
}

// A relay makes no state where an agent has its own.
func TestStateOfAnAgent(t *testing.T) {
	s := Settings{StateDir: t.TempDir(), Config: DefaultConfig(), Now: time.Now, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	s.Config.Listen = "127.0.0.1:0"
	if err := os.WriteFile(filepath.Join(s.StateDir, "enrolment.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), s); wire.CodeOf(err) != wire.BadConfig || !strings.Contains(wire.DetailOf(err), "is the state of an agent") {
		t.Errorf("%v", err)
	}
	if got := content(t, s.StateDir); len(got) != 1 {
		t.Errorf("it has made %q", got)
	}
}

// What somebody else on the machine could have written or read is refused, with the command that mends it.
func TestStateIsPrivate(t *testing.T) {
	for name, mode := range map[string]fs.FileMode{
		"": 0o777, "ca.key": 0o644, "state.db": 0o604, "audit.key": 0o640, "audit.db": 0o620, "audit.db.head": 0o666, "server.yaml": 0o664,
	} {
		t.Run(name, func(t *testing.T) {
			s := begun(t)
			path := filepath.Join(s.StateDir, name)
			if name == "server.yaml" {
				if err := os.WriteFile(path, nil, 0o644); err != nil {
					t.Fatal(err)
				}
				again(t, s) // it may be read
			}
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
			_, err = Open(t.Context(), s)
			if wire.CodeOf(err) != wire.BadConfig || !strings.Contains(err.Error(), fmt.Sprintf("%04o", mode)) || !strings.Contains(err.Error(), "chmod") || !strings.Contains(err.Error(), path) {
				t.Errorf("started with %v", err)
			}
			if now, err := os.Stat(path); err != nil || now.Mode().Perm() != mode {
				t.Errorf("its mode is %v, %v", now.Mode(), err)
			}
			if err := os.Chmod(path, info.Mode().Perm()); err != nil {
				t.Fatal(err)
			}
			again(t, s)
			if os.Getuid() != 0 {
				t.Fatal("only root can give files away")
			}
			if err := os.Chown(path, 65534, -1); err != nil {
				t.Fatal(err)
			}
			if _, err = Open(t.Context(), s); wire.CodeOf(err) != wire.BadConfig || !strings.Contains(err.Error(), "belongs to uid 65534") {
				t.Errorf("of another user, started with %v", err)
			}
		})
	}
}

// A first start that a crash broke off, wherever, is no half state: the next one makes the rest.
func TestFirstStartBrokenOff(t *testing.T) {
	order := []string{"ca.crt", "ca.key", "state.db", "audit.db", "audit.key", "audit.db.head"}
	for n := range order {
		whole := begun(t)
		s := whole
		s.StateDir = t.TempDir()
		if err := os.WriteFile(filepath.Join(s.StateDir, firstStart), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, name := range order[:n] {
			data, err := os.ReadFile(filepath.Join(whole.StateDir, name))
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(name, "audit.db") {
				continue // has records: a first start ends before those
			}
			if err := os.WriteFile(filepath.Join(s.StateDir, name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		again(t, s)
		if _, err := os.Lstat(filepath.Join(s.StateDir, firstStart)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("with %d files: the first start is not over: %v", n, err)
		}
		again(t, s)
	}
}
