package wire

import (
	"testing"
	"time"
)

// Neither has the noughts of Go's durations.
func TestPeriods(t *testing.T) {
	for _, c := range []struct {
		d             time.Duration
		period, rough string
	}{
		{0, "0s", "0s"},
		{44 * time.Second, "44s", "44s"},
		{time.Minute, "1m", "1m"},
		{90 * time.Second, "1m30s", "1m"},
		{12 * time.Hour, "12h", "12h"},
		{720*time.Hour + 3*time.Minute + time.Second, "720h3m1s", "30d"},
	} {
		if p, r := Period(c.d), Rough(c.d); p != c.period || r != c.rough {
			t.Errorf("%s: %s and %s, not %s and %s", c.d, p, r, c.period, c.rough)
		}
	}
}
