package main

import (
	"context"
	"fmt"
	"time"
)

const (
	pageWarmUp = 20               // keystrokes that are thrown away
	pageFlood  = 20 * time.Second // for output, of each at each network
	pageSlow   = 40               // percent of the keystrokes, where each takes long
)

// transports in the order in which they take turns.
var transports = [2]string{"WebTransport", "WebSocket"}

// pages measures what somebody in front of a browser waits for. The browser is at one end of a
// link; relay, agent and sshd are at the other.
func pages(ctx context.Context, w *world, o options) (sheet, error) {
	p, err := newPageBench(ctx, w, o)
	if err != nil {
		return sheet{}, err
	}
	var out sheet
	for _, now := range []weather{{}, {loss: 0.02}, {roundTrip: 100 * time.Millisecond}, {roundTrip: 100 * time.Millisecond, loss: 0.02}} {
		fmt.Fprintln(o.say, "  at", now)
		found, err := p.at(ctx, now, o)
		if err != nil {
			return sheet{}, fmt.Errorf("at %s: %w", now, err)
		}
		out.pages = append(out.pages, found...)
	}
	out.remarks = append([]string{
		fmt.Sprintf("%s over a link with round trip and loss as named, loss both ways; TCP's congestion control: %s.", "Chromium "+p.browser.version, firstLine("/proc/sys/net/ipv4/tcp_congestion_control")),
		"seen: from the key's event until the terminal's elements show the echo; arrived: until its bytes are out of the transport.",
		fmt.Sprintf("%d keystrokes of each, %d with a delay, in turns. With output ten a second, that many at least unless %s pass before.", o.keys, slower(o.keys), pageFlood),
		"20 MB: until the last of it is seen, while keys are typed. prompt: from the click in the fleet to the prompt.",
	}, p.remarks...)
	return out, nil
}

func slower(keys int) int { return max(1, keys*pageSlow/100) }

// at is all that is measured at one network.
func (p *pageBench) at(ctx context.Context, now weather, o options) ([]race, error) {
	if err := p.set(ctx, now); err != nil {
		return nil, err
	}
	keys := o.keys
	if now.roundTrip > 0 {
		keys = slower(keys)
	}
	var out []race
	opens := 1
	if now.loss == 0 {
		opens += o.clicks // the first fills the browser's cache
	}
	prompts, err := p.prompts(ctx, opens)
	if err != nil {
		return nil, err
	}
	if err := p.answer(ctx); err != nil {
		return nil, err
	}
	seen, arrived, err := p.keystrokes(ctx, keys)
	if err != nil {
		return nil, err
	}
	out = append(out, pair("seen, "+now.String(), seen), pair("arrived, "+now.String(), arrived))
	loaded, err := p.floods(ctx, now, keys)
	if err != nil {
		return nil, err
	}
	out = append(out, loaded...)
	if now.loss == 0 {
		out = append(out, pair("prompt, "+now.String(), prompts))
	}
	for _, t := range transports {
		if _, err := p.browser.ask(ctx, command{Over: t, Do: "leave"}); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func pair(name string, s [2]samples) race {
	return race{name: name, webTransport: s[0], webSocket: s[1]}
}

// prompts opens shells and leaves all but the last of each. The first counts for nothing.
func (p *pageBench) prompts(ctx context.Context, n int) (took [2]samples, err error) {
	for i := range n {
		for t, over := range transports {
			r, err := p.browser.ask(ctx, command{Over: over, Do: "open"})
			if err != nil {
				return took, err
			}
			if i > 0 && r.Took != nil {
				took[t] = append(took[t], ms(*r.Took))
			}
			if i == n-1 {
				continue
			}
			if _, err := p.browser.ask(ctx, command{Over: over, Do: "leave"}); err != nil {
				return took, err
			}
		}
	}
	return took, nil
}

// keystrokes types into both pages, one key each in turns.
func (p *pageBench) keystrokes(ctx context.Context, n int) (seen, arrived [2]samples, err error) {
	for i := range pageWarmUp + n {
		for k := range transports {
			t := (i + k) % len(transports)
			r, err := p.browser.ask(ctx, command{Over: transports[t], Do: "key"})
			if err != nil {
				return seen, arrived, err
			}
			if i >= pageWarmUp {
				seen[t], arrived[t] = r.add(seen[t], arrived[t])
			}
		}
	}
	return seen, arrived, nil
}

// add appends the keystrokes of a reply to what there was before.
func (r reply) add(seen, arrived samples) (samples, samples) {
	for _, k := range r.Keys {
		seen = append(seen, ms(k.Seen))
		if k.Arrived != nil {
			arrived = append(arrived, ms(*k.Arrived))
		}
	}
	return seen, arrived
}

func ms(n float64) time.Duration { return time.Duration(n * float64(time.Millisecond)) }
