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
	tcp, err := newSiteWith(ctx, w, "open-tcp", loopback, conf{agent: "transport: tcp\n"})
	if err != nil {
		return nil, err
	}
	took, err := opens(ctx, o.opens, s.shell, tcp.shellOverTCP, s.plainShell)
	if err != nil {
		return nil, err
	}
	ours, overTCP, theirs := took[0], took[1], took[2]
	w.openWork.ours, w.openWork.theirs = ours.median(), theirs.median()
	f := timing("session open, loopback", "ssh", theirs.median(), ours.median())
	f.note = fmt.Sprintf("Medians of %d sessions of each, in turns, from starting the command to the shell's prompt.\nTenth to ninetieth percentile: scrier %s, over TCP %s, ssh %s.",
		o.opens, ours.spread(), overTCP.spread(), theirs.spread())
	return []figure{f, timing("session open over TCP, loopback", "ssh", theirs.median(), overTCP.median())}, nil
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
	tcp, err := newSiteWith(ctx, w, "wan-tcp", n.network, conf{agent: "transport: tcp\n"})
	if err != nil {
		return nil, err
	}
	took, err := opens(ctx, o.wans, s.shell, tcp.shellOverTCP, s.plainShell)
	if err != nil {
		return nil, err
	}
	ours, overTCP, theirs := took[0], took[1], took[2]
	f := timing("session open, 2 x 50 ms", "ssh", theirs.median(), ours.median())
	f.aim = "<= 0.60"
	f.note = fmt.Sprintf("Medians of %d sessions of each, in turns. The path took %s there and back (TCP, no data).\nTenth to ninetieth percentile: scrier %s, over TCP %s, ssh %s.",
		o.wans, short(n.path), ours.spread(), overTCP.spread(), theirs.spread())
	if w.openWork.ours > 0 {
		f.note += fmt.Sprintf("\nBeyond the time on loopback: scrier %.1f x 50 ms, ssh %.1f x 100 ms.",
			float64(ours.median()-w.openWork.ours)/float64(2*oneWay), float64(theirs.median()-w.openWork.theirs)/float64(4*oneWay))
	}
	return []figure{f, timing("session open over TCP, 2 x 50 ms", "ssh", theirs.median(), overTCP.median())}, nil
}

// shell opens one over QUIC, as long as nothing is in its way, and takes the time.
func (s *site) shell(ctx context.Context) (time.Duration, error) { return s.open(ctx, s.viaScrier()) }

// shellOverTCP opens one over TCP; the site's agent does the same.
func (s *site) shellOverTCP(ctx context.Context) (time.Duration, error) {
	c := s.viaScrier()
	c.Args = append(c.Args, "--transport", "tcp")
	return s.open(ctx, c)
}

// plainShell opens one with ssh.
func (s *site) plainShell(ctx context.Context) (time.Duration, error) { return s.open(ctx, s.viaSSH()) }

// opens opens n sessions of each kind in turns, after one of each to warm up.
func opens(ctx context.Context, n int, kinds ...func(context.Context) (time.Duration, error)) ([]samples, error) {
	took := make([]samples, len(kinds))
	for i := range n + 1 {
		for k, open := range kinds {
			d, err := open(ctx)
			if err != nil {
				return nil, fmt.Errorf("kind %d: %w", k+1, err)
			}
			if i > 0 {
				took[k] = append(took[k], d)
			}
		}
	}
	return took, nil
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
