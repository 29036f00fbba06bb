package main

import (
	"runtime"
	"strings"
	"testing"

	"scrier/wire"
)

// USER@ENVOY is understood as by ssh, and -l beside it says the same or is refused.
func TestLoginAt(t *testing.T) {
	for _, c := range []struct{ arg, login, envoy, user string }{
		{"web1", "", "web1", ""},
		{"web1", "ann", "web1", "ann"},
		{"ann@web1", "", "web1", "ann"},
		{"ann@web1", "ann", "web1", "ann"},
		{"ann@corp@web1", "", "web1", "ann@corp"},
		{"web1", "ann@corp", "web1", "ann@corp"},
		{"ann@corp@web1", "ann@corp", "web1", "ann@corp"},
		{`CORP\ann@web1`, "", "web1", `CORP\ann`},
	} {
		envoy, user, err := loginAt(c.arg, c.login)
		if err != nil || envoy != c.envoy || user != c.user {
			t.Errorf("%s -l %q is %q at %q, %v", c.arg, c.login, user, envoy, err)
		}
	}
	for _, c := range []struct{ arg, login, says string }{
		{"@web1", "", "a part of it is missing"},
		{"ann@", "", "a part of it is missing"},
		{"@", "ann", "a part of it is missing"},
		{"ann@web1", "bob", "leave one of the two out"},
		{"ann@corp@web1", "ann", "leave one of the two out"},
	} {
		_, _, err := loginAt(c.arg, c.login)
		if wire.CodeOf(err) != wire.Usage || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s -l %q: %v", c.arg, c.login, err)
		}
	}
}

// A status that has more bits than this system's is not taken for a success.
func TestPassedOn(t *testing.T) {
	for status, want := range map[int]int{0: 0, 1: 1, 255: 255, 256: 255, 1 << 16: 255, 257: 1} {
		if got := int(passedOn(status)); runtime.GOOS != "windows" && got&0xff != want {
			t.Errorf("%d becomes %d, and not %d", status, got&0xff, want)
		}
	}
}
