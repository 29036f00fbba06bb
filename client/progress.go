package client

import (
	"context"
	"slices"
	"strings"
	"sync"

	"scrier/wire"
)

// credit is how much may be typed ahead of what the shell has taken: one goroutine takes of it,
// another one hears what arrived.
type credit struct {
	window  uint64
	changed chan struct{} // holds at most one wake-up

	mu    sync.Mutex
	sent  uint64
	there uint64 // at the shell
}

func newCredit(window uint32) *credit {
	return &credit{window: uint64(window), changed: make(chan struct{}, 1)}
}

// take waits until n bytes may be sent.
func (c *credit) take(ctx context.Context, n int) error {
	for {
		c.mu.Lock()
		ok := c.sent+uint64(n) <= c.there+c.window
		if ok {
			c.sent += uint64(n)
		}
		c.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-c.changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (c *credit) arrived(offset uint64) {
	c.mu.Lock()
	c.there = max(c.there, min(offset, c.sent))
	c.mu.Unlock()
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// ackEvery is how much output is shown before the relay hears of it.
const ackEvery = wire.ViewerWindow / 4

// progress is how far the terminal has shown the session's output.
type progress struct {
	mu            sync.Mutex
	offset, acked uint64
	history       uint64 // output before this was there before us
}

// add counts n bytes as shown and says whether it is time to tell.
func (p *progress) add(n int) (offset uint64, due bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.offset += uint64(n)
	if due = p.offset-p.acked >= ackEvery; due {
		p.acked = p.offset
	}
	return p.offset, due
}

// live says that what was there before us has been shown.
func (p *progress) live() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.offset >= p.history
}

func watching(names []string) string {
	if len(names) == 0 {
		return "nobody watches this session any more"
	}
	shown := slices.Clone(names)
	for i, n := range shown {
		shown[i] = wire.Printable(n)
	}
	if len(shown) == 1 {
		return shown[0] + " watches this session"
	}
	return strings.Join(shown, ", ") + " watch this session"
}
