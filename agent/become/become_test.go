package become

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

const agentArg = "become-agent-under-test"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == agentArg {
		os.Exit(agent())
	}
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "these tests become other users: run them as root")
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// agent starts a child that dies with it, says its pid and waits to be killed.
func agent() int {
	cmd := exec.Command("sleep", "3600")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if err := Start(cmd, &User{UID: 54321, GID: 54321}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(cmd.Process.Pid)
	_ = cmd.Wait()
	return 1
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if f() {
			return
		}
	}
	t.Fatalf("%s: not within 30 s", what)
}

func TestStart(t *testing.T) {
	t.Setenv("SCRIER_TEST_SECRET", "not for users")
	cmd := exec.Command("cat", "/proc/self/status", "/proc/self/environ", "/proc/self/stat")
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := Start(cmd, &User{UID: 54321, GID: 54322, Groups: []uint32{54323, 54324}}); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	for _, want := range []string{
		"Uid:\t54321\t54321\t54321\t54321\n", "Gid:\t54322\t54322\t54322\t54322\n", "Groups:\t54323 54324 \n", "NoNewPrivs:\t1\n",
		"CapEff:\t0000000000000000\n", "CapPrm:\t0000000000000000\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q", want)
		}
	}
	if strings.Contains(text, "SCRIER_TEST_SECRET") {
		t.Error("the environment is handed down")
	}
	pid := strconv.Itoa(cmd.Process.Pid)
	stat := text[strings.LastIndex(text, pid+" (cat)"):]
	if f := strings.Fields(stat); f[4] != pid || f[5] != pid {
		t.Errorf("process group %s and session %s are not its own, %s", f[4], f[5], pid)
	}
	if t.Failed() {
		t.Log(text)
	}
}

func TestStartRefusesRoot(t *testing.T) {
	if err := Start(exec.Command("true"), &User{}); err == nil {
		t.Fatal("root was become")
	}
}

func TestStartFails(t *testing.T) {
	cmd := exec.Command("/nonexistent/program")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if err := Start(cmd, nil); err == nil {
		t.Fatal("started")
	}
}

// The parent of a child is the thread that forked it: it must stay as long as the child does.
func TestDeathSignalNeedsADeath(t *testing.T) {
	var all []*exec.Cmd
	for range 20 {
		cmd := exec.Command("cat")
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
		if err := Start(cmd, &User{UID: 54321, GID: 54321}); err != nil {
			t.Fatal(err)
		}
		all = append(all, cmd)
	}
	for range 20 { // a thread that was to end has done so after this
		cmd := exec.Command("true")
		if err := Start(cmd, nil); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	for _, cmd := range all {
		if err := unix.Kill(cmd.Process.Pid, unix.SIGTERM); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		if s := cmd.ProcessState.Sys().(syscall.WaitStatus); s.Signal() != unix.SIGTERM {
			t.Fatalf("a child ended with %v", cmd.ProcessState)
		}
	}
}

func TestDeathSignal(t *testing.T) {
	cmd := exec.Command("/proc/self/exe", agentArg)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Fscan(out, &pid); err != nil {
		t.Fatal(err)
	}
	alive := func() bool { // a zombie has no command line
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		return err == nil && bytes.Contains(b, []byte("3600"))
	}
	if !alive() {
		t.Fatal("the child died before its agent")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	eventually(t, "the child dies", func() bool { return !alive() })
}
