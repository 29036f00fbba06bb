package tally

import (
	"sync/atomic"

	"scrier/wire"
)

// Codes counts how something ended. The zero value has counted nothing; its methods may be called concurrently.
type Codes struct {
	by [wire.MaxCode + 1]atomic.Uint64
}

// Count counts one more. A code that this version does not know, which a peer may have made up, counts as another.
func (c *Codes) Count(code wire.Code) { c.by[min(code, wire.MaxCode)].Add(1) }

// Unknown is what codes are counted under that this version does not know.
const Unknown = "unknown"

// Read is what was counted, by the code's name: those that have come.
func (c *Codes) Read() map[string]uint64 {
	known := map[wire.Code]bool{}
	for _, code := range wire.Codes() {
		known[code] = true
	}
	out := map[string]uint64{}
	for i := range c.by {
		n := c.by[i].Load()
		if n == 0 {
			continue
		}
		if code := wire.Code(i); known[code] {
			out[code.String()] += n
		} else {
			out[Unknown] += n
		}
	}
	return out
}
