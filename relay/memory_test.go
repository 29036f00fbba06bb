package relay

import (
	"runtime"
	"runtime/debug"
	"testing"
)

func TestUntidy(t *testing.T) {
	const mib = 1 << 20
	for name, c := range map[string]struct {
		before, now heap
		want        bool
	}{
		"a relay that has just started":           {heap{}, heap{allocated: 5 * mib, used: 5 * mib}, false},
		"a fleet is coming":                       {heap{allocated: 100 * mib}, heap{allocated: 900 * mib, live: 400 * mib, used: 700 * mib}, false},
		"it has come":                             {heap{allocated: 900 * mib}, heap{allocated: 901 * mib, live: 400 * mib, used: 700 * mib}, true},
		"it has come, and its heartbeats":         {heap{allocated: 900 * mib}, heap{allocated: 950 * mib, live: 400 * mib, used: 700 * mib}, true},
		"it was collected, and not given back":    {heap{allocated: 900 * mib}, heap{allocated: 901 * mib, live: 450 * mib, used: 451 * mib, free: 300 * mib}, true},
		"it was given back":                       {heap{allocated: 901 * mib}, heap{allocated: 902 * mib, live: 450 * mib, used: 452 * mib}, false},
		"heartbeats":                              {heap{allocated: 901 * mib}, heap{allocated: 910 * mib, live: 450 * mib, used: 540 * mib}, false},
		"a collection goes on":                    {heap{allocated: 901 * mib}, heap{allocated: 910 * mib, live: 450 * mib, used: 440 * mib, free: mib}, false},
		"a small relay after a long output":       {heap{allocated: 901 * mib}, heap{allocated: 902 * mib, live: 5 * mib, used: 10 * mib, free: 60 * mib}, true},
		"a small relay with a little garbage now": {heap{allocated: 901 * mib}, heap{allocated: 902 * mib, live: 5 * mib, used: 20 * mib, free: 4 * mib}, false},
	} {
		if got := c.now.untidy(c.before); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// What Go says is what it is asked for: memory that was used and is not any more can be seen, and is gone after that.
func TestReadHeap(t *testing.T) {
	debug.FreeOSMemory()
	before := readHeap()
	garbage := make([]byte, 4*tidyLeast)
	with := readHeap()
	runtime.KeepAlive(garbage)
	if n := with.allocated - before.allocated; n < uint64(len(garbage)) {
		t.Errorf("%d bytes are allocated, and it says %d", len(garbage), n)
	}
	debug.FreeOSMemory()
	after := readHeap()
	after.allocated = with.allocated // whatever else allocates
	if after.untidy(with) {
		t.Errorf("it is not tidy after it was tidied: %+v", after)
	}
	if after.live >= with.used {
		t.Errorf("%d bytes live, where %d were used", after.live, with.used)
	}
}
