package relay

import (
	"fmt"
	"testing"
	"time"
)

// Each network has a rate of its own, and no number of networks takes more memory than some.
func TestRatesOfNetworks(t *testing.T) {
	r := newRates(1, 3)
	now := time.Now()
	for i, addr := range []string{"[2001:db8::1]:1", "[2001:db8::2]:2", "2001:db8::3"} { // one network
		if !r.of(addr).AllowN(now, 1) {
			t.Errorf("the %dth was too much", i+1)
		}
	}
	if r.of("2001:db8::4").AllowN(now, 1) {
		t.Error("a /64 got more than its burst")
	}
	if !r.of("192.0.2.1:443").AllowN(now, 1) {
		t.Error("another network waits too")
	}
	var a acquainted
	for i := range 2 * maxRated {
		addr := fmt.Sprintf("2001:db8:%x:%x::1", i>>16, i&0xffff)
		r.of(addr)
		a.add(addr)
	}
	if r.by.Len() != maxRated || a.by.Len() != maxRated {
		t.Errorf("%d rates and %d networks are remembered", r.by.Len(), a.by.Len())
	}
	if a.has("192.0.2.1") || !a.has(fmt.Sprintf("2001:db8:0:%x::7", 2*maxRated-1)) {
		t.Error("the wrong networks are known")
	}
}
