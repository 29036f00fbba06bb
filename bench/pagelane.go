package main

import (
	"context"
	"fmt"
	"time"
)

const laneFlood = 20 * time.Second // of output, of each in each network

// laneSeats are the page that cannot have a lane, and the one that can, in the order in which they take turns.
var laneSeats = [2]string{"WebTransport", "lane"}

// pageLane is how much output comes in a page over a network that loses packets, with WebTransport alone and where a WebSocket
// beside it may be used.
func pageLane(ctx context.Context, w *world, o options) (sheet, error) {
	p, err := newPageBench(ctx, w, o, "LANE=1")
	if err != nil {
		return sheet{}, err
	}
	for _, over := range laneSeats {
		for _, c := range []command{{Over: over, Do: "open"}, {Over: over, Do: "far", Run: p.program + " " + farRole}} {
			if _, err := p.browser.ask(ctx, c); err != nil {
				return sheet{}, err
			}
		}
	}
	var out sheet
	for _, now := range []weather{
		{roundTrip: 50 * time.Millisecond, loss: 0.01},
		{roundTrip: 100 * time.Millisecond, loss: 0.01}, {roundTrip: 100 * time.Millisecond, loss: 0.02},
	} {
		fmt.Fprintln(o.say, "  at", now)
		var rates [2]float64 // bytes a second
		note := ""
		for i, over := range laneSeats {
			if err := p.set(ctx, now); err != nil {
				return out, err
			}
			r, err := p.browser.ask(ctx, command{Over: over, Do: "flood", Limit: laneFlood.Milliseconds()})
			if err != nil {
				return out, err
			}
			took := r.Since
			if r.Took != nil {
				took = *r.Took
			}
			rates[i] = float64(r.Bytes) / took * 1000
			note += fmt.Sprintf("%s: %.1f MB in %.1f s, carried by %s behind it. ", over, float64(r.Bytes)/1e6, took/1000, r.Carried)
			if err := p.set(ctx, weather{}); err != nil {
				return out, err
			}
			if r.Took == nil {
				if _, err := p.browser.ask(ctx, command{Over: over, Do: "settle"}); err != nil {
					return out, err
				}
			}
		}
		out.figures = append(out.figures, figure{
			name: "output in a page, " + now.String(), base: "WebTransport alone", theirs: perSecond(rates[0]), ours: perSecond(rates[1]), ratio: rates[1] / rates[0],
			note: note + "Here a higher ratio is better. TCP's congestion control of a lane: BBR where the kernel has it; it has: " +
				firstLine("/proc/sys/net/ipv4/tcp_available_congestion_control") + ". " + loadNow(),
		})
	}
	return out, nil
}

func perSecond(bytes float64) string { return fmt.Sprintf("%.2f MB/s", bytes/1e6) }
