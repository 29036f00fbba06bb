package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

const (
	// What a shell prints is small letters and digits, a key's echo one capital, and the prompt
	// behind it many. So both are found in any stream, also in one that has only what changed on a
	// screen: the prompt's cells all differ from what was there before.
	printedLine = "0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz012345" // 78, and the newline's two

	typedEvery  = 100 * time.Millisecond
	typedKeys   = 20          // in each try
	printBefore = time.Second // of output before the first key: all buffers are full
	drainStep   = 5 * time.Millisecond
	drainLeast  = 512 // bytes of a slow screen's read
)

// printing is a terminal whose shell prints without end, on a screen of some speed.
type printing struct {
	t      *terminal
	speed  int64     // bytes a second that the screen shows, 0: as fast as they come
	free   time.Time // when a slow screen may read again
	shown  int64     // bytes
	marker []byte    // the prompt that comes when the printing is over
	last   []byte    // of what was shown, as much as may hold the marker's beginning
	over   bool      // the marker was shown

	waiting map[byte]time.Time // keys without an echo, and when they were pressed
	echoes  samples
}

// print has the shell of a terminal, which shows its prompt, print until it is interrupted.
func (t *terminal) print(speed int64, command string) (*printing, error) {
	var marker strings.Builder
	for range 12 {
		marker.WriteByte(byte('A' + rand.IntN(26)))
	}
	p := &printing{t: t, speed: speed, marker: []byte(marker.String()), waiting: make(map[byte]time.Time)}
	// In two halves, as the shell's terminal echoes what is typed.
	half := len(p.marker) / 2
	return p, t.send(fmt.Sprintf("PS1='%s''%s> '; %s\r", p.marker[:half], p.marker[half:], command))
}

// show lets the screen read, until a moment or until it has what it waits for.
func (p *printing) show(ctx context.Context, until time.Time, enough func() bool) error {
	for !enough() {
		now := time.Now()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if !now.Before(until) {
			return nil
		}
		if wait := p.free.Sub(now); wait > 0 {
			time.Sleep(min(wait, until.Sub(now)))
			continue
		}
		most := len(p.t.buf)
		if p.speed > 0 {
			most = max(drainLeast, int(p.speed*int64(drainStep)/int64(time.Second)))
		}
		b, err := p.t.next(min(until.Sub(now), 100*time.Millisecond), most)
		if err != nil {
			return err
		}
		p.add(b, time.Now())
	}
	return nil
}

// add is what the screen shows now.
func (p *printing) add(b []byte, now time.Time) {
	p.shown += int64(len(b))
	if p.speed > 0 {
		// What it did not read while nothing came, it does not make up for.
		if late := now.Add(-drainStep); p.free.Before(late) {
			p.free = late
		}
		p.free = p.free.Add(time.Duration(int64(len(b)) * int64(time.Second) / p.speed))
	}
	for key, pressed := range p.waiting {
		if bytes.IndexByte(b, key) >= 0 {
			p.echoes = append(p.echoes, now.Sub(pressed))
			delete(p.waiting, key)
		}
	}
	p.last = append(p.last, b...)
	p.over = p.over || bytes.Contains(p.last, p.marker)
	p.last = p.last[:copy(p.last, p.last[max(0, len(p.last)-len(p.marker)):])]
}

// pass shows for a while.
func (p *printing) pass(ctx context.Context, d time.Duration) error {
	return p.show(ctx, time.Now().Add(d), func() bool { return false })
}

// begin waits for the output to come, and then for all that is on the way to fill.
func (p *printing) begin(ctx context.Context, limit time.Duration) error {
	if err := p.show(ctx, time.Now().Add(limit), func() bool { return p.shown > 4*int64(len(printedLine)) }); err != nil {
		return err
	}
	return p.pass(ctx, printBefore)
}

// keys types capitals, one every so often, whether the echo of the last has come or not, and then waits
// for the echoes. It returns how many did not come within the limit.
func (p *printing) keys(ctx context.Context, limit time.Duration) (missing int, err error) {
	for i := range typedKeys {
		key := byte('A' + i)
		p.waiting[key] = time.Now()
		if err := p.t.send(string(key)); err != nil {
			return 0, err
		}
		if err := p.pass(ctx, typedEvery); err != nil {
			return 0, err
		}
	}
	err = p.show(ctx, time.Now().Add(limit), func() bool { return len(p.waiting) == 0 })
	missing = len(p.waiting)
	clear(p.waiting)
	return missing, err
}

// interruption is what came of Ctrl-C.
type interruption struct {
	took  time.Duration // until the prompt
	bytes int64         // that were shown meanwhile
	late  bool          // there was no prompt within the limit
}

func (p *printing) interrupt(ctx context.Context, limit time.Duration) (interruption, error) {
	if p.over {
		return interruption{}, errors.New("it does not print any more")
	}
	before, begin := p.shown, time.Now()
	if err := p.t.send("\x03"); err != nil {
		return interruption{}, err
	}
	err := p.show(ctx, begin.Add(limit), func() bool { return p.over })
	return interruption{took: time.Since(begin), bytes: p.shown - before, late: !p.over}, err
}
