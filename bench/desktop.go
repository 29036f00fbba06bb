package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// kinds of desktops, in the order in which they take turns: the bare page, which Scrier's are
// compared with, and Scrier's over either transport.
var kinds = [3]string{bareKind, "WebTransport", "WebSocket"}

const (
	bareKind = "bare"

	desktopWarmUp = 5 // keys that are thrown away after each opening
)

// showing is what was seen of one kind.
type showing struct {
	first         samples // from the beginning until the desktop's colour
	seen, arrived samples // keys
	dragged       work    // one viewer
	crowd         work    // several
}

// work is what moving a window took, all drags together.
type work struct {
	took          time.Duration
	frames, bytes int // of all viewers
	middle        load
	agent, guacd  load
}

// load is a process's share.
type load struct {
	processor time.Duration // in that time
	memory    int64         // at the end of it
}

// desktops measures what somebody waits for who works on a desktop in a page, and what it takes.
func desktops(ctx context.Context, w *world, o options) ([]figure, error) {
	b, err := newDesktopBench(ctx, w)
	if err != nil {
		return nil, err
	}
	var found [len(kinds)]showing
	// The first fills the browser's cache, and tells how large the picture is in Scrier's page.
	for _, k := range []int{1, 2, 0} {
		if err := errors.Join(b.open(ctx, kinds[k], 0, nil), b.leave(ctx, kinds[k], 0)); err != nil {
			return nil, err
		}
	}
	if err := b.settled(ctx, 0); err != nil {
		return nil, err
	}
	idle, err := b.usages(bareKind)
	if err != nil {
		return nil, err
	}
	scrierIdle, err := b.usages(kinds[1])
	if err != nil {
		return nil, err
	}
	keys := (o.pressed + o.rounds - 1) / o.rounds
	for round := range o.rounds {
		for n := range kinds {
			k := (round + n) % len(kinds)
			fmt.Fprintf(o.say, "  round %d, %s\n", round+1, kinds[k])
			if err := b.turn(ctx, kinds[k], keys, o, &found[k]); err != nil {
				return nil, fmt.Errorf("%s: %w", kinds[k], err)
			}
		}
	}
	for k, kind := range kinds {
		fmt.Fprintf(o.say, "  %d viewers, %s\n", o.viewers, kind)
		if err := b.gather(ctx, kind, o, &found[k].crowd); err != nil {
			return nil, fmt.Errorf("%d viewers, %s: %w", o.viewers, kind, err)
		}
	}
	remarks := fmt.Sprintf("From the page's first word to its relay or bridge until the desktop's colour is in a frame of the screen. Chromium %s. Memory without a desktop, after the first ones: relay %s, bridge %s, agent %s, guacd %s.",
		b.browser.version, size(scrierIdle[0].memory), size(idle[0].memory), size(scrierIdle[1].memory), size(idle[2].memory))
	return desktopFigures(found, remarks, o), nil
}

// turn is one kind's part of a round.
func (b *desktopBench) turn(ctx context.Context, kind string, keys int, o options, s *showing) error {
	for n := range o.opened {
		if err := b.open(ctx, kind, 0, &s.first); err != nil {
			return err
		}
		if n < o.opened-1 {
			if err := b.leave(ctx, kind, 0); err != nil {
				return err
			}
		}
	}
	for n := range desktopWarmUp + keys {
		r, err := b.browser.ask(ctx, command{Over: kind, Do: "key"})
		if err != nil {
			return err
		}
		if n >= desktopWarmUp {
			s.seen, s.arrived = r.add(s.seen, s.arrived)
		}
	}
	if err := b.move(ctx, kind, 1, o.drag, &s.dragged); err != nil {
		return err
	}
	return b.leave(ctx, kind, 0)
}

// gather opens several viewers and lets all of them see a window that moves.
func (b *desktopBench) gather(ctx context.Context, kind string, o options, out *work) error {
	for seat := range o.viewers {
		if err := b.open(ctx, kind, seat, nil); err != nil {
			return err
		}
	}
	if err := b.move(ctx, kind, o.viewers, o.drag, out); err != nil {
		return err
	}
	for seat := range o.viewers {
		if err := b.leave(ctx, kind, seat); err != nil {
			return err
		}
	}
	return nil
}

// move drags the window, and adds what that takes.
func (b *desktopBench) move(ctx context.Context, kind string, viewers int, about time.Duration, out *work) error {
	if err := errors.Join(b.screen.front(b.screen.window), b.settled(ctx, viewers)); err != nil {
		return err
	}
	if _, _, err := b.count(ctx, kind, viewers); err != nil { // what came before does not count
		return err
	}
	before, err := b.usages(kind)
	if err != nil {
		return err
	}
	took, err := b.screen.drag(ctx, about)
	if err != nil {
		return err
	}
	after, err := b.usages(kind)
	if err != nil {
		return err
	}
	frames, bytes, err := b.count(ctx, kind, viewers)
	if err != nil {
		return err
	}
	out.took += took
	out.frames += frames
	out.bytes += bytes
	for i, l := range []*load{&out.middle, &out.agent, &out.guacd} {
		l.processor += after[i].processor - before[i].processor
		l.memory = max(l.memory, after[i].memory)
	}
	return b.screen.front(b.screen.ground)
}

func (b *desktopBench) count(ctx context.Context, kind string, viewers int) (frames, bytes int, err error) {
	for seat := range viewers {
		r, err := b.browser.ask(ctx, command{Over: kind, Seat: seat, Do: "count"})
		if err != nil {
			return 0, 0, err
		}
		frames += r.Frames
		bytes += r.Bytes
	}
	return frames, bytes, nil
}

// desktopFigures compares each transport with the bare page.
func desktopFigures(found [len(kinds)]showing, remarks string, o options) (out []figure) {
	bare := found[0]
	for k, kind := range kinds[1:] {
		ours := found[k+1]
		add := func(f figure, aim string) {
			f.name += ", " + kind
			f.aim = aim
			out = append(out, f)
		}
		first := timing("first picture p50", bareKind, bare.first.median(), ours.first.median())
		first.note = fmt.Sprintf("%d of each. Tenth to ninetieth percentile: scrier %s, bare %s.", len(ours.first), ours.first.spread(), bare.first.spread())
		if k == 0 {
			first.note += "\n" + remarks
		}
		add(first, "<= 1.10")
		for _, p := range [2]int{50, 99} {
			f := timing(fmt.Sprintf("key seen p%d", p), bareKind, bare.seen.percentile(p), ours.seen.percentile(p))
			if p == 50 {
				f.note = fmt.Sprintf("%d keys of each; arrived %d and %d of them.", len(ours.seen), len(ours.arrived), len(bare.arrived))
			}
			add(f, "<= 1.10")
		}
		if min(len(bare.arrived), len(ours.arrived)) > 0 {
			for _, p := range [2]int{50, 99} {
				add(timing(fmt.Sprintf("key arrived p%d", p), bareKind, bare.arrived.percentile(p), ours.arrived.percentile(p)), "<= 1.10")
			}
		}
		for _, f := range workFigures(1, bare.dragged, ours.dragged) {
			add(f, f.aim)
		}
		for _, f := range workFigures(o.viewers, bare.crowd, ours.crowd) {
			add(f, f.aim)
		}
	}
	return out
}

// workFigures compares two works of as many viewers.
func workFigures(viewers int, theirs, ours work) []figure {
	who := fmt.Sprintf("%d viewers", viewers)
	if viewers == 1 {
		who = "1 viewer"
	}
	one := func(name, format, aim string, of func(work) float64) figure {
		t, o := of(theirs), of(ours)
		return figure{name: name + ", " + who, base: bareKind, theirs: fmt.Sprintf(format, t), ours: fmt.Sprintf(format, o), ratio: o / t, aim: aim}
	}
	share := func(l func(work) load) func(work) float64 {
		return func(w work) float64 { return 100 * l(w).processor.Seconds() / w.took.Seconds() }
	}
	perFrame := func(l func(work) load) func(work) float64 {
		return func(w work) float64 { return float64(l(w).processor.Microseconds()) / float64(w.frames) }
	}
	middle := func(w work) load { return w.middle }
	out := []figure{
		one("frames a second", "%.1f", ">= 0.91", func(w work) float64 { return float64(w.frames) / w.took.Seconds() / float64(viewers) }),
		one("kB a second", "%.0f", "-", func(w work) float64 { return float64(w.bytes) / 1000 / w.took.Seconds() / float64(viewers) }),
		one("kB a frame", "%.1f", "<= 1.10", func(w work) float64 { return float64(w.bytes) / 1000 / float64(w.frames) }),
		one("processor of relay or bridge", "%.1f %%", "-", share(middle)),
		one("the same a frame", "%.0f µs", "-", perFrame(middle)),
		one("memory of relay or bridge", "%.1f MB", "-", func(w work) float64 { return float64(w.middle.memory) / 1e6 }),
	}
	guacd, agent := func(w work) load { return w.guacd }, func(w work) load { return w.agent }
	out[3].note = fmt.Sprintf("Percent of one core over the drags (%.0f s and %.0f s). Agent: %.1f %%, %s. guacd: %.1f %%, %s with scrier, %.1f %%, %s with the bridge.",
		ours.took.Seconds(), theirs.took.Seconds(), share(agent)(ours), size(ours.agent.memory),
		share(guacd)(ours), size(ours.guacd.memory), share(guacd)(theirs), size(theirs.guacd.memory))
	return out
}

func size(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

// isScrier says whether a kind's viewers come through the relay.
func isScrier(kind string) bool { return slices.Contains(kinds[1:], kind) }
