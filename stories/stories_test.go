package stories

import (
	"cmp"
	"context"
	"flag"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/semaphore"
)

// storyTime is how long a story may take. The slowest take about two minutes on a machine with
// nothing else to do, four times that where the processors are busy, and each of its steps gives up by itself before.
const storyTime = 12 * time.Minute

// closing is what is left of storyTime, or of the test's own, when a story that hangs is cut off: it
// says then what its programs said.
const closing = 30 * time.Second

func TestMain(m *testing.M) {
	switch name := os.Getenv(storyEnv); {
	case name == "":
		os.Exit(m.Run())
	case os.Getpid() == 1:
		os.Exit(boot())
	default:
		os.Exit(tell(name))
	}
}

// TestScript tells each story of script/*.txtar on a machine of its own, some side by side: -parallel
// says how many, and is twice the number of processors unless given. One with desktops or browsers
// counts twice, and a long one, which hardly does anything but wait, not at all.
func TestScript(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("the stories make machines with namespaces and mounts: run them as root")
	}
	files, err := filepath.Glob("script/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("find stories: %v, %d found", err, len(files))
	}
	dir, err := os.MkdirTemp("", "scrier-stories-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := removeMachine(dir); err != nil {
			t.Error(err)
		}
	})
	// The agent runs parts of itself as other users: they must be able to reach it.
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "scrier")
	if out, err := exec.Command("go", "build", "-race", "-ldflags", "-X scrier/roads.firstProbe=2s", "-o", program, "scrier").CombinedOutput(); err != nil {
		t.Fatalf("build scrier: %v\n%s", err, out)
	}
	if err := buildForWindows(program + ".exe"); err != nil {
		t.Fatal(err)
	}
	// As people have it: the race detector would take many times the memory.
	agent := exec.Command("go", "build", "-trimpath", "-tags", "agentonly", "-ldflags", "-s -w", "-o", program+"-agent", "scrier")
	agent.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := agent.CombinedOutput(); err != nil {
		t.Fatalf("build the agent alone: %v\n%s", err, out)
	}
	slots := int64(2 * runtime.GOMAXPROCS(0))
	if f := flag.Lookup("test.parallel"); f.Value.String() != f.DefValue {
		if slots, err = strconv.ParseInt(f.Value.String(), 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	free := semaphore.NewWeighted(slots)
	var all sync.WaitGroup
	for _, file := range inOrder(files) {
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		weight := min(weightOf(file), slots)
		if err := free.Acquire(t.Context(), weight); err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			defer free.Release(weight)
			t.Run(name, func(t *testing.T) { hear(t, filepath.Join(dir, name), name, program) })
		})
	}
	all.Wait()
}

// isLong says that a story waits for longer than all others take.
func isLong(file string) bool { return strings.HasSuffix(file, "_long.txtar") }

// weightOf is how many processors' worth of work a story is.
func weightOf(file string) int64 {
	name := filepath.Base(file)
	if isLong(file) {
		return 0
	}
	if strings.HasPrefix(name, "web_") || strings.HasPrefix(name, "desktop_") {
		return 2
	}
	return 1
}

// inOrder has the long stories first, and those behind them that do much, so that the others fill what they leave free at the end; with
// -shuffle there is no order but that.
func inOrder(files []string) []string {
	shuffled := flag.Lookup("test.shuffle").Value.String() != "off"
	if shuffled {
		rand.Shuffle(len(files), func(i, j int) { files[i], files[j] = files[j], files[i] })
	}
	slices.SortStableFunc(files, func(a, b string) int {
		switch {
		case isLong(a) != isLong(b):
			if isLong(a) {
				return -1
			}
			return 1
		case shuffled:
			return 0
		}
		return cmp.Compare(weightOf(b), weightOf(a))
	})
	return files
}

// hear has a story told, and says what was told if it went wrong.
func hear(t *testing.T, dir, name, program string) {
	deadline := time.Now().Add(storyTime)
	if isLong(name + ".txtar") {
		deadline = deadline.Add(storyTime)
	}
	if end, ok := t.Deadline(); ok && end.Add(-closing).Before(deadline) {
		deadline = end.Add(-closing)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	// The machine ends with the thread that started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ctx, cancel := context.WithDeadline(t.Context(), deadline.Add(closing/2))
	defer cancel()
	machine, err := newMachine(ctx, dir, name, program, deadline)
	if err != nil {
		t.Fatal(err)
	}
	out, err := machine.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	} else if testing.Verbose() {
		t.Logf("%s", out)
	}
	if err := removeMachine(dir); err != nil {
		t.Error(err)
	}
}
