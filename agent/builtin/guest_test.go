package builtin

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"scrier/wire"
)

func without(gone ...wire.Right) []wire.Right {
	return slices.DeleteFunc(wire.Rights(), func(r wire.Right) bool { return slices.Contains(gone, r) })
}

// A guest can do what its rights say, and nothing else, whatever else it may.
func TestRightsOfPrograms(t *testing.T) {
	s := newServer(t)
	for name, c := range map[string]struct {
		rights      []wire.Right
		shell, exec bool
	}{
		"all":      {wire.Rights(), true, true},
		"none":     {nil, false, false},
		"no shell": {without(wire.MayShell), false, true},
		"no exec":  {without(wire.MayExec), true, false},
	} {
		t.Run(name, func(t *testing.T) {
			client := serveGuest(t, s, Guest{Rights: c.rights}).dial(t)
			try := func(what string, want, tty bool, start func(*ssh.Session) error) {
				t.Helper()
				x := newSession(t, client)
				if tty {
					err := x.RequestPty("xterm", 24, 80, nil)
					if c.shell != (err == nil) {
						t.Errorf("terminal for a %s: %v", what, err)
					}
					if err != nil {
						return
					}
				}
				in, err := x.StdinPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := start(x); want != (err == nil) {
					t.Errorf("%s: %v", what, err)
				}
				in.Close()
			}
			try("shell", c.shell, true, (*ssh.Session).Shell)
			try("shell without a terminal", c.exec, false, (*ssh.Session).Shell)
			try("command", c.exec, false, func(x *ssh.Session) error { return x.Start("true") })
			try("command with a terminal", c.exec, true, func(x *ssh.Session) error { return x.Start("true") })
		})
	}
}

func TestTargets(t *testing.T) {
	for host, want := range map[string]string{
		"localhost": "localhost", "LocalHost.": "localhost", "127.0.0.1": "127.0.0.1", "::1": "::1", "[::1]": "::1", "0:0::1": "::1", "::ffff:127.0.0.1": "127.0.0.1",
		"Db.Example": "db.example", "10.1.2.3": "10.1.2.3",
		"": "", "a b": "", "a\x00": "", "/run/socket": "", "fe80::1%eth0": "", strings.Repeat("a", 256): "",
	} {
		if got := target(host); got != want {
			t.Errorf("%q: %q, want %q", host, got, want)
		}
	}
	usual, all := Guest{Rights: []wire.Right{wire.MayForward}}, func(string, uint16) bool { return true }
	for _, host := range []string{"localhost", "127.0.0.1", "::1", "::ffff:127.0.0.1"} {
		if _, ok := usual.mayConnect(host, 80); !ok {
			t.Errorf("%s is refused", host)
		}
	}
	for _, host := range []string{"", "0.0.0.0", "::", "127.1", "2130706433", "127.0.0.2", "10.0.0.1", "example.com", "localhost.example.com", "::1%lo", "/run/x"} {
		if _, ok := usual.mayConnect(host, 80); ok {
			t.Errorf("%q is a target", host)
		}
	}
	for _, port := range []uint32{0, 65536, 1<<32 - 1} {
		if _, ok := usual.mayConnect("localhost", port); ok {
			t.Errorf("port %d is a target", port)
		}
	}
	if _, ok := (Guest{Rights: without(wire.MayForward), Forward: all}).mayConnect("localhost", 80); ok {
		t.Error("forward without the right to")
	}
	if to, ok := (Guest{Rights: wire.Rights(), Forward: func(host string, port uint16) bool { return host == "db.example" && port == 5432 }}).mayConnect("DB.example.", 5432); !ok || to != "db.example" {
		t.Errorf("a named target: %q, %v", to, ok)
	}
}
