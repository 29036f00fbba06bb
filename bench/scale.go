package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// scaleLimit is how long a fleet may take to come, and a relay to end. It is no measure of speed.
const scaleLimit = 15 * time.Minute

// scale measures a relay with many machines: what each costs while nothing happens, how fast all of them are back after
// the relay was killed, what shells cost, and how long an orderly end takes. Relay, machines and operators share the
// processors.
func scale(ctx context.Context, w *world, o options) (sheet, error) {
	s, err := newSwarm(ctx, w, o.agents, o.fleet, func(format string, args ...any) { fmt.Fprintf(o.say, format+"\n", args...) })
	if err != nil {
		return sheet{}, err
	}
	m := &scaling{swarm: s, o: o, grid: grid{columns: []string{"with " + counted(o.agents) + " agents", "measured", "aim", "load"}}}
	for _, step := range []func(context.Context) error{m.enrolAll, m.connect, m.idles, m.opens, m.storm, m.end} {
		if err := step(ctx); err != nil {
			return sheet{}, err
		}
	}
	return sheet{grids: []grid{m.grid}}, nil
}

// scaling is a run of it.
type scaling struct {
	*swarm
	o     options
	grid  grid
	empty usage // of the relay before anybody has connected
}

func (m *scaling) row(what, measured, aim string) {
	load, _, _ := strings.Cut(firstLine("/proc/loadavg"), " ")
	m.grid.rows = append(m.grid.rows, []string{what, measured, aim, load})
	m.say("%s: %s", what, measured)
}

// counted prints 10,000.
func counted(n int) string {
	if n < 1000 {
		return strconv.Itoa(n)
	}
	return fmt.Sprintf("%s,%03d", counted(n/1000), n%1000)
}

// kib prints how many KiB each of n has of so many bytes.
func kib(bytes int64, n int) string {
	return fmt.Sprintf("%.0f KiB", float64(bytes)/float64(n)/(1<<10))
}

// disk prints what each of n has of what was written.
func disk(after, before relayUse, n int) string {
	each := func(bytes int64) float64 { return float64(bytes) / float64(n) / (1 << 10) }
	return fmt.Sprintf("%.1f KiB store, %.1f KiB audit log", each(after.store-before.store), each(after.audit-before.audit))
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

func (m *scaling) enrolAll(ctx context.Context) error {
	if err := m.startRelay(ctx); err != nil {
		return err
	}
	m.say("enrolling %s agents", counted(m.agents))
	begin := time.Now()
	if err := m.startAgents(ctx); err != nil {
		return err
	}
	m.say("that took %s", seconds(time.Since(begin)))
	return m.stopRelay(scaleLimit) // it has not only agents in its memory
}

func (m *scaling) connect(ctx context.Context) (err error) {
	if err := m.startRelay(ctx); err != nil {
		return err
	}
	if err := pause(ctx, 3*time.Second); err != nil {
		return err
	}
	if m.empty, err = processUsage(m.pid()); err != nil {
		return err
	}
	m.row("relay without an agent", amount(m.empty.memory)+" RSS", "-")
	begin := time.Now()
	if err := m.runAgents(ctx); err != nil {
		return err
	}
	m.say("%s agents were started in %s", counted(m.agents), seconds(time.Since(begin)))
	took, err := m.all(ctx, begin, scaleLimit)
	if err != nil {
		return err
	}
	m.say("all are connected after %s", seconds(took))
	n, err := m.online(ctx)
	if err == nil && n != m.agents {
		err = fmt.Errorf("the relay lists %d machines of %d as online", n, m.agents)
	}
	return err
}

func (m *scaling) idles(ctx context.Context) error {
	if err := pause(ctx, m.o.settle); err != nil {
		return err
	}
	before, err := m.look()
	if err != nil {
		return err
	}
	begin := time.Now()
	if err := pause(ctx, m.o.idle); err != nil {
		return err
	}
	took := time.Since(begin)
	after, err := m.look()
	if err != nil {
		return err
	}
	heap, stacks, err := m.heap()
	if err != nil {
		return err
	}
	perMinute := func(n int64) float64 { return float64(n) / float64(m.agents) * float64(time.Minute) / float64(took) }
	m.row("memory per idle agent", kib(after.memory-m.empty.memory, m.agents)+" RSS", "<= 64 KiB")
	m.row("  of it live at the last collection", kib(heap, m.agents)+" heap, "+kib(stacks, m.agents)+" stacks", "-")
	m.row("idle processor", fmt.Sprintf("%.1f %% of a core", 100*float64(after.processor-before.processor)/float64(took)), "<= 10 %")
	m.row("network per idle agent and minute, both ways", fmt.Sprintf("%.0f B in %.1f packets", perMinute(after.bytes-before.bytes), perMinute(after.packets-before.packets)), "-")
	m.row("files of the relay", strconv.Itoa(after.files), "-")
	m.row("disk per machine", disk(after, relayUse{}, m.agents), "-")
	return nil
}

func (m *scaling) opens(ctx context.Context) error {
	if m.o.shells == 0 {
		return nil
	}
	people, err := m.startOperators(ctx, m.o.shells)
	if err != nil {
		return err
	}
	var machines []string
	for i := range m.o.shells {
		machines = append(machines, swarmName(i*m.agents/m.o.shells)) // of all processes
	}
	// What each step takes: the links, the shells on them, and keys that are typed into these.
	var steps [3]shellTimes
	used := make([]relayUse, len(steps)+1)
	programs := make([]time.Duration, len(steps)+1)
	for i := range used {
		if i > 0 {
			order := []operatorsOrder{{Dial: m.o.shells}, {Open: machines}, {Type: m.o.typing}}[i-1]
			if steps[i-1], err = tell[shellTimes](ctx, people, order); err != nil {
				return err
			}
		}
		if used[i], err = m.look(); err != nil {
			return err
		}
		if programs[i], err = m.agentsProcessor(); err != nil {
			return err
		}
	}
	n, each := counted(m.o.shells)+" shells", func(from, to int) string { return kib(used[to].memory-used[from].memory, m.o.shells) }
	m.row(n+", memory of each", each(0, 3)+" RSS", "<= 200 KiB")
	m.row("  of it for its operator's link", each(0, 1), "-")
	m.row(n+", opened", seconds(steps[0].All+steps[1].All), "<= 8 s")
	m.row("  of it until there are the links", seconds(steps[0].All), "-")
	m.row("  processor for that", fmt.Sprintf("relay %s, agents and their programs %s", seconds(used[2].processor-used[0].processor), seconds(programs[2]-programs[0])), "-")
	echoes := steps[2].Each
	m.row(n+", a key a second into each: echo", fmt.Sprintf("p50 %s, p95 %s", short(echoes.percentile(50)), short(echoes.percentile(95))), "p95 <= 9 ms")
	left, err := tell[shellTimes](ctx, people, operatorsOrder{Close: true})
	if err = errors.Join(err, people.end()); err != nil {
		return err
	}
	m.say("they ended within %s", seconds(left.All))
	if err := pause(ctx, 3*time.Second); err != nil { // their last records
		return err
	}
	after, err := m.look()
	if err != nil {
		return err
	}
	m.grid.remarks = append(m.grid.remarks, "The memory of shells is what the relay has grown by: less than they need, if what agents left behind is not given back yet. Measure it with -agents 1000.")
	m.row("disk per session", disk(after, used[0], m.o.shells), "-")
	return nil
}

// agentsProcessor is the processor time of all agents, and of the programs that they have run to their end.
func (m *scaling) agentsProcessor() (all time.Duration, err error) {
	for _, group := range m.groups {
		u, err := processUsage(strconv.Itoa(group.cmd.Process.Pid))
		if err != nil {
			return 0, err
		}
		all += u.processor + u.reaped
	}
	return all, nil
}

// storm kills the relay and starts it again at once, several times.
func (m *scaling) storm(ctx context.Context) error {
	var took samples
	var all []string
	for range m.o.storms {
		begin := time.Now()
		if err := m.killRelay(); err != nil {
			return err
		}
		if err := m.startRelay(ctx); err != nil {
			return err
		}
		d, err := m.all(ctx, begin, scaleLimit)
		if err != nil {
			return err
		}
		m.say("back after %s", seconds(d))
		took, all = append(took, d), append(all, fmt.Sprintf("%.0f", d.Seconds()))
	}
	if len(took) > 0 {
		m.row(fmt.Sprintf("all back after kill -9, slowest of %d", len(took)), seconds(took.percentile(100)), "<= 60 s")
		m.grid.remarks = append(m.grid.remarks, "Back after, in seconds: "+strings.Join(all, ", ")+".")
	}
	return nil
}

func (m *scaling) end(ctx context.Context) error {
	begin := time.Now()
	if err := m.stopRelay(scaleLimit); err != nil {
		return err
	}
	m.row("orderly stop", seconds(time.Since(begin)), "<= 5 s")
	_, err := m.stopAgents(ctx)
	return err
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// relayUse is what the relay has used so far.
type relayUse struct {
	usage
	bytes, packets int64 // received in the namespace, IP and UDP headers among them: what one sends, another gets
	files          int
	store, audit   int64 // bytes on disk
}

func (m *scaling) look() (u relayUse, err error) {
	if u.usage, err = processUsage(m.pid()); err != nil {
		return u, err
	}
	if u.bytes, err = protocolCount(m.pid(), "netstat", "IpExt", "InOctets"); err != nil {
		return u, err
	}
	if u.packets, err = protocolCount(m.pid(), "snmp", "Udp", "InDatagrams"); err != nil {
		return u, err
	}
	files, err := os.ReadDir("/proc/" + m.pid() + "/fd")
	if err != nil {
		return u, err
	}
	u.files = len(files)
	for name, size := range map[string]*int64{"state.db": &u.store, "audit.db": &u.audit} {
		if *size, err = boltUse(filepath.Join(m.state(), name)); err != nil {
			return u, err
		}
	}
	return u, nil
}

// boltUse is how much of a bbolt file has been used. The file itself is larger, as room is made ahead.
func boltUse(path string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	head := make([]byte, 2*os.Getpagesize())
	if _, err := io.ReadFull(f, head); err != nil {
		return 0, err
	}
	return parseBolt(head, os.Getpagesize())
}

// parseBolt reads the newer of the two meta pages that a file begins with: behind a page's header come a magic number,
// version, page size and flags of four bytes each, the root bucket in 16 bytes, and the page numbers of the free list and
// of the first page that was never used, and the number of the transaction.
func parseBolt(head []byte, page int) (used int64, err error) {
	const (
		magic  = 0xED0CDAED
		header = 16
		end    = header + 4*4 + 16 + 8 // where the last two numbers are
	)
	newest := uint64(0)
	for at := 0; at+end+16 <= len(head); at += page {
		p := head[at:]
		if binary.LittleEndian.Uint32(p[header:]) != magic {
			continue
		}
		if tx := binary.LittleEndian.Uint64(p[end+8:]); tx >= newest {
			newest, used = tx, int64(binary.LittleEndian.Uint64(p[end:]))*int64(page)
		}
	}
	if used == 0 {
		return 0, errors.New("this is no bbolt file")
	}
	return used, nil
}

// protocolCount reads a counter of the namespace that a process is in (proc_pid_net(5)).
func protocolCount(pid, file, protocol, name string) (int64, error) {
	data, err := os.ReadFile("/proc/" + pid + "/net/" + file)
	if err != nil {
		return 0, err
	}
	return parseCount(string(data), protocol, name)
}

// parseCount finds a counter by its name: each protocol has a line of names, and behind it one of numbers.
func parseCount(text, protocol, name string) (int64, error) {
	var names []string
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != protocol+":" {
			continue
		}
		if names == nil {
			names = fields
			continue
		}
		for i, n := range names {
			if n == name && i < len(fields) {
				return strconv.ParseInt(fields[i], 10, 64)
			}
		}
	}
	return 0, fmt.Errorf("there is no %s of %s", name, protocol)
}

// heap is what was alive at the relay's last garbage collection, in bytes, as it says itself (GODEBUG=gctrace=1).
func (m *scaling) heap() (heap, stacks int64, err error) {
	said, err := os.ReadFile(m.relay.log)
	if err != nil {
		return 0, 0, err
	}
	return parseCollections(string(said))
}

var collection = regexp.MustCompile(`(?m)^gc \d+ @.*->(\d+) MB, \d+ MB goal, (\d+) MB stacks`)

func parseCollections(text string) (heap, stacks int64, err error) {
	all := collection.FindAllStringSubmatch(text, -1)
	if len(all) == 0 {
		return 0, 0, errors.New("the relay tells of no garbage collection")
	}
	last := all[len(all)-1]
	if heap, err = strconv.ParseInt(last[1], 10, 64); err != nil {
		return 0, 0, err
	}
	stacks, err = strconv.ParseInt(last[2], 10, 64)
	return heap << 20, stacks << 20, err
}

func (o options) checkScale() error {
	switch {
	case o.agents < 1 || o.agents > maxSwarm:
		return fmt.Errorf("-agents: %d is not between 1 and %d", o.agents, maxSwarm)
	case o.shells < 0 || o.shells > o.agents:
		return fmt.Errorf("-shells: %d is not between 0 and %d, which is one on each machine", o.shells, o.agents)
	case o.storms < 0 || o.settle < 0 || o.idle <= 0 || o.typing <= 0:
		return errors.New("-storms, -settle, -idle and -typing must not be below zero, and what is watched takes time")
	}
	return nil
}
