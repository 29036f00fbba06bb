package stories

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/creack/pty"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// screen is a program in a terminal.
type screen struct {
	*process
	ts  *testscript.TestScript
	tty *os.File // our end
	far *os.File // the program's end, kept to look at its modes; nil when the program has ended

	mu   sync.Mutex
	held bool       // the terminal shows nothing
	show *sync.Cond // held is not so any more
	seen []byte     // all that was shown
	from int        // what was expected already

	read chan struct{} // closed when nothing more will be shown
	raw  bool          // the terminal's mode at the program's end
}

func openScreen(ts *testscript.TestScript, name string, argv []string) *screen {
	w := worldOf(ts)
	w.free(ts, name)
	tty, far, err := pty.Open()
	ts.Check(err)
	ts.Check(pty.Setsize(tty, &pty.Winsize{Cols: 80, Rows: 24}))
	s := &screen{ts: ts, tty: tty, far: far, read: make(chan struct{})}
	s.show = sync.NewCond(&s.mu)
	s.process = &process{name: name, cmd: command(ts, argv[0], argv[1:]...), out: new(syncBuffer), done: make(chan struct{})}
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = far, far, far
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	ts.Check(s.cmd.Start())
	w.adopt(s.process)
	if w.screens == nil {
		w.screens = map[string]*screen{}
	}
	w.screens[name] = s
	go func() {
		defer close(s.read)
		buf := make([]byte, 32<<10)
		for {
			s.mu.Lock()
			for s.held {
				s.show.Wait()
			}
			s.mu.Unlock()
			n, err := tty.Read(buf)
			s.mu.Lock()
			s.seen = append(s.seen, buf[:n]...)
			s.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	go func() {
		defer close(s.done)
		s.err = s.cmd.Wait()
	}()
	return s
}

func (s *screen) shown() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.seen)
}

func (s *screen) step(verb, rest string) {
	ts := s.ts
	switch verb {
	case "expect":
		re, err := regexp.Compile(rest)
		ts.Check(err)
		poll(ts, "shell: expect "+rest, func() error {
			ended := s.ended()
			if ended {
				s.finish()
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			if at := re.FindIndex(s.seen[s.from:]); at != nil {
				s.from += at[1]
				return nil
			}
			if ended {
				ts.Fatalf("shell: it ended (%v) without showing %s; it showed:\n%q", s.err, rest, s.seen)
			}
			return fmt.Errorf("it shows:\n%q", s.seen)
		})
	case "send":
		text, err := strconv.Unquote(`"` + strings.ReplaceAll(strings.ReplaceAll(rest, `"`, `\"`), `\e`, `\x1b`) + `"`)
		ts.Check(err)
		_, err = s.tty.WriteString(text)
		ts.Check(err)
	case "paste":
		n, err := strconv.Atoi(rest)
		ts.Check(err)
		ts.Check(s.tty.SetWriteDeadline(time.Now().Add(patience))) // the program must take it
		_, err = s.tty.WriteString(strings.Repeat("0123456789abcde\n", n/16))
		ts.Check(err)
		ts.Check(s.tty.SetWriteDeadline(time.Time{}))
	case "resize":
		var cols, rows uint16
		_, err := fmt.Sscan(rest, &cols, &rows)
		ts.Check(err)
		ts.Check(pty.Setsize(s.tty, &pty.Winsize{Cols: cols, Rows: rows}))
	case "hold", "show":
		s.mu.Lock()
		s.held = verb == "hold"
		s.show.Broadcast()
		s.mu.Unlock()
	case "signal":
		if signals[rest] == 0 {
			ts.Fatalf("shell: unknown signal %q", rest)
		}
		ts.Check(syscall.Kill(s.cmd.Process.Pid, signals[rest]))
	case "raw", "cooked":
		if s.far == nil {
			ts.Fatalf("shell: %s has ended", s.name)
		}
		poll(ts, "shell: "+verb, func() error {
			raw, err := isRaw(s.far)
			if err == nil && raw != (verb == "raw") {
				err = errors.New("it is not")
			}
			return err
		})
	default:
		ts.Fatalf("shell: unknown step %q", verb)
	}
}

// finish looks at the terminal when the program has ended, and waits for all that was shown: the
// reader ends when nobody holds the far end any more.
func (s *screen) finish() {
	if s.far == nil {
		return
	}
	var err error
	s.raw, err = isRaw(s.far)
	s.ts.Check(err)
	_ = s.far.Close()
	s.far = nil
	select {
	case <-s.read:
	case <-time.After(patience):
		s.ts.Fatalf("%s has ended, but something else still has its terminal", s.name)
	}
	_ = s.tty.Close()
}

// wait wants the program to end with status, and the terminal to be as it was.
func (s *screen) wait(status int) {
	select {
	case <-s.done:
	case <-time.After(patience):
		s.ts.Fatalf("%s does not end; it shows:\n%q", s.name, s.shown())
	}
	s.finish()
	if got := s.cmd.ProcessState.ExitCode(); got != status {
		s.ts.Fatalf("%s ended with %d, not %d; it showed:\n%q", s.name, got, status, s.shown())
	}
	if s.raw {
		s.ts.Fatalf("%s left the terminal raw", s.name)
	}
}

// isRaw looks at a terminal's modes.
func isRaw(tty *os.File) (bool, error) {
	t, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil {
		return false, err
	}
	return t.Lflag&(unix.ICANON|unix.ECHO) == 0, nil
}
