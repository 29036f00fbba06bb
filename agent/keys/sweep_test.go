package keys

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"scrier/agent/keys/keystest"
	"scrier/agent/keys/line"
	"scrier/wire"
)

// TestLiveSessionsAreNotSwept: neither those of this process, nor those of another.
func TestLiveSessionsAreNotSwept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	in, err := w.install()
	w.Must(err)
	other := w.open(w.cfg) // as `scrier agent sweep` beside a running agent
	for _, k := range []*Keys{w.k, other} {
		swept, err := k.SweepAll(context.Background())
		w.Must(err)
		if n := len(keystest.Usable(w.Read(w.u.File()))); swept.Removed != 0 || len(swept.Failed) != 0 || n != 1 {
			t.Fatalf("%+v, %d lines", swept, n)
		}
	}
	w.Must(in.Remove(context.Background()))
	w.tidy()
}

// TestSweepAll finds expired lines that no journal has, of this agent and of others (H17, H18).
func TestSweepAll(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bob := w.User("scrbob")
	w.PutKeys(bob, "# bob\n")
	now := time.Now()
	own := keystest.NewLine(t, w.cfg.Agent, now.Add(-time.Second))
	recent := keystest.NewLine(t, wire.NewEnvoyID(), now.Add(-time.Minute))
	old := keystest.NewLine(t, wire.NewEnvoyID(), now.Add(-time.Hour))
	misses := []string{}
	for _, near := range keystest.NearMisses(old) {
		misses = append(misses, near)
	}
	slices.Sort(misses)
	rest := keystest.Text(w.key) + " me\n" + recent + "\n" + strings.Join(misses, "\n") + "\n"
	w.PutKeys(w.u, own+"\n"+old+"\n"+rest)
	temp := w.u.SSH(".scrier-" + w.cfg.Agent.String() + "-0123456789abcdef")
	theirs := w.u.SSH(".scrier-" + wire.NewEnvoyID().String() + "-0123456789abcdef")
	for _, name := range []string{temp, theirs} {
		w.Must(os.WriteFile(name, []byte("x"), 0o600))
		w.Own(w.u, name)
	}
	swept, err := w.k.SweepAll(context.Background())
	w.Must(err)
	if got := w.Read(w.u.File()); swept.Removed != 2 || len(swept.Failed) != 0 || got != rest {
		t.Fatalf("%+v %q", swept, got)
	}
	if _, err := os.Stat(temp); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("own temporary file: %v", err)
	}
	w.Must(os.Remove(theirs))
	if got := w.Read(bob.File()); got != "# bob\n" {
		t.Errorf("bob: %q", got)
	}
}

// TestLinesOfOlderAgents: what an agent from before there were rights has journalled goes, and so does the longest line
// of today.
func TestLinesOfOlderAgents(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(m *Match){
		"old": func(*Match) {},
		"long": func(m *Match) {
			m.Grant.Rights = []wire.Right{wire.MayForward, wire.MayReverse}
			for i := range line.MaxPermits {
				p, _ := line.NewPermit(fmt.Sprintf("host-%02d.example.com", i), 65535)
				m.Grant.Open, m.Grant.Listen = append(m.Grant.Open, p), append(m.Grant.Listen, p)
			}
		},
	} {
		w := newWorld(t)
		m := w.find()
		change(&m)
		key, _ := keystest.NewKey(t)
		in, err := w.k.Install(context.Background(), m, wire.NewSessionID(), key)
		w.Must(err)
		text := in.rec.Line
		if name == "old" {
			in.rec.Line = keystest.OldLine(text)
			w.PutKeys(w.u, strings.Replace(w.Read(w.u.File()), text, in.rec.Line, 1))
			w.Must(w.k.journal.write(in.rec))
		}
		if lines := keystest.Usable(w.Read(w.u.File())); len(lines) != 1 || (name == "old") != strings.HasPrefix(lines[0], keystest.OldOptions+",from=") {
			t.Fatalf("%s: %q", name, lines)
		}
		in.rec.release() // as if the agent had died
		if swept, err := w.k.Sweep(context.Background()); err != nil || swept.Removed != 1 {
			t.Errorf("%s: %+v, %v", name, swept, err)
		}
		w.tidy()
	}
}

// TestJournalOfGoneUsers: the line of a login that is another user's now is left alone. So is that of one
// that is not there; but as a directory that is down says so too, its record is kept while the line works.
func TestJournalOfGoneUsers(t *testing.T) {
	t.Parallel()
	for _, gone := range []bool{true, false} {
		w := newWorld(t)
		job := w.job()
		job.Crash = "installed"
		runAgent(t, job)
		content, users := w.Read(w.u.File()), w.Users
		sweep := func(removed int) {
			t.Helper()
			w.Write()
			swept, err := w.k.Sweep(context.Background())
			w.Must(err)
			if swept.Removed != removed || len(swept.Failed) != 0 {
				t.Fatalf("%+v", swept)
			}
		}
		if gone {
			w.Users = nil
			sweep(0)
			w.Users = users // the directory is back
			sweep(1)
			runAgent(t, job)
			content = w.Read(w.u.File())
			w.Users = nil
			sweep(0)
			w.k.cfg.Now = func() time.Time { return time.Now().Add(maxLifetime + time.Second) }
		} else {
			w.u.UID += 4000
		}
		sweep(0)
		if got := w.Read(w.u.File()); got != content || len(keystest.Usable(got)) != 1 {
			t.Fatalf("%q", got)
		}
		w.tidy()
	}
}

// TestBrokenJournal: a record that cannot be read says, while its line may work, that a sweep may have missed
// a file; and to the second sweep as well.
func TestBrokenJournal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, content := range map[string]string{
		wire.NewSessionID().String() + ".json": "{", "x": "", "." + wire.NewSessionID().String() + ".new": "half",
		wire.NewSessionID().String(): strings.Repeat("x", maxRecord+1),
	} {
		w.Must(os.WriteFile(filepath.Join(w.k.journal.dir, name), []byte(content), 0o600))
	}
	for range 2 {
		_, err := w.k.Sweep(context.Background())
		w.Must(err)
		if _, unsure, err := w.k.journal.files(); !unsure || err != nil {
			t.Fatalf("unsure: %t, %v", unsure, err)
		}
	}
	w.k.cfg.Now = func() time.Time { return time.Now().Add(maxLifetime + time.Second) }
	_, err := w.k.Sweep(context.Background())
	w.Must(err)
	w.tidy()
}

// TestSweepOfUnreadableFiles: any user can make a file that cannot be read. It fails a sweep only
// if this agent has written there, as its journal or the file itself says.
func TestSweepOfUnreadableFiles(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	link, closed := w.User("scrlink"), w.User("scrclosed")
	w.Must(os.Symlink("/etc/hostname", link.File()))
	w.PutKeys(closed, "# mine\n")
	w.Must(os.Chmod(closed.File(), 0))
	unread := func(swept Swept) string {
		t.Helper()
		var all []string
		for _, f := range swept.Unread {
			all = append(all, f.Login+" "+f.Code.String())
		}
		return strings.Join(all, ", ")
	}
	const both = "scrclosed keyfile_permissions, scrlink keyfile_symlink"
	swept, err := w.k.SweepAll(ctx)
	if got := unread(swept); err != nil || got != both || len(swept.Failed) != 0 {
		t.Fatalf("%q, failed %+v, %v", got, swept.Failed, err)
	}

	// A file that the journal says was written to, and that has become unreadable since.
	job := w.job()
	job.Crash = "installed"
	runAgent(t, job)
	content := w.Read(w.u.File())
	hidden := w.u.File() + ".hidden"
	w.Must(os.Rename(w.u.File(), hidden))
	w.Must(os.Symlink("/etc/hostname", w.u.File()))
	for _, k := range []*Keys{w.k, w.open(w.cfg)} { // the entry stays until the line is taken out
		swept, err = k.SweepAll(ctx)
		if got := unread(swept); err != nil || got != both || len(swept.Failed) != 1 || swept.Failed[0].Login != "scralice" || swept.Failed[0].Code != wire.KeyfileSymlink {
			t.Fatalf("%q, failed %+v, %v", got, swept.Failed, err)
		}
		if swept, err = k.Sweep(ctx); err != nil || len(swept.Unread) != 0 || len(swept.Failed) != 1 {
			t.Fatalf("%+v, %v", swept, err)
		}
	}
	w.Must(os.Rename(hidden, w.u.File()))
	if swept, err = w.k.SweepAll(ctx); err != nil || swept.Removed != 1 || len(swept.Failed) != 0 || unread(swept) != both {
		t.Fatalf("%+v, %v", swept, err)
	}
	w.tidy()

	// There is no entry, but a line of this agent that can be read and cannot be taken out.
	own := keystest.NewLine(t, w.cfg.Agent, time.Now().Add(-time.Second))
	w.PutKeys(w.u, content[:strings.Index(content, "restrict,")]+own+"\n")
	w.Must(os.Chown(w.u.File(), 0, 0))
	w.Must(os.Chmod(w.u.File(), 0o644))
	if swept, err = w.k.SweepAll(ctx); err != nil || len(swept.Failed) != 1 || swept.Failed[0].Code != wire.KeyfilePermissions || unread(swept) != both {
		t.Fatalf("%+v, %v", swept, err)
	}
	w.PutKeys(w.u, keystest.Text(w.key)+"\n")

	// An entry that cannot be read may be of any file. Sweeps fail until its line has expired.
	w.Must(os.WriteFile(filepath.Join(w.k.journal.dir, wire.NewSessionID().String()+".json"), []byte("{"), 0o600))
	for range 2 {
		if swept, err = w.k.SweepAll(ctx); err != nil || len(swept.Failed) != 2 || len(swept.Unread) != 0 {
			t.Fatalf("%+v, %v", swept, err)
		}
	}
	w.k.cfg.Now = func() time.Time { return time.Now().Add(maxLifetime + time.Second) }
	if swept, err = w.k.Sweep(ctx); err != nil || len(swept.Failed) != 0 {
		t.Fatalf("%+v, %v", swept, err)
	}
	if swept, err = w.k.SweepAll(ctx); err != nil || len(swept.Failed) != 0 || unread(swept) != both {
		t.Fatalf("%+v, %v", swept, err)
	}
	w.tidy()
}

// TestSweepOfDeadHome: nor does a home fail it that does not answer.
func TestSweepOfDeadHome(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dead := w.User("scrdead")
	deadFileSystem(t, dead.Home)
	for range 2 { // the second time it is left out from the start
		swept, err := w.k.SweepAll(context.Background())
		if err != nil || len(swept.Failed) != 0 || len(swept.Unread) != 1 || swept.Unread[0].Login != "scrdead" || swept.Unread[0].Code != wire.KeyfileTimeout {
			t.Fatalf("%+v, %v", swept, err)
		}
	}
	// But where an entry cannot be read, a line may be there.
	w.Must(os.WriteFile(filepath.Join(w.k.journal.dir, wire.NewSessionID().String()+".json"), []byte("{"), 0o600))
	if swept, err := w.k.SweepAll(context.Background()); err != nil || len(swept.Failed) != 1 || len(swept.Unread) != 0 {
		t.Fatalf("%+v, %v", swept, err)
	}
	keystest.WantCode(t, w.k.Close(), wire.KeyfileTimeout)
	unix.Unmount(dead.Home, unix.MNT_FORCE|unix.MNT_DETACH)
	keystest.Eventually(t, "the worker dies", func() bool { return !w.k.pool.isSlow(uint32(dead.UID), time.Now().Add(slowTime)) })
}
