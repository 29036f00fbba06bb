package keys

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"scrier/wire"
)

// crashAllEnv: agent and worker die together when the worker is there, as in a power cut.
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

// powerCut waits until a child has stopped itself, and kills it and this process.
func powerCut() {
	for ; ; time.Sleep(time.Millisecond) {
		lists, _ := filepath.Glob("/proc/self/task/*/children")
		for _, list := range lists {
			pids, _ := os.ReadFile(list)
			for _, text := range strings.Fields(string(pids)) {
				stat, _ := os.ReadFile("/proc/" + text + "/stat")
				if strings.Contains(string(stat), ") T ") {
					unix.Kill(os.Getpid(), unix.SIGKILL)
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
	m, err := k.Find(context.Background(), []ssh.PublicKey{key}, "")
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

// direct does one request in this process, which has become the user.
func direct(w worker, q request) (answerFile, error) {
	q.UID = uint32(os.Getuid())
	text, err := cbor.Marshal(q)
	if err != nil {
		return answerFile{}, err
	}
	var out bytes.Buffer
	if status := w.work(bytes.NewReader(text), &out); status != 0 {
		return answerFile{}, fmt.Errorf("status %d", status)
	}
	var r reply
	if err := readStrict(&out, maxAnswer, &r); err != nil {
		return answerFile{}, err
	}
	if err := r.check(q); err != nil {
		return answerFile{}, err
	}
	return r.Files[0], nil
}

// hammerJob makes a process that is the user do the same over and over.
type hammerJob struct {
	What       string // "flip" or "clean"
	Home       string
	Rounds     int
	Agent      string
	Line       string
	NoOpenat2  bool
	NoExchange bool
}

func testHammer() int {
	var job hammerJob
	if err := json.NewDecoder(os.Stdin).Decode(&job); err != nil {
		return 3
	}
	var err error
	switch job.What {
	case "flip":
		err = job.flip()
	case "clean":
		err = job.clean()
	}
	if err != nil {
		fmt.Println(err)
		return 4
	}
	return 0
}

// flip installs and removes while another thread flips .ssh between a folder and a link to a
// folder that the user may write just as well. With .ssh a folder the work succeeds.
func (job hammerJob) flip() error {
	dir, link := filepath.Join(job.Home, ".ssh"), filepath.Join(job.Home, "link")
	stop := make(chan struct{})
	flips := make(chan int)
	go func() {
		n := 0
		for {
			if n%2 == 0 { // .ssh is the folder
				select {
				case <-stop:
					flips <- n
					return
				default:
				}
			}
			if unix.Renameat2(unix.AT_FDCWD, dir, unix.AT_FDCWD, link, unix.RENAME_EXCHANGE) == nil {
				n++
			}
		}
	}()
	w := worker{noOpenat2: job.NoOpenat2}
	q := request{Home: job.Home, Files: []string{filepath.Join(dir, "authorized_keys")}, Agent: job.Agent, UTC: true, Strict: true}
	done := map[string]int{}
	for range job.Rounds {
		q := q
		q.Task, q.Line, q.Tail = taskInstall, job.Line, true
		a, err := direct(w, q)
		if err != nil {
			return err
		}
		if a.Changed {
			q.Size, q.Tail = a.Size, a.Tail
			if a, err = direct(w, q); err != nil {
				return err
			}
		}
		done[fmt.Sprintf("install %v missing %v", a.Code, a.Missing)]++
		q.Task, q.Lines = taskClean, []string{job.Line}
		if a, err = direct(w, q); err != nil {
			return err
		}
		done[fmt.Sprintf("clean %v missing %v", a.Code, a.Missing)]++
	}
	close(stop)
	n := <-flips
	fmt.Println(n, "flips", done)
	q.Task, q.Lines = taskClean, []string{job.Line}
	_, err := direct(w, q)
	return err
}

// clean installs and removes as fast as it can.
func (job hammerJob) clean() error {
	q := request{Home: job.Home, Files: []string{filepath.Join(job.Home, ".ssh/authorized_keys")}, Agent: job.Agent, UTC: true, Tail: true}
	w := worker{noExchange: job.NoExchange}
	neutralised := 0
	for range job.Rounds {
		q := q
		q.Task, q.Line = taskInstall, job.Line
		for {
			a, err := direct(w, q)
			if err != nil {
				return err
			}
			if a.Code == wire.KeyfileChanged {
				continue
			}
			if a.Code != 0 {
				return fmt.Errorf("install: %v %s", a.Code, a.Detail)
			}
			if !a.Changed {
				break
			}
			q.Size, q.Tail = a.Size, a.Tail
		}
		q.Task, q.Lines = taskClean, []string{job.Line}
		a, err := direct(w, q)
		if err != nil {
			return err
		}
		if a.Off {
			neutralised++
		} else if a.Code != 0 || a.Removed < 1 { // with those that were only neutralised before
			return fmt.Errorf("remove: %v %s, %d lines", a.Code, a.Detail, a.Removed)
		}
	}
	fmt.Println(neutralised, "neutralised")
	q.Task, q.Lines = taskClean, []string{job.Line}
	_, err := direct(w, q)
	return err
}

// asUser runs a mode of the test binary as the user.
func asUser(t testing.TB, u *user, job any, argv ...string) *exec.Cmd {
	t.Helper()
	text, err := json.Marshal(job)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", argv...)
	cmd.Stdin = bytes.NewReader(text)
	cmd.Env = emptyEnvironment()
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(u.uid), Gid: uint32(u.uid)}}
	return cmd
}

// testAppender appends numbered lines to a file, each by its own open and write, until the stop
// file is there and the least number is reached; it prints how many.
func testAppender() int {
	file, stop := os.Args[2], os.Args[3]
	least, _ := strconv.Atoi(os.Args[4])
	n := 0
	for {
		if n >= least && n%100 == 0 {
			if _, err := os.Stat(stop); err == nil {
				break
			}
		}
		f, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			fmt.Println(err)
			return 1
		}
		_, err = fmt.Fprintf(f, "# line %d\n", n)
		f.Close()
		if err != nil {
			fmt.Println(err)
			return 1
		}
		n++
		if n%20 == 0 {
			time.Sleep(50 * time.Microsecond) // leave the file quiet now and then, as people do
		}
	}
	fmt.Print(n)
	return 0
}

// onlyKeys fails when something but authorized_keys is in the folder.
func onlyKeys(t testing.TB, u *user) {
	t.Helper()
	entries, err := os.ReadDir(u.ssh(""))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != "authorized_keys" {
			t.Errorf("left over in .ssh: %s", e.Name())
		}
	}
}

func usable(file string) []string {
	var lines []string
	for line := range strings.Lines(file) {
		if strings.Contains(line, marker) && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	return lines
}
