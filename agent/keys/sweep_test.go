package keys

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"scrier/wire"
)

// TestLiveSessionsAreNotSwept: not those of this process, not those of another.
func TestLiveSessionsAreNotSwept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	in, err := w.install()
	w.must(err)
	other := w.open(w.cfg) // as `scrier agent sweep` beside a running agent
	for _, k := range []*Keys{w.k, other} {
		swept, err := k.SweepAll(context.Background())
		w.must(err)
		if n := len(usable(w.read(w.u.file()))); swept.Removed != 0 || len(swept.Failed) != 0 || n != 1 {
			t.Fatalf("%+v, %d lines", swept, n)
		}
	}
	w.must(in.Remove(context.Background()))
	w.tidy()
}

// TestSweepAll finds expired lines that no journal has, of this agent and of others (H17, H18).
func TestSweepAll(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bob := w.user("scrbob")
	w.keys(bob, "# bob\n")
	now := time.Now()
	own, _ := testLine(t, w.cfg.Agent, now.Add(-time.Second))
	recent, _ := testLine(t, wire.NewEnvoyID(), now.Add(-time.Minute))
	old, _ := testLine(t, wire.NewEnvoyID(), now.Add(-time.Hour))
	misses := []string{}
	for _, near := range nearMisses(old) {
		misses = append(misses, near)
	}
	slices.Sort(misses)
	rest := text(w.key) + " me\n" + recent + "\n" + strings.Join(misses, "\n") + "\n"
	w.keys(w.u, own+"\n"+old+"\n"+rest)
	temp := w.u.ssh(tempPrefix + w.cfg.Agent.String() + "-0123456789abcdef")
	theirs := w.u.ssh(tempPrefix + wire.NewEnvoyID().String() + "-0123456789abcdef")
	for _, name := range []string{temp, theirs} {
		w.must(os.WriteFile(name, []byte("x"), 0o600))
		w.own(w.u, name)
	}
	swept, err := w.k.SweepAll(context.Background())
	w.must(err)
	if got := w.read(w.u.file()); swept.Removed != 2 || len(swept.Failed) != 0 || got != rest {
		t.Fatalf("%+v %q", swept, got)
	}
	if _, err := os.Stat(temp); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("own temporary file: %v", err)
	}
	w.must(os.Remove(theirs))
	if got := w.read(bob.file()); got != "# bob\n" {
		t.Errorf("bob: %q", got)
	}
}

// TestJournalOfGoneUsers: a login that was deleted, or is another user's now, is left alone.
func TestJournalOfGoneUsers(t *testing.T) {
	t.Parallel()
	for _, gone := range []bool{true, false} {
		w := newWorld(t)
		job := w.job()
		job.Crash = "installed"
		runAgent(t, job)
		content := w.read(w.u.file())
		if gone {
			w.users = nil
		} else {
			w.u.uid += 4000
		}
		w.write()
		swept, err := w.k.Sweep(context.Background())
		w.must(err)
		if got := w.read(w.u.file()); swept.Removed != 0 || got != content || len(usable(got)) != 1 {
			t.Fatalf("%+v %q", swept, got)
		}
		w.tidy()
	}
}

func TestBrokenJournal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, content := range map[string]string{
		wire.NewSessionID().String() + ".json": "{", "x": "", "." + wire.NewSessionID().String() + ".new": "half",
		wire.NewSessionID().String(): strings.Repeat("x", maxRecord+1),
	} {
		w.must(os.WriteFile(filepath.Join(w.k.journal.dir, name), []byte(content), 0o600))
	}
	_, err := w.k.Sweep(context.Background())
	w.must(err)
	w.tidy()
}
