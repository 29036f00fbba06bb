package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"scrier/client"
)

// swarm is a relay, its many machines, and operators, in a network namespace of their own. There, each
// machine and each operator has an address of its own: every address of swarmNet is the namespace's, and who dials one
// comes from the same one. So a relay meets as many networks as it has machines, and what it allows one network (50
// connections a second, for example) holds nobody up.
type swarm struct {
	*world
	namespace string
	dir       string // relay/ and agents/ are in there
	agents    int
	parts     []swarmPart // processes of agents; the last one is started as often as needed
	say       func(format string, args ...any)

	relay  *daemon
	starts int
	pin    string
	groups []*ordered // of agents
}

// swarmPart is a process of agents.
type swarmPart struct {
	program string
	agents  int // at most
}

const (
	swarmPort = 8443
	mostFiles = 4 // of one agent: its socket, its lock, and two more while it has a shell or connects anew

	// maxSwarm is how many have a port of their own in one namespace.
	maxSwarm = 60_000
)

var (
	swarmNet      = netip.MustParsePrefix("10.64.0.0/10")
	firstAgent    = netip.MustParseAddr("10.64.0.1")
	firstOperator = netip.MustParseAddr("10.127.0.1")
)

// newSwarm makes the namespace. fleet, if it is not empty, is a directory that keeps relay and machines for the next run.
func newSwarm(ctx context.Context, w *world, agents int, fleet string, say func(string, ...any)) (*swarm, error) {
	if agents > maxSwarm {
		return nil, fmt.Errorf("%d agents do not fit: they have a UDP port each, and there are %d", agents, maxSwarm)
	}
	s := &swarm{world: w, namespace: fmt.Sprintf("ss%d", os.Getpid()), dir: fleet, agents: agents, say: say}
	each, err := agentsOfProcess()
	if err != nil {
		return nil, err
	}
	s.parts = []swarmPart{{thisProgram, each}}
	if fleet == "" {
		s.dir = filepath.Join(w.dir, "swarm")
	}
	for _, args := range [][]string{
		{"netns", "add", s.namespace},
		{"-n", s.namespace, "link", "set", "lo", "up"},
		{"-n", s.namespace, "route", "add", "local", swarmNet.String(), "dev", "lo"},
	} {
		if _, err := runIt(exec.CommandContext(ctx, "ip", args...)); err != nil {
			return nil, err
		}
		if args[0] == "netns" {
			w.later(func() error {
				_, err := runIt(exec.Command("ip", "netns", "del", s.namespace))
				return err
			})
		}
	}
	err = within(s.namespace, func() error {
		return os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte("1100 65535"), 0)
	})
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(s.dir, "relay"), 0o700); err != nil {
		return nil, err
	}
	if err := os.Chmod(s.dir, 0o755); err != nil { // the agents run as the OS user
		return nil, err
	}
	conf := []byte("scrier: {max_sessions: 10000, guacd_addr: []}\n")
	return s, os.WriteFile(filepath.Join(s.dir, "relay", "server.yaml"), conf, 0o600)
}

func (s *swarm) state() string { return filepath.Join(s.dir, "relay") }

// startRelay starts it once more. It tells of each garbage collection in its log (see heap).
func (s *swarm) startRelay(ctx context.Context) error {
	s.starts++
	name := fmt.Sprintf("swarm-relay-%d", s.starts)
	c := exec.Command(s.scrier, "relay", "--state", s.state(), "--listen", ":"+strconv.Itoa(swarmPort))
	c.Env = append(os.Environ(), "GODEBUG=gctrace=1")
	found, err := s.daemon(ctx, s.namespace, name, `fingerprint (\S+)\n`, c)
	if err != nil {
		return err
	}
	s.relay, s.pin = s.running[name], found[0]
	return nil
}

// killRelay ends it at once.
func (s *swarm) killRelay() error {
	err := s.relay.cmd.Process.Kill()
	<-s.relay.done
	return err
}

// stopRelay ends it in order, within a time, and says how it ended.
func (s *swarm) stopRelay(limit time.Duration) error {
	if err := s.relay.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-s.relay.done:
	case <-time.After(limit):
		return fmt.Errorf("the relay does not end within %s", limit)
	}
	if !s.relay.cmd.ProcessState.Success() {
		said, _ := os.ReadFile(s.relay.log)
		return fmt.Errorf("the relay ended with %s: %s", s.relay.cmd.ProcessState, tail(said))
	}
	return nil
}

// swarmName is the name of a machine.
func swarmName(number int) string { return fmt.Sprintf("m%05d", number) }

// addressOf is how the holder of a number names the relay, and where it comes from.
func addressOf(first netip.Addr, number int) string {
	ip := first.As4()
	n := uint32(ip[0])<<24 | uint32(ip[1])<<16 | uint32(ip[2])<<8 | uint32(ip[3])
	n += uint32(number)
	at := netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
	return net.JoinHostPort(at.String(), strconv.Itoa(swarmPort))
}

// startAgents starts the processes of the agents, as many as their files need, and enrols those that are not yet.
func (s *swarm) startAgents(ctx context.Context) error {
	as, err := s.credential()
	if err != nil {
		return err
	}
	dir := filepath.Join(s.dir, "agents")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := chownAll(dir, as); err != nil { // of a former run, when the OS user was another
		return err
	}
	relay, err := client.DialState(ctx, s.state())
	if err != nil {
		return err
	}
	defer relay.Close()
	var g errgroup.Group
	for first := 0; first < s.agents; {
		part := s.parts[min(len(s.groups), len(s.parts)-1)]
		conf := swarmConf{Dir: dir, First: first, Agents: min(part.agents, s.agents-first), Worker: []string{s.scrier, "agent", "keys-worker"}}
		first += conf.Agents
		group, err := s.order(part.program, s.namespace, swarmRole, fmt.Sprintf("agents-%d", conf.First), as, conf)
		if err != nil {
			return err
		}
		s.groups = append(s.groups, group)
		g.Go(func() error { return s.enrol(ctx, relay, group, conf) })
	}
	return g.Wait()
}

// agentsOfProcess is how many agents one process has files for.
func agentsOfProcess() (int, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, err
	}
	const others, most = 256, 5000
	n := min((int(min(limit.Max, 1<<20))-others)/mostFiles, most)
	if n < 1 {
		return 0, fmt.Errorf("a process may have %d files open, which is not enough for one agent; raise ulimit -Hn", limit.Max)
	}
	return n, nil
}

// enrolled is how many agents are enrolled with tokens that were made together. Making a token looks at
// all that were not used.
const enrolled = 64

func (s *swarm) enrol(ctx context.Context, relay *client.Relay, group *ordered, conf swarmConf) error {
	var missing []int
	for n := conf.First; n < conf.First+conf.Agents; n++ {
		if _, err := os.Stat(filepath.Join(conf.Dir, strconv.Itoa(n), "enrolment.json")); err != nil {
			missing = append(missing, n)
		}
	}
	for some := range slices.Chunk(missing, enrolled) {
		tickets := make([]ticketFor, len(some))
		var g errgroup.Group
		g.SetLimit(atATime)
		for i, n := range some {
			g.Go(func() error {
				data, err := relay.Do(ctx, "POST", "/tokens", map[string]string{"name": swarmName(n)})
				if err != nil {
					return err
				}
				tickets[i] = ticketFor{Number: n, Relay: addressOf(firstAgent, n)}
				return json.Unmarshal(data, &tickets[i])
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
		if _, err := tell[any](ctx, group, swarmOrder{Enrol: tickets}); err != nil {
			return err
		}
	}
	return nil
}

// credential is the OS user's: the built-in SSH server never serves root.
func (s *swarm) credential() (*syscall.Credential, error) {
	u, err := user.Lookup(s.login)
	if err != nil {
		return nil, err
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, err
}

func chownAll(dir string, to *syscall.Credential) error {
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, int(to.Uid), int(to.Gid))
	})
}

// runAgents has all agents connect, one after the other as they are ready.
func (s *swarm) runAgents(ctx context.Context) error {
	var g errgroup.Group
	for _, group := range s.groups {
		g.Go(func() error {
			_, err := tell[any](ctx, group, swarmOrder{Run: true})
			return err
		})
	}
	return g.Wait()
}

// connected is how many agents have a link that began after a time. why is the last reason of one that has none.
func (s *swarm) connected(ctx context.Context, since time.Time) (n int, why string, err error) {
	for _, group := range s.groups {
		state, err := tell[swarmState](ctx, group, swarmOrder{Since: &since})
		if err != nil {
			return 0, "", err
		}
		n += state.Connected
		if state.Why != "" {
			why = state.Why
		}
	}
	return n, why, nil
}

// all waits until every agent has a link that began after a time, and says how long that took since then.
func (s *swarm) all(ctx context.Context, since time.Time, limit time.Duration) (time.Duration, error) {
	told := time.Now()
	for {
		n, why, err := s.connected(ctx, since)
		took := time.Since(since)
		switch {
		case err != nil:
			return 0, err
		case n == s.agents:
			return took, nil
		case took > limit:
			return 0, fmt.Errorf("after %s %d of %d agents are connected; of one it is said: %s", limit, n, s.agents, why)
		}
		if time.Since(told) > 10*time.Second {
			told = time.Now()
			s.say("%d of %d agents are connected after %.0f s", n, s.agents, took.Seconds())
		}
		select {
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// stopAgents ends all agents in order, and says what their processes hold then.
func (s *swarm) stopAgents(ctx context.Context) (left []swarmState, err error) {
	for _, group := range s.groups {
		state, err := tell[swarmState](ctx, group, swarmOrder{Stop: true})
		if err != nil {
			return nil, err
		}
		left = append(left, state)
	}
	return left, nil
}

// online is how many machines the relay lists as connected.
func (s *swarm) online(ctx context.Context) (n int, err error) {
	relay, err := client.DialState(ctx, s.state())
	if err != nil {
		return 0, err
	}
	defer relay.Close()
	data, err := relay.Do(ctx, "GET", "/envoys", nil)
	if err != nil {
		return 0, err
	}
	var all []struct{ State string }
	if err := json.Unmarshal(data, &all); err != nil {
		return 0, err
	}
	for _, e := range all {
		if e.State == "online" {
			n++
		}
	}
	return n, nil
}

// shellsOfOperator is how many shells one operator opens; a relay takes so many changes of one at once.
const shellsOfOperator = 50

// startOperators makes as many operators as so many shells need, and logs them in.
func (s *swarm) startOperators(ctx context.Context, shells int) (*ordered, error) {
	conf := operatorsConf{Dir: s.world.dir, Name: fmt.Sprintf("op%d-", time.Now().Unix()), Pin: s.pin}
	for n := range (shells + shellsOfOperator - 1) / shellsOfOperator {
		conf.Relays = append(conf.Relays, addressOf(firstOperator, n))
	}
	people, err := s.order(thisProgram, s.namespace, operatorsRole, "operators", nil, conf)
	if err != nil {
		return nil, err
	}
	keys, err := tell[[]string](ctx, people, operatorsOrder{Keys: true})
	if err != nil {
		return nil, err
	}
	relay, err := client.DialState(ctx, s.state())
	if err != nil {
		return nil, err
	}
	defer relay.Close()
	for i, key := range keys {
		who := map[string]any{"username": fmt.Sprintf("%s%d", conf.Name, i), "role": "operator", "keys": []string{key}}
		if _, err := relay.Do(ctx, "POST", "/users", who); err != nil {
			return nil, err
		}
	}
	f, err := os.OpenFile(filepath.Join(s.home, ".ssh", "authorized_keys"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	_, err = f.WriteString(strings.Join(keys, "\n") + "\n")
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	_, err = tell[any](ctx, people, operatorsOrder{Login: true})
	return people, err
}

// pid is the relay's.
func (s *swarm) pid() string { return strconv.Itoa(s.relay.cmd.Process.Pid) }
