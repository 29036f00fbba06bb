package roads

import (
	"testing"
	"time"
)

// The waits double, up to ten minutes, and begin anew in another network.
func TestProbes(t *testing.T) {
	p := Probes{First: 30 * time.Second}
	ceiling := 30 * time.Second
	for range 10 {
		if wait := p.Next(); wait < ceiling*3/4 || wait > ceiling*5/4 {
			t.Errorf("it waits for %s, not some %s", wait, ceiling)
		}
		ceiling = min(2*ceiling, 10*time.Minute)
	}
	if wait := p.Elsewhere(time.Now().Add(-time.Hour)); wait > 4*time.Second {
		t.Errorf("it waits for %s in another network", wait)
	}
	if wait := p.Next(); wait > 38*time.Second {
		t.Errorf("it waits for %s behind the first attempt there", wait)
	}
	if wait := p.Elsewhere(time.Now()); wait < 29*time.Second {
		t.Errorf("it waits for %s, and has tried just now", wait)
	}
}
