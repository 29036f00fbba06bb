package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"time"
)

// scrierRun is `scrier ARGS…` as the operator.
func (s *site) scrierRun(args ...string) *exec.Cmd {
	c := exec.Command(s.scrier, args...)
	c.Env = s.environ()
	return c
}

// plain are the options of plain ssh, and of scp, that a site's own calls have.
func (s *site) plain() []string {
	return []string{"-F", "none", "-i", s.key(), "-o", "Port=" + s.port,
		"-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "ControlMaster=no", "-o", "ControlPath=none",
		"-o", "UserKnownHostsFile=" + s.known, "-o", "GlobalKnownHostsFile=none", "-o", "StrictHostKeyChecking=yes", "-o", "UpdateHostKeys=no"}
}

// sshRun is `ssh OPTIONS ENVOY ARGS…` as the operator.
func (s *site) sshRun(options []string, args ...string) *exec.Cmd {
	all := append(slices.Clone(options), s.plain()...) // of two values ssh takes the first
	c := exec.Command("ssh", append(append(all, s.login+"@"+s.net.envoyIP), args...)...)
	c.Env = s.environ()
	return c
}

// took runs a command to its end, and says how long that took.
func (s *site) took(ctx context.Context, c *exec.Cmd) (time.Duration, error) {
	begin := time.Now()
	if err := within(s.net.operator, c.Start); err != nil {
		return 0, err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Process.Kill() }) // it may have ended
	defer stop()
	if err := c.Wait(); err != nil {
		return 0, fmt.Errorf("run %s: %w", c.Args, err)
	}
	return time.Since(begin), nil
}

// inTurns runs several commands in turns, after one of each to warm up.
func (s *site) inTurns(ctx context.Context, n int, each ...func() *exec.Cmd) ([]samples, error) {
	out := make([]samples, len(each))
	for i := range n + 1 {
		for k, make := range each {
			took, err := s.took(ctx, make())
			if err != nil {
				return nil, err
			}
			if i > 0 {
				out[k] = append(out[k], took)
			}
		}
	}
	return out, nil
}

// commands measures `true` on the envoy, from starting the command to its end: each in a session of its own, in a session
// that is open, and eight at the same time.
func (s *site) commands(ctx context.Context, n int, where, aim string) (out []figure, err error) {
	ours := func() *exec.Cmd { return s.scrierRun("ssh", "--new", "-n", "bench", "true") }
	theirs := func() *exec.Cmd { return s.sshRun([]string{"-n"}, "true") }
	alone, err := s.inTurns(ctx, n, ours, theirs)
	if err != nil {
		return nil, err
	}
	f := timing("true, "+where, "ssh", alone[1].median(), alone[0].median())
	f.aim = aim
	f.note = fmt.Sprintf("Medians of %d of each, in turns, from starting the command to its end.\nTenth to ninetieth percentile: scrier %s, ssh %s.",
		n, alone[0].spread(), alone[1].spread())
	out = append(out, f)

	// With a session that is open: a master of ssh's, and any session of Scrier's.
	held, err := openTerminal(s.net.operator, s.viaScrier())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, held.leave()) }()
	if err := held.expect(ctx, prompt); err != nil {
		return nil, err
	}
	control := s.dir + "/" + s.name + "-master"
	master, err := openTerminal(s.net.operator, s.sshRun([]string{"-M", "-o", "ControlPath=" + control, "-tt"}))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, master.leave()) }()
	if err := master.expect(ctx, prompt); err != nil {
		return nil, err
	}
	joined := func() *exec.Cmd { return s.scrierRun("ssh", "-n", "bench", "true") }
	shared := func() *exec.Cmd { return s.sshRun([]string{"-n", "-o", "ControlPath=" + control}, "true") }
	both, err := s.inTurns(ctx, n, joined, shared)
	if err != nil {
		return nil, err
	}
	f = timing("true, "+where+", session open", "ssh with a master", both[1].median(), both[0].median())
	f.note = fmt.Sprintf("Tenth to ninetieth percentile: scrier %s, ssh %s.", both[0].spread(), both[1].spread())
	return append(out, f), nil
}

// eight runs eight of a command at the same time.
func (s *site) eight(ctx context.Context, c func() *exec.Cmd) (time.Duration, error) {
	begin := time.Now()
	done := make(chan error, 8)
	for range 8 {
		go func() {
			_, err := s.took(ctx, c())
			done <- err
		}()
	}
	var errs []error
	for range 8 {
		errs = append(errs, <-done)
	}
	return time.Since(begin), errors.Join(errs...)
}

// commandsLoopback measures them where the network costs nothing.
func commandsLoopback(ctx context.Context, w *world, o options) ([]figure, error) {
	s, err := newSite(ctx, w, "command", loopback)
	if err != nil {
		return nil, err
	}
	out, err := s.commands(ctx, o.opens, "loopback", "")
	if err != nil {
		return nil, err
	}
	var ours, theirs samples
	for i := range o.outputs + 1 {
		a, err := s.eight(ctx, func() *exec.Cmd { return s.scrierRun("ssh", "-n", "bench", "true") })
		if err != nil {
			return nil, err
		}
		b, err := s.eight(ctx, func() *exec.Cmd { return s.sshRun([]string{"-n"}, "true") })
		if err != nil {
			return nil, err
		}
		if i > 0 {
			ours, theirs = append(ours, a), append(theirs, b)
		}
	}
	return append(out, timing("true, loopback, 8 at the same time", "ssh", theirs.median(), ours.median())), nil
}

// commandsWAN measures them over two links of 50 ms.
func commandsWAN(ctx context.Context, w *world, o options) ([]figure, error) {
	n, err := newWAN(ctx, w, o)
	if err != nil {
		return nil, err
	}
	s, err := newSite(ctx, w, "wancommand", n.network)
	if err != nil {
		return nil, err
	}
	return s.commands(ctx, o.wans, "2 x 50 ms", "<= 0.60")
}
