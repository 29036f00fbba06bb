package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"scrier/wire"
)

// playEnv makes the test binary a program on a terminal: "raw" is one that uses [Terminal],
// "deaf" too but without listening to Done, "shell" runs "raw" as a shell with job control would. "asks" asks for a
// secret, and "shell asks" runs that.
const playEnv = "SCRIER_TEST_TERMINAL"

func playTerminal(play string) int {
	switch play {
	case "shell", "shell asks":
		return playShell(play)
	case "asks":
		return playAsking()
	}
	t, err := OpenTerminal(os.Stdin, os.Stdout)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	restore, err := t.Raw()
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer restore()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		for size := range t.Resizes(ctx) {
			fmt.Fprintf(t, "size %dx%d\r\n", size.Cols, size.Rows)
		}
	}()
	keys := make(chan byte)
	go func() {
		b := make([]byte, 1)
		for {
			if _, err := t.Read(b); err != nil {
				return
			}
			keys <- b[0]
		}
	}()
	done := t.Done()
	if play == "deaf" {
		done = nil
	}
	fmt.Fprint(t, "ready\r\n")
	for {
		select {
		case <-done:
			fmt.Fprint(t, "ended by a signal\n")
			return 3
		case k := <-keys:
			switch k {
			case 'q':
				return 0
			case 'p':
				panic("as asked")
			case 'r':
				restore()
				restore()
				fmt.Fprint(t, "restored\n")
			case 's':
				err := t.Suspend()
				fmt.Fprintf(t, "resumed %v\r\n", err)
			default:
				fmt.Fprintf(t, "key %d\r\n", k)
			}
		}
	}
}

// playShell runs its own binary as a job in the foreground. Whenever the job stops it tells
// whether the terminal is cooked, spoils its modes as a shell's editor would, and continues the job.
func playShell(play string) int {
	signal.Ignore(unix.SIGTTOU) // as shells do, to take the terminal back
	cmd := exec.Command("/bin/sh", "-c", `"$0"; exit $?`, os.Args[0])
	if play == "shell asks" { // Ctrl-Z goes to all of a job, and this one is stopped when its terminal is given back
		cmd = exec.Command(os.Args[0])
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), playEnv+"=raw")
	if play == "shell asks" {
		cmd.Env = append(cmd.Env, playEnv+"=asks")
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Foreground: true, Ctty: 0}
	if err := cmd.Start(); err != nil {
		fmt.Println(err)
		return 1
	}
	pid := cmd.Process.Pid
	for {
		var status unix.WaitStatus
		if _, err := unix.Wait4(pid, &status, unix.WUNTRACED, nil); err != nil {
			if errors.Is(err, unix.EINTR) {
				continue
			}
			fmt.Println(err)
			return 1
		}
		if !status.Stopped() {
			return status.ExitStatus()
		}
		modes, err := unix.IoctlGetTermios(0, unix.TCGETS)
		if err != nil {
			fmt.Println(err)
			return 1
		}
		fmt.Printf("stopped cooked=%v\n", cookedModes(modes))
		modes.Lflag ^= unix.ECHO
		if err := errors.Join(unix.IoctlSetPointerInt(0, unix.TIOCSPGRP, os.Getpid()), unix.IoctlSetTermios(0, unix.TCSETS, modes),
			unix.IoctlSetPointerInt(0, unix.TIOCSPGRP, pid), unix.Kill(-pid, unix.SIGCONT)); err != nil {
			fmt.Println(err)
			return 1
		}
	}
}

func cookedModes(t *unix.Termios) bool {
	return t.Lflag&unix.ICANON != 0 && t.Lflag&unix.ECHO != 0 && t.Lflag&unix.ISIG != 0 && t.Oflag&unix.OPOST != 0
}

func rawModes(t *unix.Termios) bool {
	return t.Lflag&(unix.ICANON|unix.ECHO|unix.ISIG) == 0 && t.Oflag&unix.OPOST == 0
}

// A stage is a terminal with a program on it.
type stage struct {
	master, slave *os.File
	before        unix.Termios
	cmd           *exec.Cmd

	mu    sync.Mutex
	text  bytes.Buffer
	seen  int
	fresh chan struct{}
}

func (s *stage) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text.Write(b)
	select {
	case s.fresh <- struct{}{}:
	default:
	}
	return len(b), nil
}

func (s *stage) until(t *testing.T, want string) string {
	t.Helper()
	timeout := time.After(patience)
	for {
		s.mu.Lock()
		text := s.text.String()[s.seen:]
		before, _, ok := strings.Cut(text, want)
		if ok {
			s.seen += len(before) + len(want)
		}
		s.mu.Unlock()
		if ok {
			return before
		}
		select {
		case <-s.fresh:
		case <-timeout:
			t.Fatalf("%q does not appear in %q", want, text)
		}
	}
}

func openStage(t *testing.T) *stage {
	t.Helper()
	master, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		master.Close()
		slave.Close()
	})
	s := &stage{master: master, slave: slave, fresh: make(chan struct{}, 1)}
	s.before = s.modes(t)
	if !cookedModes(&s.before) {
		t.Fatal("a new terminal is not cooked")
	}
	return s
}

func (s *stage) modes(t *testing.T) unix.Termios {
	t.Helper()
	m, err := unix.IoctlGetTermios(int(s.slave.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return *m
}

// perform starts a play and waits until its terminal is raw.
func perform(t *testing.T, play string, setup ...func(*exec.Cmd)) *stage {
	t.Helper()
	s := openStage(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s.cmd = exec.Command(self)
	s.cmd.Env = append(os.Environ(), playEnv+"="+play)
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = s.slave, s.slave, s.slave
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	for _, f := range setup {
		f(s.cmd)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// The slave is kept open here, so the end of this copy is made with a last byte.
	read := make(chan struct{})
	go func() {
		defer close(read)
		b := make([]byte, 4096)
		for {
			n, err := s.master.Read(b)
			if err != nil || bytes.IndexByte(b[:n], 0) >= 0 {
				return
			}
			_, _ = s.Write(b[:n])
		}
	}()
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		if s.cmd.ProcessState == nil {
			_ = s.cmd.Wait()
		}
		_, _ = s.slave.Write([]byte{0})
		<-read
	})
	s.until(t, "ready")
	if m := s.modes(t); !rawModes(&m) && !strings.HasSuffix(play, "asks") {
		t.Fatalf("the terminal is not raw: %+v", m)
	}
	return s
}

func (s *stage) press(t *testing.T, keys string) {
	t.Helper()
	if _, err := io.WriteString(s.master, keys); err != nil {
		t.Fatal(err)
	}
}

func (s *stage) wait(t *testing.T) *os.ProcessState {
	t.Helper()
	stop := time.AfterFunc(patience, func() { _ = s.cmd.Process.Kill() })
	defer stop.Stop()
	_ = s.cmd.Wait()
	return s.cmd.ProcessState
}

func (s *stage) wantRestored(t *testing.T) {
	t.Helper()
	if m := s.modes(t); m != s.before {
		t.Errorf("the terminal is left as %+v, was %+v", m, s.before)
	}
}

func TestTerminalRestored(t *testing.T) {
	for name, c := range map[string]struct {
		leave  func(*testing.T, *stage)
		status int
	}{
		"return": {func(t *testing.T, s *stage) { s.press(t, "q") }, 0},
		"panic":  {func(t *testing.T, s *stage) { s.press(t, "p") }, 2},
		"often":  {func(t *testing.T, s *stage) { s.press(t, "r"); s.until(t, "restored"); s.signal(t, unix.SIGKILL) }, -1},
		"TERM":   {func(t *testing.T, s *stage) { s.signal(t, unix.SIGTERM) }, 3},
		"HUP":    {func(t *testing.T, s *stage) { s.signal(t, unix.SIGHUP) }, 3},
		"INT":    {func(t *testing.T, s *stage) { s.signal(t, unix.SIGINT) }, 3},
		"QUIT":   {func(t *testing.T, s *stage) { s.signal(t, unix.SIGQUIT) }, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := perform(t, "raw")
			c.leave(t, s)
			state := s.wait(t)
			if state.ExitCode() != c.status {
				t.Errorf("%v", state)
			}
			s.wantRestored(t)
			if c.status == 3 {
				s.until(t, "ended by ")
			}
		})
	}
}

func (s *stage) signal(t *testing.T, sig unix.Signal) {
	t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

func TestRawPassesKeys(t *testing.T) {
	s := perform(t, "raw")
	s.press(t, "\x03\x1a\x11\x00")
	for _, key := range []int{3, 26, 17, 0} { // Ctrl-C, Ctrl-Z, Ctrl-Q, Ctrl-@
		s.until(t, fmt.Sprintf("key %d\r\n", key))
	}
	s.press(t, "q")
	if state := s.wait(t); state.ExitCode() != 0 {
		t.Errorf("%v", state)
	}
}

func TestSecondSignalKills(t *testing.T) {
	s := perform(t, "deaf")
	s.signal(t, unix.SIGTERM)
	timeout := time.After(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for m := s.modes(t); m != s.before; m = s.modes(t) {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatal("the first signal does not restore the terminal")
		}
	}
	// The program stops listening right after it has restored the terminal.
	for range 100 {
		if s.cmd.Process.Signal(unix.SIGTERM) != nil {
			break
		}
		<-tick.C
		if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid)); err == nil && bytes.Contains(stat, []byte(") Z ")) {
			break
		}
	}
	if ws := s.wait(t).Sys().(syscall.WaitStatus); !ws.Signaled() || ws.Signal() != unix.SIGTERM {
		t.Errorf("%v", ws)
	}
}

// TestHangupIgnored keeps what nohup asks for.
func TestHangupIgnored(t *testing.T) {
	s := perform(t, "raw", func(c *exec.Cmd) {
		c.Path, c.Args = "/bin/sh", []string{"sh", "-c", `trap "" HUP; exec "$0"`, c.Path}
	})
	s.signal(t, unix.SIGHUP)
	s.press(t, "x")
	s.until(t, "key 120")
	s.press(t, "q")
	if state := s.wait(t); state.ExitCode() != 0 {
		t.Errorf("%v", state)
	}
	s.wantRestored(t)
}

func TestSuspend(t *testing.T) {
	s := perform(t, "shell")
	for range 3 {
		s.press(t, "s")
		s.until(t, "stopped cooked=true")
		s.until(t, "resumed <nil>\r\n")
		if m := s.modes(t); !rawModes(&m) {
			t.Fatalf("after SIGCONT the terminal is not raw: %+v", m)
		}
		s.press(t, "x")
		s.until(t, "key 120\r\n")
	}
	s.press(t, "q")
	if state := s.wait(t); state.ExitCode() != 0 {
		t.Errorf("%v", state)
	}
	s.wantRestored(t)
}

// TestSuspendAlone has nobody who could continue the program: it must go on.
func TestSuspendAlone(t *testing.T) {
	s := perform(t, "raw")
	s.press(t, "s")
	s.until(t, "resumed suspend: there is no shell")
	s.signal(t, unix.SIGTSTP)
	s.press(t, "x")
	s.until(t, "key 120\r\n")
	s.press(t, "q")
	if state := s.wait(t); state.ExitCode() != 0 {
		t.Errorf("%v", state)
	}
	s.wantRestored(t)
}

func TestResizes(t *testing.T) {
	s := perform(t, "raw", func(*exec.Cmd) {})
	began := time.Now()
	for i := range 10_000 { // H59
		if err := pty.Setsize(s.master, &pty.Winsize{Cols: uint16(20 + i%100), Rows: uint16(10 + i%50)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := pty.Setsize(s.master, &pty.Winsize{Cols: 5000, Rows: 77}); err != nil {
		t.Fatal(err)
	}
	s.until(t, "size 1000x77\r\n")
	took := time.Since(began)
	s.mu.Lock()
	shown := strings.Count(s.text.String(), "size ")
	s.mu.Unlock()
	if most := int(took/resizeEvery) + 3; shown > most {
		t.Errorf("%d resizes in %v, more than %d", shown, took, most)
	}
	s.press(t, "q")
	s.wait(t)
}

func TestNoTerminal(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if _, err := OpenTerminal(r, w); wire.CodeOf(err) != wire.NoTerminal {
		t.Errorf("got %v", err)
	}
}

// TestReadEnds has restore end a Read that waits, and the signals' goroutine go.
func TestReadEnds(t *testing.T) {
	s := openStage(t)
	term, err := OpenTerminal(s.slave, s.slave)
	if err != nil {
		t.Fatal(err)
	}
	restore, err := term.Raw()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := term.Raw(); err == nil {
		t.Error("made raw twice")
	}
	if term.Size() != (wire.Size{Cols: 80, Rows: 24}) {
		t.Errorf("a terminal without a size has %v", term.Size())
	}
	read := make(chan error)
	go func() {
		_, err := term.Read(make([]byte, 1))
		read <- err
	}()
	restore()
	restore()
	select {
	case err := <-read:
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("got %v", err)
		}
	case <-time.After(patience):
		t.Fatal("Read does not end")
	}
	s.wantRestored(t)
	ctx, cancel := context.WithCancel(t.Context())
	sizes := term.Resizes(ctx)
	if size := <-sizes; size != term.Size() {
		t.Errorf("got %v", size)
	}
	cancel()
	if size, ok := <-sizes; ok {
		t.Errorf("got %v after the end", size)
	}
}
