package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
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
		{wire.Errorf(wire.Usage, "no SRC"), 64, "scrier: no SRC (usage)\n"},
		{wire.Errorf(wire.Usage, "no -p").Advise("leave it out"), 64, "scrier: no -p (usage)\nhint: leave it out\n"},
		{errors.New("write: disk full"), 70, "scrier: write: disk full (internal)\n"},
	} {
		var b bytes.Buffer
		if status := report(&b, c.err); status != c.status || b.String() != c.text {
			t.Errorf("%v: %d, %q, not %d, %q", c.err, status, b.String(), c.status, c.text)
		}
	}
}

// An error of this machine's files is typed, and says what would help; one of another kind stays as it is.
func TestTyped(t *testing.T) {
	for _, c := range []struct {
		err  error
		code wire.Code
		hint string
	}{
		{fmt.Errorf("open state: %w", &fs.PathError{Op: "write", Path: "s/state.db", Err: syscall.ENOSPC}), wire.BadConfig, "make room there"},
		{&fs.PathError{Op: "open", Path: "s", Err: syscall.EACCES}, wire.BadConfig, "run this as the user to whom it belongs"},
		{&fs.PathError{Op: "open", Path: "s", Err: syscall.EROFS}, wire.BadConfig, "its file system is read-only: name another place"},
		{&fs.PathError{Op: "write", Path: os.Stdout.Name(), Err: syscall.ENOSPC}, wire.BadRequest, ""},
		{fmt.Errorf("list: %w", wire.Errorf(wire.Conflict, "taken")), wire.Conflict, wire.Conflict.Hint()},
		{errors.New("broken"), wire.Internal, wire.Internal.Hint()},
		{nil, wire.None, ""},
	} {
		if err := typed(c.err); wire.CodeOf(err) != c.code || wire.HintOf(err) != c.hint {
			t.Errorf("%v is %s, with the hint %q", c.err, wire.CodeOf(err), wire.HintOf(err))
		}
	}
}
