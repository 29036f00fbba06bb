// Package allowance is a time limit that stands still while a person is asked: what they need to think and
// to type is not the machine's delay.
package allowance

import (
	"context"
	"sync"
	"time"
)

// Limit ends a context when its time is over. Its methods may be called at the same time.
type Limit struct {
	end context.CancelCauseFunc

	mu    sync.Mutex
	why   func() error
	timer *time.Timer
	left  time.Duration // when it was last started or stopped
	since time.Time     // when it was last started
	held  int           // Pauses that have not ended
	over  bool
}

// New gives ctx a limit; why is asked for the cause when the time is over. Stop must be called.
func New(ctx context.Context, limit time.Duration, why func() error) (context.Context, *Limit) {
	ctx, end := context.WithCancelCause(ctx)
	l := &Limit{end: end, why: why, left: limit, since: time.Now()}
	l.mu.Lock() // the timer may go off at once
	defer l.mu.Unlock()
	l.timer = time.AfterFunc(limit, l.finish)
	return ctx, l
}

func (l *Limit) finish() {
	l.mu.Lock()
	if l.held > 0 || l.over || time.Since(l.since) < l.left { // a Pause or Next came just before
		l.mu.Unlock()
		return
	}
	l.over = true
	why := l.why
	l.mu.Unlock()
	l.end(why())
}

// Stop releases the limit, and ends its context.
func (l *Limit) Stop() {
	l.mu.Lock()
	l.over = true
	l.timer.Stop()
	l.mu.Unlock()
	l.end(nil)
}

// Pause has the time stand still until resume, which may be called more than once.
func (l *Limit) Pause() (resume func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held++; l.held == 1 && !l.over {
		l.timer.Stop()
		l.left -= time.Since(l.since)
	}
	return sync.OnceFunc(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.held--; l.held == 0 {
			l.startLocked()
		}
	})
}

// Next begins the limit anew, for the next step, with a reason of its own.
func (l *Limit) Next(limit time.Duration, why func() error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.left, l.why = limit, why
	if l.held == 0 {
		l.startLocked()
	}
}

func (l *Limit) startLocked() {
	if l.over {
		return
	}
	l.since = time.Now()
	l.timer.Reset(max(l.left, 0))
}
