package stories

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// cmdStart runs anything in the background under a name.
func cmdStart(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: start NAME COMMAND…")
	}
	worldOf(ts).start(ts, args[0], args[1:]...)
}

var signals = map[string]syscall.Signal{
	"TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL, "STOP": syscall.SIGSTOP, "CONT": syscall.SIGCONT, "INT": syscall.SIGINT, "HUP": syscall.SIGHUP,
}

func cmdSignal(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 || signals[args[0]] == 0 {
		ts.Fatalf("usage: signal TERM|KILL|STOP|CONT|INT|HUP NAME, signal KILL NAME/all")
	}
	name, all := strings.CutSuffix(args[1], "/all")
	if all && args[0] != "KILL" {
		ts.Fatalf("only KILL is for /all")
	}
	pids := []int{worldOf(ts).mustFind(ts, name).cmd.Process.Pid}
	if all {
		// What is stopped starts nothing: a server must not have another child while its children are counted.
		for n := 0; n < len(pids); n++ {
			if err := syscall.Kill(pids[n], syscall.SIGSTOP); !errors.Is(err, syscall.ESRCH) {
				ts.Check(err)
			}
			for _, pid := range sameProgram(ts, pids[0]) {
				if !slices.Contains(pids, pid) {
					pids = append(pids, pid)
				}
			}
		}
	}
	for _, pid := range pids {
		err := syscall.Kill(pid, signals[args[0]])
		if args[0] != "KILL" || !errors.Is(err, syscall.ESRCH) { // whatever is to be killed may end by itself just before
			ts.Check(err)
		}
	}
}

// sameProgram finds a process's descendants that are the same program: sshd's of each session,
// which are no process group, but not the shells that they started.
func sameProgram(ts *testscript.TestScript, root int) (found []int) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	ts.Check(err)
	children, names := map[int][]int{}, map[int]string{}
	for _, path := range stats {
		data, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		var pid, parent int
		var state string
		open, shut := bytes.IndexByte(data, '('), bytes.LastIndexByte(data, ')')
		if _, err := fmt.Sscan(string(data[:open]), &pid); err != nil {
			continue
		}
		if _, err := fmt.Sscan(string(data[shut+1:]), &state, &parent); err != nil {
			continue
		}
		children[parent], names[pid] = append(children[parent], pid), string(data[open+1:shut])
	}
	for todo := children[root]; len(todo) > 0; todo = todo[1:] {
		if names[todo[0]] == names[root] {
			found = append(found, todo[0])
			todo = append(todo, children[todo[0]]...)
		}
	}
	return found
}

// cmdEnd ends a process in order.
func cmdEnd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: end NAME")
	}
	cmdSignal(ts, false, []string{"TERM", args[0]})
	cmdGone(ts, false, []string{args[0], "0"})
}

// cmdGone waits for a process's end; "! gone" wants it to have failed, and an exit status, or several
// with | between them, may stand behind the name.
func cmdGone(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: [!] gone NAME [STATUS]")
	}
	p := worldOf(ts).mustFind(ts, args[0])
	waitFor(ts, p)
	if len(args) == 2 {
		if got := strconv.Itoa(p.cmd.ProcessState.ExitCode()); !slices.Contains(strings.Split(args[1], "|"), got) {
			ts.Fatalf("%s ended with %s, not %s: %s", args[0], got, args[1], p.out)
		}
	} else if neg == (p.err == nil) {
		ts.Fatalf("%s ended with %v: %s", args[0], p.err, p.out)
	}
}

func waitFor(ts *testscript.TestScript, p *process) {
	select {
	case <-p.done:
	case <-time.After(patience):
		ts.Fatalf("%s still runs: %s", p.name, p.out)
	}
}

// cmdAwait repeats a command until it succeeds, or with ! until it fails.
func cmdAwait(ts *testscript.TestScript, neg bool, args []string) {
	var want string
	if len(args) > 2 && args[0] == "-out" {
		want, args = args[1], args[2:]
	}
	if len(args) == 0 {
		ts.Fatalf("usage: [!] await [-out TEXT] COMMAND…")
	}
	poll(ts, strings.Join(args, " "), func() error {
		out, err := output(ts, args[0], args[1:]...)
		if ok := err == nil && strings.Contains(out, want); ok == neg {
			return fmt.Errorf("%v, output %q", err, out)
		}
		fmt.Fprint(ts.Stdout(), out)
		return nil
	})
}

// cmdStatus runs a command that must end with an exit status; testscript's "! exec" takes any
// but 0.
func cmdStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N COMMAND…")
	}
	var stdout, stderr bytes.Buffer
	c := command(ts, args[1], args[2:]...)
	c.Stdout, c.Stderr = &stdout, &stderr
	err := c.Run()
	fmt.Fprint(ts.Stdout(), stdout.String())
	fmt.Fprint(ts.Stderr(), stderr.String())
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		ts.Fatalf("%v", err)
	}
	if got := strconv.Itoa(c.ProcessState.ExitCode()); got != args[0] {
		ts.Fatalf("%s ended with %s, not %s:\n%s%s", strings.Join(args[1:], " "), got, args[0], stdout.String(), stderr.String())
	}
}

// cmdLater keeps a command for the script's end, to undo what would survive it.
func cmdLater(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: later COMMAND…")
	}
	w := worldOf(ts)
	w.later = append(w.later, args)
}

// cmdSame compares two files with owner and mode. What takes a session's key away works beside
// the session, so it waits until they are the same.
func cmdSame(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: [!] same FILE FILE")
	}
	describe := func(name string) string {
		info, err := os.Lstat(ts.MkAbs(name))
		ts.Check(err)
		st := info.Sys().(*syscall.Stat_t)
		return fmt.Sprintf("%v %d:%d\n%s", info.Mode(), st.Uid, st.Gid, ts.ReadFile(name))
	}
	poll(ts, "same", func() error {
		a, b := describe(args[0]), describe(args[1])
		if (a == b) == neg {
			return fmt.Errorf("%s:\n%s\n%s:\n%s", args[0], a, args[1], b)
		}
		return nil
	})
}
