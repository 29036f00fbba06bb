package audit

import (
	"context"
	"errors"
	"maps"
	"strconv"
	"sync"
	"time"
)

// Repeats thins out records of what somebody else can cause as often as they like. The first event of
// a key is written at once. Those that follow within Every are counted, and then one record says how
// many: the last of them, with their number in the field "repeated" and the time of the first of them
// in "since". So a key costs at most one record each Every, and none of what happened is left out.
//
// Somebody has to call [Repeats.Flush] at intervals, as the count is due when nothing happens any more.
// Its methods may be called concurrently.
type Repeats struct {
	Journal Appender
	Every   time.Duration
	// Keys is how many keys are counted apart at a time, which bounds the memory. Those beyond share a
	// count.
	Keys int
	Now  func() time.Time

	mu sync.Mutex
	by map[string]*repeat
}

// Appender is the part of [Log] that is needed here.
type Appender interface {
	Append(ctx context.Context, e Event) (Record, error)
}

// repeat is what happened since a record of its key was written.
type repeat struct {
	written time.Time
	last    Event
	n       uint64
	since   time.Time
}

// shared is the key of all that have no room of their own.
const shared = "\x00"

// Append writes e, or counts it if one of its key was written within Every. An event that could not be
// written is an error, and is counted too.
func (r *Repeats) Append(ctx context.Context, key string, e Event) error {
	now := r.Now()
	r.mu.Lock()
	if r.by == nil {
		r.by = map[string]*repeat{}
	}
	if r.by[key] == nil && len(r.by) >= r.Keys {
		r.forget(now)
		if len(r.by) >= r.Keys {
			key = shared
		}
	}
	c := r.by[key]
	if c != nil {
		c.count(e, now)
		r.mu.Unlock()
		return nil
	}
	r.by[key] = &repeat{written: now}
	r.mu.Unlock()
	_, err := r.Journal.Append(ctx, e)
	if err != nil {
		r.again(key, repeat{written: now, last: e, n: 1, since: now})
	}
	return err
}

// again counts what could not be written, so that a later record tells of it.
func (r *Repeats) again(key string, was repeat) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.by[key]
	if c == nil {
		r.by[key] = &was
		return
	}
	if c.n == 0 {
		c.last = was.last
	}
	c.n, c.since = c.n+was.n, was.since
}

func (c *repeat) count(e Event, now time.Time) {
	if c.n == 0 {
		c.since = now
	}
	c.last, c.n = e, c.n+1
}

// over says whether the time of a key's last record has passed; a clock that was set back ends it too.
func (r *Repeats) over(c *repeat, now time.Time) bool {
	age := now.Sub(c.written)
	return age < 0 || age >= r.Every
}

// forget drops the keys of which there is nothing to tell.
func (r *Repeats) forget(now time.Time) {
	maps.DeleteFunc(r.by, func(_ string, c *repeat) bool { return c.n == 0 && r.over(c, now) })
}

// Flush writes the counts that are due.
func (r *Repeats) Flush(ctx context.Context) error {
	now := r.Now()
	return r.flush(ctx, now, func(c *repeat) bool { return r.over(c, now) })
}

// Close writes all counts, due or not.
func (r *Repeats) Close(ctx context.Context) error {
	return r.flush(ctx, r.Now(), func(*repeat) bool { return true })
}

func (r *Repeats) flush(ctx context.Context, now time.Time, due func(*repeat) bool) error {
	r.mu.Lock()
	r.forget(now)
	counted := map[string]repeat{}
	for key, c := range r.by {
		if c.n > 0 && due(c) {
			counted[key] = *c
			c.written, c.n = now, 0
		}
	}
	r.mu.Unlock()
	var errs []error
	for key, was := range counted {
		if _, err := r.Journal.Append(ctx, was.record()); err != nil {
			errs = append(errs, err)
			r.again(key, was)
		}
	}
	return errors.Join(errs...)
}

func (c repeat) record() Event {
	e := c.last
	e.Fields = maps.Clone(e.Fields)
	if e.Fields == nil {
		e.Fields = map[string]string{}
	}
	e.Fields["repeated"] = strconv.FormatUint(c.n, 10)
	e.Fields["since"] = c.since.UTC().Format(time.RFC3339)
	return e
}
