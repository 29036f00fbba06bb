package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	hopShown  = 4 << 20 // bytes that a screen shows before it stands still
	hopStill  = 500 * time.Millisecond
	hopBlocks = 512 // bytes of a write of the program that prints: it is known to so many where it stands
)

// hops is where the bytes lie when a screen has stopped and all on the way is full. Each place's
// amount is the difference of two counts that can be read from outside, so nothing is asked of what
// is measured but the count of its sessions:
//
//	program -- tty --> sshd -- loopback --> agent -- QUIC --> relay -- backlog, QUIC --> client -- pty --> screen
//	 wchar            rchar    queues                         received                                    shown
func (s *site) hops(ctx context.Context, all []*rival, o options) (grid, error) {
	g := grid{columns: append([]string{"bytes on the way, the screen stands still"}, names(all)...)}
	// One connection to sshd is all that there may be.
	if err := s.leave(all); err != nil {
		return g, err
	}
	rows := make([][]string, len(places))
	for i, p := range places {
		rows[i] = []string{p.name}
	}
	for _, r := range all {
		fmt.Fprintln(o.say, "  bytes on the way of", r.name)
		c, err := s.stand(ctx, r, o)
		if ctx.Err() != nil {
			return g, context.Cause(ctx)
		}
		if err != nil {
			fmt.Fprintln(o.say, "   ", r.name+":", err)
		}
		for i, p := range places {
			text := "failed"
			if err == nil {
				text = p.of(c)
			}
			rows[i] = append(rows[i], text)
		}
		// The printing does not end by itself.
		if err := s.drop(all); err != nil {
			return g, err
		}
	}
	g.rows = rows
	g.remarks = []string{
		fmt.Sprintf("On loopback: the screen stopped after %s, and nothing has moved for %s. Exact to the %d bytes of the program's write that waits.", amount(hopShown), hopStill, hopBlocks),
		"What lies in the two sockets has SSH's own bytes of each packet in it. Without a relay what ssh and its terminal hold is the rest.",
		loadNow(),
	}
	return g, nil
}

// counts are bytes since the printing began.
type counts struct {
	printed  int64 // the program has written
	read     int64 // sshd has read from its terminal
	sendQ    int64 // in the queue of sshd's socket now
	recvQ    int64 // and in that of the other end
	sndbuf   int64 // how much memory each may take
	rcvbuf   int64
	input    int64 // sshd has read from its socket
	received int64 // the relay's shell has read; less than 0 without a relay
	shown    int64
}

// place is a row: a stretch of the way.
type place struct {
	name string
	of   func(counts) string
}

var places = [...]place{
	{"from the program to the screen", func(c counts) string { return amount(c.printed - c.shown) }},
	{"  the program's tty", func(c counts) string { return amount(c.printed - c.read) }},
	{"  from sshd to the relay's count", relayed(func(c counts) int64 { return c.read - c.received })},
	{"    sshd's socket (and its buffer)", func(c counts) string { return fmt.Sprintf("%s (%s)", amount(c.sendQ), amount(c.sndbuf)) }},
	{"    the agent's or ssh's socket", func(c counts) string { return fmt.Sprintf("%s (%s)", amount(c.recvQ), amount(c.rcvbuf)) }},
	{"    sshd, agent, its stream, the relay's SSH channel", relayed(func(c counts) int64 { return c.read - c.sendQ - c.recvQ - c.received })},
	{"  from the relay's count to the screen: backlog, stream, client, pty", relayed(func(c counts) int64 { return c.received - c.shown })},
	{"  sshd, ssh and its pty", direct(func(c counts) int64 { return c.read - c.sendQ - c.recvQ - c.shown })},
}

func relayed(f func(counts) int64) func(counts) string {
	return func(c counts) string {
		if c.received < 0 {
			return "-"
		}
		return amount(f(c))
	}
}

func direct(f func(counts) int64) func(counts) string {
	return func(c counts) string {
		if c.received >= 0 {
			return "-"
		}
		return amount(f(c))
	}
}

// stand has a shell print to a screen that stops, and counts when all else has.
func (s *site) stand(ctx context.Context, r *rival, o options) (counts, error) {
	if err := s.ready(ctx, r); err != nil {
		return counts{}, err
	}
	if err := s.alone(ctx); err != nil {
		return counts{}, err
	}
	// A newline is one byte here, so that what the program writes is what is shown.
	if err := r.at.send("stty -opost -echo; PS1=; printf 're%s' ady\r"); err != nil {
		return counts{}, err
	}
	if err := r.at.expect(ctx, "ready"); err != nil {
		return counts{}, err
	}
	at := int64(len(r.at.seen))
	before, err := s.count(ctx, r)
	if err != nil {
		return counts{}, err
	}
	file := filepath.Join(s.home, "zeros")
	if err := errors.Join(os.WriteFile(file, nil, 0o644), os.Truncate(file, 64<<20)); err != nil {
		return counts{}, err
	}
	p := &printing{t: r.at, shown: at, marker: []byte("no prompt")}
	if err := r.at.send(fmt.Sprintf("dd if=%s bs=%d status=none\r", file, hopBlocks)); err != nil {
		return counts{}, err
	}
	if err := p.show(ctx, time.Now().Add(o.limit), func() bool { return p.shown >= hopShown }); err != nil {
		return counts{}, err
	}
	if p.shown < hopShown {
		return counts{}, fmt.Errorf("it showed %d bytes within %s", p.shown, o.limit)
	}
	var last int64 = -1
	for end := time.Now().Add(o.limit); time.Now().Before(end); {
		printed, err := s.userProcess("dd", "wchar")
		if err != nil {
			return counts{}, err
		}
		if printed == last {
			after, err := s.count(ctx, r)
			after.printed, after.shown = printed, p.shown
			return since(before, after), err
		}
		last = printed
		select {
		case <-ctx.Done():
			return counts{}, context.Cause(ctx)
		case <-time.After(hopStill):
		}
	}
	return counts{}, fmt.Errorf("something still moves after %s", o.limit)
}

// since are the counts of what was printed between two moments.
func since(before, after counts) counts {
	c := after
	// sshd reads two things, its terminal and its socket; the second is known.
	c.read = (after.read - after.input) - (before.read - before.input)
	if after.received >= 0 {
		c.received = after.received - before.received
	}
	return c
}

// count reads what can be read at one moment.
func (s *site) count(ctx context.Context, r *rival) (c counts, err error) {
	c.received = -1
	if strings.HasPrefix(r.name, viaScrier) {
		if c.received, err = s.received(ctx); err != nil {
			return c, err
		}
	}
	if c.read, err = s.userProcess("sshd", "rchar"); err != nil {
		return c, err
	}
	return c, s.queues(ctx, &c)
}

// alone waits until sessions that were left are gone.
func (s *site) alone(ctx context.Context) error {
	for end := time.Now().Add(patience); ; {
		var c counts
		err := s.queues(ctx, &c)
		if err == nil || time.Now().After(end) {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// received is what the relay says of the one session that is open.
func (s *site) received(ctx context.Context) (int64, error) {
	said, err := s.inNamespace(ctx, "", "sessions", "list", "--json", "--state", s.dir+"/"+s.name+"-relay")
	if err != nil {
		return 0, err
	}
	var rows []struct {
		State    string
		Received int64
	}
	if err := json.Unmarshal([]byte(said), &rows); err != nil {
		return 0, err
	}
	if len(rows) != 1 {
		return 0, fmt.Errorf("there are %d sessions, not one", len(rows))
	}
	return rows[0].Received, nil
}

// userProcess reads a count of /proc/PID/io of the user's process of this name.
func (s *site) userProcess(name, what string) (int64, error) {
	comms, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		return 0, err
	}
	var own unix.Stat_t
	if err := unix.Stat(s.home, &own); err != nil {
		return 0, err
	}
	for _, path := range comms {
		comm, err := os.ReadFile(path)
		if err != nil || strings.TrimSpace(string(comm)) != name {
			continue
		}
		dir := filepath.Dir(path)
		status, err := os.ReadFile(filepath.Join(dir, "status"))
		if err != nil || !strings.Contains(string(status), fmt.Sprintf("\nUid:\t%d\t", own.Uid)) {
			continue
		}
		if strings.Contains(string(status), "\nState:\tZ") { // one of before, which nobody has waited for
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, "io"))
		if err != nil {
			return 0, err
		}
		return parseIO(string(data), what)
	}
	return 0, fmt.Errorf("there is no process %s of the user's", name)
}

// parseIO finds a line of proc_pid_io(5).
func parseIO(text, what string) (int64, error) {
	for line := range strings.Lines(text) {
		if n, ok := strings.CutPrefix(line, what+": "); ok {
			return strconv.ParseInt(strings.TrimSpace(n), 10, 64)
		}
	}
	return 0, fmt.Errorf("there is no %s in %q", what, text)
}

// queues reads both ends of the one connection to sshd.
func (s *site) queues(ctx context.Context, c *counts) error {
	said, err := runIt(exec.CommandContext(ctx, "ss", "-tnmiOH", "state", "established"))
	if err != nil {
		return err
	}
	return parseQueues(said, s.port, c)
}

var (
	ssLine   = regexp.MustCompile(`^\s*(\d+)\s+(\d+)\s+(\S+)\s+(\S+)`)
	ssBuffer = regexp.MustCompile(`skmem:\(r\d+,rb(\d+),t\d+,tb(\d+),`)
	ssInput  = regexp.MustCompile(`bytes_received:(\d+)`)
)

// parseQueues finds the two ends among ss's lines.
func parseQueues(said, port string, c *counts) error {
	var server, other bool
	number := func(text string) (n int64) {
		n, _ = strconv.ParseInt(text, 10, 64) // it matched \d+
		return n
	}
	for line := range strings.Lines(said) {
		f := ssLine.FindStringSubmatch(line)
		b := ssBuffer.FindStringSubmatch(line)
		if f == nil || b == nil {
			continue
		}
		switch {
		case strings.HasSuffix(f[3], ":"+port):
			if server {
				return errors.New("sshd has more than one connection")
			}
			server = true
			c.sendQ, c.sndbuf = number(f[2]), number(b[2])
			if in := ssInput.FindStringSubmatch(line); in != nil {
				c.input = number(in[1]) - number(f[1])
			}
		case strings.HasSuffix(f[4], ":"+port):
			other = true
			c.recvQ, c.rcvbuf = number(f[1]), number(b[1])
		}
	}
	if !server || !other {
		return fmt.Errorf("ss shows no connection to port %s", port)
	}
	return nil
}
