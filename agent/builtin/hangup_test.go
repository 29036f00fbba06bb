package builtin

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"scrier/wire"
)

func number(t *testing.T, text string) int {
	t.Helper()
	text = strings.TrimSpace(text)
	n, err := strconv.Atoi(text[strings.LastIndexAny(text, " :=\n\r")+1:])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestCutConnection(t *testing.T) {
	for name, cut := range map[string]func(*link, *ssh.Client, *shell){
		"transport": func(l *link, _ *ssh.Client, _ *shell) { l.conn.Close() },
		"client":    func(_ *link, c *ssh.Client, _ *shell) { c.Close() },
		"context":   func(l *link, _ *ssh.Client, _ *shell) { l.cancel(wire.Errorf(wire.Revoked, "test")) },
		"channel":   func(_ *link, _ *ssh.Client, s *shell) { s.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := serve(t, newServer(t))
			c := l.dial(t)
			s := startShell(t, c)
			farewell := filepath.Join(openDir(t), "farewell")
			s.send(t, "sh -c 'trap \"echo bye >"+farewell+"; exit\" HUP; sleep 1000 & wait'\n")
			eventually(t, "sleep runs in the foreground", func() bool { return inForeground(t, s.pid, "sleep") })
			pid := s.pid
			cut(l, c, s)
			eventually(t, "the shell ends", func() bool { return !alive(pid) })
			eventually(t, "the program in the foreground hears SIGHUP", func() bool {
				text, _ := os.ReadFile(farewell)
				return string(text) == "bye\n"
			})
			if name == "channel" {
				if err := newSession(t, c).Run("true"); err != nil {
					t.Errorf("the connection is gone too: %v", err)
				}
				return
			}
			l.wait(t)
			if name == "context" {
				wantCode(t, l.err, wire.Revoked)
			} else if l.err != nil {
				t.Errorf("Serve: %v", l.err)
			}
		})
	}
}

// TestStubborn cuts off processes that ignore SIGHUP.
func TestStubborn(t *testing.T) {
	for name, c := range map[string]struct {
		tty     bool
		command string
	}{
		"leader":     {false, "trap '' HUP; echo pid $$; while :; do sleep 1000; done"},
		"child":      {false, "(trap '' HUP; exec sh -c 'echo pid $$; while :; do sleep 1000; done') & wait"},
		"stopped":    {false, "sh -c 'trap \"\" HUP; echo pid $$; kill -STOP $$; while :; do sleep 1000; done'"},
		"leader pty": {true, "trap '' HUP; echo pid $$; while :; do sleep 1000; done"},
		"foreground": {true, "set -m; sh -c 'trap \"\" HUP; echo pid $$; while :; do sleep 1000; done'; true"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := serve(t, newServer(t))
			s := newSession(t, l.dial(t))
			if c.tty {
				requestPTY(t, s)
			}
			out := newScreen()
			s.Stdout = out
			if err := s.Start(c.command); err != nil {
				t.Fatal(err)
			}
			out.until(t, "pid ")
			pid := number(t, out.until(t, "\n"))
			began := time.Now()
			l.conn.Close()
			l.wait(t)
			if took := time.Since(began); took < hangupGrace {
				t.Errorf("Serve returned after %v", took)
			}
			if alive(pid) {
				t.Errorf("process %d outlives the connection", pid)
				_ = unix.Kill(pid, unix.SIGKILL)
			}
		})
	}
}

// TestHangupIsHeard: processes without a terminal get SIGHUP when the connection ends, and can clean
// up; so can one that was stopped.
func TestHangupIsHeard(t *testing.T) {
	for name, stop := range map[string]string{"running": "wait", "stopped": "kill -STOP $$; wait"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := serve(t, newServer(t))
			s := newSession(t, l.dial(t))
			out := newScreen()
			s.Stdout = out
			farewell := filepath.Join(openDir(t), "farewell")
			if err := s.Start("sleep 1000 & trap 'echo bye >" + farewell + "; exit' HUP; echo pid $$; " + stop); err != nil {
				t.Fatal(err)
			}
			out.until(t, "pid ")
			pid := number(t, out.until(t, "\n"))
			if name == "stopped" {
				eventually(t, "the process stops", func() bool {
					stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
					return err == nil && bytes.Contains(stat, []byte(") T "))
				})
			}
			l.conn.Close()
			l.wait(t)
			if text, err := os.ReadFile(farewell); err != nil || string(text) != "bye\n" {
				t.Errorf("%q, %v", text, err)
			}
		})
	}
}

// An agent that was started by nohup ignores SIGHUP, and one in the background of a script SIGINT; what it runs does not.
func TestIgnoredSignals(t *testing.T) {
	signal.Ignore(unix.SIGHUP, unix.SIGINT) // until the server is made
	c := serve(t, newServer(t)).dial(t)
	for _, name := range []string{"HUP", "INT"} {
		if out, err := newSession(t, c).Output("trap 'echo heard; exit' " + name + "; kill -" + name + " $$; echo deaf"); string(out) != "heard\n" {
			t.Errorf("%s: %q, %v", name, out, err)
		}
	}
}

// TestDrainIsBounded has a process that was left behind write without end.
func TestDrainIsBounded(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	written := make(chan struct{})
	go func() {
		defer close(written)
		for b := make([]byte, 4096); err == nil; {
			_, err = w.Write(b)
		}
	}()
	exited := make(chan struct{})
	close(exited)
	var got bytes.Buffer
	output{r, &got}.drain(exited)
	if got.Len() < lingerBytes || got.Len() > lingerBytes+64<<10 {
		t.Errorf("%d bytes", got.Len())
	}
	r.Close()
	<-written
	w.Close()
}

// TestCutSparesBackground: a job that was started with nohup in the background of a shell goes on.
func TestCutSparesBackground(t *testing.T) {
	l := serve(t, newServer(t))
	s := startShell(t, l.dial(t))
	s.send(t, "nohup sleep 1000 >/dev/null 2>&1 & echo =$!=\n")
	s.until(t, "\r\n=")
	pid := number(t, s.until(t, "="))
	// The process is named "nohup" until it ignores SIGHUP, and then becomes "sleep".
	eventually(t, "nohup has done its work", func() bool { return ignoresHUP(pid) })
	l.conn.Close()
	l.wait(t)
	if !alive(pid) {
		t.Error("the job is gone")
	} else if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Error(err)
	}
}

func TestHandshakeGarbage(t *testing.T) {
	l := serve(t, newServer(t))
	if _, err := l.conn.Write([]byte("SSH-2.0-x\r\n" + strings.Repeat("\xff", 64<<10))); err != nil && !errors.Is(err, unix.EPIPE) {
		t.Fatal(err)
	}
	l.wait(t)
	wantCode(t, l.err, wire.Protocol)
}
