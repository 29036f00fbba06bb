package wire_test

import (
	"io"
	"testing"
	"time"

	"scrier/wire"
	"scrier/wire/wiretest"
)

// After how many bytes a lane pays is what the link's own packets say, lately.
func TestLine(t *testing.T) {
	var sent, lost uint64
	rtt := 20 * time.Millisecond
	line := wire.LineWith(func() (uint64, uint64, time.Duration) { return sent, lost, rtt })
	step := func(what string, s, l uint64, lossy bool, after int64) {
		t.Helper()
		sent, lost = sent+s, lost+l
		if got := line.Lossy(); got != lossy {
			t.Errorf("%s: lossy is %t", what, got)
		}
		if got := line.After(); got != after {
			t.Errorf("%s: a lane after %d bytes", what, got)
		}
	}
	step("nothing was sent", 0, 0, false, 4<<20)
	step("too few to judge", 50, 5, false, 4<<20)
	step("enough", 60, 0, true, 128<<10)
	step("one in 300 is just that", 1390, 0, true, 128<<10)
	step("less", 10, 0, false, 4<<20)
	for range 3 {
		step("a long time without any", 3000, 0, false, 4<<20)
	}
	step("lost lately, after much that was not", 2900, 20, true, 128<<10)
	step("again nothing", 3000, 0, true, 128<<10)
	step("and again", 3000, 0, false, 4<<20)
	rtt = 300 * time.Millisecond
	step("long and clean", 0, 0, false, 64<<20)
	step("long, and packets are lost", 0, 30, true, 128<<10)
	if after := wire.LineOf(nil).After(); after != 4<<20 {
		t.Errorf("of a link that does not tell, %d", after)
	}
}

// The side whose packets are lost has the other one dial, as only that can; and a side that dials sees its own losses.
func TestLossyLineWantsALane(t *testing.T) {
	lossy := wire.LineWith(func() (uint64, uint64, time.Duration) { return 1000, 10, 0 })
	for name, write := range map[string]func(dials, accepts *wire.Laned) (from, to *wire.Laned){
		"download": func(dials, accepts *wire.Laned) (from, to *wire.Laned) { return accepts, dials },
		"upload":   func(dials, accepts *wire.Laned) (from, to *wire.Laned) { return dials, accepts },
	} {
		t.Run(name, func(t *testing.T) {
			a, b := wiretest.Streams()
			wanted := make(chan struct{}, 10)
			dials, accepts := wire.NewLaned(a, 4<<20, func() { wanted <- struct{}{} }), wire.NewLaned(b, 0, nil)
			from, to := write(dials, accepts)
			memory := new(wire.LaneMemory)
			from.Gates(memory, lossy)
			to.Gates(memory, nil)
			go from.Write(make([]byte, 100<<10))
			if _, err := io.ReadFull(to, make([]byte, 100<<10)); err != nil {
				t.Fatal(err)
			}
			select {
			case <-wanted:
				t.Error("a lane is wanted for little")
			default:
			}
			go from.Write(make([]byte, 200<<10))
			if _, err := io.ReadFull(to, make([]byte, 200<<10)); err != nil {
				t.Fatal(err)
			}
			select {
			case <-wanted:
			case <-time.After(20 * time.Second):
				t.Error("no lane is wanted")
			}
		})
	}
}
