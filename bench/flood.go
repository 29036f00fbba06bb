package main

import (
	"context"
	"fmt"
	"time"
)

// floods has output come in one page, then in the other, and types meanwhile; again until there
// are n keystrokes of each, or their time is over.
func (p *pageBench) floods(ctx context.Context, now weather, n int) ([]race, error) {
	var seen, arrived, took [2]samples
	var left [2]time.Duration
	var unfinished [2]string
	var connections [2]int
	for t := range transports {
		left[t] = pageFlood
	}
	for more := true; more; {
		more = false
		for t, over := range transports {
			if len(seen[t]) >= n || left[t] <= 0 {
				continue
			}
			more = true
			begin := time.Now()
			r, err := p.browser.ask(ctx, command{Over: over, Do: "flood", Limit: left[t].Milliseconds()})
			if err != nil {
				return nil, err
			}
			left[t] -= time.Since(begin)
			seen[t], arrived[t] = r.add(seen[t], arrived[t])
			connections[t] = r.Connections
			if r.Took != nil {
				took[t] = append(took[t], ms(*r.Took))
				continue
			}
			left[t] = 0
			unfinished[t] = fmt.Sprintf("%.1f MB in %.0f s", float64(r.Bytes)/1e6, r.Since/1000)
			if err := p.settle(ctx, now, over); err != nil {
				return nil, err
			}
		}
	}
	for t, over := range transports {
		if len(seen[t]) < n {
			p.remarks = append(p.remarks, fmt.Sprintf("%s: only %d keystrokes with output over %s.", now, len(seen[t]), over))
		}
		if connections[t] > 1 {
			p.remarks = append(p.remarks, fmt.Sprintf("%s: %s was connected %d times.", now, over, connections[t]))
		}
	}
	output := pair("20 MB, "+now.String(), took)
	output.unfinished = unfinished
	return []race{
		pair("seen, "+now.String()+", with 20 MB", seen), pair("arrived, "+now.String()+", with 20 MB", arrived), output,
	}, nil
}

// settle lets the rest of an output come over a link that costs nothing.
func (p *pageBench) settle(ctx context.Context, now weather, over string) error {
	if err := p.set(ctx, weather{}); err != nil {
		return err
	}
	if _, err := p.browser.ask(ctx, command{Over: over, Do: "settle"}); err != nil {
		return err
	}
	return p.set(ctx, now)
}
