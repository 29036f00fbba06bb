package main

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"scrier/wire"
)

// An error ends with its name, and the hint below it fits: its own, else that of its code.
func TestReport(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		text   string
	}{
		{nil, 0, ""},
		{exitStatus(3), 3, ""},
		{&wire.Error{Code: wire.Killed, Detail: "by ann"}, 112, "scrier: the session was ended by an administrator, or by its operator elsewhere: by ann (killed)\n"},
		{fmt.Errorf("list: %w", wire.Errorf(wire.NoSuchEnvoy, "no envoy is called %q", "web9")), 80, "scrier: no envoy is called \"web9\" (no_such_envoy)\nhint: see `scrier envoys list`\n"},
		{wire.Errorf(wire.Conflict, "enrolled").Advise("remove it\x1b"), 73, "scrier: enrolled (conflict)\nhint: remove it\\x1b\n"},
		{errors.New("write: disk full"), 70, "scrier: write: disk full (internal)\n"},
	} {
		var b bytes.Buffer
		if status := report(&b, c.err); status != c.status || b.String() != c.text {
			t.Errorf("%v: %d, %q, not %d, %q", c.err, status, b.String(), c.status, c.text)
		}
	}
}
