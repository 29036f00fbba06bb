package tally

import (
	"math"
	"sync"
	"testing"
	"time"

	"scrier/wire"
)

// Each time is counted once, up to all the limits that it keeps.
func TestTimes(t *testing.T) {
	var times Times
	for _, d := range []time.Duration{-time.Hour, 0, 500 * time.Microsecond, 501 * time.Microsecond, time.Second, 89 * time.Second, 2 * time.Hour} {
		times.Took(d)
	}
	s := times.Read()
	if s.Count != 7 || math.Abs(s.Seconds-(0.0005+0.000501+1+89+7200)) > 1e-9 {
		t.Errorf("%d times, %v s together", s.Count, s.Seconds)
	}
	for limit, want := range map[float64]uint64{0.0005: 3, 0.001: 4, 0.5: 4, 1: 5, 30: 5, 90: 6} {
		if got, ok := s.UpTo[limit]; got != want || !ok {
			t.Errorf("%d took up to %v s, want %d", got, limit, want)
		}
	}
	if len(s.UpTo) != len(limits) {
		t.Errorf("%d limits", len(s.UpTo))
	}
}

// A peer that makes codes up makes no names.
func TestCodes(t *testing.T) {
	var codes Codes
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for _, c := range []wire.Code{wire.None, wire.AgentLost, wire.AgentLost, 1, wire.MaxCode, wire.MaxCode + 1, 65535} {
				codes.Count(c)
			}
		})
	}
	all.Wait()
	got := codes.Read()
	if len(got) != 3 || got[wire.None.String()] != 4 || got["agent_lost"] != 8 || got[Unknown] != 16 {
		t.Errorf("%v", got)
	}
}

// What is counted on a path where much happens costs no memory.
func TestCountingTakesNoMemory(t *testing.T) {
	var times Times
	var codes Codes
	if n := testing.AllocsPerRun(100, func() { times.Took(time.Second); codes.Count(wire.Busy) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
