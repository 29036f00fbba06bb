package relay

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// A fleet that comes back, and shells that are opened by the hundred, leave garbage behind. Go collects it when the heap
// has doubled or after two minutes, and gives memory back to the kernel little by little. So a relay that has come to
// rest would hold far more than it needs, for long. It looks at itself from time to time, and gives that back.
const (
	tidyEvery = 15 * time.Second
	tidyLeast = 32 << 20 // bytes; less is not worth a collection
	tidyPart  = 4        // nor is less than a fourth of what is in use

	// calm is how much may be allocated between two looks, in bytes, or a fourth of what is in use. While it is more, Go
	// collects soon by itself, and the processors have other work.
	calm = 32 << 20
)

// heap is what Go says of its memory, in bytes.
type heap struct {
	allocated uint64 // since the start
	live      uint64 // at the last collection
	used      uint64 // by what lives, and by garbage
	free      uint64 // and not given back to the kernel
}

func readHeap() heap {
	s := []metrics.Sample{
		{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/free:bytes"},
	}
	metrics.Read(s)
	return heap{allocated: s[0].Value.Uint64(), live: s[1].Value.Uint64(), used: s[2].Value.Uint64(), free: s[3].Value.Uint64()}
}

// untidy says that much can be given back, and that this is a moment for it.
func (h heap) untidy(before heap) bool {
	spare := h.used - min(h.live, h.used) + h.free
	return h.allocated-before.allocated < max(calm, h.live/tidyPart) && spare > max(tidyLeast, h.live/tidyPart)
}

// tidy gives memory back until ctx ends.
func tidy(ctx context.Context) error {
	look := time.NewTicker(tidyEvery)
	defer look.Stop()
	for before := readHeap(); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
		}
		now := readHeap()
		if now.untidy(before) {
			debug.FreeOSMemory()
		}
		before = now
	}
}
