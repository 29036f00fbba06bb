package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"scrier/agent"
	"scrier/wire"
)

// agentswarm is many agents in one process. Each is what `scrier agent run` is, with an identity, a state directory and
// a UDP socket of its own. Their agent.yaml allows SSH by the built-in server, and neither desktops nor a screen, so that
// no program is run for what they tell of the machine.
const swarmRole = "agentswarm"

// swarmConf says which agents a process has.
type swarmConf struct {
	Dir    string // below it each has a directory
	First  int    // the number of the first
	Agents int
	Worker []string // as agent.Settings.Worker
}

// swarmOrder is one of these.
type swarmOrder struct {
	Enrol []ticketFor `json:",omitempty"` // these, with these tokens
	Run   bool        `json:",omitempty"` // connect all of them, and keep them connected
	Since *time.Time  `json:",omitempty"` // how many have a link that began after that?
	Stop  bool        `json:",omitempty"` // end all of them in order
}

// ticketFor is what an agent is enrolled with.
type ticketFor struct {
	Number       int
	Relay, Token string
}

// swarmState is how many agents are connected, and what the process holds.
type swarmState struct {
	Connected  int
	Why        string // the last reason why one is not
	Goroutines int
	Files      int
}

type agentSwarm struct {
	swarmConf
	agents []*swarmAgent
	before int // goroutines, when there was no agent yet
	cancel context.CancelFunc
	wg     sync.WaitGroup
	why    atomic.Value // string
	failed atomic.Value // string: an agent that gave up
}

// swarmAgent is one of them. It is also what hears its log.
type swarmAgent struct {
	swarm  *agentSwarm
	number int
	since  atomic.Int64 // when its link began, Unix nanoseconds; 0: it has none
}

// swarmMain serves the orders for one process.
func swarmMain() error {
	var s agentSwarm
	err := obey(&s.swarmConf, s.do)
	s.stop()
	return err
}

func (s *agentSwarm) do(o swarmOrder) (any, error) {
	switch {
	case o.Enrol != nil:
		return nil, s.enrol(o.Enrol)
	case o.Run:
		return nil, s.run()
	case o.Since != nil:
		return s.state(*o.Since), s.err()
	case o.Stop:
		s.stop()
		return s.state(time.Now()), s.err()
	}
	return nil, errors.New("an empty order")
}

// atATime is how many agents are enrolled or opened at the same time.
const atATime = 16

// busyTries is how often an agent asks for its enrolment, a second apart, while the relay is busy.
const busyTries = 60

func (s *agentSwarm) stateOf(number int) agent.State {
	return agent.State{Dir: filepath.Join(s.Dir, strconv.Itoa(number))}
}

func (s *agentSwarm) enrol(tickets []ticketFor) error {
	var g errgroup.Group
	g.SetLimit(atATime)
	for _, t := range tickets {
		g.Go(func() error {
			var err error
			for range busyTries { // all at once are more than the relay shakes hands with
				_, err = agent.Enroll(context.Background(), agent.Enrolment{
					Relay: t.Relay, Token: t.Token, State: s.stateOf(t.Number), Now: time.Now,
				})
				if wire.CodeOf(err) != wire.Busy {
					break
				}
				time.Sleep(time.Second)
			}
			if err != nil {
				return fmt.Errorf("enrol agent %d: %w", t.Number, err)
			}
			return nil
		})
	}
	return g.Wait()
}

func (s *agentSwarm) run() error {
	conf := agent.DefaultConfig()
	conf.SSH.Mode, conf.AllowedPorts, conf.Console.Enabled = agent.Builtin, []uint16{22}, false
	if err := conf.Check(); err != nil {
		return err
	}
	s.before = runtime.NumGoroutine()
	s.agents = make([]*swarmAgent, s.Agents)
	for i := range s.agents {
		s.agents[i] = &swarmAgent{swarm: s, number: s.First + i}
	}
	var ctx context.Context
	ctx, s.cancel = context.WithCancel(context.Background())
	var g errgroup.Group
	g.SetLimit(atATime)
	for _, a := range s.agents {
		g.Go(func() error {
			opened, err := agent.Open(agent.Settings{
				State: s.stateOf(a.number), Config: conf, Now: time.Now, Log: slog.New(a), Worker: s.Worker,
			})
			if err != nil {
				return fmt.Errorf("open agent %d: %w", a.number, err)
			}
			s.wg.Go(func() { a.run(ctx, opened) })
			return nil
		})
	}
	return g.Wait()
}

// run is the agent's life.
func (a *swarmAgent) run(ctx context.Context, opened *agent.Agent) {
	if err := opened.Run(ctx); err != nil {
		a.swarm.failed.Store(fmt.Sprintf("agent %d: %v", a.number, err))
	}
	_ = opened.Close() // it waits a second for workers, which is little for thousands of agents that end together
	a.since.Store(0)
}

// stop ends all agents, and gives what they leave behind a moment to end.
func (s *agentSwarm) stop() {
	if s.cancel == nil {
		return
	}
	s.cancel()
	s.wg.Wait()
	s.cancel = nil
	for end := time.Now().Add(patience); runtime.NumGoroutine() > s.before && time.Now().Before(end); {
		time.Sleep(20 * time.Millisecond)
	}
}

func (s *agentSwarm) err() error {
	if text, ok := s.failed.Load().(string); ok {
		return errors.New(text)
	}
	return nil
}

func (s *agentSwarm) state(since time.Time) swarmState {
	out := swarmState{Goroutines: runtime.NumGoroutine()}
	for _, a := range s.agents {
		if a.since.Load() > since.UnixNano() {
			out.Connected++
		}
	}
	out.Why, _ = s.why.Load().(string)
	if files, err := os.ReadDir("/proc/self/fd"); err == nil {
		out.Files = len(files)
	}
	return out
}

// Enabled, Handle, WithAttrs and WithGroup make it a slog.Handler: an agent says in its log when it has a link, and when
// it has none any more.
func (a *swarmAgent) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelInfo }

func (a *swarmAgent) Handle(_ context.Context, r slog.Record) error {
	switch r.Message {
	case "connected":
		a.since.Store(r.Time.UnixNano())
	case "no link to the relay":
		a.since.Store(0)
		r.Attrs(func(attr slog.Attr) bool {
			if err, ok := attr.Value.Any().(error); ok && attr.Key == "err" {
				a.swarm.why.Store(fmt.Sprintf("%s (code %d)", wire.Printable(err.Error()), wire.CodeOf(err)))
			}
			return true
		})
	}
	return nil
}

func (a *swarmAgent) WithAttrs([]slog.Attr) slog.Handler { return a }
func (a *swarmAgent) WithGroup(string) slog.Handler      { return a }
