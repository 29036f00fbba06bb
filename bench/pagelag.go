package main

import (
	"context"
	"fmt"
	"time"
)

const pageLagTyped = 4 * time.Second // ten keys a second, over each transport, in each cell

// pageLag is the echo of a key in the page while output comes, over both transports.
func pageLag(ctx context.Context, w *world, o options) (sheet, error) {
	p, err := newPageBench(ctx, w, o)
	if err != nil {
		return sheet{}, err
	}
	var out sheet
	if err := p.far(ctx); err != nil {
		return out, err
	}
	for _, cell := range o.cells {
		fmt.Fprintln(o.say, "  in the page at", cell)
		seen := race{name: "echo seen during output, " + cell.String()}
		arrived := race{name: "arrived, " + cell.String()}
		for t, over := range transports {
			if err := p.set(ctx, cell); err != nil {
				return out, err
			}
			r, err := p.browser.ask(ctx, command{Over: over, Do: "flood", Limit: pageLagTyped.Milliseconds()})
			if ctx.Err() != nil {
				return out, context.Cause(ctx)
			}
			if err != nil { // its keys had no echo for as long as the driver waits
				fmt.Fprintln(o.say, "   ", over+":", err)
				seen.unfinished[t], arrived.unfinished[t] = "no echo", "no echo"
			}
			s, a := r.add(nil, nil)
			if t == 0 {
				seen.webTransport, arrived.webTransport = s, a
			} else {
				seen.webSocket, arrived.webSocket = s, a
			}
			if r.Connections > 1 {
				out.remarks = append(out.remarks, fmt.Sprintf("%s: %s was connected %d times.", cell, over, r.Connections))
			}
			if err := p.set(ctx, weather{}); err != nil {
				return out, err
			}
			if r.Took == nil {
				if _, err := p.browser.ask(ctx, command{Over: over, Do: "settle"}); err != nil {
					if ctx.Err() != nil {
						return out, context.Cause(ctx)
					}
					fmt.Fprintln(o.say, "   ", over+":", err)
					out.remarks = append(out.remarks, fmt.Sprintf("%s: over %s the output did not end on a good network either; nothing more was measured in the page.", cell, over))
					return out, nil
				}
			}
		}
		out.pages = append(out.pages, seen, arrived)
	}
	out.remarks = append(out.remarks, fmt.Sprintf("Ten keys a second for %s of each while 20 MB come; Chromium %s. %s", pageLagTyped, p.browser.version, loadNow()))
	return out, nil
}

// far opens a shell in each page and starts the program that answers keys.
func (p *pageBench) far(ctx context.Context) error {
	if _, err := p.prompts(ctx, 1); err != nil {
		return err
	}
	return p.answer(ctx)
}

// answer starts that program in the shells that are open.
func (p *pageBench) answer(ctx context.Context) error {
	for _, t := range transports {
		if _, err := p.browser.ask(ctx, command{Over: t, Do: "far", Run: p.program + " " + farRole}); err != nil {
			return err
		}
	}
	return nil
}
