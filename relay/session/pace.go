package session

import (
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"

	"scrier/wire"
)

// How many records of files and their changes an operator's channels may make: each is for ever in the audit log, and a
// channel can make thousands a second. A copy of some ten thousand files does not come near it.
const (
	records      = 500 // a second
	recordsBurst = 100_000

	// recordsOwed is how many may be ahead of that, as those of channels that end do not wait, before there are no further
	// channels.
	recordsOwed = 10_000

	// maxPaced is how many operators are remembered. One that was forgotten begins with a full burst.
	maxPaced = 4096
)

// pace is how fast each operator's channels make records. The zero value is ready.
type pace struct {
	mu sync.Mutex
	of *simplelru.LRU[string, *rate.Limiter]
}

func (p *pace) operator(id string) *rate.Limiter {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.of == nil {
		of, err := simplelru.NewLRU[string, *rate.Limiter](maxPaced, nil)
		if err != nil {
			panic(err) // only for a size below 1
		}
		p.of = of
	}
	l, ok := p.of.Get(id)
	if !ok {
		l = rate.NewLimiter(records, recordsBurst)
		p.of.Add(id, l)
	}
	return l
}

// Owes is [wire.Busy] while an operator's channels have made far too many records: there are to be no further ones.
func (t *Table) Owes(operatorID string) error {
	if t.paced.operator(operatorID).Tokens() > -recordsOwed {
		return nil
	}
	return wire.Errorf(wire.Busy, "your copies have written too much into the audit log: %d records of files a second are possible; wait a minute and try again", records)
}

// Pace waits until the channel may make one more record of many, or ends.
func (c *Channel) Pace() {
	wait := c.table.paced.operator(c.row.OperatorID).Reserve().Delay()
	if wait == 0 {
		return
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.ctx.Done():
	}
}
