package fleet

import (
	"slices"
	"testing"
	"time"

	"scrier/wire"
)

// Times in warnings are as people say them.
func TestWarnings(t *testing.T) {
	now := time.Now()
	v := Envoy{State: Offline, LastSeen: now.Add(-30*24*time.Hour - time.Minute), Facts: wire.Facts{Offset: 5 * 60 * 1000}}
	if got, want := v.warn(now), []string{"last seen 30d ago", "its clock is 5m behind"}; !slices.Equal(got, want) {
		t.Errorf("%q, not %q", got, want)
	}
}
