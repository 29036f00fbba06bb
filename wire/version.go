package wire

import (
	"cmp"
	"regexp"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"
)

// What a release says of itself, for builds that the Go tool can tell nothing about, such as those from
// an archive: go build -ldflags "-X scrier/wire.version=v1.4.0 -X scrier/wire.commit=… -X scrier/wire.date=…".
var version, commit, date string

// A Build says of what this program was built. What nobody knows is empty.
type Build struct {
	Version  string     `json:"version"` // of a release, else "devel"
	Commit   string     `json:"commit,omitempty"`
	Date     *time.Time `json:"date,omitempty"`     // the commit's, so that the same source says the same
	Modified bool       `json:"modified,omitempty"` // since that commit
}

// ThisBuild is this program's: what its release wrote into it, else what the Go tool found in the repository
// or the module that it was built from.
var ThisBuild = sync.OnceValue(func() Build {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	b := buildOf(info)
	if commit != "" {
		b.Commit, b.Date, b.Modified = commit, moment(date), false
	}
	b.Version = cmp.Or(version, b.Version)
	return b
})

// pseudo is a version that the Go tool made up of a commit that has no tag.
var pseudo = regexp.MustCompile(`[-.]\d{14}-[0-9a-f]{12}$`)

func buildOf(info *debug.BuildInfo) Build {
	b := Build{Version: "devel"}
	if v, _, _ := strings.Cut(info.Main.Version, "+"); v != "" && v != "(devel)" && !pseudo.MatchString(v) {
		b.Version = v
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.time":
			b.Date = moment(s.Value)
		case "vcs.modified":
			b.Modified, _ = strconv.ParseBool(s.Value)
		}
	}
	return b
}

func moment(s string) *time.Time {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return nil
	}
	t = t.UTC()
	return &t
}

// String is one line for people: v1.4.0 (1a2b3c4d5e6f 2026-11-27, modified).
func (b Build) String() string {
	if b.Commit == "" {
		return b.Version
	}
	s := b.Version + " (" + b.Commit[:min(len(b.Commit), 12)]
	if b.Date != nil {
		s += b.Date.Format(" 2006-01-02")
	}
	if b.Modified {
		s += ", modified"
	}
	return s + ")"
}

// Version is this program's [Build] as one line, which is what agents and relays tell of themselves.
func Version() string { return ThisBuild().String() }
