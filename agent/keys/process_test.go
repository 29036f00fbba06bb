package keys

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"scrier/wire"
)

// crashAllEnv makes agent and worker die together when the worker reaches a point, as in a power cut.
const crashAllEnv = "SCRIER_TEST_CRASH_ALL="

// agentJob is what an agent process of a test does: find, install, remove, and die at a point.
type agentJob struct {
	Dir, State, Lock string
	Agent            string
	Key, Ephemeral   string
	Session          string
	Crash            string   // point in the agent
	Env              []string // of its workers
	Remove           bool
	Dropin           string
}

func testAgent() int {
	var job agentJob
	if err := json.NewDecoder(os.Stdin).Decode(&job); err != nil {
		return 3
	}
	if strings.Contains(strings.Join(job.Env, " "), crashAllEnv) {
		go powerCut()
	}
	err := job.do()
	if err != nil {
		fmt.Println(err)
		return 4
	}
	return 0
}

// powerCut waits until a child has come to its point, and kills this process, and with that the child.
func powerCut() {
	for ; ; time.Sleep(time.Millisecond) {
		lists, _ := filepath.Glob("/proc/self/task/*/children")
		for _, list := range lists {
			pids, _ := os.ReadFile(list)
			for _, text := range strings.Fields(string(pids)) {
				names, _ := filepath.Glob("/proc/" + text + "/task/*/comm")
				for _, name := range names {
					if comm, _ := os.ReadFile(name); string(comm) == reached+"\n" {
						unix.Kill(os.Getpid(), unix.SIGKILL)
					}
				}
			}
		}
	}
}

func (job agentJob) do() error {
	agent, err := wire.ParseEnvoyID(job.Agent)
	if err != nil {
		return err
	}
	session, err := wire.ParseSessionID(job.Session)
	if err != nil {
		return err
	}
	cfg := Config{
		Agent: agent, StateDir: job.State, LockDir: job.Lock, AuthorizedKeysFile: []string{"%h/.ssh/authorized_keys"},
		Worker: []string{"/proc/self/exe", workerArg},
	}
	if job.Dropin != "" {
		cfg.Mode, cfg.DropinDir = Dropin, job.Dropin
		cfg.AuthorizedKeysFile = append(cfg.AuthorizedKeysFile, job.Dropin+"/%u")
	}
	k, err := New(cfg)
	if err != nil {
		return err
	}
	k.database.Getent, k.env = filepath.Join(job.Dir, "getent"), job.Env
	k.reach = func(point string) {
		if point == job.Crash {
			unix.Kill(os.Getpid(), unix.SIGKILL)
			time.Sleep(time.Hour) // the signal takes a moment
		}
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(job.Key))
	if err != nil {
		return err
	}
	eph, _, _, _, err := ssh.ParseAuthorizedKey([]byte(job.Ephemeral))
	if err != nil {
		return err
	}
	m, err := k.Find(context.Background(), Operator{Keys: []ssh.PublicKey{key}}, "")
	if err != nil {
		return fmt.Errorf("find: %w", err)
	}
	in, err := k.Install(context.Background(), m, session, eph)
	if err != nil {
		return fmt.Errorf("install: %w", err)
	}
	if !job.Remove {
		return nil
	}
	return in.Remove(context.Background())
}

// runAgent runs job in a process of its own and says whether it was killed.
func runAgent(t testing.TB, job agentJob) (killed bool, out string) {
	t.Helper()
	text, err := json.Marshal(job)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", agentArg)
	cmd.Stdin = bytes.NewReader(text)
	b, err := cmd.CombinedOutput()
	if err == nil {
		return false, string(b)
	}
	st, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || (!st.Signaled() && st.ExitStatus() != 4) {
		t.Fatalf("agent: %v\n%s", err, b)
	}
	return st.Signaled(), string(b)
}
