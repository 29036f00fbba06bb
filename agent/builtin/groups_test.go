package builtin

import (
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"scrier/agent/builtin/worker"
)

// Whoever asks while /proc is read waits, and one more reading answers all of them.
func TestGroupsAreReadOnceForAll(t *testing.T) {
	const many = 200
	var reads, asked atomic.Int64
	begun, over := make(chan struct{}), make(chan struct{})
	g := groups{read: func() map[int][]int {
		n := int(reads.Add(1))
		if n == 1 {
			close(begun)
			<-over
		}
		return map[int][]int{7: {n}}
	}}
	var wg sync.WaitGroup
	wg.Go(func() { g.of(7, time.Now()) })
	<-begun
	for range many {
		wg.Go(func() {
			since := time.Now()
			asked.Add(1)
			if got := g.of(7, since); len(got) != 1 || got[0] < 2 {
				t.Errorf("what was read before it was asked for: %v", got)
			}
		})
	}
	for asked.Load() < many {
		time.Sleep(time.Millisecond)
	}
	close(over)
	wg.Wait()
	if n := reads.Load(); n != 2 {
		t.Errorf("%d who asked had /proc read %d times", many+1, n)
	}
	if got := g.of(7, time.Now().Add(-time.Hour)); got[0] != 2 || reads.Load() != 2 {
		t.Errorf("what was read within that time is read again: %v", got)
	}
	if got := g.of(8, time.Now().Add(-time.Hour)); got != nil {
		t.Errorf("a session that is not there has groups %v", got)
	}
}

// The groups are those that the kernel tells.
func TestReadGroups(t *testing.T) {
	session, err := unix.Getsid(0)
	if err != nil {
		t.Fatal(err)
	}
	if got := worker.Groups()[session]; !slices.Contains(got, unix.Getpgrp()) {
		t.Errorf("process %d is in group %d of session %d, which has %v", os.Getpid(), unix.Getpgrp(), session, got)
	}
}

// A signal that is sent just when the shell starts a program is not lost, although that program is in none of the groups
// that were read: it goes to what was in front.
func TestSignalWhileAProgramStarts(t *testing.T) {
	server := newServer(t)
	s := startShell(t, serve(t, server).dial(t))
	var once sync.Once
	server.groups.mu.Lock()
	server.groups.read = func() map[int][]int {
		by := worker.Groups()
		once.Do(func() {
			s.send(t, "sleep 1000\n")
			eventually(t, "sleep runs in the foreground", func() bool { return inForeground(t, s.pid, "sleep") })
		})
		return by
	}
	server.groups.mu.Unlock()
	if ok, err := s.SendRequest("signal", true, ssh.Marshal(signalRequest{"TERM"})); !ok || err != nil {
		t.Errorf("the signal was lost: %v, %v", ok, err)
	}
}
