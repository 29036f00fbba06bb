//go:build !agentonly

package main

import (
	"regexp"
	"testing"
	"time"
)

// A login's end is a time with its zone, as all times are.
func TestLoginEnds(t *testing.T) {
	for _, c := range []struct {
		username string
		expires  time.Time
		want     string
	}{
		{"", time.Now().Add(time.Hour), `^logged out$`},
		{"ann", time.Now().Add(-3 * time.Hour), `^ended 3h ago$`},
		{"ann", time.Now().Add(time.Hour), `^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d\d:\d\d$`},
	} {
		if got := loginEnds(c.username, c.expires); !regexp.MustCompile(c.want).MatchString(got) {
			t.Errorf("%q, %s: %q", c.username, c.expires, got)
		}
	}
}
