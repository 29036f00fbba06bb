package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// warmUp is how many samples are thrown away: buffers, caches and the flow of packets settle.
const warmUp = 300

// echo measures keystrokes: one byte into a terminal, through to a program at the far end that
// copies it, and back. scrier, ssh and the bare splice take turns, one keystroke each.
func echo(ctx context.Context, w *world, o options) (_ []figure, err error) {
	s, err := newSite(ctx, w, "echo", loopback)
	if err != nil {
		return nil, err
	}
	scrier, err := openTerminal("", s.viaScrier())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, scrier.close()) }()
	ssh, err := openTerminal("", s.viaSSH())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, ssh.close()) }()
	for _, t := range []*terminal{scrier, ssh} {
		if err := echoing(ctx, t); err != nil {
			return nil, err
		}
	}
	f, err := newFloor(ctx, w, "echo-floor")
	if err != nil {
		return nil, err
	}
	splice, err := f.open(ctx, floorEcho)
	if err != nil {
		return nil, err
	}
	turns := []func(context.Context) (time.Duration, error){scrier.echo, ssh.echo, splice.echo}
	took := make([]samples, len(turns))
	for n := range warmUp + o.echoes {
		for i := range turns {
			i := (i + n) % len(turns) // nobody always comes behind the same one
			d, err := turns[i](ctx)
			if err != nil {
				return nil, err
			}
			if n >= warmUp {
				took[i] = append(took[i], d)
			}
		}
	}
	ours, theirs, floor := took[0], took[1], took[2]
	var out []figure
	for _, p := range []int{50, 99} {
		out = append(out, timing(fmt.Sprintf("keystroke echo p%d", p), "ssh", theirs.percentile(p), ours.percentile(p)))
	}
	for _, p := range []int{50, 99} {
		out = append(out, timing(fmt.Sprintf("keystroke echo p%d", p), "ssh + bare splice", theirs.percentile(p)+floor.percentile(p), ours.percentile(p)))
	}
	out[2].aim = "<= 1.15"
	out[2].note = fmt.Sprintf("%d keystrokes of each, in turns. The bare splice alone: p50 %s, p99 %s.\nTenth to ninetieth percentile: scrier %s, ssh %s, splice %s.",
		o.echoes, short(floor.percentile(50)), short(floor.percentile(99)), ours.spread(), theirs.spread(), floor.spread())
	return out, nil
}

// echoing makes a shell into a program that copies what is typed, byte by byte.
func echoing(ctx context.Context, t *terminal) error {
	if err := t.expect(ctx, prompt); err != nil {
		return err
	}
	if err := t.send("stty raw -echo; printf 're%s' ady; exec cat\r"); err != nil {
		return err
	}
	return t.expect(ctx, "ready")
}
