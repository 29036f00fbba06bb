package keys

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"

	"scrier/wire"
)

// TestParallelSessions: 64 sessions of one login, several rounds, two agents on the same home
// (H13, H18, I9, I10). Agents of one machine share the lock; those of two that mount the same
// home do not, and may leave a line neutralised that a sweep then takes.
func TestParallelSessions(t *testing.T) {
	t.Parallel()
	sessions, rounds := environment(t, "SCRIER_PARALLEL", 64), environment(t, "SCRIER_PARALLEL_ROUNDS", 1)
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
	content := "# first\n" + text(w.key) + " me" // no newline at the end
	w.keys(w.u, content)
	cfg := w.cfg
	cfg.Agent, cfg.StateDir = wire.NewEnvoyID(), filepath.Join(w.dir, "state2")
	if !oneMachine {
		cfg.LockDir = filepath.Join(w.dir, "lock2")
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
	w.must(group.Wait())
	for _, k := range agents {
		swept, err := k.Sweep(context.Background())
		if err != nil || len(swept.Failed) > 0 || (oneMachine && swept.Removed > 0) {
			t.Errorf("%+v %v", swept, err)
		}
	}
	if got := w.read(w.u.file()); got != content {
		t.Fatalf("%q", got)
	}
	w.tidy()
}

// oneSession installs, looks, and removes twice at once.
func oneSession(t *testing.T, w *world, k *Keys, exact bool) error {
	m, err := k.Find(context.Background(), []ssh.PublicKey{w.key}, "")
	if err != nil {
		return fmt.Errorf("find: %w", err)
	}
	eph, _ := newKey(t)
	in, err := k.Install(context.Background(), m, wire.NewSessionID(), eph)
	if err != nil && !exact && wire.CodeOf(err) == wire.KeyfileChanged {
		return nil // said so, and undone
	}
	if err != nil {
		return fmt.Errorf("install: %w", err)
	}
	if exact && !strings.Contains(w.read(w.u.file()), text(eph)) {
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
	if in.Neutralised() && exact {
		return errors.New("only neutralised")
	}
	if exact && strings.Contains(w.read(w.u.file()), text(eph)) {
		return errors.New("the key is still there")
	}
	return nil
}

// TestRacingAppender: another program appends all the time, by open, write, close. No line of
// its own is lost (F7, H14).
func TestRacingAppender(t *testing.T) {
	t.Parallel()
	lines, rounds := environment(t, "SCRIER_APPEND_LINES", 10_000), environment(t, "SCRIER_APPEND_ROUNDS", 100)
	t.Run("exchange", func(t *testing.T) { racingAppender(t, lines, rounds, false) })
	t.Run("rename", func(t *testing.T) { racingAppender(t, lines/5, rounds/5, true) })
}

func racingAppender(t *testing.T, lines, rounds int, noExchange bool) {
	t.Helper()
	h := newHost(t)
	u := h.user("scralice")
	h.keys(u, "# mine\n")
	stop := filepath.Join(h.dir, "stop")
	var out bytes.Buffer
	appender := exec.Command("/proc/self/exe", appendArg, u.file(), stop, strconv.Itoa(lines))
	appender.Stdout = &out
	appender.Env = emptyEnvironment()
	appender.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(u.uid), Gid: uint32(u.uid)}}
	h.must(appender.Start())
	agent := wire.NewEnvoyID()
	line, _ := testLine(t, agent, time.Now())
	job := hammerJob{What: "clean", Home: u.home, Rounds: rounds, Agent: agent.String(), Line: line, NoExchange: noExchange}
	b, err := asUser(t, u, job, hammerArg).CombinedOutput()
	h.must(os.WriteFile(stop, nil, 0o644))
	werr := appender.Wait()
	job.Rounds = 0 // what was neutralised goes
	if out, err := asUser(t, u, job, hammerArg).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	if err != nil || werr != nil {
		t.Fatalf("%v %s; %v %s", err, b, werr, &out)
	}
	n, err := strconv.Atoi(out.String())
	h.must(err)
	t.Logf("%d lines appended during %d rounds: %s", n, rounds, bytes.TrimSpace(b))
	got := h.read(u.file())
	missing := 0
	for i := range n {
		if strings.Count(got, fmt.Sprintf("# line %d\n", i)) != 1 {
			missing++
		}
	}
	if missing > 0 || strings.Contains(got, marker) || !strings.HasPrefix(got, "# mine\n") || strings.Count(got, "\n") != n+1 {
		t.Errorf("%d of %d lines are not there once, %d lines in all, marker %v", missing, n, strings.Count(got, "\n"), strings.Contains(got, marker))
	}
	onlyKeys(t, u)
}

// TestEditors replace the file by another, in their several ways, while a line is in it.
func TestEditors(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	replace := func(content string) {
		t.Helper()
		name := w.u.ssh("4913~")
		w.must(os.WriteFile(name, []byte(content), 0o600))
		w.own(w.u, name)
		w.must(os.Rename(name, w.u.file()))
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
			func(f string) string { w.must(os.Remove(w.u.file())); return "" },
			nil,
		},
		"empties it": {
			func(string) string { w.must(os.Truncate(w.u.file(), 0)); return "" },
			func(string) string { return "" },
		},
	} {
		content := text(w.key) + " me\n"
		w.keys(w.u, content)
		in, err := w.install()
		w.must(err)
		if text := c.edit(w.read(w.u.file())); text != "" {
			w.must(os.WriteFile(w.u.file(), []byte(text), 0o600))
		}
		w.must(in.Remove(context.Background()))
		if c.want != nil {
			if got := w.read(w.u.file()); got != c.want(content) {
				t.Errorf("%s: %q", name, got)
			}
		}
		w.tidy()
	}
}
