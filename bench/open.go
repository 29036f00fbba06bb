package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"time"
)

// openLoopback measures opening a session where the network costs nothing: what is left is work.
func openLoopback(ctx context.Context, w *world, o options) ([]figure, error) {
	s, err := newSite(ctx, w, "open", loopback)
	if err != nil {
		return nil, err
	}
	ours, theirs, err := s.opens(ctx, o.opens)
	if err != nil {
		return nil, err
	}
	w.openWork.ours, w.openWork.theirs = ours.median(), theirs.median()
	f := timing("session open, loopback", "ssh", theirs.median(), ours.median())
	f.note = fmt.Sprintf("Medians of %d sessions of each, in turns, from starting the command to the shell's prompt.\nTenth to ninetieth percentile: scrier %s, ssh %s.",
		o.opens, ours.spread(), theirs.spread())
	return []figure{f}, nil
}

// openWAN measures it where the network costs most: 50 ms of round trip from the operator to the
// relay and 50 ms from there to the envoy; plain ssh takes the same way.
func openWAN(ctx context.Context, w *world, o options) ([]figure, error) {
	n, err := newWAN(ctx, w, o)
	if err != nil {
		return nil, err
	}
	s, err := newSite(ctx, w, "wan", n.network)
	if err != nil {
		return nil, err
	}
	ours, theirs, err := s.opens(ctx, o.wans)
	if err != nil {
		return nil, err
	}
	f := timing("session open, 2 x 50 ms", "ssh", theirs.median(), ours.median())
	f.aim = "<= 0.60"
	f.note = fmt.Sprintf("Medians of %d sessions of each, in turns. The path took %s there and back (TCP, no data).\nTenth to ninetieth percentile: scrier %s, ssh %s.",
		o.wans, short(n.path), ours.spread(), theirs.spread())
	if w.openWork.ours > 0 {
		f.note += fmt.Sprintf("\nBeyond the time on loopback: scrier %.1f x 50 ms, ssh %.1f x 100 ms.",
			float64(ours.median()-w.openWork.ours)/float64(2*oneWay), float64(theirs.median()-w.openWork.theirs)/float64(4*oneWay))
	}
	return []figure{f}, nil
}

// opens opens n sessions of each in turns, after one of each to warm up.
func (s *site) opens(ctx context.Context, n int) (ours, theirs samples, err error) {
	for i := range n + 1 {
		a, err := s.open(ctx, s.viaScrier())
		if err != nil {
			return nil, nil, fmt.Errorf("scrier: %w", err)
		}
		b, err := s.open(ctx, s.viaSSH())
		if err != nil {
			return nil, nil, fmt.Errorf("ssh: %w", err)
		}
		if i > 0 {
			ours, theirs = append(ours, a), append(theirs, b)
		}
	}
	return ours, theirs, nil
}

// open takes the time from starting a command to the shell's prompt, and ends the shell.
func (s *site) open(ctx context.Context, c *exec.Cmd) (time.Duration, error) {
	begin := time.Now()
	t, err := openTerminal(s.net.operator, c)
	if err != nil {
		return 0, err
	}
	if err := t.expect(ctx, prompt); err != nil {
		return 0, errors.Join(err, t.close())
	}
	took := time.Since(begin)
	return took, t.leave()
}
