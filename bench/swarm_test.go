package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if status, ok := swarmRoles(os.Args[1:]); ok {
		os.Exit(status)
	}
	os.Exit(m.Run())
}

// comeBack is how long 2,000 agents may take to come back on a machine that is busy with other tests.
const comeBack = 5 * time.Minute

// Two thousand real agents keep their links to a real relay through its death and its orderly end, and nothing of them
// is left when they are gone. The race detector takes 8,128 goroutines of a process, and a multiple of the time: so, with
// it, it looks at some of the agents and at the operators, and neither at the others nor at the relay, which has all links.
func TestSwarm(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("the swarm makes a namespace and an OS user: run it as root")
	}
	const agents, watched = 2000, 200
	ctx := t.Context()
	w, err := newWorld(ctx, options{run: []string{"scale"}, say: t.Output()})
	t.Cleanup(func() {
		if err := w.end(0); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	s, err := newSwarm(ctx, w, agents, "", t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	plain := filepath.Join(w.dir, "bench")
	if _, err := runIt(exec.CommandContext(ctx, "go", "build", "-o", plain, ".")); err != nil {
		t.Fatal(err)
	}
	s.parts = []swarmPart{{thisProgram, watched}, {plain, agents}}
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}

	must("start a relay", s.startRelay(ctx))
	alone := dumped(t, s)
	must("start a relay", s.startRelay(ctx))
	must("enrol", s.startAgents(ctx))
	before := holds(t, s)
	t.Logf("enrolled")
	begin := time.Now()
	must("run", s.runAgents(ctx))
	took, err := s.all(ctx, begin, comeBack)
	must("connect", err)
	t.Logf("all are connected after %s", took)
	allOnline(t, s)
	people, err := s.startOperators(ctx, 1)
	must("log in", err)
	shell(t, s, people)

	begin = time.Now()
	must("kill -9", s.killRelay())
	must("start again", s.startRelay(ctx))
	took, err = s.all(ctx, begin, comeBack)
	must("come back after kill -9", err)
	t.Logf("all are back after %s", took)
	allOnline(t, s)
	shell(t, s, people)
	must("operators", people.end())

	begin = time.Now()
	must("orderly end", s.stopRelay(comeBack))
	t.Logf("the relay ended in order within %s", time.Since(begin))
	begin = time.Now()
	must("start again", s.startRelay(ctx))
	files := relayFiles(t, s)
	until(t, "a good part of the agents to come back after an orderly end", func() bool {
		n, _, err := s.connected(ctx, begin)
		must("look", err)
		return n > agents/4
	})

	left, err := s.stopAgents(ctx)
	must("end the agents", err)
	for i, now := range left {
		if now.Goroutines > before[i].Goroutines || now.Files > before[i].Files {
			t.Errorf("%s has %d goroutines and %d files when its agents have ended; before they began it had %d and %d",
				s.groups[i].name, now.Goroutines, now.Files, before[i].Goroutines, before[i].Files)
		}
	}
	until(t, "the relay to see that all are gone", func() bool {
		n, err := s.online(ctx)
		must("list", err)
		return n == 0
	})
	until(t, "the relay to close its files", func() bool { return relayFiles(t, s) <= files })
	// Agents that were connecting when they ended leave handshakes, which end by themselves within ten seconds. Of what
	// is left of each agent there would be hundreds.
	time.Sleep(11 * time.Second)
	if now := dumped(t, s); now > alone+agents/10 {
		t.Errorf("the relay has %d goroutines when all agents are gone; before there were any it had %d", now, alone)
	}
}

// until waits for something, on a machine that is busy.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(comeBack); !ok(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("still waiting for %s after %s", what, comeBack)
		}
	}
}

// allOnline waits until the relay lists every machine as online. On a busy machine a heartbeat may be late.
func allOnline(t *testing.T, s *swarm) {
	t.Helper()
	until(t, "all machines to be listed as online", func() bool {
		n, err := s.online(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return n == s.agents
	})
}

// shell opens one on some machine, and types into it.
func shell(t *testing.T, s *swarm, people *ordered) {
	t.Helper()
	machine := swarmName(rand.N(s.agents))
	for _, order := range []operatorsOrder{{Dial: 1}, {Open: []string{machine}}, {Type: 2 * time.Second}, {Close: true}} {
		if _, err := tell[shellTimes](t.Context(), people, order); err != nil {
			t.Fatalf("a shell on %s: %v", machine, err)
		}
	}
}

// holds is what each of the agents' processes holds now.
func holds(t *testing.T, s *swarm) (all []swarmState) {
	t.Helper()
	now := time.Now()
	for _, group := range s.groups {
		state, err := tell[swarmState](context.Background(), group, swarmOrder{Since: &now})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, state)
	}
	return all
}

func relayFiles(t *testing.T, s *swarm) int {
	t.Helper()
	files, err := os.ReadDir("/proc/" + s.pid() + "/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}

// dumped ends the relay with a list of its goroutines, and counts them.
func dumped(t *testing.T, s *swarm) int {
	t.Helper()
	if err := s.relay.cmd.Process.Signal(syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.relay.done:
	case <-time.After(comeBack):
		t.Fatal("the relay does not end with SIGQUIT")
	}
	said, err := os.ReadFile(s.relay.log)
	if err != nil {
		t.Fatal(err)
	}
	all := regexp.MustCompile(`(?m)^goroutine \d+ `).FindAll(said, -1)
	if len(all) == 0 {
		t.Fatal(fmt.Errorf("the relay lists no goroutine: %s", tail(said)))
	}
	return len(all)
}
