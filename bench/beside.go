package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"time"
)

// beside measures the echo of a keystroke while a copy of the same person's runs: alone and beside it, of scrier and of ssh.
func beside(ctx context.Context, w *world, o options) (_ []figure, err error) {
	s, err := newSite(ctx, w, "beside", loopback)
	if err != nil {
		return nil, err
	}
	big := filepath.Join(w.dir, "beside-big")
	if err := random(big, o.bulk); err != nil {
		return nil, err
	}
	both := []struct {
		name string
		open func() *exec.Cmd
		copy func() *exec.Cmd
	}{
		{"scrier", s.viaScrier, func() *exec.Cmd { return s.scrierRun("cp", big, "bench:beside1") }},
		{"ssh", s.viaSSH, func() *exec.Cmd {
			c := exec.Command("scp", append(append(s.plain(), "-q"), big, s.login+"@"+s.net.envoyIP+":beside2")...)
			c.Env = s.environ()
			return c
		}},
	}
	var idle, busy [2]samples
	for i, b := range both {
		if idle[i], busy[i], err = echoesBeside(ctx, o.echoes, b.open(), b.copy); err != nil {
			return nil, fmt.Errorf("%s: %w", b.name, err)
		}
	}
	var out []figure
	for _, p := range []int{50, 99} {
		out = append(out,
			timing(fmt.Sprintf("keystroke echo beside a copy p%d", p), "without the copy", idle[0].percentile(p), busy[0].percentile(p)),
			timing(fmt.Sprintf("keystroke echo beside a copy p%d", p), "ssh beside scp", busy[1].percentile(p), busy[0].percentile(p)))
	}
	out[0].aim = "<= 1.50"
	out[0].note = fmt.Sprintf("%d keystrokes of each. ssh without the copy: p50 %s, p99 %s.", o.echoes, short(idle[1].percentile(50)), short(idle[1].percentile(99)))
	return out, nil
}

// echoesBeside measures n keystrokes at a terminal while nothing else happens, and n while copies are made, one after the other.
func echoesBeside(ctx context.Context, n int, open *exec.Cmd, again func() *exec.Cmd) (idle, busy samples, err error) {
	t, err := openTerminal("", open)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	if err := echoing(ctx, t); err != nil {
		return nil, nil, err
	}
	if idle, err = echoes(ctx, t, n); err != nil {
		return nil, nil, err
	}
	stop := make(chan struct{})
	copied := make(chan error, 1)
	go func() { copied <- copies(again, stop) }()
	busy, err = echoes(ctx, t, n)
	close(stop)
	return idle, busy, errors.Join(err, <-copied)
}

// echoes are n, after some that do not count.
func echoes(ctx context.Context, t *terminal, n int) (samples, error) {
	var took samples
	for i := range warmUp + n {
		d, err := t.echo(ctx)
		if err != nil {
			return nil, err
		}
		if i >= warmUp {
			took = append(took, d)
		}
	}
	return took, nil
}

// copies runs a command again and again, and ends the last one where it is when it is to stop. One that ends by itself must have succeeded.
func copies(again func() *exec.Cmd, stop <-chan struct{}) error {
	for {
		c := again()
		if err := c.Start(); err != nil {
			return err
		}
		ended := make(chan error, 1)
		go func() { ended <- c.Wait() }()
		select {
		case <-stop:
			_ = c.Process.Kill() // it may have ended
			<-ended
			return nil
		case err := <-ended:
			if err != nil {
				return fmt.Errorf("%s: %w", filepath.Base(c.Path), err)
			}
		case <-time.After(20 * patience):
			_ = c.Process.Kill()
			return errors.Join(errors.New("a copy does not end"), <-ended)
		}
	}
}
