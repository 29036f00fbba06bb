package keys

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"

	"scrier/agent/keys/keystest"
	"scrier/wire"
)

// TestParallelSessions: 64 sessions of one login, several rounds, two agents on the same home
// (H13, H18, I9, I10). Agents of one machine share the lock; those of two that mount the same
// home do not, and may leave a line neutralised that a sweep then takes.
func TestParallelSessions(t *testing.T) {
	t.Parallel()
	sessions, rounds := keystest.Environment(t, "SCRIER_PARALLEL", 64), keystest.Environment(t, "SCRIER_PARALLEL_ROUNDS", 1)
	t.Run("one machine", func(t *testing.T) {
		t.Parallel()
		parallelSessions(t, sessions, rounds, true)
	})
	t.Run("two machines", func(t *testing.T) {
		t.Parallel()
		parallelSessions(t, sessions/4, rounds, false)
	})
}

func parallelSessions(t *testing.T, sessions, rounds int, oneMachine bool) {
	t.Helper()
	w := newWorld(t)
	content := "# first\n" + keystest.Text(w.key) + " me" // no newline at the end
	w.PutKeys(w.u, content)
	cfg := w.cfg
	cfg.Agent, cfg.StateDir = wire.NewEnvoyID(), filepath.Join(w.Dir, "state2")
	if !oneMachine {
		cfg.LockDir = filepath.Join(w.Dir, "lock2")
	}
	agents := []*Keys{w.k, w.open(cfg)}
	var group errgroup.Group
	for n := range sessions {
		k := agents[n%2]
		group.Go(func() error {
			for range rounds {
				if err := oneSession(t, w, k, oneMachine); err != nil {
					return err
				}
			}
			return nil
		})
	}
	w.Must(group.Wait())
	for _, k := range agents {
		swept, err := k.Sweep(context.Background())
		if err != nil || len(swept.Failed) > 0 || (oneMachine && swept.Removed > 0) {
			t.Errorf("%+v %v", swept, err)
		}
	}
	if got := w.Read(w.u.File()); got != content {
		t.Fatalf("%q", got)
	}
	w.tidy()
}

// oneSession installs, looks, and removes twice at once.
func oneSession(t *testing.T, w *world, k *Keys, exact bool) error {
	m, err := k.Find(context.Background(), Operator{Keys: []ssh.PublicKey{w.key}}, "")
	if err != nil {
		return fmt.Errorf("find: %w", err)
	}
	eph, _ := keystest.NewKey(t)
	in, err := k.Install(context.Background(), m, wire.NewSessionID(), eph)
	if err != nil && !exact && wire.CodeOf(err) == wire.KeyfileChanged {
		return nil // it was refused, and undone
	}
	if err != nil {
		return fmt.Errorf("install: %w", err)
	}
	if exact && !strings.Contains(w.Read(w.u.File()), keystest.Text(eph)) {
		return errors.New("the key is not there")
	}
	var both sync.WaitGroup
	var errs [2]error
	for i := range errs {
		both.Go(func() { errs[i] = in.Remove(context.Background()) })
	}
	both.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		return fmt.Errorf("remove: %w", err)
	}
	if in.neutralised.Load() && exact {
		return errors.New("only neutralised")
	}
	if exact && strings.Contains(w.Read(w.u.File()), keystest.Text(eph)) {
		return errors.New("the key is still there")
	}
	return nil
}

// TestEditors: editors replace the file in several ways while a line of ours is in it.
func TestEditors(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	replace := func(content string) {
		t.Helper()
		name := w.u.SSH("4913~")
		w.Must(os.WriteFile(name, []byte(content), 0o600))
		w.Own(w.u, name)
		w.Must(os.Rename(name, w.u.File()))
	}
	for name, c := range map[string]struct{ edit, want func(file string) string }{
		"renames a new file over it": {
			func(f string) string { replace(f + "# added\n"); return "" },
			func(f string) string { return f + "# added\n" },
		},
		"takes the line out by itself": {
			func(f string) string { replace("# all new\n"); return "" },
			func(string) string { return "# all new\n" },
		},
		"appends without minding newlines": {
			func(f string) string { return f + "# appended" },
			func(f string) string { return f + "# appended" },
		},
		"removes the file": {
			func(f string) string { w.Must(os.Remove(w.u.File())); return "" },
			nil,
		},
		"empties it": {
			func(string) string { w.Must(os.Truncate(w.u.File(), 0)); return "" },
			func(string) string { return "" },
		},
	} {
		content := keystest.Text(w.key) + " me\n"
		w.PutKeys(w.u, content)
		in, err := w.install()
		w.Must(err)
		if text := c.edit(w.Read(w.u.File())); text != "" {
			w.Must(os.WriteFile(w.u.File(), []byte(text), 0o600))
		}
		w.Must(in.Remove(context.Background()))
		if c.want != nil {
			if got := w.Read(w.u.File()); got != c.want(content) {
				t.Errorf("%s: %q", name, got)
			}
		}
		w.tidy()
	}
}
