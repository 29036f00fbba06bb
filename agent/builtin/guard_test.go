package builtin

import (
	"testing"

	"golang.org/x/sys/unix"
)

// One guard is enough for a server; one that is killed is replaced and told all that still runs; it goes with the server.
func TestGuard(t *testing.T) {
	s := newServer(t)
	c := serve(t, s).dial(t)
	first := newSession(t, c)
	in, err := first.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Start("cat"); err != nil {
		t.Fatal(err)
	}
	run := func() int {
		t.Helper()
		if err := newSession(t, c).Run("true"); err != nil {
			t.Fatal(err)
		}
		s.guard.mu.Lock()
		defer s.guard.mu.Unlock()
		if s.guard.peer == nil {
			return 0
		}
		return s.guard.peer.cmd.Process.Pid
	}
	pid := run()
	if again := run(); pid == 0 || again != pid {
		t.Errorf("guards %d and %d", pid, again)
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "there is a new one", func() bool { next := run(); return next != 0 && next != pid })
	s.guard.mu.Lock()
	if len(s.guard.pids) != 1 {
		t.Errorf("it knows %v", s.guard.pids)
	}
	pid = s.guard.peer.cmd.Process.Pid
	s.guard.mu.Unlock()
	in.Close()
	if err := first.Wait(); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if alive(pid) {
		t.Error("it outlives its server")
	}
	if err := newSession(t, c).Run("true"); err != nil { // late, and without one
		t.Error(err)
	}
}
