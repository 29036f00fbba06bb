package keys

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unsafe"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"scrier/agent/keys/keystest"
	"scrier/agent/keys/worker"
	"scrier/wire"
)

// The test binary is also the worker. Its environment says what it does in addition to its work, such
// as dying at some point. Outside of tests the agent gives a worker no such environment.
const (
	workerArg = "keys-worker-under-test"
	crashEnv  = "SCRIER_TEST_CRASH=" // die here
	hangEnv   = "SCRIER_TEST_HANG="  // stop here until killed
	babbleEnv = "SCRIER_TEST_BABBLE" // answer this many bytes
	lieEnv    = "SCRIER_TEST_LIE="   // answer this file's bytes
	openatEnv = "SCRIER_TEST_NO_OPENAT2"
	renameEnv = "SCRIER_TEST_NO_EXCHANGE"
	agentArg  = "keys-agent-under-test"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case workerArg:
			os.Exit(testWorker())
		case agentArg:
			os.Exit(testAgent())
		}
	}
	unix.Umask(0o022)
	goleak.VerifyTestMain(m)
}

func testWorker() int {
	var w worker.Worker
	crash, hang, all := "", "", ""
	hook := false
	for _, e := range os.Environ() {
		if v, ok := strings.CutPrefix(e, crashEnv); ok {
			crash, hook = v, true
		}
		if v, ok := strings.CutPrefix(e, crashAllEnv); ok {
			all, hook = v, true
		}
		if v, ok := strings.CutPrefix(e, hangEnv); ok {
			hang, hook = v, true
		}
		if e == openatEnv {
			w.NoOpenat2, hook = true, true
		}
		if e == renameEnv {
			w.NoExchange, hook = true, true
		}
		if v, ok := strings.CutPrefix(e, lieEnv); ok {
			b, _ := os.ReadFile(v)
			os.Stdout.Write(b)
			return 0
		}
		if e == babbleEnv {
			junk := bytes.Repeat([]byte{'x'}, 1<<20)
			for range 64 {
				if _, err := os.Stdout.Write(junk); err != nil {
					return 1
				}
			}
			return 0
		}
	}
	if !hook {
		return worker.Worker{}.Work(os.Stdin, os.Stdout) // just as main does
	}
	w.At = func(point string) {
		switch point {
		case all:
			// The agent of the test sees that this process is there, and kills itself. That kills this process, too. (A
			// signal at the parent's death would come as soon as the thread that started this process ends.)
			agent := os.Getppid()
			name := []byte(reached + "\x00")
			unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&name[0])), 0, 0, 0)
			for os.Getppid() == agent {
				time.Sleep(time.Millisecond)
			}
			unix.Kill(os.Getpid(), unix.SIGKILL)
		case crash:
			unix.Kill(os.Getpid(), unix.SIGKILL)
		case hang:
		default:
			return
		}
		time.Sleep(time.Hour) // a signal takes a moment
	}
	return w.Work(os.Stdin, os.Stdout)
}

// reached is what a worker calls its thread that has come to the point at which the power goes.
const reached = "power goes"

// host is a machine of a test with agents on it.
type host struct{ *keystest.Host }

func newHost(t testing.TB) *host { return &host{keystest.NewHost(t)} }

func (h *host) config() Config {
	return Config{
		Agent: wire.NewEnvoyID(), StateDir: filepath.Join(h.Dir, "state"), LockDir: filepath.Join(h.Dir, "lock"),
		AuthorizedKeysFile: []string{"%h/.ssh/authorized_keys"},
		Worker:             []string{"/proc/self/exe", workerArg},
		Log:                slog.New(slog.NewTextHandler(testLog{h.T}, nil)),
	}
}

func (h *host) open(cfg Config, env ...string) *Keys {
	h.T.Helper()
	k, err := New(cfg)
	h.Must(err)
	k.database.Getent, k.env = filepath.Join(h.Dir, "getent"), env
	h.T.Cleanup(func() { h.Must(k.Close()) })
	return k
}

type testLog struct{ t testing.TB }

func (l testLog) Write(b []byte) (int, error) {
	l.t.Logf("%s", bytes.TrimSpace(b))
	return len(b), nil
}
