package client

import (
	"slices"
	"strings"
	"sync"
	"time"

	"scrier/wire"
)

const (
	// ackEvery is how much output is shown before the relay hears of it at once, in bytes.
	ackEvery = wire.ViewerWindow / 4

	// ackWithin is when it hears of less.
	ackWithin = 10 * time.Millisecond
)

// progress is how far the terminal has shown the session's output, and what of that the relay knows.
type progress struct {
	send func(*wire.Ack) error

	mu            sync.Mutex
	offset, acked uint64
	history       uint64 // output before this was there before us
	later         *time.Timer
}

// newProgress begins where the relay says that output does. stop must be called in the end.
func newProgress(a *wire.Attached, send func(*wire.Ack) error) *progress {
	p := &progress{send: send, offset: a.Offset, acked: a.Offset, history: a.Head}
	p.later = time.AfterFunc(time.Hour, func() { _ = p.ack() }) // a link that broke shows when it is read
	p.later.Stop()
	return p
}

func (p *progress) stop() { p.later.Stop() }

// add counts n bytes as shown, and tells the relay now or soon.
func (p *progress) add(n int) error {
	p.mu.Lock()
	first := p.offset == p.acked
	p.offset += uint64(n)
	due := p.offset-p.acked >= ackEvery
	p.mu.Unlock()
	if due {
		return p.ack()
	}
	if first {
		p.later.Reset(ackWithin)
	}
	return nil
}

// skip goes on at a number, as everything before it is on the screen.
func (p *progress) skip(to uint64) error {
	p.mu.Lock()
	p.offset = max(p.offset, to)
	p.mu.Unlock()
	return p.ack()
}

// ack tells the relay what has been shown.
func (p *progress) ack() error {
	p.mu.Lock()
	offset, news := p.offset, p.offset > p.acked
	p.acked = offset
	p.mu.Unlock()
	if !news {
		return nil
	}
	return p.send(&wire.Ack{Offset: offset})
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
