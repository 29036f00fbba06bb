package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	roadKeys    = 100                   // of each, in each network
	roadEvery   = 40 * time.Millisecond // one, whether the one before was echoed or not
	roadFile    = 256 << 20             // bytes of the file that is copied, as far as that gets
	roadExact   = time.Second           // how long what is brought to its end may take by the speed that was measured
	roadLeast   = 64 << 10              // bytes of it at least
	roadMost    = 1 << 20               // and at most
	roadBeside  = 3                     // networks with a limited rate that are measured at the same time; of those with a long way two
	roadLong    = 100 * time.Millisecond
	roadPatient = 2 * time.Minute // with any single step
)

// allRoadCells are the hundred networks of the part roads.
const allRoadCells = "*/*/*/*"

func parseRoadCells(list string) ([]weather, error) {
	return parseCells(list, "RTT/LOSS/RATE/REORDER", []string{"0ms", "10ms", "50ms", "100ms", "300ms"}, []string{"0%", "0.5%", "1%", "2%", "5%"},
		[]string{"20mbit", "0mbit"}, []string{"0%", "1%"})
}

// roadTime is for how long a goodput is measured: a long way needs longer to come up to speed.
func roadTime(now weather) time.Duration { return 1500*time.Millisecond + 15*now.roundTrip }

// way is a program's road to the machine.
type way struct {
	name    string
	shell   func() *exec.Cmd
	forward func(spec string) *exec.Cmd
	up      func(near, far string) *exec.Cmd
	down    func(far, near string) *exec.Cmd
}

// ways are plain ssh and the roads of Scrier's, in the order of the table's columns.
func (s *site) ways() []way {
	remote := s.login + "@" + s.net.envoyIP + ":"
	scp := func(from, to string) *exec.Cmd {
		c := exec.Command("scp", append(s.plain(), "-q", from, to)...)
		c.Env = s.environ()
		return c
	}
	out := []way{{
		name: viaSSH, shell: s.viaSSH,
		forward: func(spec string) *exec.Cmd {
			return s.sshRun([]string{"-N", "-o", "ExitOnForwardFailure=yes", "-L", spec})
		},
		up:   func(near, far string) *exec.Cmd { return scp(near, remote+far) },
		down: func(far, near string) *exec.Cmd { return scp(remote+far, near) },
	}}
	for _, road := range []string{"quic", "tcp", "auto"} {
		scrier := func(args ...string) *exec.Cmd {
			return s.scrierRun(slices.Insert(args, 1, "--transport", road)...)
		}
		out = append(out, way{
			name:    road,
			shell:   func() *exec.Cmd { return scrier("ssh", "--new", "bench") },
			forward: func(spec string) *exec.Cmd { return scrier("ssh", "--new", "bench", "-N", "-L", spec) },
			up:      func(near, far string) *exec.Cmd { return scrier("cp", near, "bench:"+far) },
			down:    func(far, near string) *exec.Cmd { return scrier("cp", "bench:"+far, near) },
		})
	}
	return out
}

// passage is what was found out about one way through one network.
type passage struct {
	echoes        samples
	file, forward float64 // bytes a second
	overTCP       bool    // the file has been on a TCP connection, the link's or one of its own
	said          error
}

// roadSite is a site behind a network of its own.
type roadSite struct {
	*site
	link *link
	ways []way
	far  net.Addr // the forwards' target
	big  string   // the file that is copied, as far as that gets; its copy is in the home
}

// newRoadSite makes one in a room of its own, as several work at the same time.
func newRoadSite(ctx context.Context, w *world, netem, big string, n int) (*roadSite, error) {
	room, err := w.room(fmt.Sprintf("roads-%d", n))
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("sb%dr%d", os.Getpid(), n)
	l, err := room.link(ctx, netem, name, fmt.Sprintf("10.77.%d", 10+n), 0)
	if err != nil {
		return nil, err
	}
	ip := fmt.Sprintf("10.77.%d.2", 10+n)
	s, err := newSiteWith(ctx, room, "roads", network{
		operator: name + "-a", relay: name + "-b", envoy: name + "-b", relayForOperator: ip, relayIP: "127.0.0.1", envoyIP: ip,
	}, briefly)
	if err != nil {
		return nil, err
	}
	far, err := servePattern(s.net.envoy)
	if err != nil {
		return nil, err
	}
	room.later(far.Close)
	return &roadSite{site: s, link: l, ways: s.ways(), far: far.Addr(), big: big}, nil
}

// roads measures the echo of a key, a file and a forward over each road through many networks, beside plain ssh through the same,
// and checks that what passes is exact to the byte. That this is so is part of the result.
func roads(ctx context.Context, w *world, o options) (out sheet, err error) {
	netem, err := buildNetem(ctx, w, o)
	if err != nil {
		return out, err
	}
	big := filepath.Join(w.dir, "roads-file")
	if err := random(big, roadFile); err != nil {
		return out, err
	}
	there := filepath.Join(w.home, filepath.Base(big))
	if err := w.own(there, func() error { return copyFile(big, there) }); err != nil {
		return out, err
	}
	var sites []*roadSite
	for n := range min(roadBeside, len(o.roadCells)) {
		s, err := newRoadSite(ctx, w, netem, big, n)
		if err != nil {
			return out, err
		}
		sites = append(sites, s)
	}
	began := time.Now()
	found := make(map[weather][]passage)
	// Where nothing else is the limit the processors are: there only one is measured at a time.
	var limited, long, rest []weather
	for _, cell := range o.roadCells {
		switch {
		case cell.rate > 0:
			limited = append(limited, cell)
		case cell.roundTrip >= roadLong:
			long = append(long, cell)
		default:
			rest = append(rest, cell)
		}
	}
	for _, turn := range []struct {
		cells []weather
		sites []*roadSite
	}{{limited, sites}, {long, sites[:min(2, len(sites))]}, {rest, sites[:1]}} {
		if err := through(ctx, turn.cells, turn.sites, o, found); err != nil {
			return out, err
		}
	}
	out.grids = []grid{roadGrid(o.roadCells, found, time.Since(began))}
	for _, cell := range o.roadCells {
		for i, p := range found[cell] {
			if p.said != nil {
				out.failed = append(out.failed, fmt.Errorf("%s at %s: %w", sites[0].ways[i].name, cell, p.said))
			}
		}
	}
	return out, nil
}

// through measures networks, as many at the same time as there are sites.
func through(ctx context.Context, cells []weather, sites []*roadSite, o options, found map[weather][]passage) error {
	var mu sync.Mutex
	var all sync.WaitGroup
	var errs []error
	left := slices.Clone(cells)
	for _, s := range sites {
		all.Go(func() {
			for {
				mu.Lock()
				if len(left) == 0 || len(errs) > 0 {
					mu.Unlock()
					return
				}
				cell := left[0]
				left = left[1:]
				mu.Unlock()
				got, err := s.measure(ctx, cell)
				mu.Lock()
				if err != nil {
					errs = append(errs, fmt.Errorf("at %s: %w", cell, err))
				} else {
					found[cell] = got
					fmt.Fprintln(o.say, "  "+strings.Join(roadRow(cell, got), " | "))
					for i, p := range got {
						if p.said != nil {
							fmt.Fprintln(o.say, "   ", s.ways[i].name+":", p.said)
						}
					}
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// measure is one network. What goes wrong on one way is told in its place, and the others go on.
func (s *roadSite) measure(ctx context.Context, cell weather) ([]passage, error) {
	// Each network begins with new connections, which know nothing of the one before. Terminals are opened on a good one, as that
	// is not what is measured.
	if err := s.link.set(ctx, weather{}); err != nil {
		return nil, err
	}
	if err := os.Remove(filepath.Join(s.operatorDir, "roads.json")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	found := make([]passage, len(s.ways))
	terminals, forwards := make([]*terminal, len(s.ways)), make([]*errand, len(s.ways))
	addrs := make([]string, len(s.ways))
	defer func() {
		for i := range s.ways {
			if terminals[i] != nil {
				terminals[i].kill()
			}
			if forwards[i] != nil {
				forwards[i].kill()
			}
		}
	}()
	// step does something on all ways that work, at the same time or in turns.
	step := func(together bool, do func(ctx context.Context, i int) error) {
		var all sync.WaitGroup
		for i := range s.ways {
			one := func() {
				ctx, cancel := context.WithTimeout(ctx, roadPatient)
				defer cancel()
				found[i].said = do(ctx, i)
			}
			if found[i].said != nil {
				continue
			}
			if all.Go(one); !together {
				all.Wait()
			}
		}
		all.Wait()
	}
	step(true, func(ctx context.Context, i int) (err error) {
		if terminals[i], err = openTerminal(s.net.operator, s.ways[i].shell()); err != nil {
			return err
		}
		return echoing(ctx, terminals[i])
	})
	if err := s.link.set(ctx, cell); err != nil {
		return nil, err
	}
	step(true, func(ctx context.Context, i int) (err error) {
		if found[i].echoes, err = terminals[i].keys(ctx); err != nil {
			return fmt.Errorf("shell: %w", err)
		}
		terminals[i].kill()
		terminals[i] = nil
		// A connection that has seen a good network takes the way for a short one for ten seconds (BBR), so this one is new.
		forwards[i], addrs[i], err = s.hold(ctx, s.ways[i])
		return err
	})
	long := roadTime(cell)
	step(false, func(ctx context.Context, i int) (err error) {
		if found[i].forward, err = pouring(ctx, s.net.operator, addrs[i], long); err != nil {
			return fmt.Errorf("forward: %w", err)
		}
		// Its connection is over, but the way may be full of what it brought; with the program goes what is left of that.
		forwards[i].kill()
		return s.settle(ctx, cell)
	})
	step(false, func(ctx context.Context, i int) (err error) {
		if found[i].file, found[i].overTCP, err = s.copying(ctx, s.ways[i], long); err != nil {
			return fmt.Errorf("file: %w", err)
		}
		return s.settle(ctx, cell)
	})
	step(true, func(ctx context.Context, i int) (err error) {
		size := func(rate float64) int64 { return min(max(int64(rate*roadExact.Seconds()), roadLeast), roadMost) }
		if forwards[i], addrs[i], err = s.hold(ctx, s.ways[i]); err != nil {
			return fmt.Errorf("forward: %w", err)
		}
		if err := passed(ctx, s.net.operator, addrs[i], size(found[i].forward)); err != nil {
			return fmt.Errorf("forward: %w", err)
		}
		if err := s.copied(ctx, s.ways[i], size(found[i].file)); err != nil {
			return fmt.Errorf("file: %w", err)
		}
		return nil
	})
	return found, ctx.Err()
}

// settle waits until what a program that was killed has left on the link is through.
func (s *roadSite) settle(ctx context.Context, cell weather) error {
	select {
	case <-time.After(300*time.Millisecond + 2*cell.roundTrip):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// hold opens a forward, and gives its near end when that takes connections.
func (s *roadSite) hold(ctx context.Context, w way) (*errand, string, error) {
	port, err := freePort()
	if err != nil {
		return nil, "", err
	}
	addr := net.JoinHostPort("127.0.0.1", port)
	e, err := s.start(w.forward(port + ":" + s.far.String()))
	if err != nil {
		return nil, "", err
	}
	for {
		var c net.Conn
		err := within(s.net.operator, func() (err error) {
			c, err = new(net.Dialer).DialContext(ctx, "tcp", addr)
			return err
		})
		if err == nil {
			return e, addr, c.Close()
		}
		if e.ended() {
			return e, "", e.failed()
		}
		select {
		case <-ctx.Done():
			return e, "", errors.Join(err, context.Cause(ctx))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// keys types into a terminal that echoes, whether the keys before were echoed or not.
func (t *terminal) keys(ctx context.Context) (samples, error) {
	key := func(n int) byte { return 'a' + byte(n%26) }
	var typed []time.Time
	var echoes samples
	for begin := time.Now(); len(echoes) < roadKeys; {
		next := begin.Add(time.Duration(len(typed)) * roadEvery)
		if len(typed) < roadKeys && !time.Now().Before(next) {
			typed = append(typed, time.Now())
			if err := t.send(string(key(len(typed) - 1))); err != nil {
				return nil, err
			}
			continue
		}
		wait := 100 * time.Millisecond
		if len(typed) < roadKeys {
			wait = min(wait, max(time.Until(next), 0))
		}
		p, err := t.next(wait, len(t.buf))
		if err != nil {
			return nil, err
		}
		for _, b := range p {
			if len(echoes) >= len(typed) || b != key(len(echoes)) {
				return nil, fmt.Errorf("%d keys, then %q: %w", len(echoes), b, errNotExact)
			}
			echoes = append(echoes, time.Since(typed[len(echoes)]))
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%d of %d keys have an echo: %w", len(echoes), len(typed), context.Cause(ctx))
		}
	}
	return echoes, nil
}

// kill ends its program, whatever state the network is in.
func (t *terminal) kill() {
	_ = t.cmd.Process.Kill() // it may have ended
	_ = t.close()            // of one that was killed
}

// copying measures how many bytes a second of a file come, for so long from the first of them on, or until all are there. It says
// too whether the program has a TCP connection to the relay by then.
func (s *roadSite) copying(ctx context.Context, w way, long time.Duration) (rate float64, overTCP bool, err error) {
	near := filepath.Join(s.dir, "near-"+w.name)
	files := []string{near, filepath.Join(s.dir, ".near-"+w.name+".scrier-part")}
	for _, f := range files {
		if err := os.Remove(f); err != nil && !errors.Is(err, os.ErrNotExist) {
			return 0, false, err
		}
	}
	e, err := s.start(w.down(filepath.Base(s.big), near))
	if err != nil {
		return 0, false, err
	}
	defer e.kill()
	var first, last int64
	var begin time.Time
	for {
		over := e.ended() // before a look, so that none is missed
		for _, f := range files {
			info, err := os.Stat(f)
			if err != nil || info.Size() <= last {
				continue
			}
			last = info.Size()
			if begin.IsZero() {
				begin, first = time.Now(), last
			} else if took := time.Since(begin); took >= long || last == roadFile {
				rate = float64(last-first) / took.Seconds()
			}
		}
		switch {
		case rate > 0 && last < roadFile:
			overTCP, err = s.hasTCP(ctx, e)
			return rate, overTCP, err
		case rate > 0:
			if overTCP, err = s.hasTCP(ctx, e); err == nil {
				err = e.finish(ctx)
			}
			if err == nil {
				err = equal(near, s.big)
			}
			return rate, overTCP, err
		case over:
			return 0, false, e.failed()
		}
		select {
		case <-ctx.Done():
			return 0, false, fmt.Errorf("after %d bytes: %w", last, context.Cause(ctx))
		case <-time.After(time.Millisecond):
		}
	}
}

// hasTCP says whether a program has a TCP connection.
func (s *roadSite) hasTCP(ctx context.Context, e *errand) (bool, error) {
	c := exec.CommandContext(ctx, "ss", "-Htnp", "state", "established")
	var said strings.Builder
	c.Stdout = &said
	err := within(s.net.operator, c.Start)
	if err == nil {
		err = c.Wait()
	}
	return strings.Contains(said.String(), fmt.Sprintf("pid=%d,", e.cmd.Process.Pid)), err
}

// copied copies n bytes to the machine and back.
func (s *roadSite) copied(ctx context.Context, w way, n int64) (err error) {
	there, back := "roads-"+filepath.Base(s.dir)+"-"+w.name, filepath.Join(s.dir, "back-"+w.name)
	source := filepath.Join(s.dir, "source-"+w.name)
	if err := beginning(source, s.big, n); err != nil {
		return err
	}
	for _, c := range []*exec.Cmd{w.up(source, there), w.down(there, back)} {
		e, err := s.start(c)
		if err != nil {
			return err
		}
		if err := e.finish(ctx); err != nil {
			return err
		}
	}
	return errors.Join(equal(filepath.Join(s.home, there), source), equal(back, source))
}

// beginning makes a file of the first n bytes of another.
func beginning(path, of string, n int64) (err error) {
	in, err := os.Open(of)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.CopyN(out, in, n)
	return err
}
