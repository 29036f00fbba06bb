package builtin

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"scrier/agent/account"
)

func TestExec(t *testing.T) {
	c := serve(t, newServer(t)).dial(t)

	t.Run("streams", func(t *testing.T) {
		s := newSession(t, c)
		var out, errs bytes.Buffer
		s.Stdout, s.Stderr = &out, &errs
		if err := s.Run("echo out; echo err >&2; echo dev >/dev/stderr"); err != nil {
			t.Fatal(err)
		}
		if out.String() != "out\n" || errs.String() != "err\ndev\n" {
			t.Errorf("stdout %q, stderr %q", &out, &errs)
		}
	})
	t.Run("exit status", func(t *testing.T) {
		for _, status := range []int{0, 1, 7, 255} {
			err := newSession(t, c).Run("exit " + strconv.Itoa(status))
			if status == 0 {
				if err != nil {
					t.Error(err)
				}
			} else if e := exitError(t, err); e.ExitStatus() != status || e.Signal() != "" {
				t.Errorf("exit %d: got %v", status, e)
			}
		}
	})
	t.Run("exit signal", func(t *testing.T) {
		for _, name := range []string{"TERM", "KILL", "BUS"} {
			e := exitError(t, newSession(t, c).Run("kill -"+name+" $$"))
			if got := strings.TrimSuffix(e.Signal(), "@openssh.com"); got != name {
				t.Errorf("kill -%s: got %q", name, e.Signal())
			}
		}
	})
	t.Run("input", func(t *testing.T) {
		s := newSession(t, c)
		s.Stdin = strings.NewReader("zwei Wörter ✓\x00")
		out, err := s.Output("cat; echo .")
		if err != nil || string(out) != "zwei Wörter ✓\x00.\n" {
			t.Errorf("%q, %v", out, err)
		}
	})
	t.Run("input that nobody wants", func(t *testing.T) {
		s := newSession(t, c)
		s.Stdin = io.LimitReader(rand.Reader, 8<<20)
		if out, err := s.Output("exec <&-; echo done"); string(out) != "done\n" {
			t.Errorf("%q, %v", out, err)
		}
	})
	t.Run("no such command", func(t *testing.T) {
		if e := exitError(t, newSession(t, c).Run("/nonexistent")); e.ExitStatus() != 127 {
			t.Errorf("got %v", e)
		}
	})
	t.Run("command with NUL", func(t *testing.T) {
		if err := newSession(t, c).Run("echo \x00"); err == nil {
			t.Error("ran")
		}
	})
	t.Run("environment", func(t *testing.T) {
		s := newSession(t, c)
		for name, allowed := range map[string]bool{
			"LANG": true, "LC_ALL": true, "TERM": true,
			"LD_PRELOAD": false, "PATH": false, "GLIBC_TUNABLES": false, "BASH_ENV": false, "LC_": false, "LC_A=B": false, "LANGUAGE": false,
		} {
			if err := s.Setenv(name, "C"); allowed != (err == nil) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := s.Setenv("LANG", "../../tmp/evil"); err == nil {
			t.Error("a path is taken for a language")
		}
		t.Setenv("AGENT_SECRET", "secret")
		out, err := s.Output("env -0; pwd")
		if err != nil {
			t.Fatal(err)
		}
		env := string(out)
		a := serverAccount(t)
		for _, want := range []string{"HOME=" + a.Home, "USER=" + a.Login, "LOGNAME=" + a.Login, "SHELL=" + a.Shell, "LANG=C", "LC_ALL=C", "TERM=C"} {
			if !strings.Contains("\x00"+env, "\x00"+want+"\x00") {
				t.Errorf("%s is missing in %q", want, env)
			}
		}
		if strings.Contains(env, "secret") {
			t.Error("the agent's environment leaks")
		}
		if !strings.HasSuffix(env, "\x00"+a.Home+"\n") {
			t.Errorf("not in the home: %q", env)
		}
	})
	t.Run("once only", func(t *testing.T) {
		s := newSession(t, c)
		in, err := s.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Start("cat"); err != nil {
			t.Fatal(err)
		}
		for _, kind := range []string{"exec", "shell", "pty-req", "env"} {
			if ok, err := s.SendRequest(kind, true, ssh.Marshal(execRequest{"id"})); ok || err != nil {
				t.Errorf("a second %s: %v, %v", kind, ok, err)
			}
		}
		in.Close()
		if err := s.Wait(); err != nil {
			t.Error(err)
		}
	})
}

func serverAccount(t *testing.T) account.Account { return newServer(t).account }

func TestBulk(t *testing.T) {
	const size = 10 << 20
	data := make([]byte, size)
	_, _ = rand.Read(data)
	want := sha256.Sum256(data)
	c := serve(t, newServer(t)).dial(t)

	t.Run("pipe", func(t *testing.T) {
		s := newSession(t, c)
		s.Stdin = bytes.NewReader(data)
		out, err := s.Output("cat")
		if err != nil {
			t.Fatal(err)
		}
		if sha256.Sum256(out) != want {
			t.Errorf("%d of %d bytes came back, or others", len(out), size)
		}
	})
	t.Run("terminal", func(t *testing.T) { // a paste of binary into a raw terminal, H60
		s := newSession(t, c)
		requestPTY(t, s)
		in, err := s.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := s.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Start("stty raw -echo; echo ready; head -c " + strconv.Itoa(size)); err != nil {
			t.Fatal(err)
		}
		ready := make([]byte, len("ready\n"))
		if _, err := io.ReadFull(out, ready); err != nil || string(ready) != "ready\n" {
			t.Fatalf("%q, %v", ready, err)
		}
		go func() { _, _ = in.Write(data) }()
		h := sha256.New()
		n, err := io.Copy(h, out)
		if err != nil || n != size || !bytes.Equal(h.Sum(nil), want[:]) {
			t.Errorf("%d of %d bytes came back, or others: %v", n, size, err)
		}
		if err := s.Wait(); err != nil {
			t.Error(err)
		}
	})
}

// TestSlowReader ends the process while the peer's window is full: what is still in the kernel
// must arrive, however long the peer takes.
func TestSlowReader(t *testing.T) {
	for _, tty := range []bool{false, true} {
		t.Run("pty="+strconv.FormatBool(tty), func(t *testing.T) {
			s := newSession(t, serve(t, newServer(t)).dial(t))
			if tty {
				requestPTY(t, s)
			}
			out, err := s.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			dir := openDir(t)
			pidFile := filepath.Join(dir, "pid")
			// Fills the client's window (2 MiB), and some of what the kernel has for a pipe or terminal.
			const size = 2<<20 + 6<<10
			if err := s.Start("stty raw -echo 2>/dev/null; echo $$ >" + pidFile + "; exec head -c " + strconv.Itoa(size) + " /dev/zero"); err != nil {
				t.Fatal(err)
			}
			var pid int
			eventually(t, "the pid is written", func() bool {
				b, _ := os.ReadFile(pidFile)
				pid, _ = strconv.Atoi(strings.TrimSpace(string(b)))
				return pid != 0
			})
			eventually(t, "the process ends with nobody reading", func() bool { return !alive(pid) })
			<-time.After(2 * lingerQuiet) // so long the peer does not read; nothing may be lost by it
			n, err := io.Copy(io.Discard, out)
			if n != size || err != nil {
				t.Errorf("%d of %d bytes: %v", n, size, err)
			}
			if err := s.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
}

// openDir is a temporary folder that the test's login can write to.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "scrb")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}

func requestPTY(t *testing.T, s *ssh.Session) {
	t.Helper()
	if err := s.RequestPty("xterm-256color", 24, 80, ssh.TerminalModes{}); err != nil {
		t.Fatal(err)
	}
}

// setPrompt gives bash a fixed prompt, and has it print its pid as ":PID:end". What the prompt was
// before depends on the account.
const setPrompt = "PS1='pro''mpt> '; bind 'set enable-bracketed-paste off'; echo :$$:en''d\n"

// A shell is an interactive session.
type shell struct {
	*ssh.Session
	*screen
	in  io.WriteCloser
	pid int
}

func (s *shell) send(t *testing.T, text string) {
	t.Helper()
	if _, err := io.WriteString(s.in, text); err != nil {
		t.Fatal(err)
	}
}

func startShell(t *testing.T, c *ssh.Client) *shell {
	t.Helper()
	s := &shell{Session: newSession(t, c), screen: newScreen()}
	requestPTY(t, s.Session)
	s.Stdout = s.screen
	var err error
	if s.in, err = s.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := s.Shell(); err != nil {
		t.Fatal(err)
	}
	s.send(t, setPrompt)
	s.pid = number(t, s.until(t, ":end\r\n"))
	s.until(t, "prompt> ")
	return s
}

func TestShell(t *testing.T) {
	c := serve(t, newServer(t)).dial(t)
	s := startShell(t, c)

	ask := func(command, want string) {
		t.Helper()
		s.send(t, command+"\n")
		s.until(t, command) // the echo
		s.until(t, "\n")
		if got := strings.TrimSpace(s.until(t, "prompt> ")); got != want {
			t.Errorf("%s: got %q, want %q", command, got, want)
		}
	}
	ask("echo $0", "-bash")
	ask("echo $TERM", "xterm-256color")
	ask("echo 'Grüße, 世界 🎉'", "Grüße, 世界 🎉")
	ask("stty size", "24 80")
	ask(`test "$SSH_TTY" = "$(tty)" && echo same`, "same")
	ask("stty -a | grep -ow -e '-\\?iutf8'", "iutf8")

	resize := func(cols, rows int) {
		t.Helper()
		if err := s.WindowChange(rows, cols); err != nil {
			t.Fatal(err)
		}
		// This request gets no reply. The next one that does is answered after it.
		if _, err := s.SendRequest("nothing@scrier", true, nil); err != nil {
			t.Fatal(err)
		}
	}
	resize(132, 50)
	ask("stty size", "50 132")
	resize(100000, 0)
	ask("stty size", "50 1000")
	for i := range 1000 { // H59: the last one counts
		if err := s.WindowChange(10+i%50, 40+i%100); err != nil {
			t.Fatal(err)
		}
	}
	resize(91, 31)
	ask("stty size", "31 91")

	// Ctrl-C ends the foreground command, not the shell. Bash does not handle the signal right while
	// it is starting the command, so the test waits until it runs.
	s.send(t, "sleep 1000\n")
	eventually(t, "sleep runs in the foreground", func() bool { return inForeground(t, s.pid, "sleep") })
	s.send(t, "\x03")
	s.until(t, "prompt> ")
	ask("echo $?", "130")

	for _, sig := range []struct {
		name   ssh.Signal
		status string
	}{{ssh.SIGINT, "130"}, {ssh.SIGTERM, "143"}, {ssh.SIGKILL, "137"}} {
		s.send(t, "sleep 1000\n")
		eventually(t, "sleep runs in the foreground", func() bool { return inForeground(t, s.pid, "sleep") })
		if err := s.Signal(sig.name); err != nil {
			t.Fatal(err)
		}
		s.until(t, "prompt> ")
		ask("echo $?", sig.status)
	}

	s.send(t, "exit 5\n")
	if e := exitError(t, s.Wait()); e.ExitStatus() != 5 {
		t.Errorf("got %v", e)
	}
}

// inForeground says whether a process of this name is the foreground of the session that leader
// leads.
func inForeground(t *testing.T, leader int, name string) bool {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range stats {
		b, err := os.ReadFile(file)
		if err != nil || !bytes.Contains(b, []byte("("+name+")")) {
			continue
		}
		f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		if len(f) > 5 && f[2] == f[5] && f[3] == strconv.Itoa(leader) { // pgrp, tpgid, session
			return true
		}
	}
	return false
}

func TestSignalWithoutTerminal(t *testing.T) {
	s := newSession(t, serve(t, newServer(t)).dial(t))
	out := newScreen()
	s.Stdout = out
	if err := s.Signal(ssh.SIGTERM); err != nil { // before there is a process: refused, without harm
		t.Fatal(err)
	}
	if err := s.Start(`trap 'echo got it; kill $!; exit 3' USR1; sleep 1000 & echo ready; wait`); err != nil {
		t.Fatal(err)
	}
	out.until(t, "ready\n")
	if ok, err := s.SendRequest("signal", true, ssh.Marshal(signalRequest{"STOP"})); ok || err != nil {
		t.Errorf("SIGSTOP: %v, %v", ok, err)
	}
	if err := s.Signal(ssh.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	out.until(t, "got it\n")
	if e := exitError(t, s.Wait()); e.ExitStatus() != 3 {
		t.Errorf("got %v", e)
	}
}

func TestEndOfInputEndsShell(t *testing.T) {
	s := startShell(t, serve(t, newServer(t)).dial(t))
	if err := s.in.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Wait(); err != nil {
		t.Error(err)
	}
}

// TestTerminalModes: the terminal gets the modes that the peer sends, and keeps its own otherwise.
func TestTerminalModes(t *testing.T) {
	c := serve(t, newServer(t)).dial(t)
	stty := func(modes ssh.TerminalModes) string {
		s := newSession(t, c)
		if err := s.RequestPty("vt100", 1, 1, modes); err != nil {
			t.Fatal(err)
		}
		out, err := s.Output("stty -a")
		if err != nil {
			t.Fatal(err)
		}
		return " " + strings.NewReplacer("\r\n", " ", ";", " ").Replace(string(out))
	}
	plain := stty(ssh.TerminalModes{})
	for _, want := range []string{" echo ", " icanon ", " isig ", " icrnl ", " opost ", " onlcr ", " intr = ^C "} {
		if !strings.Contains(plain, want) {
			t.Errorf("default: no %q in %q", want, plain)
		}
	}
	set := stty(ssh.TerminalModes{ssh.ECHO: 0, ssh.VINTR: 7, ssh.VQUIT: 255, ssh.IXANY: 1, ssh.TTY_OP_ISPEED: 38400, 42: 0})
	for _, want := range []string{" -echo ", " intr = ^G ", " quit = <undef> ", " ixany ", " -iutf8 "} {
		if !strings.Contains(set, want) {
			t.Errorf("set: no %q in %q", want, set)
		}
	}
}

// TestBackground leaves processes behind that hold the session's output.
func TestBackground(t *testing.T) {
	for _, tty := range []bool{false, true} {
		for name, command := range map[string]string{
			"silent":  "trap '' HUP; sleep 1000 & echo $!",
			"endless": "trap '' HUP; (sleep 0; exec yes) & echo $!; while ! grep -q '^yes' /proc/$!/comm; do :; done",
			"trickle": "trap '' HUP; (while echo drip; do sleep 0.1; done) & echo $!",
		} {
			t.Run(name+" pty="+strconv.FormatBool(tty), func(t *testing.T) {
				t.Parallel()
				s := newSession(t, serve(t, newServer(t)).dial(t))
				if tty {
					requestPTY(t, s)
				}
				out := newScreen()
				s.Stdout = out
				if err := s.Start(command); err != nil {
					t.Fatal(err)
				}
				ended := make(chan error, 1)
				go func() { ended <- s.Wait() }()
				var pid int
				for _, line := range strings.Fields(out.until(t, "\n")) {
					if n, err := strconv.Atoi(line); err == nil {
						pid = n
					}
				}
				select {
				case err := <-ended:
					if err != nil {
						t.Error(err)
					}
				case <-time.After(patience):
					t.Error("the session does not end")
				}
				if name != "silent" {
					eventually(t, "the writer meets a closed pipe", func() bool { return !alive(pid) })
				} else if pid == 0 || !alive(pid) {
					t.Errorf("process %d, left in the background, is gone", pid)
				} else if err := unix.Kill(pid, unix.SIGKILL); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// A program whose output nobody takes any more sees a broken pipe; its errors still come.
func TestCloseOutput(t *testing.T) {
	s := newSession(t, serve(t, newServer(t)).dial(t))
	errs := newScreen()
	s.Stderr = errs
	if err := s.Start(`trap 'echo last >&2; exit 3' EXIT; trap '' PIPE; while echo x; do :; done 2>/dev/null`); err != nil {
		t.Fatal(err)
	}
	if _, err := s.SendRequest("eow@openssh.com", false, nil); err != nil {
		t.Fatal(err)
	}
	errs.until(t, "last\n")
	if e := exitError(t, s.Wait()); e.ExitStatus() != 3 {
		t.Errorf("got %v", e)
	}
}
