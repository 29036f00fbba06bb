package agent

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"scrier/wire"
)

// What somebody else on the machine could have read or written is not used: not the identity, not who is
// trusted, not the machine's policy.
func TestStateIsPrivate(t *testing.T) {
	for name, mode := range map[string]fs.FileMode{"": 0o777, "agent.pem": 0o644, "enrolment.json": 0o622, "agent.yaml": 0o666} {
		s := State{Dir: t.TempDir()}
		for _, f := range []string{"agent.pem", "enrolment.json", "agent.yaml"} {
			if err := os.WriteFile(filepath.Join(s.Dir, f), []byte("{}"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.check(); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(s.Dir, name)
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := Open(Settings{State: s})
		if wire.CodeOf(err) != wire.BadConfig || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "chmod") {
			t.Errorf("%q at %04o: opened with %v", name, mode, err)
		}
	}
}

// An enrolment without its key is said at once, and not at each attempt to connect.
func TestHalfAnEnrolment(t *testing.T) {
	s := State{Dir: t.TempDir()}
	_, err := Open(Settings{State: s})
	if wire.CodeOf(err) != wire.Unauthenticated {
		t.Errorf("without an enrolment: %v", err)
	}
	if err := os.WriteFile(s.enrolmentPath(), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err = Open(Settings{State: s}); wire.CodeOf(err) != wire.BadConfig || !strings.Contains(err.Error(), s.pairPath()) {
		t.Errorf("without its key: %v", err)
	}
	if _, err := os.Lstat(s.pairPath()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something was written: %v", err)
	}
}
