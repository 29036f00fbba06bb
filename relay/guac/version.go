package guac

import (
	"fmt"
	"strings"

	"scrier/wire"
)

// version is guacd's protocol version, as major and minor: `VERSION_1_3_0`. It has changed in 1.1
// (timezone), 1.3 (name, required) and 1.5 (msg); guacd 1.6 still says 1.5.
type version struct{ major, minor, patch int }

// The first, which has no name, and the last that this package knows.
var (
	unnamed = version{1, 0, 0}
	latest  = version{1, 5, 0}
)

const versionPrefix = "VERSION_"

// parseVersion reads the first element of args. A version that is newer than ours is answered
// with ours, as guacd expects.
func parseVersion(s string) (v version, isVersion bool, err error) {
	text, ok := strings.CutPrefix(s, versionPrefix)
	if !ok {
		return unnamed, false, nil
	}
	parts := strings.Split(text, "_")
	numbers := []*int{&v.major, &v.minor, &v.patch}
	for n, part := range parts {
		if len(parts) != len(numbers) || !digits([]byte(part), 4) {
			return v, true, wire.Errorf(wire.VersionMismatch, "guacd's version %q is not understood", wire.Printable(s[:min(len(s), 32)]))
		}
		*numbers[n], _ = number([]byte(part))
	}
	if v.major < 1 {
		return v, true, wire.Errorf(wire.VersionMismatch, "guacd's version %s is too old", v)
	}
	return v, true, nil
}

// spoken is the version that is answered to one of guacd's.
func (v version) spoken() version {
	if v.major > 1 || v.minor > 6 {
		return latest
	}
	return v
}

func (v version) atLeast(major, minor int) bool {
	return v.major > major || v.major == major && v.minor >= minor
}

// named says whether this version stands in args and connect.
func (v version) named() bool { return v != unnamed }

func (v version) String() string {
	return fmt.Sprintf("%s%d_%d_%d", versionPrefix, v.major, v.minor, v.patch)
}

// dotted is the version for people: "1.3.0".
func (v version) dotted() string { return fmt.Sprintf("%d.%d.%d", v.major, v.minor, v.patch) }
