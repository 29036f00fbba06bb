package wire

import (
	"runtime/debug"
	"testing"
)

// TestBuild: what the Go tool says of a program becomes a line for people.
func TestBuild(t *testing.T) {
	vcs := func(modified string) []debug.BuildSetting {
		return []debug.BuildSetting{
			{Key: "vcs.revision", Value: "deec81e29d2e4c0f8a6b1d3e5f708192a3b4c5d6"}, {Key: "vcs.time", Value: "2026-11-27T10:48:41Z"}, {Key: "vcs.modified", Value: modified},
		}
	}
	for _, c := range []struct {
		module   string
		settings []debug.BuildSetting
		want     string
	}{
		{"", nil, "devel"},
		{"(devel)", nil, "devel"},
		{"v1.4.0", nil, "v1.4.0"},
		{"v1.4.0", vcs("false"), "v1.4.0 (deec81e29d2e 2026-11-27)"},
		{"v1.4.0-rc.1+dirty", vcs("true"), "v1.4.0-rc.1 (deec81e29d2e 2026-11-27, modified)"},
		{"v0.0.0-20261127104841-deec81e29d2e", vcs("false"), "devel (deec81e29d2e 2026-11-27)"},
		{"v1.4.1-0.20261127104841-deec81e29d2e+dirty", vcs("true"), "devel (deec81e29d2e 2026-11-27, modified)"},
		{"", []debug.BuildSetting{{Key: "vcs.revision", Value: "deec"}, {Key: "vcs.time", Value: "yesterday"}}, "devel (deec)"},
	} {
		if got := buildOf(&debug.BuildInfo{Main: debug.Module{Version: c.module}, Settings: c.settings}).String(); got != c.want {
			t.Errorf("%q: got %q, wanted %q", c.module, got, c.want)
		}
	}
}
