package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// lag measures how far what is seen is behind what is done, while a shell prints as fast as it can.
func lag(ctx context.Context, w *world, o options) (out sheet, _ error) {
	if o.lags("screen") || o.lags("hops") {
		grids, err := near(ctx, w, o)
		if err != nil {
			return out, err
		}
		out.grids = append(out.grids, grids...)
	}
	if o.lags("link") {
		grids, err := links(ctx, w, o)
		if err != nil {
			return out, err
		}
		out.grids = append(out.grids, grids...)
	}
	if o.lags("page") {
		found, err := pageLag(ctx, w, o)
		if err != nil {
			return out, err
		}
		out.pages, out.remarks = found.pages, found.remarks
	}
	return out, nil
}

// near is what is measured on loopback.
func near(ctx context.Context, w *world, o options) (out []grid, err error) {
	s, err := newSiteWith(ctx, w, "lag", loopback, briefly)
	if err != nil {
		return nil, err
	}
	all, err := s.rivals(ctx, false)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.leave(all)) }()
	if o.lags("screen") {
		g, err := s.screens(ctx, all, o)
		if err != nil {
			return nil, err
		}
		out = append(out, g)
	}
	if o.lags("hops") {
		g, err := s.hops(ctx, all, o)
		if err != nil {
			return nil, err
		}
		out = append(out, g)
	}
	return out, nil
}

// briefly keeps a relay from holding sessions that were dropped: they would print on.
var briefly = conf{relay: "scrier: {detach_grace: 1s}\n"}

// tally is what was found out about one rival in one cell.
type tally struct {
	took    samples
	bytes   []int64
	late    int // interruptions that did not end
	echoes  samples
	missing int // echoes that did not come
	said    error
}

func (c *tally) tries() int { return len(c.took) + c.late }

// interrupted are p50 and maximum of the time from Ctrl-C to the prompt.
func (c *tally) interrupted(limit time.Duration) string {
	switch {
	case c.said != nil:
		return "failed"
	case len(c.took) == 0:
		return fmt.Sprintf("> %s", limit)
	}
	text := fmt.Sprintf("%s / %s", long(c.took.median()), long(c.took.percentile(100)))
	if c.late > 0 {
		text += fmt.Sprintf(" (%d of %d: > %s)", c.late, c.tries(), limit)
	}
	return text
}

// echoed are p50 and p99 of the echoes.
func (c *tally) echoed(limit time.Duration) string {
	switch {
	case c.said != nil:
		return "failed"
	case len(c.echoes) == 0:
		return fmt.Sprintf("> %s", limit)
	}
	text := fmt.Sprintf("%s / %s", long(c.echoes.median()), long(c.echoes.percentile(99)))
	if c.missing > 0 {
		text += fmt.Sprintf(" (%d of %d: > %s)", c.missing, c.missing+len(c.echoes), limit)
	}
	return text
}

// left is the median of what came after Ctrl-C, and of the time that it took.
func (c *tally) left(limit time.Duration) string {
	if len(c.bytes) == 0 {
		return c.interrupted(limit)
	}
	sorted := slices.Sorted(slices.Values(c.bytes))
	return fmt.Sprintf("%s, %s", amount(sorted[(len(sorted)-1)/2]), c.interrupted(limit))
}

// try is one printing and its interruption. What goes wrong for one rival is told in its place of the
// table, and the others go on.
func (s *site) try(ctx context.Context, all []*rival, r *rival, speed int64, echoes bool, o options, c *tally) error {
	err := s.ready(ctx, r)
	if err == nil {
		err = r.interrupt(ctx, speed, echoes, o, c)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		c.said = err
		fmt.Fprintln(o.say, "   ", r.name+":", err)
		return s.drop(all)
	}
	return nil
}

// interrupt measures one, which has a prompt before and after. An error: it has not.
func (r *rival) interrupt(ctx context.Context, speed int64, echoes bool, o options, c *tally) error {
	p, err := r.at.print(speed, "yes "+printedLine)
	if err != nil {
		return err
	}
	if err := p.begin(ctx, o.limit); err != nil {
		return err
	}
	if echoes && !r.diffs {
		missing, err := p.keys(ctx, o.limit)
		if err != nil {
			return err
		}
		c.echoes, c.missing = append(c.echoes, p.echoes...), c.missing+missing
	} else if err := p.pass(ctx, typedKeys*typedEvery); err != nil {
		return err
	}
	i, err := p.interrupt(ctx, o.limit)
	if err != nil {
		return err
	}
	if i.late {
		c.late++
		// The next try finds none of it under way.
		if err := p.show(ctx, time.Now().Add(2*o.limit), func() bool { return p.over }); err != nil {
			return err
		}
		if !p.over {
			return fmt.Errorf("no prompt within %s after Ctrl-C", 3*o.limit)
		}
		return nil
	}
	c.took, c.bytes = append(c.took, i.took), append(c.bytes, i.bytes)
	return nil
}

// turns lets all rivals try, in an order of its own each time.
func (s *site) turns(ctx context.Context, all []*rival, speed int64, echoes bool, o options) (map[*rival]*tally, error) {
	found := make(map[*rival]*tally)
	for _, r := range all {
		found[r] = new(tally)
	}
	for n := range o.tries {
		for i := range all {
			r := all[(i+n)%len(all)]
			if found[r].said != nil {
				continue
			}
			if err := s.try(ctx, all, r, speed, echoes, o, found[r]); err != nil {
				return nil, err
			}
		}
	}
	return found, nil
}

// screens is what still comes after Ctrl-C, on screens of some speeds.
func (s *site) screens(ctx context.Context, all []*rival, o options) (grid, error) {
	g := grid{columns: append([]string{"after Ctrl-C, p50 / max; screen shows"}, names(all)...)}
	for _, speed := range o.speeds {
		label := "as fast as it comes"
		if speed > 0 {
			label = amount(speed) + "/s"
		}
		fmt.Fprintln(o.say, "  on a screen that shows", label)
		found, err := s.turns(ctx, all, speed, false, o)
		if err != nil {
			return g, err
		}
		row := []string{label}
		for _, r := range all {
			row = append(row, found[r].left(o.limit))
		}
		g.rows = append(g.rows, row)
	}
	g.remarks = []string{fmt.Sprintf("On loopback, %d tries of each, in turns: bytes (p50) that the terminal was given from Ctrl-C to the prompt, and the time. %s", o.tries, loadNow())}
	return g, nil
}

func names(all []*rival) (out []string) {
	for _, r := range all {
		out = append(out, r.name)
	}
	return out
}

func loadNow() string {
	load, _, _ := strings.Cut(firstLine("/proc/loadavg"), " ")
	return "Load at the end: " + load + "."
}

// links are Ctrl-C to the prompt, and the echo of a key while output comes, on good and bad networks
// between the operator and everything else.
func links(ctx context.Context, w *world, o options) (_ []grid, err error) {
	netem, err := buildNetem(ctx, w, o)
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("sb%dt", os.Getpid())
	l, err := w.link(ctx, netem, name, "10.77.4", 0)
	if err != nil {
		return nil, err
	}
	s, err := newSiteWith(ctx, w, "lag-link", network{
		operator: name + "-a", relay: name + "-b", envoy: name + "-b",
		relayForOperator: "10.77.4.2", relayIP: "127.0.0.1", envoyIP: "10.77.4.2",
	}, briefly)
	if err != nil {
		return nil, err
	}
	all, err := s.rivals(ctx, true)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.leave(all)) }()
	stops := grid{columns: append([]string{"Ctrl-C to prompt, p50 / max"}, names(all)...)}
	var bytewise []*rival
	for _, r := range all {
		if !r.diffs {
			bytewise = append(bytewise, r)
		}
	}
	echoes := grid{columns: append([]string{"echo during output, p50 / p99"}, names(bytewise)...)}
	for _, cell := range o.cells {
		fmt.Fprintln(o.say, "  at", cell)
		// Each network begins with new connections, which know nothing of the one before. They are
		// made on a good one: that is not what is measured.
		if err := errors.Join(l.set(ctx, weather{}), s.leave(all)); err != nil {
			return nil, err
		}
		for _, r := range all {
			if err := s.ready(ctx, r); err != nil {
				fmt.Fprintln(o.say, "   ", err) // its first try tells
			}
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err := l.set(ctx, cell); err != nil {
			return nil, err
		}
		found, err := s.turns(ctx, all, 0, true, o)
		if err != nil {
			return nil, err
		}
		stop, echo := []string{cell.String()}, []string{cell.String()}
		for _, r := range all {
			stop = append(stop, found[r].interrupted(o.limit))
			if !r.diffs {
				echo = append(echo, found[r].echoed(o.limit))
			}
		}
		stops.rows, echoes.rows = append(stops.rows, stop), append(echoes.rows, echo)
	}
	stops.remarks = []string{
		fmt.Sprintf("Round trip, loss each way and rate of the link between the operator and all else; %d tries of each, in turns. TCP's congestion control: %s. %s",
			o.tries, firstLine("/proc/sys/net/ipv4/tcp_congestion_control"), loadNow()),
	}
	echoes.remarks = []string{fmt.Sprintf("%d keys of each, ten a second, whether echoed or not, in terminals that show as fast as it comes.", o.tries*typedKeys)}
	return []grid{stops, echoes}, nil
}
